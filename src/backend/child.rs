//! A stdio MCP server in a process of its own.
//!
//! One task per child owns everything of it as one value, `Child`: the process, its pipes, what is half read
//! and half written, and how far down the stop ladder it is (`ladder.rs`). The worker holds a
//! [`ChildHandle`]; dropping it is the order to stop. The task ends when the process has been reaped and
//! [`Output::Exited`] has been handed over.

use std::convert::Infallible;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::Timer;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::children::{Children, LivingChild};
use super::command::Command;
use super::ladder::{Act, Death, Happened, Ladder};
use super::output::{Exit, Output, Priority, SendError};
use super::pipe::{InputEnd, PipeReader, StdinQueue};
use super::reap::reap;
use super::spawn::{self, Process};
use super::stderr::Stderr;
use super::stdout::{Outlet, Stdout, StdoutEnd};
use super::watchdog;
use crate::budget::Payload;
use crate::foreign::Foreign;
use crate::limits::{STDIN_QUEUE_MAX, STDIN_QUEUE_REQUESTS_MAX, STDOUT_QUEUE_MAX};
use crate::metrics::METRICS;
use crate::moment::Moment;
use crate::queue::{self, Receiver, Refused, Sender};
use crate::reactor::Source;
use crate::runtime;
use crate::sweep::Deadline;

/// The worker's hold on a child. Dropping it stops the child.
#[derive(Debug)]
pub struct ChildHandle {
    stdin: Sender<Payload>,
    outputs: Receiver<Output>,
    /// Its closing is the order to stop.
    stop: Sender<Infallible>,
}

impl ChildHandle {
    /// See [`super::Backend::send`].
    ///
    /// # Errors
    /// [`SendError`] when the child does not read fast enough, has ended or was told to stop.
    pub fn send(&self, message: Payload, priority: Priority) -> Result<(), SendError> {
        let crowded = priority == Priority::Request && self.stdin.len() >= STDIN_QUEUE_REQUESTS_MAX;
        if crowded && !self.stdin.is_closed() {
            return Err(SendError::Full);
        }
        self.stdin.try_send(message).map_err(|refused| match refused {
            Refused::Full(_) => SendError::Full,
            Refused::Closed(_) => SendError::Closed,
        })
    }

    /// See [`super::Backend::outputs`].
    pub fn outputs(&self) -> &Receiver<Output> {
        &self.outputs
    }

    /// See [`super::Backend::stop`].
    pub fn stop(&self) {
        self.stdin.close();
        self.stop.close();
    }
}

/// Starts `command` in a task of its own and returns at once. Whether it could be started is told by the
/// outputs. `label` (the session's short id) names it in the log; it is one of `children` while its process
/// lives.
pub fn start(command: Arc<Command>, label: String, children: Arc<Children>) -> ChildHandle {
    let (stdin, queue) = queue::bounded(STDIN_QUEUE_MAX);
    let (sender, outputs) = queue::bounded(STDOUT_QUEUE_MAX);
    let (stop, stopped) = queue::bounded(0);
    let outlet = Outlet { label, outputs: sender, stopped };
    // Detached, but not lost: while its process lives, the child is listed in `children`.
    runtime::spawn(live(command, StdinQueue::new(queue), outlet, children)).detach();
    ChildHandle { stdin, outputs, stop }
}

/// The whole life of a child.
async fn live(command: Arc<Command>, outgoing: StdinQueue, outlet: Outlet, children: Arc<Children>) {
    let (exit, held) = match spawn(&command, &outlet).await {
        Ok(process) => {
            let living = LivingChild { pid: process.pid, label: outlet.label.clone() };
            let enrolled = children.enter(process.number, living);
            // Boxed: otherwise this future would have room for a child more than once.
            let mut child = Box::new(Child::new(process, outgoing, command.term_grace));
            let exit = child.serve(&outlet).await;
            drop(enrolled);
            (exit, child.ladder.is_held().then_some(child))
        }
        Err(exit) => {
            outgoing.close();
            (exit, None)
        }
    };
    log::debug!("[{}] {} ended: {exit:?}", outlet.label, Foreign(command.program.as_bytes()));
    // Waits for room in the queue; that ends at the latest when the worker drops its end.
    let _ = outlet.outputs.send(Output::Exited(exit)).await;
    if let Some(mut child) = held {
        child.wait_for_release(outlet).await;
    }
}

