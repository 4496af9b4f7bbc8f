//! Which sessions exist, and where: told of every begin and end, asked only about ids that are not here.
//!
//! A side room: nothing on the way from a client to its living session waits for it (design 4.4). The in-memory
//! member knows this process only, so an id of another node is unknown to it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::limits::CLOSED_REMEMBERED_MAX;
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

    /// A session has ended, however. Never waits.
    pub fn close(&self, id: &SessionId) {
        match self {
            Registry::Memory(memory) => memory.close(id),
        }
    }

    /// Asks about an id that is not in the local table.
    pub async fn find(&self, id: &SessionId) -> Found {
        match self {
            Registry::Memory(memory) => memory.find(id),
        }
    }
}

/// The ids of sessions that ended lately, oldest first.
#[derive(Debug, Default)]
pub struct Memory {
    closed: Mutex<VecDeque<SessionId>>,
}

impl Memory {
    fn close(&self, id: &SessionId) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.len() >= CLOSED_REMEMBERED_MAX {
            closed.pop_front();
        }
        closed.push_back(id.clone());
    }

    fn find(&self, id: &SessionId) -> Found {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.contains(id) { Found::Closed } else { Found::Unknown }
    }
}
