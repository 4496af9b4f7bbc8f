//! How far a node is on its way from serving to stopped.

use std::sync::atomic::{AtomicU8, Ordering};

/// What a node does with sessions, old and new. It only goes forward, and may skip some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodePhase {
    /// Everything.
    Serving,
    /// Not ready any more, so that no new clients are sent here. Clients that come all the same may begin
    /// sessions.
    Grace,
    /// The sessions that are there are served until they end; no more begin.
    Waiting,
    /// Sessions are ended one after the other, except those that outlive the stop.
    Retiring,
    /// There are no sessions, and none begins.
    Stopped,
}

impl NodePhase {
    const ALL: [NodePhase; 5] =
        [NodePhase::Serving, NodePhase::Grace, NodePhase::Waiting, NodePhase::Retiring, NodePhase::Stopped];

    /// Whether new clients are welcome (`/health/ready`).
    pub fn is_ready(self) -> bool {
        self == NodePhase::Serving
    }

    /// Whether `initialize` begins a session.
    pub fn begins_sessions(self) -> bool {
        match self {
            NodePhase::Serving | NodePhase::Grace => true,
            NodePhase::Waiting | NodePhase::Retiring | NodePhase::Stopped => false,
        }
    }
}

/// The phase of this process, for all to see.
#[derive(Debug)]
pub(super) struct Current(AtomicU8);

impl Current {
    /// Serving.
    pub(super) fn new() -> Current {
        Current(AtomicU8::new(NodePhase::Serving as u8))
    }

    pub(super) fn get(&self) -> NodePhase {
        let place = usize::from(self.0.load(Ordering::SeqCst));
        NodePhase::ALL.get(place).copied().unwrap_or(NodePhase::Stopped)
    }

    /// Goes forward to `phase`, never back.
    pub(super) fn advance(&self, phase: NodePhase) {
        self.0.fetch_max(phase as u8, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_goes_forward() {
        let current = Current::new();
        for phase in NodePhase::ALL {
            current.advance(phase);
            assert_eq!(current.get(), phase);
        }
        current.advance(NodePhase::Grace);
        assert_eq!(current.get(), NodePhase::Stopped);
    }
}
