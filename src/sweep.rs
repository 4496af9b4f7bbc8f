//! Deadlines by a coarse sweep: one task looks at all armed deadlines every [`SWEEP_STEP`], so that arming one
//! costs an atomic store and no timer.
//!
//! A [`Deadline`] belongs to one task and is armed again and again (idle, head, body, reply, write). It may fire
//! late by one step, never early. [`run`] must be running on the executor; there is one sweep for the process.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;

use crate::limits::SWEEP_STEP;
use crate::lock::lock;

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
        let sleeping = {
            let mut cells = cells();
            cells.known.push(Arc::clone(&cell));
            let sleeping = std::mem::take(&mut cells.sleeping);
            if !sleeping.is_empty() {
                // Its clock stood still meanwhile. Under the lock: who comes next relies on it.
                SWEPT.store(tick(), Ordering::Relaxed);
            }
            sleeping
        };
        sleeping.into_iter().for_each(Waker::wake);
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
        let steps = u32::try_from(millis(after).div_ceil(millis(SWEEP_STEP))).unwrap_or(DISARMED);
        // The current tick is already partly over: one more step, so that it is never early.
        let at = tick().saturating_add(steps).saturating_add(1).min(DISARMED - 1);
        self.cell.at.store(at, Ordering::Relaxed);
    }

    /// Does not fire until armed again.
    pub fn disarm(&self) {
        self.cell.at.store(DISARMED, Ordering::Relaxed);
    }

    /// Whether it has fired and was not armed again. Only the sweep sees time pass, so this asks no clock.
    pub fn passed(&self) -> bool {
        self.cell.at.load(Ordering::Relaxed) <= swept_steps()
    }

    /// How long it has still to run, in steps of the sweep; `None` when it is not armed.
    pub fn left(&self) -> Option<Duration> {
        let at = Some(self.cell.at.load(Ordering::Relaxed)).filter(|at| *at != DISARMED)?;
        Some(SWEEP_STEP * at.saturating_sub(tick()))
    }

    /// Completes when the deadline passes. To be polled by the task that owns it.
    pub async fn wait(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// See [`Deadline::wait`].
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.cell.waker.register(cx.waker());
        if self.passed() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What there is to look at.
struct Cells {
    known: Vec<Arc<Cell>>,
    /// The sweep, while there is nothing: several in tests.
    sleeping: Vec<Waker>,
}

static CELLS: Mutex<Cells> = Mutex::new(Cells { known: Vec::new(), sleeping: Vec::new() });

fn cells() -> MutexGuard<'static, Cells> {
    lock(&CELLS)
}

/// The tick of the last sweep: what it costs nothing to know of the time. Late by a step while there are deadlines, as
/// there are while there is a connection; stands still while there are none.
static SWEPT: AtomicU32 = AtomicU32::new(0);

const STEPS_PER_SEC: u32 = (1_000 / SWEEP_STEP.as_millis()) as u32;

fn elapsed() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Not `as_millis`: its 128 bits are a division of their own, and each event of a stream would pay for two.
const fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis() as u64)
}

/// Steps since the process started, by the clock.
fn tick() -> u32 {
    (millis(elapsed()) / millis(SWEEP_STEP)) as u32
}

/// Steps since the process started, as of the last sweep: for whoever serves a connection.
pub fn swept_steps() -> u32 {
    SWEPT.load(Ordering::Relaxed)
}

/// The same in seconds.
pub fn swept_secs() -> u32 {
    swept_steps() / STEPS_PER_SEC
}

/// Seconds since the process started, by the clock.
pub fn now_secs() -> u32 {
    elapsed().as_secs() as u32
}

/// Wakes the owners of passed deadlines, for ever. Spawned once by the server. Sleeps while there is no deadline.
pub async fn run() {
    loop {
        some_deadline().await;
        async_io::Timer::after(SWEEP_STEP).await;
        let now = tick();
        // Before anybody is woken to look at it.
        SWEPT.store(now, Ordering::Relaxed);
        // A cell that only the sweep still holds has lost its owner.
        cells().known.retain(|cell| {
            if cell.at.load(Ordering::Relaxed) <= now {
                cell.waker.wake();
            }
            Arc::strong_count(cell) > 1
        });
    }
}

/// Completes when there is a deadline, armed or not.
async fn some_deadline() {
    poll_fn(|cx| {
        let mut cells = cells();
        if !cells.known.is_empty() {
            return Poll::Ready(());
        }
        // Nothing else polls the sweep, so it is here once.
        cells.sleeping.push(cx.waker().clone());
        Poll::Pending
    })
    .await;
}
