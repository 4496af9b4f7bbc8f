//! A stdio MCP server in a process of its own.
//!
//! One task per child owns everything of it: the process, its three pipes and the stop ladder (close stdin, SIGTERM,
//! SIGKILL, each to the whole process group). The worker holds a [`ChildHandle`]; dropping it is the order to stop.
//! The task ends when the process has been reaped and [`Output::Exited`] has been handed over.

use std::convert::Infallible;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_io::Timer;
use atomic_waker::AtomicWaker;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use smol::future::{or, yield_now, zip};

use super::command::Command;
use super::lines::{Discarded, LineStep, Lines};
use super::output::{Exit, Output, Priority, SendError};
use super::pipe::{give_back, take_buffer, write_line};
use super::spawn::{self, Process};
use super::watchdog;
use crate::budget::{Payload, Share};
use crate::foreign::Foreign;
use crate::limits::{
    CHILD_EOF_GRACE, CHILD_KILL_GRACE, CHILD_REST_BYTES_MAX, CHILD_REST_WAIT, FOREIGN_TEXT_BYTES_MAX,
    GARBAGE_LINES_PER_SEC_MAX, LINE_BUDGET_WAIT, STDERR_LINE_BYTES_MAX, STDERR_LINES_PER_SEC_MAX,
    STDIN_QUEUE_MAX, STDIN_QUEUE_REQUESTS_MAX, STDOUT_QUEUE_MAX, SWEEP_STEP,
};
use crate::metrics::METRICS;
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

/// Starts `command` in a task of its own and returns at once. Whether it could be started is told by the outputs.
/// `label` (the session's short id) names it in the log.
pub fn start(command: Arc<Command>, label: String) -> ChildHandle {
    let (stdin, queue) = queue::bounded(STDIN_QUEUE_MAX);
    let (sender, outputs) = queue::bounded(STDOUT_QUEUE_MAX);
    let (stop, stopped) = queue::bounded(0);
    runtime::spawn(live(command, ChildPipes { label, queue, outputs: sender, stopped })).detach();
    ChildHandle { stdin, outputs, stop }
}

/// The task's ends of the worker's queues.
struct ChildPipes {
    label: String,
    queue: Receiver<Payload>,
    outputs: Sender<Output>,
    stopped: Receiver<Infallible>,
}

impl ChildPipes {
    /// Completes when the worker wants the child stopped, or has dropped its handle.
    async fn stop_asked(&self) {
        let _ = self.stopped.recv().await;
    }

    /// Hands an output to the worker and waits for room: so a child that writes too fast waits in its own `write`.
    /// Once it is to stop nobody may be reading any more; then what finds no room is dropped.
    async fn deliver(&self, output: Output) {
        let output = match self.outputs.try_send(output) {
            Err(Refused::Full(output)) if !self.stopped.is_closed() => output,
            _ => return,
        };
        let handed = async {
            let _ = self.outputs.send(output).await;
        };
        or(handed, self.stop_asked()).await;
    }
}

/// The whole life of a child.
async fn live(command: Arc<Command>, desk: ChildPipes) {
    let exit = match spawn(&command, &desk).await {
        Ok(process) => attend(&command, process, &desk).await,
        Err(exit) => exit,
    };
    desk.queue.close();
    log::debug!("[{}] {} ended: {exit:?}", desk.label, Foreign(command.program.as_bytes()));
    // Waits for room, but never longer than the worker keeps its end.
    let _ = desk.outputs.send(Output::Exited(exit)).await;
}

/// Starts the process, unless the worker changes its mind before its turn comes.
async fn spawn(command: &Arc<Command>, desk: &ChildPipes) -> Result<Process, Exit> {
    let spawned = spawn::in_turn(command, desk.stop_asked()).await;
    let Some(spawned) = spawned else { return Err(Exit::Stopped) };
    match spawned {
        Ok(process) => {
            METRICS.children_started_total.add_one();
            watchdog::started(process.pid).await;
            let program = Foreign(command.program.as_bytes());
            log::info!("[{}] started {program}, process {}", desk.label, process.pid);
            Ok(process)
        }
        Err(why) => {
            METRICS.children_failed_total.add_one();
            Err(Exit::NotStarted(why))
        }
    }
}

/// Why a child goes down the stop ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The worker said so.
    Asked,
    /// Its stdout ended: it can answer nothing any more.
    StdoutClosed,
    /// It closed its stdin: it can be asked nothing any more.
    StdinClosed,
    /// A line without end.
    EndlessLine,
}

/// Something that one part of a child's task tells the others, once.
struct Told<T> {
    value: OnceLock<T>,
    waker: AtomicWaker,
}

impl<T> Default for Told<T> {
    fn default() -> Told<T> {
        Told { value: OnceLock::new(), waker: AtomicWaker::new() }
    }
}

