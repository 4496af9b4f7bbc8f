//! The executor: one for the process, polled by `--threads` named threads (`burdock-0`, ...).
//!
//! Tasks are async-task's, as everywhere in smol; the queue they wait in is our own. async-executor wakes a
//! second thread whenever the first one has found a task, so that with two threads a lone call cost three
//! times as much as with one (benches/README.md). Here all threads without tasks wait for sockets and pipes
//! ([`crate::reactor`]), so that whatever arrives finds a thread. A waiting thread is called for tasks only
//! when more wait than the running threads will take next. Timers are async-io's, on a thread of its own;
//! blocking work (spawning a process, Redis) goes to smol's blocking pool with [`smol::unblock`].
//!
//! All threads share one run queue behind one mutex. That is right for two to eight cores: the lock is held
//! for a push or a pop, a hundredth of what a poll takes, and a task never waits in the queue of a thread
//! that is busy. On 32 cores the lock would be what they wait for; then each thread needs a queue of its own,
//! from which the others steal.
//!
//! Handlers are other people's code, and some of it blocks: see `blocked.rs`.

mod blocked; // Spare threads while handlers block some.
mod slots; // What each thread does.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};

use async_task::{Builder, Runnable};
use rustix::event::Timespec;
use smol::Task;

use crate::limits::{TASKS_PER_LOOK, THREADS_MAX};
use crate::lock::lock;
use crate::reactor::{self, Events};

pub use blocked::{watched, watched_drop};

/// What the threads share.
struct RunQueue {
    /// Tasks to be polled. Each stands here at most once, so this is bounded by the number of tasks.
    tasks: VecDeque<Runnable>,
    /// Threads that wait for events, as far as they know.
    waiting: usize,
    /// One of them was called back, and none has come back since.
    called: bool,
}

static RUN_QUEUE: Mutex<RunQueue> =
    Mutex::new(RunQueue { tasks: VecDeque::new(), waiting: 0, called: false });

fn run_queue() -> MutexGuard<'static, RunQueue> {
    lock(&RUN_QUEUE)
}

impl RunQueue {
    /// True when a sleeping thread must be woken: more tasks wait than the `own` ones that this thread will
    /// run itself. Then the caller must call it.
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
    let own = slots::own_tasks();
    let needs_call = {
        let mut queue = run_queue();
        queue.tasks.push_back(task);
        queue.needs_call(own)
    };
    if needs_call {
        reactor::call();
    }
}

/// Starts the reactor, and `threads` threads that run the executor until the process ends. Another call
/// starts only the threads that are missing: a process may serve more than once.
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

/// Runs the executor on this thread while it is `wanted`. It asks that after each wait, and a wait lasts at
/// most `patience`.
fn poll_tasks(slot: usize, patience: Option<&Timespec>, wanted: impl Fn() -> bool) {
    slots::set(Some(slot));
    let mut events = Events::default();
    let mut polled = || {
        while wanted() {
            poll_some();
            look(&mut events, patience);
        }
    };
    // Tasks and `watched` catch the panics within them. Should anything else panic here, other tasks still
    // need the thread.
    while catch_unwind(AssertUnwindSafe(&mut polled)).is_err() {
        log::error!("a thread of the executor panicked and goes on");
    }
    slots::set(None);
    // Tasks that were left to this thread are another's now.
    if run_queue().needs_call(0) {
        reactor::call();
    }
}

/// Polls tasks until there are none, or it is time to look for events.
fn poll_some() {
    for _ in 0..TASKS_PER_LOOK {
        let task = run_queue().tasks.pop_front();
        match task {
            Some(task) => drop(task.run()),
            None => return,
        }
    }
}

/// Looks for events, and waits for them while there are no tasks.
fn look(events: &mut Events, patience: Option<&Timespec>) {
    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A panic may have left events. They are told before the tasks are looked at, for what they wake is this
    // thread's own.
    events.tell();
    let waits = {
        let mut queue = run_queue();
        let waits = queue.tasks.is_empty();
        queue.waiting += usize::from(waits);
        waits
    };
    // This thread may have consumed a wake-up meant for another one. That is fine: it looks at the task queue
    // next.
    let back = || {
        let mut queue = run_queue();
        queue.waiting -= usize::from(waits);
        queue.called = false;
    };
    reactor::wait(events, if waits { patience } else { Some(&AT_ONCE) }, back);
    // Others may have pushed tasks without calling anybody, because a call was on its way or nobody waited.
    // One of the tasks is this thread's own next one; for more, it calls.
    if run_queue().needs_call(1) {
        reactor::call();
    }
}

/// Starts threads for the unit tests of this process, which share them.
#[cfg(test)]
pub(crate) fn start_for_tests() {
    // Without threads the tests fail by themselves.
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
