//! Who calls, as a call sees it: the client, the revision of the protocol, and from which level on it wants logs.
//!
//! A client that began with `initialize` has one caller for all its calls; a call that brings all this along could
//! have one of its own.

use std::sync::atomic::{AtomicU8, Ordering};

use super::client::{Client, LogLevel};
use crate::version::Version;

/// See the module.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) version: Version,
    /// A [`LogLevel`].
    log_from: AtomicU8,
}

impl Caller {
    /// A caller that has not said yet which log messages it wants: those from [`LogLevel::Info`] on.
    pub(super) fn new(client: Client, version: Version) -> Caller {
        Caller { client, version, log_from: AtomicU8::new(LogLevel::Info as u8) }
    }

    /// The caller wants log messages from this level on.
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