impl<T: Copy> Told<T> {
    fn get(&self) -> Option<T> {
        self.value.get().copied()
    }

    /// What was told first stands; returns it.
    fn tell(&self, value: T) -> T {
        let told = *self.value.get_or_init(|| value);
        self.waker.wake();
        told
    }

    /// Several may wait, for they are parts of one task and have one waker.
    async fn wait(&self) -> T {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            self.get().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// What the parts of a child's task tell each other.
#[derive(Default)]
struct Turns {
    /// Stdout was read to its end, or as far as it ever will be.
    stdout_end: Told<Cause>,
    /// The child is on the stop ladder.
    stopping: Told<Cause>,
    /// The process has exited; until then its remaining output may be waited for.
    rest_until: Told<Instant>,
    /// SIGTERM was sent.
    terminated: AtomicBool,
    /// SIGKILL was sent.
    killed: AtomicBool,
}

/// Drives the pipes of a running process until it has been reaped and its output is delivered.
async fn attend(command: &Command, process: Process, desk: &ChildPipes) -> Exit {
    let _alive = METRICS.children.enter();
    let Process { number, child, pid, pidfd, stdin, stdout, stderr } = process;
    let turns = Turns::default();
    let body = Corpse { child, pid, pidfd };
    let life = async {
        let stuck = or(
            async {
                body.pidfd.readable().await;
                false
            },
            async {
                ladder(stdin, pid, command.term_grace, desk, &turns).await;
                true
            },
        );
        let stuck = stuck.await;
        desk.queue.close();
        wind_up(pid, command.term_grace, &turns).await;
        bury(body, number, stuck, desk).await
    };
    let reading = async {
        let end = read_stdout(stdout, desk, &turns).await;
        turns.stdout_end.tell(end);
    };
    // In this order: mostly the pipes have ended when the exit is looked at, and nobody has to wait for them.
    let (_, status) = zip(zip(reading, log_stderr(stderr, &desk.label, &turns)), life).await;
    outcome(&turns, status)
}

/// A process on its way to the grave.
struct Corpse {
    child: std::process::Child,
    pid: Pid,
    /// Readable when the process has exited. It stays a zombie, and its ids stay its own, until it is reaped.
    pidfd: Source<OwnedFd>,
}

/// After the leader's exit: gives the rest of its group time to finish what it writes, then kills it. The leader is
/// not reaped yet, so the group's id cannot belong to anybody else.
async fn wind_up(pid: Pid, term_grace: Duration, turns: &Turns) {
    let asked_to_end = turns.terminated.load(Ordering::Relaxed) && !turns.killed.load(Ordering::Relaxed);
    let rest = if asked_to_end { term_grace } else { CHILD_REST_WAIT };
    turns.rest_until.tell(Instant::now() + rest);
    or(
        async {
            turns.stdout_end.wait().await;
        },
        async {
            Timer::after(rest).await;
        },
    )
    .await;
    signal_group(pid, Signal::KILL);
}

/// Reaps the process; `None` when the kernel does not let go of it.
async fn bury(mut body: Corpse, number: u64, stuck: bool, desk: &ChildPipes) -> Option<ExitStatus> {
    if stuck {
        log::error!("[{}] process {} does not die: the kernel holds it", desk.label, body.pid);
        runtime::spawn(async move {
            body.pidfd.readable().await;
            reap(&mut body, number).await;
        })
        .detach();
        return None;
    }
    reap(&mut body, number).await
}

async fn reap(body: &mut Corpse, number: u64) -> Option<ExitStatus> {
    // It has exited, so this does not block.
    let status = body.child.wait();
    watchdog::ended(body.pid, number).await;
    status.ok()
}

/// What the worker is told about the end.
fn outcome(turns: &Turns, status: Option<ExitStatus>) -> Exit {
    let signalled = turns.terminated.load(Ordering::Relaxed) || turns.killed.load(Ordering::Relaxed);
    // It may have died of its closed stdout before the ladder was reached, so the reader is asked as well.
    let cause = turns.stopping.get().or(turns.stdout_end.get());
    match (cause, status) {
        (Some(Cause::Asked), _) | (_, None) => Exit::Stopped,
        (Some(Cause::EndlessLine), _) => Exit::EndlessLine,
        (Some(Cause::StdoutClosed | Cause::StdinClosed), _) if signalled => Exit::PipeClosed,
        (Some(Cause::StdoutClosed | Cause::StdinClosed) | None, Some(status)) => {
            match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Status(code),
                (None, signal) => Exit::Signal(signal.unwrap_or_default()),
            }
        }
    }
}

/// Feeds stdin until the child is to stop; then closes stdin, sends SIGTERM, sends SIGKILL. Returns only when the
/// process survived even that: its exit is awaited beside this.
async fn ladder(stdin: Source<OwnedFd>, pid: Pid, term_grace: Duration, desk: &ChildPipes, turns: &Turns) {
    let order = async {
        let cause = or(
            async {
                desk.stop_asked().await;
                Cause::Asked
            },
            turns.stdout_end.wait(),
        );
        let cause = turns.stopping.tell(cause.await);
        desk.queue.close();
        // What was queued before the order is still written, if the child reads it.
        if cause == Cause::Asked {
            eof_grace().await;
        }
    };
    let written = or(async { write_queue(&stdin, &desk.queue).await }, async {
        order.await;
        Cause::Asked
    });
    let cause = written.await;
    drop(stdin);
    desk.queue.close();
    if turns.stopping.tell(cause) != Cause::EndlessLine {
        eof_grace().await;
        turns.terminated.store(true, Ordering::Relaxed);
        signal_group(pid, Signal::TERM);
        Timer::after(term_grace).await;
    }
    turns.killed.store(true, Ordering::Relaxed);
    METRICS.children_killed_total.add_one();
    signal_group(pid, Signal::KILL);
    Timer::after(CHILD_KILL_GRACE).await;
}

/// Coarse, for nearly every child is waited for here, and ends in a moment: a timer would cost more than that.
async fn eof_grace() {
    Deadline::after(CHILD_EOF_GRACE).wait().await;
}

/// A signal to everything in the group. Only while its leader is not reaped.
fn signal_group(pid: Pid, signal: Signal) {
    match rustix::process::kill_process_group(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => log::warn!("process group {pid} cannot be sent signal {}: {error}", signal.as_raw()),
    }
}

/// Writes queued messages, one line each, until the queue is closed and empty or the child has closed its stdin.
async fn write_queue(stdin: &Source<OwnedFd>, queue: &Receiver<Payload>) -> Cause {
    loop {
        let next = poll_fn(|cx| match queue.poll_recv(cx) {
            Poll::Ready(Some(message)) => Poll::Ready(Ok(message)),
            // The handle was dropped, or told to stop.
            Poll::Ready(None) => Poll::Ready(Err(Cause::Asked)),
            // This end of a pipe is never readable but when the other is closed.
            Poll::Pending => stdin.poll_readable(cx).map(|()| Err(Cause::StdinClosed)),
        });
        match next.await {
            Err(cause) => return cause,
            Ok(message) => {
                if let Err(error) = write_line(stdin, &message).await {
                    log::debug!("a child's stdin is closed: {error}");
                    return Cause::StdinClosed;
                }
            }
        }
    }
}

/// Reads a pipe of a child in pieces, to its end, or until nothing more is to be expected after the child's exit.
struct PipeReader<'a> {
    pipe: Source<OwnedFd>,
    turns: &'a Turns,
    /// Held only while there is something in it.
    buffer: Option<Box<[u8]>>,
    /// The last read took all there was.
    drained: bool,
    /// Bytes that may still be read once the process has exited.
    rest: usize,
}