/// Starts the process, unless the worker changes its mind before its turn comes.
async fn spawn(command: &Arc<Command>, outlet: &Outlet) -> Result<Process, Exit> {
    match spawn::in_turn(command, outlet.stop_asked()).await {
        Some(Ok(process)) => {
            METRICS.children_started_total.add_one();
            watchdog::started(process.pid).await;
            let program = Foreign(command.program.as_bytes());
            log::info!("[{}] started {program}, process {}", outlet.label, process.pid);
            Ok(process)
        }
        Some(Err(why)) => {
            METRICS.children_failed_total.add_one();
            Err(Exit::NotStarted(why))
        }
        None => Err(Exit::Stopped),
    }
}

/// A running child: all there is of it, owned by its task.
#[derive(Debug)]
struct Child {
    /// Which child of this run it is.
    number: u64,
    /// Its process id, and that of its group. Both stay its own until it is reaped.
    pid: Pid,
    /// Readable when the process has exited.
    pidfd: Source<OwnedFd>,
    /// `None` once closed.
    stdin: Option<Source<OwnedFd>>,
    outgoing: StdinQueue,
    /// `None` once it has ended and all of it is delivered.
    stdout: Option<Stdout>,
    /// `None` once it has ended.
    stderr: Option<Stderr>,
    ladder: Ladder,
    /// How the process ended, once it is reaped.
    death: Option<Death>,
    alarm: Alarm,
}

/// What [`Child::poll`] waits for.
enum Milestone {
    /// The process has been reaped. There may still be output to be read and delivered.
    Reaped,
    /// Nothing is left to do, or nothing more can be done.
    Over,
}

impl Child {
    fn new(process: Process, outgoing: StdinQueue, term_grace: Duration) -> Child {
        Child {
            number: process.number,
            pid: process.pid,
            pidfd: process.pidfd,
            stdin: Some(process.stdin),
            outgoing,
            stdout: Some(Stdout::new(PipeReader::new(process.stdout))),
            stderr: Some(Stderr::new(PipeReader::new(process.stderr))),
            ladder: Ladder::new(term_grace),
            death: None,
            alarm: Alarm::default(),
        }
    }

    /// Drives the child until its process has been reaped (or given up) and its output is delivered.
    async fn serve(&mut self, outlet: &Outlet) -> Exit {
        loop {
            match poll_fn(|cx| self.poll(outlet, cx)).await {
                Milestone::Reaped => watchdog::ended(self.pid, self.number).await,
                Milestone::Over => return self.ladder.outcome(self.death),
            }
        }
    }

    /// Waits until the kernel lets go of a process that was given up, and reaps it.
    async fn wait_for_release(&mut self, outlet: Outlet) {
        // Closes the worker's queue: nothing more will be told.
        drop(outlet);
        self.pidfd.readable().await;
        self.death = reap(self.pidfd.get_ref());
        watchdog::ended(self.pid, self.number).await;
    }

    fn poll(&mut self, outlet: &Outlet, cx: &mut Context<'_>) -> Poll<Milestone> {
        let was_reaped = self.ladder.is_reaped();
        if outlet.poll_stopped(cx).is_ready() {
            self.happened(Happened::StopAsked, outlet);
        }
        self.poll_stdin(outlet, cx);
        // The pipes are read before the exit is looked at: they have mostly ended by then, and nothing need
        // be waited for.
        self.poll_outputs(outlet, cx);
        if !self.ladder.has_rest() && self.pidfd.poll_readable(cx).is_ready() {
            self.happened(Happened::Exited, outlet);
            self.poll_outputs(outlet, cx);
        }
        self.poll_time(outlet, cx);
        if self.ladder.is_reaped() && !was_reaped {
            return Poll::Ready(Milestone::Reaped);
        }
        if self.is_over() { Poll::Ready(Milestone::Over) } else { Poll::Pending }
    }

    /// Whether the output is delivered, and the process is reaped or given up.
    fn is_over(&self) -> bool {
        let has_output = self.stdout.is_some() || self.stderr.is_some();
        !has_output && (self.ladder.is_reaped() || self.ladder.is_held())
    }

    fn poll_stdin(&mut self, outlet: &Outlet, cx: &mut Context<'_>) {
        let Some(stdin) = &self.stdin else { return };
        if let Poll::Ready(end) = self.outgoing.poll_write(stdin, cx) {
            let happened = match end {
                InputEnd::AllWritten => Happened::AllWritten,
                InputEnd::Closed => Happened::StdinClosed,
            };
            self.happened(happened, outlet);
        }
    }

