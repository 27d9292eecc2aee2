//! The memory of key/value caches: one account for all sessions that share it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::page::{Kept, Layout, PAGE, Page};
use super::prefix::Prefixes;
use super::{KvCache, KvKind};
use crate::session::Session;
use crate::{ErrorKind, Model, ModelError};

/// How key/value caches are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KvOptions {
    /// How numbers are kept.
    pub kind: KvKind,
    /// Bytes that all caches of the pool may take together, if that is limited.
    pub budget: Option<usize>,
    /// Whether sessions that begin with the same tokens share what they keep of them.
    pub share_prefixes: bool,
}

/// Memory that sessions of one model share: a budget, and the prefixes that they have in common.
///
/// Sharing never shows in a result: a prefix has the same keys and values, bit for bit, whoever computed them.
#[derive(Debug, Clone)]
pub struct KvPool {
    model: Arc<Model>,
    pool: Arc<Pool>,
}

/// What [`KvPool`] and the caches made from it have in common.
#[derive(Debug)]
pub(crate) struct Pool {
    options: KvOptions,
    layouts: Vec<Layout>,
    limit: usize,
    account: Arc<AtomicUsize>,
    prefixes: Mutex<Prefixes>,
}

impl KvPool {
    /// A pool for sessions of `model`.
    pub fn new(model: &Arc<Model>, options: KvOptions) -> Self {
        let kept = model.blocks.iter().map(|block| block.mixer.keeps());
        let pool = Pool::new(&kept.collect::<Vec<_>>(), model.context(), options);
        Self { model: Arc::clone(model), pool: Arc::new(pool) }
    }

    /// A new session: an empty context over the model, with memory from this pool.
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.model), KvCache::new(Arc::clone(&self.pool)))
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The options.
    pub fn options(&self) -> &KvOptions {
        &self.pool.options
    }

    /// Bytes in use, by sessions and by prefixes that no session uses any more.
    pub fn bytes(&self) -> usize {
        self.pool.bytes()
    }

    /// Bytes that a session of `positions` positions takes at most.
    pub fn bytes_for(&self, positions: usize) -> usize {
        let page: usize = self.pool.layouts.iter().map(|layout| PAGE * layout.bytes()).sum();
        positions.div_ceil(PAGE).saturating_mul(page)
    }

    /// Pages of tokens, 64 positions each, that are kept for sessions to come.
    pub fn shared_pages(&self) -> usize {
        self.pool.prefixes(|prefixes| prefixes.len())
    }
}

impl Pool {
    pub(crate) fn new(kept: &[Kept], limit: usize, options: KvOptions) -> Self {
        let layouts = kept.iter().map(|kept| Layout::new(kept, options.kind)).collect();
        Self { options, layouts, limit, account: Arc::default(), prefixes: Mutex::default() }
    }

    pub(super) fn kind(&self) -> KvKind {
        self.options.kind
    }

    /// Bytes on the account.
    pub(super) fn bytes(&self) -> usize {
        self.account.load(Ordering::Relaxed)
    }

    /// Whether sessions share prefixes.
    pub(super) fn shares(&self) -> bool {
        self.options.share_prefixes
    }

    pub(super) fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// The most positions that a cache can hold.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn prefixes<R>(&self, use_them: impl FnOnce(&mut Prefixes) -> R) -> R {
        use_them(&mut self.prefixes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An empty page for one layer.
    pub(super) fn page(&self, layer: usize) -> Result<Page, ModelError> {
        let layout = &self.layouts[layer];
        self.account(PAGE * layout.bytes())?;
        Ok(Page::new(layout, Arc::clone(&self.account)))
    }

    /// Puts `bytes` on the account; prefixes that nobody uses go first when there is no room.
    pub(super) fn account(&self, bytes: usize) -> Result<(), ModelError> {
        let budget = self.options.budget.unwrap_or(usize::MAX);
        let fits = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= budget);
        while self.account.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            if !self.prefixes(Prefixes::drop_oldest) {
                let problem =
                    format!("the key/value caches would take more than their budget of {budget} bytes");
                let remedy = "release sessions, raise the budget, or keep f16 or q8_0";
                return Err(ModelError::new(ErrorKind::Memory, problem, remedy));
            }
        }
        Ok(())
    }
}
