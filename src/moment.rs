//! Time as a value: a [`Moment`] can be compared, added to, written down and, on the same boot, read again by
//! the program that takes this one's place. Sans-io rooms are told the time; only their users ask the clock.

use std::ops::Add;
use std::time::Duration;

/// A point in time: milliseconds of `CLOCK_MONOTONIC`, which goes on over an `exec` and stops while the
/// machine sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The beginning of the clock: the machine's start. For tests and models, which count from here.
    pub const ZERO: Moment = Moment(0);

    /// What the clock says now. Costs no system call where the kernel maps the clock.
    pub fn now() -> Moment {
        let now = monotonic();
        let millis = now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000);
        Moment(u64::try_from(millis).unwrap_or(0))
    }

    /// From `earlier` to this moment; zero when it is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// How long ago this moment was, by the clock.
    pub fn elapsed(self) -> Duration {
        Moment::now().since(self)
    }

    /// Milliseconds since the beginning of the clock.
    pub fn millis(self) -> u64 {
        self.0
    }

    /// The moment that [`Moment::millis`] was asked of.
    pub fn from_millis(millis: u64) -> Moment {
        Moment(millis)
    }
}

/// By libc and not by rustix, which reads the vDSO by itself: under valgrind, which hides it, that is the end.
#[allow(unsafe_code)]
fn monotonic() -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a timespec to where `now` is, and nothing else. It cannot fail for this clock; if it
    // did, `now` would stay as it is.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// The moment `after` this one. What is less than a millisecond counts as a whole one, so that a deadline
    /// is never early.
    fn add(self, after: Duration) -> Moment {
        let millis = after.as_nanos().div_ceil(1_000_000);
        Moment(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        assert_eq!(Moment(5) + Duration::from_micros(1), Moment(6));
        assert_eq!(Moment(5) + Duration::from_millis(2), Moment(7));
        assert_eq!(Moment(5) + Duration::MAX, Moment(u64::MAX));
    }

    #[test]
    fn nothing_is_since_what_is_later() {
        assert_eq!(Moment(7).since(Moment(9)), Duration::ZERO);
        assert_eq!(Moment(9).since(Moment(7)), Duration::from_millis(2));
        assert_eq!(Moment::from_millis(Moment(9).millis()), Moment(9));
    }

    #[test]
    fn the_clock_goes_forward() {
        let before = Moment::now();
        std::thread::park_timeout(Duration::from_millis(5));
        assert!(Moment::now() > before && before.elapsed() >= Duration::from_millis(4));
    }
}
