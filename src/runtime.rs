//! The executor: one for the process, polled by `--threads` named threads (`burdock-0`, ...).
//!
//! smol's global executor has one thread and never drops its tasks, so burdock has its own. A thread without tasks
//! waits for sockets, pipes and exits ([`crate::reactor`]); timers are async-io's, on a thread of its own; blocking work
//! (spawning a process, Redis) goes to smol's blocking pool with [`smol::unblock`].
//!
//! Handlers are other people's code, and some of it blocks. [`watched`] marks each of their polls in a slot of the
//! polling thread; a thread of its own (`burdock-watch`) looks at the slots, and starts spare threads
//! (`burdock-spare-0`, ...) while some stand in one poll. Nothing of this exists before the first handler.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::task::{Context, Waker};

use async_channel::{Receiver, Sender};
use smol::{Executor, Task};

use crate::limits::{SPARE_LOOKS, SPARE_THREADS_MAX, THREADS_MAX, WATCH_STEP};
use crate::reactor::{self, Sleeper};

static EXECUTOR: OnceLock<Executor<'static>> = OnceLock::new();

fn executor() -> &'static Executor<'static> {
    EXECUTOR.get_or_init(Executor::new)
}

/// Starts a task. Dropping the returned [`Task`] cancels it: keep it or call `detach`.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    executor().spawn(future)
}

/// Starts `threads` threads that run the executor until the process ends, and what tells them of sockets. To be called once.
///
/// # Errors
/// When the system refuses a thread.
pub fn start(threads: usize) -> io::Result<()> {
    reactor::start()?;
    for slot in 0..threads.min(THREADS_MAX) {
        std::thread::Builder::new()
            .name(format!("burdock-{slot}"))
            .spawn(move || poll_tasks(slot, std::future::pending::<()>()))?;
    }
    Ok(())
}

/// Runs the executor on this thread until `end`.
fn poll_tasks(slot: usize, end: impl Future) {
    SLOT.set(Some(slot));
    let mut end = pin!(end);
    // What panics here is the destructor of a task that was dropped: the thread is for the others.
    while catch_unwind(AssertUnwindSafe(|| block_on(executor().run(end.as_mut())))).is_err() {
        log::error!("a task panicked while it was dropped");
    }
}

fn block_on(future: impl Future) {
    let sleeper = Sleeper::new();
    let waker = Waker::from(Arc::clone(&sleeper));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        sleeper.set_out();
        if future.as_mut().poll(&mut context).is_ready() {
            return;
        }
        sleeper.sleep();
    }
}

// --- Threads that are blocked ---------------------------------------------------------------------------------------

/// What a thread does, for others to see: odd during a watched poll, and never the same in two polls.
static POLLS: [AtomicU32; THREADS_MAX + SPARE_THREADS_MAX] =
    [const { AtomicU32::new(0) }; THREADS_MAX + SPARE_THREADS_MAX];

thread_local! {
    /// The place of this thread in `POLLS`; none when it does not run the executor for good.
    static SLOT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The future, whose polls may block their thread: others take its place meanwhile, within bounds.
pub async fn watched<F: Future>(future: F) -> F::Output {
    static WATCH: Once = Once::new();
    WATCH.call_once(start_watch);
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let _poll = MarkedPoll::begin();
        future.as_mut().poll(context)
    })
    .await
}

/// A watched poll; ended on drop, also by a panic.
struct MarkedPoll(Option<&'static AtomicU32>);

impl MarkedPoll {
    fn begin() -> MarkedPoll {
        let slot = SLOT.get().and_then(|slot| POLLS.get(slot));
        if let Some(polls) = slot {
            polls.store(polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
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

fn start_watch() {
    let watch = std::thread::Builder::new().name("burdock-watch".into()).spawn(|| {
        let mut watch = Watch::default();
        loop {
            std::thread::park_timeout(WATCH_STEP);
            watch.look();
        }
    });
    if let Err(error) = watch {
        log::error!("no thread to look after blocked ones: {error}");
    }
}

/// Looks after the threads of the executor.
#[derive(Default)]
struct Watch {
    /// What was seen in each slot at the last look.
    seen: Vec<u32>,
    /// The spare threads that are wanted; dropping one's sender ends it, once it is not blocked.
    spares: Vec<Sender<()>>,
    /// Looks since as many spare threads as there are were needed.
    unneeded: u32,
}

impl Watch {
    fn look(&mut self) {
        let now: Vec<u32> = POLLS.iter().map(|polls| polls.load(Ordering::Relaxed)).collect();
        let blocked = now.iter().zip(&self.seen).filter(|(now, seen)| now == seen && **now % 2 == 1).count();
        self.seen = now;
        // One more than are blocked: the next to run may block as well.
        let needed = if blocked == 0 { 0 } else { blocked + 1 };
        self.unneeded = if self.spares.len() > needed { self.unneeded + 1 } else { 0 };
        if self.unneeded >= SPARE_LOOKS {
            self.unneeded = 0;
            self.spares.truncate(needed);
        }
        while self.spares.len() < needed.min(SPARE_THREADS_MAX) {
            let Some(spare) = start_spare() else { return };
            self.spares.push(spare);
        }
    }
}

/// Starts a thread in a free slot; `None` when there is none, or the system refuses it.
fn start_spare() -> Option<Sender<()>> {
    static TAKEN: [AtomicBool; SPARE_THREADS_MAX] = [const { AtomicBool::new(false) }; SPARE_THREADS_MAX];
    let index = TAKEN.iter().position(|taken| !taken.swap(true, Ordering::Relaxed))?;
    let (wanted, end): (Sender<()>, Receiver<()>) = async_channel::bounded(1);
    let spare = std::thread::Builder::new().name(format!("burdock-spare-{index}")).spawn(move || {
        poll_tasks(THREADS_MAX + index, async move { end.recv().await.is_err() });
        TAKEN[index].store(false, Ordering::Relaxed);
    });
    match spare {
        Ok(_) => Some(wanted),
        Err(error) => {
            log::warn!("no thread in place of a blocked one: {error}");
            TAKEN[index].store(false, Ordering::Relaxed);
            None
        }
    }
}
