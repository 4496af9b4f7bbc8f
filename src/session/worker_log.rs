//! What a worker logs: of each kind at most one line in `LOG_STEP`, whatever clients and servers do.

use std::sync::Arc;

use crate::backend::SendError;
use crate::conversation::Remark;
use crate::foreign::Foreign;
use crate::limits::LOG_STEP;
use crate::moment::Moment;

/// When a line of each kind was last logged.
#[derive(Debug)]
pub(super) struct WorkerLog {
    /// The session's short id.
    label: Arc<str>,
    garbage: Option<Moment>,
    deaf: Option<Moment>,
    remarks: Option<Moment>,
}

impl WorkerLog {
    pub(super) fn new(label: Arc<str>) -> WorkerLog {
        WorkerLog { label, garbage: None, deaf: None, remarks: None }
    }

    pub(super) fn remark(&mut self, remark: &Remark) {
        if remark.is_everyday() {
            log::debug!("[{}] {remark}", self.label);
        } else if is_due(&mut self.remarks) {
            log::warn!("[{}] {remark}", self.label);
        }
    }

    /// A line of the server's stdout that is not JSON-RPC.
    pub(super) fn garbage(&mut self, line: &[u8]) {
        if is_due(&mut self.garbage) {
            log::warn!(
                "[{}] the server's stdout has a line that is not JSON-RPC: {}",
                self.label,
                Foreign(line)
            );
        }
    }

    /// The server did not take a message that was no call.
    pub(super) fn deaf(&mut self, error: SendError) {
        if is_due(&mut self.deaf) {
            log::warn!(
                "[{}] dropped an answer or notification of the client: the server does not read ({error:?})",
                self.label
            );
        }
    }
}

/// Whether a line of this kind may be logged now.
fn is_due(last: &mut Option<Moment>) -> bool {
    let now = Moment::now();
    let due = last.is_none_or(|last| now.since(last) >= LOG_STEP);
    if due {
        *last = Some(now);
    }
    due
}
