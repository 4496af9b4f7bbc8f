//! Logs requests that came to the wrong node. Without that line a misroute looks like an unknown id.

use std::sync::Mutex;

use super::Lookup;
use crate::limits::MISROUTE_LOG_STEP;
use crate::lock::lock;
use crate::moment::Moment;
use crate::session_id::SessionId;

/// Misroutes in the log: the first at once, then one line for all those of a while.
#[derive(Debug, Default)]
pub(super) struct Misroutes(Mutex<(Option<Moment>, u64)>);

impl Misroutes {
    /// Logs a mismatch: the session is not here, although a record says that it exists.
    pub(super) fn tell(&self, id: &SessionId, here: &str, found: &Lookup) {
        let what = match found {
            Lookup::Elsewhere { node, alive: true } => format!("lives on {node}: a misroute"),
            Lookup::Elsewhere { node, alive: false } => format!("was on {node}, which is not heard of"),
            Lookup::Lost { node, .. } => format!("was lost with an earlier process of {node}"),
            Lookup::Here(_) | Lookup::Closed | Lookup::Unknown | Lookup::RegistryDown => return,
        };
        let mut last = lock(&self.0);
        if last.0.is_some_and(|last| last.elapsed() < MISROUTE_LOG_STEP) {
            last.1 += 1;
            return;
        }
        let others = match std::mem::take(&mut last.1) {
            0 => String::new(),
            others => format!(" ({others} more such requests were not logged)"),
        };
        last.0 = Some(Moment::now());
        log::warn!("[{}] a request came to {here}, but this session {what}{others}", id.short());
    }
}