impl<'a> PipeReader<'a> {
    fn new(pipe: Source<OwnedFd>, turns: &'a Turns) -> PipeReader<'a> {
        PipeReader { pipe, turns, buffer: None, drained: true, rest: CHILD_REST_BYTES_MAX }
    }

    /// The next bytes; `None` at the end.
    async fn read(&mut self) -> Option<&[u8]> {
        if !self.drained {
            // A child that always has something to say must not keep the thread from the others.
            yield_now().await;
        } else if !self.readable().await {
            return None;
        }
        loop {
            let buffer = self.buffer.get_or_insert_with(take_buffer);
            match rustix::io::read(self.pipe.get_ref(), &mut buffer[..]) {
                Ok(0) => return None,
                Ok(bytes) => return self.account(bytes),
                Err(Errno::AGAIN) if self.readable().await => {}
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    fn account(&mut self, bytes: usize) -> Option<&[u8]> {
        let buffer = self.buffer.as_ref()?;
        self.drained = bytes < buffer.len();
        if self.turns.rest_until.get().is_some() {
            self.rest = self.rest.checked_sub(bytes)?;
        }
        Some(&buffer[..bytes])
    }

    /// Waits for bytes; false when the wait for the rest of a dead child's output is over.
    async fn readable(&mut self) -> bool {
        if let Some(buffer) = self.buffer.take() {
            give_back(buffer);
        }
        let ready = async {
            self.pipe.readable().await;
            true
        };
        let over = async {
            Timer::at(self.turns.rest_until.wait().await).await;
            false
        };
        or(ready, over).await
    }
}

/// Hands the lines of stdout to the worker. Returns how stdout ended.
async fn read_stdout(pipe: Source<OwnedFd>, desk: &ChildPipes, turns: &Turns) -> Cause {
    let mut reader = PipeReader::new(pipe, turns);
    let mut lines = Lines::default();
    let mut garbage = Rate::new(GARBAGE_LINES_PER_SEC_MAX);
    while let Some(mut bytes) = reader.read().await {
        while !bytes.is_empty() {
            let (taken, step) = feed(&mut lines, bytes, desk).await;
            bytes = &bytes[taken..];
            match step {
                LineStep::More => {}
                LineStep::Line(line, share) => deliver_line(line, share, desk, &mut garbage).await,
                LineStep::TooLong(line) => desk.deliver(too_long(line)).await,
                LineStep::Endless(line) => {
                    desk.deliver(too_long(line)).await;
                    return Cause::EndlessLine;
                }
                // Given up: it is told at its end.
                LineStep::BudgetSpent => {}
            }
        }
    }
    match lines.finish() {
        LineStep::Line(line, share) => deliver_line(line, share, desk, &mut garbage).await,
        LineStep::TooLong(line) => desk.deliver(too_long(line)).await,
        _ => {}
    }
    Cause::StdoutClosed
}

fn too_long(Discarded { head, tail, bytes }: Discarded) -> Output {
    Output::TooLong { head, tail, bytes }
}

/// Feeds `lines`, and while the byte budget is spent waits for others to give some back. After `LINE_BUDGET_WAIT`,
/// or when nobody waits for the line any more, the line is given up and [`LineStep::BudgetSpent`] says so.
async fn feed(lines: &mut Lines, bytes: &[u8], desk: &ChildPipes) -> (usize, LineStep) {
    let mut since = None;
    loop {
        let (taken, step) = lines.feed(bytes);
        if !matches!(step, LineStep::BudgetSpent) {
            return (taken, step);
        }
        let since: &mut Instant = since.get_or_insert_with(Instant::now);
        if desk.stopped.is_closed() || since.elapsed() >= LINE_BUDGET_WAIT {
            lines.give_up();
            return (taken, step);
        }
        Timer::after(SWEEP_STEP).await;
    }
}

async fn deliver_line(mut line: Vec<u8>, share: Share, desk: &ChildPipes, garbage: &mut Rate) {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => {}
        Some(b'{' | b'[') => desk.deliver(Output::Message(Payload::new(line, share))).await,
        Some(_) => {
            METRICS.garbage_lines_total.add_one();
            if garbage.allows(Instant::now()) {
                line.truncate(FOREIGN_TEXT_BYTES_MAX);
                line.shrink_to_fit();
                desk.deliver(Output::Garbage(line)).await;
            }
        }
    }
}

/// Writes stderr to the log, line by line.
async fn log_stderr(pipe: Source<OwnedFd>, label: &str, turns: &Turns) {
    let mut reader = PipeReader::new(pipe, turns);
    let mut log =
        StderrLog { label, line: Vec::new(), rate: Rate::new(STDERR_LINES_PER_SEC_MAX), dropped: 0 };
    while let Some(bytes) = reader.read().await {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            log.take(piece);
        }
    }
    log.finish();
}

/// The log's view of a child's stderr.
struct StderrLog<'a> {
    label: &'a str,
    /// The beginning of the current line.
    line: Vec<u8>,
    rate: Rate,
    /// Lines that were not logged since the last one that was.
    dropped: u64,
}

impl StderrLog<'_> {
    /// Takes a line or a part of one.
    fn take(&mut self, piece: &[u8]) {
        let text = piece.strip_suffix(b"\n").unwrap_or(piece);
        let room = STDERR_LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend_from_slice(&text[..text.len().min(room)]);
        if text.len() < piece.len() {
            self.write_line();
        }
    }

    fn write_line(&mut self) {
        if self.rate.allows(Instant::now()) {
            self.write_dropped();
            let line = self.line.trim_ascii_end();
            if !line.is_empty() {
                log::info!(target: "child", "[{}] {}", self.label, Foreign(line));
            }
        } else {
            self.dropped += 1;
        }
        self.line.clear();
    }

    fn write_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            log::info!(target: "child", "[{}] ({dropped} lines of stderr left out)", self.label);
        }
    }

    /// The end of stderr: the last line may have no line feed.
    fn finish(&mut self) {
        if !self.line.is_empty() {
            self.write_line();
        }
        self.write_dropped();
    }
}

/// So many per second and no more.
struct Rate {
    per_sec: u32,
    second: Instant,
    used: u32,
}

impl Rate {
    fn new(per_sec: u32) -> Rate {
        Rate { per_sec, second: Instant::now(), used: 0 }
    }

    fn allows(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.used = 0;
        }
        self.used += 1;
        self.used <= self.per_sec
    }
}
