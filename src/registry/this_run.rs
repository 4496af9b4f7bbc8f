//! What the registry and its tasks share.

use std::sync::atomic::AtomicBool;

/// This process as the registry knows it.
#[derive(Debug)]
pub(super) struct ThisRun {
    /// This node's name.
    pub(super) node: String,
    /// What the epochs of this process begin with: random, so that no two runs have the same.
    pub(super) run: String,
    /// Notes were dropped: all records have to be written anew.
    pub(super) overflowed: AtomicBool,
    /// Another living process has this node's name, and was there first.
    pub(super) name_is_taken: AtomicBool,
    /// This node takes no new sessions.
    pub(super) draining: AtomicBool,
}

impl ThisRun {
    /// Whether this process wrote a record of this epoch.
    pub(super) fn is_own(&self, epoch: &str) -> bool {
        epoch.strip_prefix(&self.run).is_some_and(|rest| rest.starts_with('.'))
    }
}
