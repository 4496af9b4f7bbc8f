//! Deadlines by a coarse sweep: one task looks at all armed deadlines every [`SWEEP_STEP`], so that arming one
//! costs an atomic store and no timer.
//!
//! A [`Deadline`] belongs to one task and is armed again and again (idle, head, body, reply, write). It may fire
//! late by one step, never early. [`run`] must be running on the executor; there is one sweep for the process.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use atomic_waker::AtomicWaker;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::limits::{COARSE_CLOCK_LAG, SWEEP_STEP};

const DISARMED: u32 = u32::MAX;

/// What the sweep sees of a deadline.
#[derive(Debug)]
struct Cell {
    /// The tick at which it fires, or `DISARMED`.
    at: AtomicU32,
    waker: AtomicWaker,
}

/// A deadline of one task, disarmed when made.
#[derive(Debug)]
pub struct Deadline {
    cell: Arc<Cell>,
}

impl Deadline {
    /// A new deadline, known to the sweep until it is dropped.
    #[allow(clippy::new_without_default, reason = "registers itself: not a plain value")]
    pub fn new() -> Deadline {
        let cell = Arc::new(Cell { at: AtomicU32::new(DISARMED), waker: AtomicWaker::new() });
        CELLS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cell));
        Deadline { cell }
    }

    /// Fires `after` from now, and not at what was armed before.
    pub fn arm(&self, after: Duration) {
        let steps = after.as_millis().div_ceil(SWEEP_STEP.as_millis()) as u32;
        // The current tick is already partly over: one more step, so that it is never early.
        let at = tick(now() + COARSE_CLOCK_LAG).saturating_add(steps).saturating_add(1);
        self.cell.at.store(at.min(DISARMED - 1), Ordering::Relaxed);
    }

    /// Does not fire until armed again.
    pub fn disarm(&self) {
        self.cell.at.store(DISARMED, Ordering::Relaxed);
    }

    /// Whether it has fired and was not armed again. Only the sweep sees time pass, so this asks no clock.
    pub fn passed(&self) -> bool {
        self.cell.at.load(Ordering::Relaxed) <= SWEPT.load(Ordering::Relaxed)
    }

    /// Completes when the deadline passes. To be polled by the task that owns it.
    pub async fn wait(&self) {
        poll_fn(|cx| {
            self.cell.waker.register(cx.waker());
            if self.passed() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

static CELLS: Mutex<Vec<Arc<Cell>>> = Mutex::new(Vec::new());

/// The tick of the last sweep.
static SWEPT: AtomicU32 = AtomicU32::new(0);

/// Time since some moment before the process started. The kernel's coarse clock: deadlines are armed several times per
/// request, and this one costs a third of a precise one.
fn now() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::MonotonicCoarse);
    Duration::new(tv_sec as u64, tv_nsec as u32)
}

/// Steps in so much time.
fn tick(time: Duration) -> u32 {
    const STEP_MILLIS: u64 = SWEEP_STEP.as_millis() as u64;
    (time.as_secs() * (1_000 / STEP_MILLIS)) as u32 + (u64::from(time.subsec_millis()) / STEP_MILLIS) as u32
}

/// Whole seconds since that moment: the coarse clock of sessions.
pub fn now_secs() -> u32 {
    now().as_secs() as u32
}

/// Wakes the owners of passed deadlines, for ever. Spawned once by the server.
pub async fn run() {
    loop {
        async_io::Timer::after(SWEEP_STEP).await;
        let now = tick(now());
        // Before anybody is woken to look at it.
        SWEPT.store(now, Ordering::Relaxed);
        // A cell that only the sweep still holds has lost its owner.
        CELLS.lock().unwrap_or_else(PoisonError::into_inner).retain(|cell| {
            if cell.at.load(Ordering::Relaxed) <= now {
                cell.waker.wake();
            }
            Arc::strong_count(cell) > 1
        });
    }
}
