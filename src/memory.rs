//! Memory that many sessions or large messages have left behind goes back to the system.
//!
//! glibc keeps what is freed below the last piece in use, so a node would stay as large as on its busiest
//! day. What is freed is counted; once it is much, [`run`] waits until little more comes, and then asks glibc
//! for all of it.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use atomic_waker::AtomicWaker;

use crate::limits::{
    ENDED_BYTES, FREED_BYTES_PER_GIVING_BACK, FREED_BYTES_WHEN_QUIET_MAX, FREEING_LOOKS_MAX, FREEING_STEP,
};

/// About how many bytes were freed since free memory was last given back to the system.
static FREED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The task of [`run`], woken when much is free.
static MUCH_IS_FREE: AtomicWaker = AtomicWaker::new();

/// A session or a connection has ended.
pub fn ended() {
    freed(ENDED_BYTES);
}

/// Counts freed bytes of a large message. Small messages are not counted: the next ones take their memory.
pub fn freed(bytes: usize) {
    let before = FREED_BYTES.fetch_add(bytes, Ordering::Relaxed);
    let is_much = before < FREED_BYTES_PER_GIVING_BACK && bytes >= FREED_BYTES_PER_GIVING_BACK - before;
    if is_much {
        MUCH_IS_FREE.wake();
    }
}

/// Gives free memory back to the system, for ever: soon after a crowd has left, and now and then while it
/// leaves. Each server of the process spawns this; only the first one does the work.
pub async fn run() {
    static RUNS: AtomicBool = AtomicBool::new(false);
    if RUNS.swap(true, Ordering::Relaxed) {
        return;
    }
    loop {
        much_is_free().await;
        let mut freeing = Freeing::default();
        loop {
            async_io::Timer::after(FREEING_STEP).await;
            let freed = FREED_BYTES.load(Ordering::Relaxed);
            let due = freeing.look(freed);
            if due == Due::NotYet {
                continue;
            }
            // What is freed after this line counts for the next time.
            FREED_BYTES.fetch_sub(freed, Ordering::Relaxed);
            smol::unblock(give_back).await;
            if due == Due::NowAndOver {
                break;
            }
        }
    }
}

/// Completes when so much was freed that giving it back is worth the time.
async fn much_is_free() {
    poll_fn(|cx| {
        MUCH_IS_FREE.register(cx.waker());
        match FREED_BYTES.load(Ordering::Relaxed) >= FREED_BYTES_PER_GIVING_BACK {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// A period in which much is freed. It is looked at every [`FREEING_STEP`].
#[derive(Debug, Default)]
struct Freeing {
    /// The count at the last look.
    seen: usize,
    /// Looks since memory was given back.
    looks: u32,
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// More is being freed: wait, and give it all back together.
    NotYet,
    /// This has gone on for long: give back what is free by now, and go on looking.
    Now,
    /// Nothing more is freed: give back what is free, and sleep.
    NowAndOver,
}

impl Freeing {
    /// `freed` is the count since memory was last given back.
    fn look(&mut self, freed: usize) -> Due {
        let more = freed.saturating_sub(self.seen);
        self.seen = freed;
        self.looks += 1;
        let due = if more <= FREED_BYTES_WHEN_QUIET_MAX {
            Due::NowAndOver
        } else if self.looks >= FREEING_LOOKS_MAX {
            Due::Now
        } else {
            Due::NotYet
        };
        if due != Due::NotYet {
            *self = Freeing::default();
        }
        due
    }
}

/// Returns what is free to the system. Blocks for some milliseconds per hundred megabytes: for the blocking
/// pool.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: `malloc_trim` takes an integer, locks the allocator as `malloc` does, and moves nothing that is
    // in use.
    unsafe { libc::malloc_trim(0) };
}

/// Returns what is free to the system. Other C libraries do so by themselves.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: usize = FREED_BYTES_PER_GIVING_BACK;

    #[test]
    fn what_a_crowd_leaves_goes_back_when_it_is_gone() {
        let mut freeing = Freeing::default();
        assert_eq!(freeing.look(MUCH), Due::NotYet);
        assert_eq!(freeing.look(3 * MUCH), Due::NotYet);
        // A connection ends now and then, on any server.
        assert_eq!(freeing.look(3 * MUCH + ENDED_BYTES), Due::NowAndOver);
    }

    #[test]
    fn a_crowd_that_leaves_slowly_is_not_waited_for() {
        let mut freeing = Freeing::default();
        let mut freed = 0;
        let mut next = || {
            freed += MUCH;
            freeing.look(freed)
        };
        assert!((1..FREEING_LOOKS_MAX).all(|_| next() == Due::NotYet));
        assert_eq!(next(), Due::Now);
        // Counted anew; and little that came meanwhile is the end, although much less than at the beginning.
        assert_eq!(freeing.look(MUCH), Due::NotYet);
        assert_eq!(freeing.look(MUCH), Due::NowAndOver);
    }
}
