//! How far a node is on its way from serving to stopped.

use std::sync::atomic::{AtomicU8, Ordering};

/// What a node does with sessions, old and new. It only goes forward, and may skip some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything.
    Serving,
    /// Not ready any more, so that no new clients are sent here; those that come all the same begin sessions.
    Grace,
    /// The sessions that are there are served until they end; no more begin.
    Waiting,
    /// They are ended one after the other, but for those that outlive the stop.
    Retiring,
    /// There are none, and none begins.
    Stopped,
}

impl Phase {
    const ALL: [Phase; 5] = [Phase::Serving, Phase::Grace, Phase::Waiting, Phase::Retiring, Phase::Stopped];

    /// Whether new clients are welcome (`/health/ready`).
    pub fn is_ready(self) -> bool {
        self == Phase::Serving
    }

    /// Whether `initialize` begins a session.
    pub fn begins_sessions(self) -> bool {
        match self {
            Phase::Serving | Phase::Grace => true,
            Phase::Waiting | Phase::Retiring | Phase::Stopped => false,
        }
    }
}

/// The phase of this process, for all to see.
#[derive(Debug)]
pub(super) struct Current(AtomicU8);

impl Current {
    /// Serving.
    pub(super) fn new() -> Current {
        Current(AtomicU8::new(Phase::Serving as u8))
    }

    pub(super) fn get(&self) -> Phase {
        let place = usize::from(self.0.load(Ordering::SeqCst));
        Phase::ALL.get(place).copied().unwrap_or(Phase::Stopped)
    }

    /// Goes forward to `phase`, never back.
    pub(super) fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_goes_forward() {
        let current = Current::new();
        for phase in Phase::ALL {
            current.advance(phase);
            assert_eq!(current.get(), phase);
        }
        current.advance(Phase::Grace);
        assert_eq!(current.get(), Phase::Stopped);
    }
}
