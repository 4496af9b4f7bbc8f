//! How many `mcp:closed:{id}` this node writes.

use std::time::{Duration, Instant};

use crate::limits::{CLOSED_KEYS_MAX, CLOSED_SECS};

/// How many keys `mcp:closed:{id}` may still be written this hour. Sessions are capped, but not how many
/// begin and end.
#[derive(Debug)]
pub(super) struct Tombstones {
    since: Instant,
    left: usize,
}

impl Tombstones {
    pub(super) fn new(now: Instant) -> Tombstones {
        Tombstones { since: now, left: CLOSED_KEYS_MAX }
    }

    /// Counts one key more; false when there must not be another one this hour.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(CLOSED_SECS) {
            *self = Tombstones::new(now);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        if may && self.left == 0 {
            log::warn!(
                "{CLOSED_KEYS_MAX} sessions have ended within an hour: other nodes call those that follow unknown, not \
                 closed"
            );
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_keys_of_an_hour_are_bounded() {
        let begun = Instant::now();
        let mut tombstones = Tombstones::new(begun);
        let taken = (0..2 * CLOSED_KEYS_MAX).filter(|_| tombstones.take(begun)).count();
        assert_eq!(taken, CLOSED_KEYS_MAX);
        assert!(!tombstones.take(begun + Duration::from_secs(CLOSED_SECS - 1)));
        assert!(tombstones.take(begun + Duration::from_secs(CLOSED_SECS)));
    }
}
