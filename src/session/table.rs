//! The table of the sessions that are here, with the tasks of their workers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use smol::Task;

use super::SessionHandle;
use crate::limits::TABLE_SHARDS;
use crate::lock::lock;
use crate::session_id::SessionId;

/// A session in the table.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) handle: Arc<SessionHandle>,
    /// The task of its worker, once it runs.
    worker: Option<Task<()>>,
}

impl Present {
    /// A session whose worker does not run yet.
    pub(super) fn new(handle: &Arc<SessionHandle>) -> Present {
        Present { handle: Arc::clone(handle), worker: None }
    }
}

/// A part of the table, by the random part of the ids.
pub(super) type Shard = HashMap<u128, Present, BuildHasherDefault<Random>>;

/// A hasher for keys that are random already: all keys in the table were made here, so nobody can make them
/// collide.
#[derive(Debug, Default)]
pub(super) struct Random(u64);

impl Hasher for Random {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, key: u128) {
        // The lowest bits have chosen the shard.
        self.0 = (key >> 64) as u64 ^ key as u64;
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct SessionTable([Mutex<Shard>; TABLE_SHARDS]);

impl SessionTable {
    pub(super) fn new() -> SessionTable {
        SessionTable(std::array::from_fn(|_| Mutex::default()))
    }

    /// All parts, to be locked one after the other.
    pub(super) fn shards(&self) -> &[Mutex<Shard>; TABLE_SHARDS] {
        &self.0
    }

    /// The part that a session of this id is in.
    pub(super) fn shard(&self, id: &SessionId) -> MutexGuard<'_, Shard> {
        lock(&self.0[(id.key() % TABLE_SHARDS as u128) as usize])
    }

    /// The session of this id.
    pub(super) fn get(&self, id: &SessionId) -> Option<Arc<SessionHandle>> {
        let shard = self.shard(id);
        let there = shard.get(&id.key()).filter(|there| there.handle.id == *id)?;
        Some(Arc::clone(&there.handle))
    }

    /// Every session there is at this moment.
    pub(super) fn all(&self) -> Vec<Arc<SessionHandle>> {
        let of = |shard: &Mutex<Shard>| {
            lock(shard).values().map(|there| Arc::clone(&there.handle)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Keeps the task of this session's worker, so that all tasks can be found here. If the session has left
    /// the table already, the task is detached: it has only its last messages to send.
    pub(super) fn keep_task(&self, handle: &SessionHandle, task: Task<()>) {
        let mut shard = self.shard(&handle.id);
        match shard.get_mut(&handle.id.key()).filter(|there| std::ptr::eq(&*there.handle, handle)) {
            Some(there) => there.worker = Some(task),
            None => task.detach(),
        }
    }

    /// Whether it has the task of this session's worker.
    #[cfg(test)]
    pub(super) fn has_task(&self, handle: &SessionHandle) -> bool {
        self.shard(&handle.id).get(&handle.id.key()).is_some_and(|there| there.worker.is_some())
    }

    /// Takes this very session out of the table; another session of the same id, restored after this one's
    /// end, stays. Returns whether it was there. Its worker goes on, to answer whoever waits.
    pub(super) fn take_out(&self, handle: &SessionHandle) -> bool {
        let mut shard = self.shard(&handle.id);
        let is_there = shard.get(&handle.id.key()).is_some_and(|there| std::ptr::eq(&*there.handle, handle));
        let taken = is_there.then(|| shard.remove(&handle.id.key())).flatten();
        drop(shard);
        taken.map(|taken| taken.worker.map(Task::detach)).is_some()
    }
}
