//! Handlers may block the thread that polls them: while some do, spare threads take their places.
//!
//! [`watched`] marks each poll of a handler in the slot of the polling thread. The monitor, a thread of its
//! own (`burdock-watch`), looks at the slots, and starts spare threads (`burdock-spare-0`, ...) while threads
//! stand in one poll from one look to the next. It starts with the first handler, and sleeps while none is
//! polled.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, Weak};
use std::task::Poll;

use rustix::event::Timespec;

use super::poll_tasks;
use super::slots::{self, MONITOR_SLEEPS, MONITOR_THREAD, MarkedPoll};
use crate::limits::{SPARE_LOOKS, SPARE_PATIENCE_SECS, SPARE_THREADS_MAX, THREADS_MAX, WATCH_STEP};

/// Runs a future whose polls may block their thread. While one does, a spare thread takes the blocked one's
/// place, within bounds. Wake others before you enter it: a task that this thread has woken is counted as its
/// own next one (`slots.rs`, `own_tasks`).
pub async fn watched<F: Future>(future: F) -> F::Output {
    static MONITOR: Once = Once::new();
    MONITOR.call_once(start_monitor);
    let mut fence = Fence(pin!(Some(future)));
    std::future::poll_fn(|context| {
        let _poll = MarkedPoll::begin();
        fence.0.as_mut().as_pin_mut().map_or(Poll::Pending, |future| future.poll(context))
    })
    .await
}

/// Drops a watched future as carefully as it is polled: its destructor may block, and a panic in it would end
/// the process, for async-task aborts when a task panics while it is dropped.
struct Fence<'a, F>(Pin<&'a mut Option<F>>);

impl<F> Drop for Fence<'_, F> {
    fn drop(&mut self) {
        watched_drop(|| self.0.set(None));
    }
}

/// Runs a destructor that is other people's code: it may block its thread, and a panic in it is caught here.
pub fn watched_drop(drop: impl FnOnce()) {
    let _poll = MarkedPoll::begin();
    if catch_unwind(AssertUnwindSafe(drop)).is_err() {
        log::error!("a handler, or what it kept, panicked while it was dropped");
    }
}

fn start_monitor() {
    let started = std::thread::Builder::new().name("burdock-watch".into()).spawn(|| {
        MONITOR_THREAD.get_or_init(std::thread::current);
        let mut monitor = Monitor::default();
        loop {
            std::thread::park_timeout(WATCH_STEP);
            sleep_while_quiet(monitor.look());
        }
    });
    if let Err(error) = started {
        log::error!("no thread to look after blocked ones: {error}");
    }
}

/// Lets the monitor sleep until the next watched poll, after two looks in a row that found nothing to do.
///
/// A poll is marked and `MONITOR_SLEEPS` is read without a fence between them. So a poll that begins just
/// when `MONITOR_SLEEPS` is set may wake nobody. The second look, a whole step later, sees it.
fn sleep_while_quiet(quiet: bool) {
    if !quiet {
        MONITOR_SLEEPS.store(false, Ordering::Release);
    } else if MONITOR_SLEEPS.swap(true, Ordering::AcqRel) {
        while MONITOR_SLEEPS.load(Ordering::Acquire) {
            std::thread::park();
        }
    }
}

/// Looks after the threads of the executor.
#[derive(Default)]
struct Monitor {
    /// What was seen in each slot at the last look.
    seen: Vec<u32>,
    /// A sign for each spare thread that is wanted. When its sign is dropped, the thread ends as soon as it
    /// is not blocked.
    spares: Vec<Arc<()>>,
    /// How many looks in a row found more spare threads than were needed.
    unneeded: u32,
}

impl Monitor {
    /// Returns whether no handler was polled since the last look and there are no spare threads to look
    /// after.
    fn look(&mut self) -> bool {
        let now = slots::all();
        let blocked = now.iter().zip(&self.seen).filter(|(now, seen)| now == seen && **now % 2 == 1).count();
        let quiet = now == self.seen && blocked == 0 && self.spares.is_empty();
        self.seen = now;
        // One more than the blocked threads: the next one to run may block as well.
        let needed = if blocked == 0 { 0 } else { blocked + 1 };
        self.unneeded = if self.spares.len() > needed { self.unneeded + 1 } else { 0 };
        if self.unneeded >= SPARE_LOOKS {
            self.unneeded = 0;
            self.spares.truncate(needed);
        }
        while self.spares.len() < needed.min(SPARE_THREADS_MAX) {
            let Some(spare) = start_spare() else { break };
            self.spares.push(spare);
        }
        quiet
    }
}

/// Starts a thread in a free slot; `None` when there is none, or the system refuses it.
fn start_spare() -> Option<Arc<()>> {
    const PATIENCE: Timespec = Timespec { tv_sec: SPARE_PATIENCE_SECS, tv_nsec: 0 };
    static TAKEN: [AtomicBool; SPARE_THREADS_MAX] = [const { AtomicBool::new(false) }; SPARE_THREADS_MAX];
    let index = TAKEN.iter().position(|taken| !taken.swap(true, Ordering::Relaxed))?;
    let sign = Arc::new(());
    let wanted = Arc::downgrade(&sign);
    let spare = std::thread::Builder::new().name(format!("burdock-spare-{index}")).spawn(move || {
        poll_tasks(THREADS_MAX + index, Some(&PATIENCE), || Weak::strong_count(&wanted) > 0);
        TAKEN[index].store(false, Ordering::Relaxed);
    });
    match spare {
        Ok(_) => Some(sign),
        Err(error) => {
            log::warn!("no thread in place of a blocked one: {error}");
            TAKEN[index].store(false, Ordering::Relaxed);
            None
        }
    }
}
