//! The watchdog: a process beside burdock that kills what burdock started when burdock itself is killed, and the
//! grandchildren that have left their group when a child ends.
//!
//! It is the same binary with the subcommand `watchdog` ([`main`]), connected by two pipes. burdock writes notes, one
//! line each (`Note`); the watchdog answers `ready` once, and the number of each ended child whose processes are
//! gone. When burdock dies the pipe closes, however it died. When the watchdog dies burdock starts a new one and tells
//! it everything that still matters. Without a watchdog (unit tests) children still die with their group.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use async_io::Timer;
use rustix::process::{Pid, PidfdFlags};
use smol::Task;
use smol::future::or;

use super::child;
use super::pipe::write_line;
pub use super::watchdog_process::main;
use crate::budget::Payload;
use crate::limits::{
    WATCHDOG_BATCH_BYTES, WATCHDOG_DEADLINE, WATCHDOG_ENDED_WAIT, WATCHDOG_LINE_BYTES_MAX,
    WATCHDOG_QUEUE_MAX, WATCHDOG_RESTART_WAIT,
};
use crate::lock::lock;
use crate::queue::{self, Receiver, Sender};
use crate::reactor::Source;
use crate::runtime;
use crate::sweep::Deadline;

/// The variable that marks every process burdock started, `<nonce>.<number of the child>`.
pub(crate) const MARK_NAME: &str = "BURDOCK_RUN";
/// The variable that tells the watchdog the nonce. Not a mark: it must not find itself.
pub(super) const NONCE_NAME: &str = "BURDOCK_WATCHED";
/// Random bytes of the nonce: nobody can guess it, and no two runs share it.
const NONCE_BYTES: usize = 16;
/// The first line of the watchdog: from here on it survives what kills burdock.
pub(super) const READY: &str = "ready";

/// The nonce of this run of burdock, in hex.
fn nonce() -> io::Result<&'static str> {
    static NONCE: OnceLock<String> = OnceLock::new();
    if let Some(nonce) = NONCE.get() {
        return Ok(nonce);
    }
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok(NONCE.get_or_init(|| hex))
}

/// The mark of child `number`.
///
/// # Errors
/// When the system has no random bits.
pub(super) fn mark(number: u64) -> io::Result<String> {
    Ok(format!("{}.{number}", nonce()?))
}

/// What burdock tells its watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A child was started; its process id is its group.
    Started(Pid),
    /// The child with this number was reaped and its group killed.
    Ended(Pid, u64),
    /// burdock is about to exit, and all its children are stopped.
    Goodbye,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Started(pid) => write!(f, "+{pid}"),
            Note::Ended(pid, number) => write!(f, "-{pid} {number}"),
            Note::Goodbye => f.write_str("bye"),
        }
    }
}

impl Note {
    /// Reads what `Display` wrote. Process ids of 1 and less are refused: signals to those mean something else.
    pub(super) fn parse(line: &str) -> Option<Note> {
        let pid = |text: &str| Pid::from_raw(text.parse().ok().filter(|pid| *pid > 1)?);
        if let Some(started) = line.strip_prefix('+') {
            return Some(Note::Started(pid(started)?));
        }
        if let Some((ended, number)) = line.strip_prefix('-').and_then(|rest| rest.split_once(' ')) {
            return Some(Note::Ended(pid(ended)?, number.parse().ok()?));
        }
        (line == "bye").then_some(Note::Goodbye)
    }
}

/// The hold on the watchdog: the queue of its notes and the task that writes them.
static KEEPER: Mutex<Option<(Sender<Note>, Task<()>)>> = Mutex::new(None);

/// Starts the watchdog process. To be called once, before the first child; the binary must run [`main`] when its
/// first argument is `watchdog`.
///
/// # Errors
/// When the process cannot be started or does not come up in time.
pub async fn start() -> io::Result<()> {
    let dog = Dog::start().await?;
    let (sender, notes) = queue::bounded(WATCHDOG_QUEUE_MAX);
    let task = runtime::spawn(keep(notes, dog));
    *lock(&KEEPER) = Some((sender, task));
    Ok(())
}

/// Ends the watchdog process at the end of burdock, after the children were stopped, and waits for it. From here on no
/// child can be started. What children left behind is killed.
pub async fn stop() {
    let keeper = lock(&KEEPER).take();
    let Some((notes, task)) = keeper else { return };
    or(
        async {
            child::stop_spawning().await;
            let _ = notes.send(Note::Goodbye).await;
            task.await;
        },
        deadline(),
    )
    .await;
}

async fn deadline() {
    Timer::after(WATCHDOG_DEADLINE).await;
}

/// Tells the watchdog that a child runs with `pid`, which is its group as well.
pub(super) async fn started(pid: Pid) {
    tell(Note::Started(pid)).await;
}