    fn poll_outputs(&mut self, outlet: &Outlet, cx: &mut Context<'_>) {
        let stdout = self.stdout.as_mut().map(|stdout| stdout.poll(outlet, cx));
        if let Some(Poll::Ready(end)) = stdout {
            self.stdout = None;
            let happened = match end {
                StdoutEnd::Closed => Happened::StdoutClosed,
                StdoutEnd::Endless => Happened::EndlessLine,
            };
            self.happened(happened, outlet);
        }
        if self.stderr.as_mut().is_some_and(|stderr| stderr.poll(&outlet.label, cx).is_ready()) {
            self.stderr = None;
        }
    }

    /// Does what is due, and arms the alarm for what is due next.
    fn poll_time(&mut self, outlet: &Outlet, cx: &mut Context<'_>) {
        loop {
            let now = Moment::now();
            while let Some(act) = self.ladder.due(now) {
                self.act(act, outlet);
            }
            if self.ladder.is_rest_over(now) {
                self.end_readers();
                self.poll_outputs(outlet, cx);
            }
            if self.is_over() {
                return;
            }
            let deadline = self.ladder.deadline(now);
            if self.alarm.poll(deadline, now, self.ladder.is_deadline_coarse(), cx).is_pending() {
                return;
            }
        }
    }

    fn happened(&mut self, happened: Happened, outlet: &Outlet) {
        if happened == Happened::Exited {
            self.close_stdin();
            self.stdout.iter_mut().for_each(|stdout| stdout.reader.bound_rest());
            self.stderr.iter_mut().for_each(|stderr| stderr.reader.bound_rest());
        }
        if let Some(act) = self.ladder.take(happened, Moment::now()) {
            self.act(act, outlet);
        }
    }

    fn act(&mut self, act: Act, outlet: &Outlet) {
        match act {
            Act::CloseStdin => self.close_stdin(),
            Act::Terminate => signal_group(self.pid, Signal::TERM),
            Act::Kill => {
                METRICS.children_killed_total.add_one();
                signal_group(self.pid, Signal::KILL);
            }
            Act::GiveUp => {
                log::error!("[{}] process {} does not die: the kernel holds it", outlet.label, self.pid);
            }
            Act::Reap => {
                // The leader is not reaped yet, so the group's id cannot belong to anybody else.
                signal_group(self.pid, Signal::KILL);
                self.death = reap(self.pidfd.get_ref());
            }
        }
    }

    fn close_stdin(&mut self) {
        self.stdin = None;
        self.outgoing.close();
    }

    fn end_readers(&mut self) {
        self.stdout.iter_mut().for_each(|stdout| stdout.reader.end());
        self.stderr.iter_mut().for_each(|stderr| stderr.reader.end());
    }
}

/// Sends a signal to every process of a group. To be called only until its leader is reaped: after that the
/// id may be another group's.
fn signal_group(pid: Pid, signal: Signal) {
    match rustix::process::kill_process_group(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => log::warn!("process group {pid} cannot be sent signal {}: {error}", signal.as_raw()),
    }
}

/// Wakes a child's task at the ladder's next deadline.
#[derive(Debug, Default)]
struct Alarm {
    at: Option<Moment>,
    wait: Option<Wait>,
}

#[derive(Debug)]
enum Wait {
    /// By the sweep. A timer would cost more, and nearly always the wait ends long before it.
    Coarse(Deadline),
    Exact(Timer),
}

impl Alarm {
    /// Completes when `at` has passed.
    fn poll(&mut self, at: Option<Moment>, now: Moment, is_coarse: bool, cx: &mut Context<'_>) -> Poll<()> {
        if self.at != at {
            self.at = at;
            self.wait = at.map(|at| match is_coarse {
                true => Wait::Coarse(Deadline::after(at.since(now))),
                false => Wait::Exact(Timer::after(at.since(now))),
            });
        }
        let passed = match &mut self.wait {
            None => Poll::Pending,
            Some(Wait::Coarse(deadline)) => deadline.poll(cx),
            Some(Wait::Exact(timer)) => Pin::new(timer).poll(cx).map(|_| ()),
        };
        if passed.is_ready() {
            // Should the clocks disagree, the next poll makes a new timer for the rest.
            *self = Alarm::default();
        }
        passed
    }
}
