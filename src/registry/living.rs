//! The sessions of this process, as the writer of their records sees them.

use std::fmt::Debug;

use super::Record;
use crate::session_id::SessionId;

/// See the module. Nothing here waits.
pub trait Living: Debug + Send + Sync {
    /// How many sessions there are.
    fn count(&self) -> usize;

    /// The ids of those that are there at this moment.
    fn ids(&self) -> Vec<SessionId>;

    /// Whether the session of this id is there.
    fn is_here(&self, id: &SessionId) -> bool;

    /// What is to be kept of a session under `epoch`, if it is there and has begun. Whoever asks writes it:
    /// from now on the session's end has something to delete.
    fn record(&self, id: &SessionId, epoch: &str) -> Option<Record>;

    /// Ends a session that was closed through another node, which has compared the principal, or by an
    /// operator.
    fn close_as_told(&self, id: &SessionId);
}