/// Tells the watchdog that child `number` was reaped and its group killed.
pub(super) async fn ended(pid: Pid, number: u64) {
    tell(Note::Ended(pid, number)).await;
}

/// Queues a note; waits for room, which the keeper makes even while there is no watchdog.
async fn tell(note: Note) {
    let sender = lock(&KEEPER).as_ref().map(|keeper| keeper.0.clone());
    if let Some(sender) = sender {
        let _ = sender.send(note).await;
    }
}

/// What a new watchdog has to be told.
#[derive(Default)]
struct Known {
    living: HashSet<Pid>,
    /// Ended children whose processes have not been reported gone.
    ending: HashMap<u64, Pid>,
}

impl Known {
    fn learn(&mut self, note: &Note) {
        match note {
            Note::Started(pid) => {
                self.living.insert(*pid);
            }
            Note::Ended(pid, number) => {
                self.living.remove(pid);
                self.ending.insert(*number, *pid);
            }
            Note::Goodbye => {}
        }
    }

    fn notes(&self) -> impl Iterator<Item = Note> {
        let ending = self.ending.iter().map(|(number, pid)| Note::Ended(*pid, *number));
        // First the ended ones: a living group may have got the id of an ended one.
        ending.chain(self.living.iter().map(|pid| Note::Started(*pid)))
    }
}

/// How the service of one watchdog process ended.
enum Served {
    Goodbye,
    Died,
}

/// Writes the notes to the watchdog and replaces it when it dies.
async fn keep(notes: Receiver<Note>, mut dog: Dog) {
    let mut known = Known::default();
    while let Served::Died = serve(&notes, &mut known, &mut dog).await {
        log::error!("the watchdog process ended: starting another one");
        let begun = dog.begun;
        dog.bury(true).await;
        match restart(&notes, &mut known, begun).await {
            Some(next) => dog = next,
            None => return,
        }
    }
    dog.bury(false).await;
}

/// Notes on their way to the watchdog.
///
/// That a child was started is told at once: until then only its mark is known. That one has ended can wait for
/// company, so that a session wakes the watchdog once: a group that is told late is still not taken for another one,
/// for the watchdog knows since when it had its id.
struct Batch {
    text: String,
    /// Only while something waits: the sweep sleeps while there is no deadline.
    late: Option<Deadline>,
}

impl Batch {
    fn new() -> Batch {
        Batch { text: String::new(), late: None }
    }

    /// Takes a note; true when they have to go.
    fn add(&mut self, note: &Note) -> bool {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{note}");
        let is_due = !matches!(note, Note::Ended(..)) || self.text.len() >= WATCHDOG_BATCH_BYTES;
        if !is_due {
            self.late.get_or_insert_with(|| Deadline::after(WATCHDOG_ENDED_WAIT));
        }
        is_due
    }

    /// What there is to tell.
    fn take(&mut self) -> String {
        self.late = None;
        std::mem::take(&mut self.text)
    }
}

/// What the keeper woke up for.
enum Next {
    Said(Option<String>),
    Noted(Note),
    Late,
}

async fn serve(notes: &Receiver<Note>, known: &mut Known, dog: &mut Dog) -> Served {
    let mut batch = Batch::new();
    for note in known.notes() {
        if batch.add(&note) && dog.tell(batch.take()).await.is_err() {
            return Served::Died;
        }
    }
    loop {
        let said = async { Next::Said(dog.lines.next().await) };
        let noted = async { Next::Noted(notes.recv().await.unwrap_or(Note::Goodbye)) };
        let late = async {
            match &batch.late {
                Some(late) => late.wait().await,
                None => std::future::pending().await,
            }
            Next::Late
        };
        let (is_due, is_last) = match or(said, or(noted, late)).await {
            Next::Said(None) => return Served::Died,
            Next::Said(Some(line)) => {
                line.parse().ok().and_then(|number: u64| known.ending.remove(&number));
                (false, false)
            }
            Next::Noted(note) => {
                known.learn(&note);
                (batch.add(&note), note == Note::Goodbye)
            }
            Next::Late => (true, false),
        };
        let told = if is_due { dog.tell(batch.take()).await } else { Ok(()) };
        if is_last {
            return Served::Goodbye;
        }
        if told.is_err() {
            return Served::Died;
        }
    }
}

/// Starts another watchdog after one that was begun at `begun`, however often that fails; `None` when burdock ends
/// meanwhile. Notes are taken all the time, so that no child waits for this.
async fn restart(notes: &Receiver<Note>, known: &mut Known, mut begun: Instant) -> Option<Dog> {
    let started = async {
        loop {
            // One that did its work for a while is replaced at once: until then nobody cleans up after burdock.
            Timer::after(WATCHDOG_RESTART_WAIT.saturating_sub(begun.elapsed())).await;
            begun = Instant::now();
            match Dog::start().await {
                Ok(dog) => return Some(dog),
                Err(error) => log::error!("the watchdog process cannot be started: {error}"),
            }
        }
    };
    let ended = async {
        while let Some(note) = notes.recv().await {
            if note == Note::Goodbye {
                break;
            }
            known.learn(&note);
        }
        None
    };
    or(started, ended).await
}

