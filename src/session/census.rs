//! How many calls are in flight, as their owner counts them: by this number a node that stops decides how
//! long it waits. (The metrics are of the process, in which there may be other owners.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The calls in flight of all sessions of one owner. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct CallCensus(Arc<AtomicUsize>);

impl CallCensus {
    /// How many there are.
    pub fn calls(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts so many calls more: they wait for their responses.
    pub(super) fn begin(&self, calls: u32) {
        self.0.fetch_add(calls as usize, Ordering::Relaxed);
    }

    /// Counts so many calls less: they have ended.
    pub(super) fn end(&self, calls: u32) {
        self.0.fetch_sub(calls as usize, Ordering::Relaxed);
    }
}
