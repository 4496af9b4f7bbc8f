//! Why sessions end, in words and numbers.

use std::borrow::Cow;

use crate::backend::Exit;
use crate::metrics::METRICS;

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its client said DELETE.
    Deleted,
    /// Nothing was heard of its client for too long.
    Idle,
    /// It made room for another at a cap.
    Evicted,
    /// Its backend ended.
    Exited(Exit),
    /// Its backend could not be started.
    NotStarted,
    /// Its client went away before it had the id.
    Abandoned,
    /// Somebody closed it through another node, or an operator did (`burdock sessions close`).
    ClosedElsewhere,
    /// This node stops.
    Drained,
    /// This node stops, and its next process begins the session again.
    Suspended,
    /// A bug in burdock, or in a handler.
    Panicked,
}

impl Ended {
    /// In words, for a client that still waits and for the log.
    pub fn describe(&self) -> Cow<'static, str> {
        match self {
            Ended::Deleted => "the session was deleted by its client".into(),
            Ended::Idle => "the session was idle for too long".into(),
            Ended::Evicted => "the session made room for a new one".into(),
            Ended::Exited(exit) => exit.describe().into(),
            Ended::NotStarted => "the server could not be started".into(),
            Ended::Abandoned => "the client went away during initialize".into(),
            Ended::ClosedElsewhere => "the session was closed through another node or by an operator".into(),
            Ended::Drained => "this node is stopping: initialize again".into(),
            Ended::Suspended => "this node is stopping: the session goes on when it is back".into(),
            Ended::Panicked => "an internal error ended the session".into(),
        }
    }

    /// For the log and the metrics: the session of this label has ended.
    pub(super) fn tell(&self, label: &str) {
        self.count();
        let level = match self {
            Ended::Exited(_) | Ended::Panicked => log::Level::Warn,
            _ => log::Level::Info,
        };
        log::log!(level, "[{label}] session over: {}", self.describe());
    }

    fn count(&self) {
        match self {
            Ended::Deleted | Ended::ClosedElsewhere => METRICS.sessions_deleted_total.add_one(),
            Ended::Idle | Ended::Abandoned => METRICS.sessions_idle_total.add_one(),
            Ended::Evicted => METRICS.sessions_evicted_total.add_one(),
            Ended::Exited(_) => METRICS.sessions_exited_total.add_one(),
            Ended::NotStarted => METRICS.sessions_not_started_total.add_one(),
            Ended::Drained | Ended::Suspended => METRICS.sessions_drained_total.add_one(),
            Ended::Panicked => METRICS.session_panics_total.add_one(),
        }
    }
}
