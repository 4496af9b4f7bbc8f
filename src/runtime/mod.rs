//! The executor: one for the process, polled by `--threads` named threads (`burdock-0`, ...).
//!
//! Tasks are async-task's, as everywhere in smol; the queue they wait in is our own. async-executor wakes a second
//! thread whenever the first has found something, so that with two threads a lone call cost three times what it costs
//! with one (benches/README.md). Here all threads without tasks wait for sockets and pipes ([`crate::reactor`]), so that
//! whatever arrives finds a thread, and one is called for tasks only when those that run have more than the next.
//! Timers are async-io's, on a thread of its own; blocking work (spawning a process, Redis) goes to smol's blocking pool
//! with [`smol::unblock`].
//!
//! Handlers are other people's code, and some of it blocks. [`watched`] marks each of their polls in a slot of the
//! polling thread; a thread of its own (`burdock-watch`) looks at the slots, and starts spare threads
//! (`burdock-spare-0`, ...) while some stand in one poll. Nothing of this exists before the first handler, and it
//! sleeps while none is polled.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, Weak};
use std::task::Poll;
use std::thread::Thread;

use async_task::{Builder, Runnable};
use rustix::event::Timespec;
use smol::Task;

use crate::limits::{
    SPARE_LOOKS, SPARE_PATIENCE_SECS, SPARE_THREADS_MAX, TASKS_PER_LOOK, THREADS_MAX, WATCH_STEP,
};
use crate::lock::lock;
use crate::reactor::{self, Events};

/// What the threads share.
struct Work {
    /// Tasks to be polled, each once: they are as many as there are tasks at most.
    tasks: VecDeque<Runnable>,
    /// Threads that wait for events, as far as they know.
    waiting: usize,
    /// One of them was called, and none has come back since.
    called: bool,
}

static WORK: Mutex<Work> = Mutex::new(Work { tasks: VecDeque::new(), waiting: 0, called: false });

fn work() -> MutexGuard<'static, Work> {
    lock(&WORK)
}

impl Work {
    /// Whether a thread is to be called back now, for more than the `own` tasks that the caller will come to itself.
    fn needs_call(&mut self, own: usize) -> bool {
        let needs = self.waiting > 0 && !self.called && self.tasks.len() > own;
        self.called |= needs;
        needs
    }
}

/// Starts a task. Dropping the returned [`Task`] cancels it: keep it or call `detach`.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    let (runnable, task) = Builder::new().propagate_panic(true).spawn(|()| future, schedule);
    runnable.schedule();
    task
}

fn schedule(task: Runnable) {
    let own = own_tasks();
    let needs_call = {
        let mut work = work();
        work.tasks.push_back(task);
        work.needs_call(own)
    };
    if needs_call {
        reactor::call();
    }
}

/// How many of the tasks that wait are soon this thread's: one, as no poll takes long, unless it is a handler's.
fn own_tasks() -> usize {
    let polls = SLOT.get().and_then(|slot| POLLS.get(slot));
    usize::from(polls.is_some_and(|polls| polls.load(Ordering::Relaxed) % 2 == 0))
}

/// Has `threads` threads run the executor until the process ends, and what tells them of sockets. Called again, it
/// starts only those that are missing: a process may serve more than once.
///
/// # Errors
/// When the system refuses a thread.
pub fn start(threads: usize) -> io::Result<()> {
    static STARTED: Mutex<usize> = Mutex::new(0);
    reactor::start()?;
    let mut started = lock(&STARTED);
    while *started < threads.min(THREADS_MAX) {
        let slot = *started;
        std::thread::Builder::new()
            .name(format!("burdock-{slot}"))
            .spawn(move || poll_tasks(slot, None, || true))?;
        *started += 1;
    }
    Ok(())
}

