//! Ending work that is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{ErrorKind, ModelError};

/// A switch that ends work under way; clones are the same switch.
///
/// ```
/// let token = craftsman_model::CancelToken::new();
/// let other = token.clone();
/// std::thread::spawn(move || other.cancel()).join().unwrap();
/// assert!(token.is_cancelled());
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A switch that is not thrown.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the work, for good.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work is to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once the work is to end.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        if self.is_cancelled() {
            return Err(ModelError::new(ErrorKind::Cancelled, "cancelled", "ask again"));
        }
        Ok(())
    }
}
