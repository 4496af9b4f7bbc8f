//! Deadlines by a coarse sweep: one task looks at all armed deadlines every [`SWEEP_STEP`], so that arming one
//! costs an atomic store and no timer.
//!
//! A [`Deadline`] belongs to one task and is armed again and again (idle, head, body, reply, write). It may fire
//! late by one step, never early. [`run`] must be running on the executor; there is one sweep for the process.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;

use crate::limits::SWEEP_STEP;

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

    /// A new deadline that fires `after` from now.
    pub fn after(after: Duration) -> Deadline {
        let deadline = Deadline::new();
        deadline.arm(after);
        deadline
    }

    /// Fires `after` from now, and not at what was armed before.
    pub fn arm(&self, after: Duration) {
        let steps = after.as_millis().div_ceil(SWEEP_STEP.as_millis()) as u32;
        // The current tick is already partly over: one more step, so that it is never early.
        let at = tick().saturating_add(steps).saturating_add(1);
        self.cell.at.store(at.min(DISARMED - 1), Ordering::Relaxed);
    }

    /// Does not fire until armed again.
    pub fn disarm(&self) {
        self.cell.at.store(DISARMED, Ordering::Relaxed);
    }

    /// Whether it has fired and was not armed again. Only the sweep sees time pass, so this asks no clock.
    pub fn passed(&self) -> bool {
        self.cell.at.load(Ordering::Relaxed) <= now_steps()
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

/// The tick of the last sweep: what it costs nothing to know of the time, late by a step.
static SWEPT: AtomicU32 = AtomicU32::new(0);

const STEPS_PER_SEC: u32 = (1_000 / SWEEP_STEP.as_millis()) as u32;

/// Steps since the process started, by the clock.
fn tick() -> u32 {
    static START: OnceLock<Instant> = OnceLock::new();
    let time = START.get_or_init(Instant::now).elapsed();
    time.as_secs() as u32 * STEPS_PER_SEC + time.subsec_millis() * STEPS_PER_SEC / 1_000
}

/// Steps since the process started, as of the last sweep.
pub fn now_steps() -> u32 {
    SWEPT.load(Ordering::Relaxed)
}

/// The same in seconds: the coarse clock of sessions.
pub fn now_secs() -> u32 {
    now_steps() / STEPS_PER_SEC
}

/// Wakes the owners of passed deadlines, for ever. Spawned once by the server.
pub async fn run() {
    loop {
        async_io::Timer::after(SWEEP_STEP).await;
        let now = tick();
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
