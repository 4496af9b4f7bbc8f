//! Bounds how many things of a kind happen per second.

use std::time::Duration;

use crate::moment::Moment;

/// See the module.
#[derive(Debug)]
pub(super) struct Rate {
    per_sec: u32,
    /// When the current second began.
    since: Moment,
    used: u32,
}

impl Rate {
    /// `per_sec` in each second.
    pub(super) fn new(per_sec: u32) -> Rate {
        Rate { per_sec, since: Moment::ZERO, used: 0 }
    }

    /// Counts one more; whether it is within the rate.
    pub(super) fn allows(&mut self, now: Moment) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            (self.since, self.used) = (now, 0);
        }
        self.used = self.used.saturating_add(1);
        self.used <= self.per_sec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own_share() {
        let mut rate = Rate::new(2);
        let begun = Moment::from_millis(5_000);
        assert_eq!([begun; 3].map(|now| rate.allows(now)), [true, true, false]);
        let late = begun + Duration::from_millis(999);
        assert!(!rate.allows(late));
        assert!(rate.allows(begun + Duration::from_secs(1)));
    }
}
