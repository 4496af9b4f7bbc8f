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

    /// The record of a session under `epoch`, if the session is there and has begun. The caller writes it, so
    /// from now on the session's end must delete a record.
    fn record(&self, id: &SessionId, epoch: &str) -> Option<Record>;

    /// Ends a session that was closed through another node, which has compared the principal, or by an
    /// operator.
    fn close_as_told(&self, id: &SessionId);
}
