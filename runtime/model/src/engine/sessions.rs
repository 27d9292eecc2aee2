//! Sessions that wait for their next request, and which of them gives way.

use std::collections::HashMap;

use super::SessionId;
use crate::session::Session;

/// The idle sessions of an engine.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    idle: HashMap<SessionId, Idle>,
    clock: u64,
}

#[derive(Debug)]
struct Idle {
    session: Session,
    used: u64,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.idle.len()
    }

    /// Takes a session out, to be used.
    pub(super) fn take(&mut self, id: SessionId) -> Option<Session> {
        self.idle.remove(&id).map(|idle| idle.session)
    }

    /// Puts a session back that was used just now.
    pub(super) fn put(&mut self, id: SessionId, session: Session) {
        self.clock += 1;
        self.idle.insert(id, Idle { session, used: self.clock });
    }

    /// Closes the sessions that were used least recently until at most `most` are left.
    pub(super) fn close_beyond(&mut self, most: usize) {
        while self.idle.len() > most {
            let oldest = self.idle.iter().min_by_key(|(_, idle)| idle.used).map(|(&id, _)| id);
            oldest.and_then(|id| self.take(id));
        }
    }

    /// Lets the session that was used least recently, of those that have any, give its memory back; `false` where none has.
    pub(super) fn release_oldest(&mut self) -> bool {
        let holding = self.idle.values_mut().filter(|idle| !idle.session.cache().is_empty());
        let oldest = holding.min_by_key(|idle| idle.used);
        oldest.map(|idle| idle.session.release()).is_some()
    }
}
