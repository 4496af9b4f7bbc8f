//! What each thread of the executor does, for others to see: whether it polls a handler, and whether it goes
//! on.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::Thread;

use crate::limits::{SPARE_THREADS_MAX, THREADS_MAX};

/// A number for each slot: odd during a watched poll, and never the same in two polls.
static POLLS: [AtomicU32; THREADS_MAX + SPARE_THREADS_MAX] =
    [const { AtomicU32::new(0) }; THREADS_MAX + SPARE_THREADS_MAX];

thread_local! {
    /// The place of this thread in `POLLS`; `None` for a thread that does not run the executor.
    static SLOT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Sets the slot in which this thread runs the executor from here on; `None` when it no longer does.
pub(super) fn set(slot: Option<usize>) {
    SLOT.set(slot);
}

/// How many of the tasks that wait this thread will run soon by itself: one, because no poll takes long. None
/// while it polls a handler, which may block, and on threads that do not run the executor.
///
/// **Wake before you enter a watched poll, not in a long poll outside of one**: a task that is woken by a
/// thread which then blocks is counted as that thread's own. It waits until the thread looks again, and other
/// threads sleep on meanwhile, unless more tasks come.
pub(super) fn own_tasks() -> usize {
    let polls = SLOT.get().and_then(|slot| POLLS.get(slot));
    usize::from(polls.is_some_and(|polls| polls.load(Ordering::Relaxed) % 2 == 0))
}

/// The numbers in all slots.
pub(super) fn all() -> Vec<u32> {
    POLLS.iter().map(|polls| polls.load(Ordering::Relaxed)).collect()
}

/// The mark of a watched poll. It ends on drop, also after a panic.
pub(super) struct MarkedPoll(Option<&'static AtomicU32>);

impl MarkedPoll {
    pub(super) fn begin() -> MarkedPoll {
        // A watched poll within another one is a part of that.
        let slot = SLOT.get().and_then(|slot| POLLS.get(slot));
        let slot = slot.filter(|polls| polls.load(Ordering::Relaxed) % 2 == 0);
        if let Some(polls) = slot {
            polls.store(polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
        if MONITOR_SLEEPS.load(Ordering::Relaxed) {
            wake_monitor();
        }
        MarkedPoll(slot)
    }
}

impl Drop for MarkedPoll {
    fn drop(&mut self) {
        if let Some(polls) = self.0 {
            polls.store(polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }
}

/// Whether the monitor sleeps and must be woken by the next watched poll.
pub(super) static MONITOR_SLEEPS: AtomicBool = AtomicBool::new(false);
pub(super) static MONITOR_THREAD: OnceLock<Thread> = OnceLock::new();

#[cold]
fn wake_monitor() {
    if MONITOR_SLEEPS.swap(false, Ordering::AcqRel)
        && let Some(monitor) = MONITOR_THREAD.get()
    {
        monitor.unpark();
    }
}