/// Runs the executor on this thread while it is `wanted`, which it looks at after each wait of at most `patience`.
fn poll_tasks(slot: usize, patience: Option<&Timespec>, wanted: impl Fn() -> bool) {
    SLOT.set(Some(slot));
    let mut events = Events::default();
    let mut polled = || {
        while wanted() {
            poll_some();
            look(&mut events, patience);
        }
    };
    // A task keeps its panics to itself, and so does `watched`. Whatever else panics here, the thread is for the others.
    while catch_unwind(AssertUnwindSafe(&mut polled)).is_err() {
        log::error!("a thread of the executor panicked and goes on");
    }
    SLOT.set(None);
    // What counted on this thread.
    if work().needs_call(0) {
        reactor::call();
    }
}

/// Polls tasks until there are none, or it is time to look for events.
fn poll_some() {
    for _ in 0..TASKS_PER_LOOK {
        let task = work().tasks.pop_front();
        match task {
            Some(task) => drop(task.run()),
            None => return,
        }
    }
}

/// Looks for events, and waits for them while there are no tasks.
fn look(events: &mut Events, patience: Option<&Timespec>) {
    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Left by a panic. Before the tasks are looked at: what this wakes is this thread's own.
    events.tell();
    let waits = {
        let mut work = work();
        let waits = work.tasks.is_empty();
        work.waiting += usize::from(waits);
        waits
    };
    // Whoever comes back may have taken the call that was meant for another: it counts as answered either way, for this
    // thread looks at the tasks after this.
    let back = || {
        let mut work = work();
        work.waiting -= usize::from(waits);
        work.called = false;
    };
    reactor::wait(events, if waits { patience } else { Some(&AT_ONCE) }, back);
    // Those that did not call because a call was on its way, or because nobody waited.
    if work().needs_call(1) {
        reactor::call();
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
    let mut fence = Fence(pin!(Some(future)));
    std::future::poll_fn(|context| {
        let _poll = MarkedPoll::begin();
        fence.0.as_mut().as_pin_mut().map_or(Poll::Pending, |future| future.poll(context))
    })
    .await
}

/// A watched future, to its end: its destructor may block as well, and a panic in it would end the process, for
/// async-task lets none out of a task that it drops.
struct Fence<'a, F>(Pin<&'a mut Option<F>>);

impl<F> Drop for Fence<'_, F> {
    fn drop(&mut self) {
        watched_drop(|| self.0.set(None));
    }
}

/// Drops what is other people's code: it may block its thread, and a panic in it stays here.
pub fn watched_drop(drop: impl FnOnce()) {
    let _poll = MarkedPoll::begin();
    if catch_unwind(AssertUnwindSafe(drop)).is_err() {
        log::error!("a handler, or what it kept, panicked while it was dropped");
    }
}

