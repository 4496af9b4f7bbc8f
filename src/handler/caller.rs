//! What a call knows of who makes it: the client, the revision of the protocol that both speak, and the log
//! level.
//!
//! A call reaches its caller through its context, not through the session. Today all calls of a session share
//! the caller that `initialize` settled; a request that brings client, capabilities and log level along can
//! have its own.

use std::sync::atomic::{AtomicU8, Ordering};

use super::client::{Client, LogLevel};
use crate::version::Version;

/// See the module.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) version: Version,
    /// A [`LogLevel`]. It may change while calls run.
    log_from: AtomicU8,
}

impl Caller {
    /// A caller that has set no log level yet: it gets log messages from [`LogLevel::Info`] on.
    pub(super) fn new(client: Client, version: Version) -> Caller {
        Caller { client, version, log_from: AtomicU8::new(LogLevel::Info as u8) }
    }

    /// From now on the caller wants log messages of this level and graver ones (`logging/setLevel`).
    pub(super) fn set_log_from(&self, level: LogLevel) {
        self.log_from.store(level as u8, Ordering::Relaxed);
    }

    /// Whether the caller wants log messages of this level.
    pub(super) fn logs(&self, level: LogLevel) -> bool {
        level as u8 >= self.log_from.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_begin_at_info() {
        let caller = Caller::new(Client::default(), Version::new("2025-11-25"));
        assert!(caller.logs(LogLevel::Info) && !caller.logs(LogLevel::Debug));
        caller.set_log_from(LogLevel::Error);
        assert!(caller.logs(LogLevel::Alert) && !caller.logs(LogLevel::Warning));
    }
}
