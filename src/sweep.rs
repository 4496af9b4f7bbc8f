//! Deadlines by a coarse sweep: one task looks at all armed deadlines every [`SWEEP_STEP`], so that arming
//! one costs an atomic store and no timer.
//!
//! A [`Deadline`] belongs to one task and is armed again and again (idle, head, body, reply, write). It may
//! fire late by one step, never early. [`run`] must be running on the executor; there is one sweep for the
//! process.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use atomic_waker::AtomicWaker;

use crate::limits::SWEEP_STEP;
use crate::lock::lock;
use crate::moment::Moment;

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
                // While the sweep slept, nobody wrote down the time. It is written under the lock: whoever
                // makes the next deadline finds nobody asleep, and relies on it.
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
        // One step more, because the current one is partly over: a deadline is never early.
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

/// The deadlines that the sweep looks at.
struct Cells {
    known: Vec<Arc<Cell>>,
    /// The sleeping sweep, while there are no deadlines. In tests there are several.
    sleeping: Vec<Waker>,
}

impl Cells {
    /// Takes the wakers of passed deadlines, and forgets the cells that only the sweep still holds: their
    /// owners are gone. The wakers are for the caller to wake without the lock, for a wake may run anybody's
    /// code.
    fn take_due(&mut self, now: u32) -> Vec<Waker> {
        let mut due = Vec::new();
        self.known.retain(|cell| {
            if cell.at.load(Ordering::Relaxed) <= now {
                due.extend(cell.waker.take());
            }
            Arc::strong_count(cell) > 1
        });
        due
    }
}

static CELLS: Mutex<Cells> = Mutex::new(Cells { known: Vec::new(), sleeping: Vec::new() });

fn cells() -> MutexGuard<'static, Cells> {
    lock(&CELLS)
}

/// The tick of the last sweep, or 0 before the first. At most one step old while any deadline exists, as one
/// does while there is a connection; stands still otherwise.
static SWEPT: AtomicU32 = AtomicU32::new(0);

const STEPS_PER_SEC: u32 = (1_000 / SWEEP_STEP.as_millis()) as u32;

/// `as_millis` is not used: it divides 128-bit numbers, and each event of a stream would pay for two of them.
const fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis() as u64)
}

/// Steps since the beginning of [`Moment`]'s clock.
fn tick() -> u32 {
    (Moment::now().millis() / millis(SWEEP_STEP)) as u32
}

/// Steps since the beginning of [`Moment`]'s clock, as of the last sweep: read without asking the clock.
pub fn swept_steps() -> u32 {
    match SWEPT.load(Ordering::Relaxed) {
        0 => tick(),
        swept => swept,
    }
}

/// The same in seconds.
pub fn swept_secs() -> u32 {
    swept_steps() / STEPS_PER_SEC
}

/// Seconds since the beginning of [`Moment`]'s clock, by the clock.
pub fn now_secs() -> u32 {
    (Moment::now().millis() / 1_000) as u32
}

/// Wakes the owners of passed deadlines, for ever. Spawned once by the server. Sleeps while there is no
/// deadline.
pub async fn run() {
    loop {
        some_deadline().await;
        async_io::Timer::after(SWEEP_STEP).await;
        sweep(tick());
    }
}

fn sweep(now: u32) {
    // First the time: those that are woken ask for it.
    SWEPT.store(now, Ordering::Relaxed);
    let due = cells().take_due(now);
    due.into_iter().for_each(Waker::wake);
}

/// Completes when there is a deadline, armed or not.
async fn some_deadline() {
    poll_fn(|cx| {
        let mut cells = cells();
        if !cells.known.is_empty() {
            return Poll::Ready(());
        }
        // Only the sweep polls this, once for each time that it falls asleep: its waker is in the list once.
        cells.sleeping.push(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;
    use std::time::Instant;

    use smol::future::{block_on, or};

    use super::*;

    fn start() {
        crate::runtime::start_for_tests();
        crate::runtime::spawn(run()).detach();
    }

    fn cells_of(deadlines: &[&Deadline]) -> Cells {
        let known = deadlines.iter().map(|deadline| Arc::clone(&deadline.cell)).collect();
        Cells { known, sleeping: Vec::new() }
    }

    #[test]
    fn a_deadline_is_never_early_and_late_by_a_step_or_two() {
        start();
        for millis in [0, 1, 249, 300] {
            let after = Duration::from_millis(millis);
            let begun = Instant::now();
            block_on(Deadline::after(after).wait());
            assert!(begun.elapsed() >= after, "{:?} for {after:?}", begun.elapsed());
            // The machine may be busy; a deadline that is forgotten takes for ever.
            assert!(begun.elapsed() < after + Duration::from_secs(5), "{:?} for {after:?}", begun.elapsed());
        }
    }

    #[test]
    fn only_what_was_armed_last_counts() {
        start();
        let deadline = Deadline::after(Duration::ZERO);
        deadline.arm(Duration::from_secs(600));
        let patience = Deadline::after(Duration::from_millis(600));
        let fired = async {
            deadline.wait().await;
            true
        };
        let not_fired = async {
            patience.wait().await;
            false
        };
        assert!(!block_on(or(fired, not_fired)));
        deadline.disarm();
        assert!(!deadline.passed());
        deadline.arm(Duration::ZERO);
        block_on(deadline.wait());
        assert!(deadline.passed());
    }

    #[test]
    fn passed_deadlines_are_told_once_and_lost_ones_forgotten() {
        let (passed, later, lost) = (Deadline::new(), Deadline::new(), Deadline::new());
        passed.cell.at.store(5, Ordering::Relaxed);
        later.cell.at.store(6, Ordering::Relaxed);
        let mut own = cells_of(&[&passed, &later, &lost]);
        own.known.iter().for_each(|cell| cell.waker.register(Waker::noop()));
        cells().known.retain(|cell| !Arc::ptr_eq(cell, &lost.cell));
        drop(lost);
        assert_eq!(own.take_due(5).len(), 1);
        assert_eq!(own.known.len(), 2, "the lost one is forgotten");
        assert_eq!(own.take_due(5).len(), 0, "nobody waits any more");
        assert_eq!(own.take_due(6).len(), 1);
    }

    /// Whoever is woken may make a deadline, which takes the lock.
    #[test]
    fn nobody_is_woken_under_the_lock() {
        struct MakesOne(AtomicBool);
        impl Wake for MakesOne {
            fn wake(self: Arc<Self>) {
                self.0.store(CELLS.try_lock().is_ok(), Ordering::Relaxed);
            }
        }
        let woken = Arc::new(MakesOne(AtomicBool::new(false)));
        // Other tests hold the lock for a moment, too.
        let told_without_lock = (0..100).any(|_| {
            let deadline = Deadline::new();
            deadline.cell.waker.register(&Arc::clone(&woken).into());
            deadline.cell.at.store(0, Ordering::Relaxed);
            sweep(tick());
            woken.0.load(Ordering::Relaxed)
        });
        assert!(told_without_lock);
    }
}