/// A watched poll; ended on drop, also by a panic.
struct MarkedPoll(Option<&'static AtomicU32>);

impl MarkedPoll {
    fn begin() -> MarkedPoll {
        // One within another is a part of it.
        let slot = SLOT.get().and_then(|slot| POLLS.get(slot));
        let slot = slot.filter(|polls| polls.load(Ordering::Relaxed) % 2 == 0);
        if let Some(polls) = slot {
            polls.store(polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
        if WATCH_SLEEPS.load(Ordering::Relaxed) {
            wake_watch();
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

/// The watch wants to be woken by the next poll.
static WATCH_SLEEPS: AtomicBool = AtomicBool::new(false);
static WATCH_THREAD: OnceLock<Thread> = OnceLock::new();

#[cold]
fn wake_watch() {
    if WATCH_SLEEPS.swap(false, Ordering::AcqRel)
        && let Some(watch) = WATCH_THREAD.get()
    {
        watch.unpark();
    }
}

fn start_watch() {
    let watch = std::thread::Builder::new().name("burdock-watch".into()).spawn(|| {
        WATCH_THREAD.get_or_init(std::thread::current);
        let mut watch = Watch::default();
        loop {
            std::thread::park_timeout(WATCH_STEP);
            sleep_while_quiet(watch.look());
        }
    });
    if let Err(error) = watch {
        log::error!("no thread to look after blocked ones: {error}");
    }
}

/// Lets the watch sleep until the next poll, after its second look in a row that found nothing to do.
///
/// Polls are marked and `WATCH_SLEEPS` is looked at without a fence, so one that begins just when it is set may wake
/// nobody. It is seen by the second look, a whole step later.
fn sleep_while_quiet(quiet: bool) {
    if !quiet {
        WATCH_SLEEPS.store(false, Ordering::Release);
    } else if WATCH_SLEEPS.swap(true, Ordering::AcqRel) {
        while WATCH_SLEEPS.load(Ordering::Acquire) {
            std::thread::park();
        }
    }
}

/// Looks after the threads of the executor.
#[derive(Default)]
struct Watch {
    /// What was seen in each slot at the last look.
    seen: Vec<u32>,
    /// The spare threads that are wanted; one whose sign is dropped ends, once it is not blocked.
    spares: Vec<Arc<()>>,
    /// Looks since as many spare threads as there are were needed.
    unneeded: u32,
}

impl Watch {
    /// Returns whether nothing was polled since the last look, and nothing is to be looked after.
    fn look(&mut self) -> bool {
        let now: Vec<u32> = POLLS.iter().map(|polls| polls.load(Ordering::Relaxed)).collect();
        let blocked = now.iter().zip(&self.seen).filter(|(now, seen)| now == seen && **now % 2 == 1).count();
        let quiet = now == self.seen && blocked == 0 && self.spares.is_empty();
        self.seen = now;
        // One more than are blocked: the next to run may block as well.
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

/// Threads for the unit tests of this process, which share them.
#[cfg(test)]
pub(crate) fn start_for_tests() {
    // Without threads they fail by themselves.
    let _ = start(2);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::queue;

    /// Longer than anything takes, whatever else the machine does.
    const LONG: Duration = Duration::from_secs(60);

    /// Calls of threads are lost at the moments when these go to wait, so there are many such moments.
    #[test]
    fn tasks_woken_from_anywhere_are_polled() {
        start_for_tests();
        let (done, all_done) = mpsc::channel();
        for seed in 0..4_u64 {
            let done = done.clone();
            let (ask, asked) = queue::bounded(1);
            let (answer, answered) = queue::bounded(1);
            spawn(async move {
                while let Some(number) = asked.recv().await {
                    // A task of its own, as a handler's call is.
                    let answer = answer.clone();
                    spawn(async move { answer.send(number).await }).detach();
                }
            })
            .detach();
            std::thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for number in 0..5_000_u32 {
                    ask.try_send(number).unwrap();
                    let (tell, told) = mpsc::channel();
                    let task = spawn({
                        let answered = answered.try_recv();
                        async move { tell.send(answered).unwrap() }
                    });
                    task.detach();
                    let early = told.recv_timeout(LONG).expect("a task was forgotten");
                    let got = early.map_or_else(|_| smol::future::block_on(answered.recv()), Some);
                    assert_eq!(got, Some(number));
                    if random.u8(..) < 64 {
                        std::thread::park_timeout(Duration::from_micros(random.u64(..200)));
                    }
                }
                done.send(()).unwrap();
            });
        }
        (0..4).for_each(|_| all_done.recv_timeout(LONG).expect("a task was forgotten"));
    }

    #[test]
    fn what_a_handler_that_blocks_has_woken_is_polled_meanwhile() {
        start_for_tests();
        let (done, all_done) = mpsc::channel();
        for _ in 0..20 {
            let done = done.clone();
            let (ask, asked) = queue::bounded(1);
            let (answer, answered) = mpsc::channel();
            spawn(async move { answer.send(asked.recv().await).unwrap() }).detach();
            let blocks = async move {
                ask.try_send(7).unwrap();
                answered.recv_timeout(LONG).unwrap()
            };
            spawn(async move { done.send(watched(blocks).await).unwrap() }).detach();
        }
        (0..20).for_each(|_| assert_eq!(all_done.recv_timeout(LONG).unwrap(), Some(7)));
    }
}