/// A watchdog process.
struct Dog {
    begun: Instant,
    child: Child,
    pidfd: Source<OwnedFd>,
    /// `None` once closed.
    notes: Option<Source<OwnedFd>>,
    lines: Lines,
}

impl Dog {
    /// Starts the process and waits until it is ready.
    async fn start() -> io::Result<Dog> {
        let child = smol::unblock(spawn).await?;
        let mut dog = Dog::hold(child).await?;
        let ready = or(async { dog.lines.next().await.is_some_and(|line| line == READY) }, async {
            deadline().await;
            false
        });
        if ready.await {
            return Ok(dog);
        }
        dog.bury(true).await;
        Err(io::Error::other("the watchdog process does not come up"))
    }

    /// Takes hold of the pipes of a process just started; without them it is killed.
    async fn hold(mut child: Child) -> io::Result<Dog> {
        match open(&mut child) {
            Ok((pidfd, [notes, said])) => {
                let lines = Lines { pipe: said, held: Vec::new() };
                Ok(Dog { begun: Instant::now(), child, pidfd, notes: Some(notes), lines })
            }
            Err(error) => {
                let _ = child.kill();
                smol::unblock(move || child.wait()).await?;
                Err(error)
            }
        }
    }

    /// Tells lines, each with its end.
    async fn tell(&self, lines: String) -> io::Result<()> {
        let Some(pipe) = &self.notes else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let lines = Payload::made_here(lines.trim_end().into());
        or(write_line(pipe, &lines), async {
            deadline().await;
            Err(io::ErrorKind::TimedOut.into())
        })
        .await
    }

    /// Closes the pipe, waits for the process to finish its work, and reaps it. One that is late is killed.
    async fn bury(mut self, at_once: bool) {
        self.notes = None;
        if at_once {
            let _ = self.child.kill();
        }
        let late = async {
            deadline().await;
            true
        };
        let exited = async {
            self.pidfd.readable().await;
            false
        };
        if or(exited, late).await {
            let _ = self.child.kill();
        }
        let mut child = self.child;
        let _ = smol::unblock(move || child.wait()).await;
    }
}

/// Starts this very binary again, even when its file was replaced. Its environment is empty: burdock may itself be the
/// child of another burdock, whose mark would get the watchdog killed together with what it has to watch. It gets the
/// nonce with its birth, so that it can do its work even if burdock dies before the first note. It keeps burdock's
/// stderr, for the log.
fn spawn() -> io::Result<Child> {
    std::process::Command::new("/proc/self/exe")
        .arg0("burdock-watchdog")
        .arg("watchdog")
        .env_clear()
        .env(NONCE_NAME, nonce()?)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

fn open(child: &mut Child) -> io::Result<(Source<OwnedFd>, [Source<OwnedFd>; 2])> {
    let missing = || io::Error::other("a pipe is missing");
    let pidfd = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let pipes = [
        Source::new(child.stdin.take().ok_or_else(missing)?.into())?,
        Source::new(child.stdout.take().ok_or_else(missing)?.into())?,
    ];
    Ok((Source::new(pidfd)?, pipes))
}

/// The lines the watchdog says.
struct Lines {
    pipe: Source<OwnedFd>,
    held: Vec<u8>,
}

impl Lines {
    /// The next line; `None` when the process is gone or talks nonsense. Loses nothing when it is dropped.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.held) {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                return String::from_utf8(line).ok().map(|line| line.trim_end().to_owned());
            }
            if self.held.len() > WATCHDOG_LINE_BYTES_MAX {
                return None;
            }
            self.pipe.readable().await;
            let mut piece = [0; WATCHDOG_BATCH_BYTES];
            match rustix::io::read(self.pipe.get_ref(), &mut piece) {
                Ok(0) => return None,
                Ok(bytes) => {
                    self.held.extend_from_slice(&piece[..bytes]);
                    // A full one may not have been all.
                    if bytes == piece.len() {
                        self.pipe.look_again();
                    }
                }
                Err(rustix::io::Errno::AGAIN) => {}
                Err(rustix::io::Errno::INTR) => self.pipe.look_again(),
                Err(_) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_written() {
        let pid = Pid::from_raw(4711).unwrap();
        for note in [Note::Started(pid), Note::Ended(pid, 12), Note::Goodbye] {
            assert_eq!(Note::parse(&note.to_string()), Some(note));
        }
        for line in ["", "+", "+0", "+1", "+-5", "-1 2", "-5", "-5 x", "bye!", "sync"] {
            assert_eq!(Note::parse(line), None, "{line}");
        }
    }
}
