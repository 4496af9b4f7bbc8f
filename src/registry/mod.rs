//! Which sessions exist, and where: told of every begin and end, asked only about ids that are not here.
//!
//! A side room: nothing on the way from a client to its living session waits for it. The in-memory
//! member knows this process only, so an id of another node is unknown to it.

pub mod operator;
pub mod record;

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::limits::CLOSED_REMEMBERED_MAX;
use crate::principal::Principal;
use crate::session::SessionId;

/// What the registry keeps of a session: that it exists, never its state.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its id.
    pub id: SessionId,
    /// The server it talks to.
    pub server: String,
    /// Who it belongs to.
    pub principal: Option<String>,
    /// The client's name: foreign text.
    pub client: String,
}

/// What the registry says of an id that is not in the local table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was closed not long ago.
    Closed,
    /// Nobody knows it.
    Unknown,
}

/// See the module.
#[derive(Debug)]
pub enum Registry {
    /// For one node.
    Memory(Memory),
}

impl Registry {
    /// A registry that knows only this process.
    pub fn memory() -> Registry {
        Registry::Memory(Memory::default())
    }

    /// A session has begun. Never waits.
    pub fn record(&self, _record: Record) {
        match self {
            // The local table is the record.
            Registry::Memory(_) => {}
        }
    }

    /// The session of this id, of `principal`, has ended, however. Never waits.
    pub fn close(&self, id: &SessionId, principal: Option<&Principal>) {
        match self {
            Registry::Memory(memory) => memory.close(id, principal),
        }
    }

    /// Asks about an id that is not in the local table, for `principal`: what belonged to another is unknown (S3).
    pub async fn find(&self, id: &SessionId, principal: Option<&Principal>) -> Found {
        match self {
            Registry::Memory(memory) => memory.find(id, principal),
        }
    }
}

/// The sessions that ended lately, and whose they were.
#[derive(Debug, Default)]
pub struct Memory {
    closed: Mutex<Closed>,
}

#[derive(Debug, Default)]
struct Closed {
    owners: HashMap<SessionId, Option<Principal>>,
    /// Oldest first.
    order: VecDeque<SessionId>,
}

impl Memory {
    fn close(&self, id: &SessionId, principal: Option<&Principal>) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.order.len() >= CLOSED_REMEMBERED_MAX
            && let Some(oldest) = closed.order.pop_front()
        {
            closed.owners.remove(&oldest);
        }
        if closed.owners.insert(id.clone(), principal.cloned()).is_none() {
            closed.order.push_back(id.clone());
        }
    }

    fn find(&self, id: &SessionId, principal: Option<&Principal>) -> Found {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        match closed.owners.get(id) {
            Some(owner) if owner.as_ref() == principal => Found::Closed,
            Some(_) | None => Found::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_hears_that_a_session_was_closed() {
        let memory = Memory::default();
        let (ann, bob) = (Principal::new("ann").unwrap(), Principal::new("bob").unwrap());
        let id = SessionId::new(&"n1".into()).unwrap();
        memory.close(&id, Some(&ann));
        assert_eq!(memory.find(&id, Some(&ann)), Found::Closed);
        assert_eq!(memory.find(&id, Some(&bob)), Found::Unknown);
        assert_eq!(memory.find(&id, None), Found::Unknown);
    }

    #[test]
    fn it_forgets_the_oldest() {
        let memory = Memory::default();
        let ids: Vec<SessionId> =
            (0..=CLOSED_REMEMBERED_MAX).map(|_| SessionId::new(&"n1".into()).unwrap()).collect();
        ids.iter().for_each(|id| memory.close(id, None));
        assert_eq!(memory.find(&ids[0], None), Found::Unknown);
        assert_eq!(memory.find(&ids[1], None), Found::Closed);
        assert_eq!(memory.closed.lock().unwrap().owners.len(), CLOSED_REMEMBERED_MAX);
    }
}
