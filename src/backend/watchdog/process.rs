//! The inside of the watchdog process: reads notes from stdin, kills what is left of children, and everything
//! when burdock has gone. One thread, blocking, a few kilobytes of memory.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use async_signal::{Signal as Deaf, Signals};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::notes::{DogNote, NONCE_NAME, READY};
use super::strays::{kill_marked, start_time, start_time_now};
use crate::limits::{
    WATCHDOG_BATCH_BYTES, WATCHDOG_CLEAN_SCANS, WATCHDOG_LINE_BYTES_MAX, WATCHDOG_SCAN_STEP,
    WATCHDOG_SCANS_MAX, WATCHDOG_SWEEP, WATCHDOG_SWEEP_MAX, WATCHDOG_SWEEP_STEP,
};
use crate::moment::Moment;

/// The subcommand `watchdog`. Ends when stdin does, and then leaves none of burdock's children behind.
pub fn main() -> ExitCode {
    // What ends burdock must not end its watchdog as well: neither a signal to the process group or from the
    // terminal ...
    let deaf = Signals::new([Deaf::Int, Deaf::Term, Deaf::Hup, Deaf::Quit]);
    // ... nor the end of the terminal session. `setsid` fails only for a group leader: a watchdog that was
    // started by hand.
    let _ = rustix::process::setsid();
    if let Err(error) = &deaf {
        eprintln!("burdock-watchdog: cannot ignore signals: {error}");
    }
    let Ok(nonce) = std::env::var(NONCE_NAME) else {
        eprintln!("burdock-watchdog: started by burdock itself, not by hand");
        return ExitCode::FAILURE;
    };
    let mut watch = DogWatch::new(nonce);
    say(&format!("{READY}\n"));
    let left = watch.watch();
    let killed = watch.sweep(left);
    if killed > 0 {
        eprintln!("burdock-watchdog: burdock has gone; killed what {killed} children left");
    }
    ExitCode::SUCCESS
}

/// Writes lines to burdock, which may be gone.
fn say(lines: &str) {
    let mut rest = lines.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), rest) {
            Ok(bytes) => rest = &rest[bytes..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// How burdock left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It said so before, with all children stopped.
    InOrder,
    /// The pipe just closed.
    Killed,
}

/// What the watchdog knows.
struct DogWatch {
    /// The run whose marks are looked for.
    nonce: String,
    /// burdock's pidfd, readable when it is dead. The pipe closes as well, but only after the last spawn
    /// under way.
    burdock: Option<OwnedFd>,
    /// Notes read so far, without a line end.
    input: Vec<u8>,
    /// The pipe has closed.
    closed: bool,
    /// Living groups, and when they were told of, in the unit of start times: a process that has the id of a
    /// group and was started later is another one.
    groups: HashMap<Pid, u64>,
    /// Children whose marked processes are being looked for.
    ended: BTreeMap<u64, Search>,
    last_scan: Option<Moment>,
    goodbye: bool,
}

/// The search for the processes of a child that has ended.
#[derive(Default)]
struct Search {
    scans: u32,
    clean: u32,
}

/// What ended a wait.
enum Woken {
    Notes,
    BurdockGone,
    InTime,
}

impl DogWatch {
    fn new(nonce: String) -> DogWatch {
        // Where there is no parent, or burdock is gone already, only the pipe tells of burdock's end.
        let parent = rustix::process::getppid();
        let burdock = parent.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        DogWatch {
            nonce,
            burdock,
            input: Vec::new(),
            closed: false,
            groups: HashMap::new(),
            ended: BTreeMap::new(),
            last_scan: None,
            goodbye: false,
        }
    }

    /// Follows burdock's notes until it is gone.
    fn watch(&mut self) -> Left {
        loop {
            let due = self.scan_due();
            match self.wait(due.map(|due| due.since(Moment::now()))) {
                Woken::Notes => self.read_notes(),
                Woken::BurdockGone => return Left::Killed,
                Woken::InTime => {}
            }
            if self.closed {
                return if self.goodbye { Left::InOrder } else { Left::Killed };
            }
            if due.is_some_and(|due| due <= Moment::now()) {
                self.scan();
            }
        }
    }

    /// Waits for notes or the end of burdock, at most for `timeout`. Notes come first: what burdock said
    /// before it died is still read.
    fn wait(&self, timeout: Option<Duration>) -> Woken {
        let stdin = rustix::stdio::stdin();
        let mut polled = vec![PollFd::new(&stdin, PollFlags::IN)];
        polled.extend(self.burdock.iter().map(|burdock| PollFd::new(burdock, PollFlags::IN)));
        let timeout = timeout.map(timespec);
        // A signal interrupts the wait; then the loop goes round once more.
        let woken = rustix::event::poll(&mut polled, timeout.as_ref()).is_ok_and(|ready| ready > 0);
        match (woken, polled[0].revents().is_empty()) {
            (false, _) => Woken::InTime,
            (true, false) => Woken::Notes,
            (true, true) => Woken::BurdockGone,
        }
    }

    /// Takes what is in the pipe, or learns that it is closed. Only when it is ready.
    fn read_notes(&mut self) {
        let mut piece = [0; WATCHDOG_BATCH_BYTES];
        match rustix::io::read(rustix::stdio::stdin(), &mut piece) {
            Ok(bytes) if bytes > 0 => self.input.extend_from_slice(&piece[..bytes]),
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => self.closed = true,
        }
        let now = start_time_now();
        while let Some(end) = memchr::memchr(b'\n', &self.input) {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if let Some(note) = std::str::from_utf8(&line[..end]).ok().and_then(DogNote::parse) {
                self.learn(note, now);
            }
        }
        // burdock writes no line that long, so somebody else holds the other end of the pipe.
        self.closed |= self.input.len() > WATCHDOG_LINE_BYTES_MAX;
    }

    fn learn(&mut self, note: DogNote, now: u64) {
        match note {
            DogNote::Started(pid) => {
                self.groups.insert(pid, now);
            }
            DogNote::Ended(pid, number) => {
                self.groups.remove(&pid);
                self.ended.insert(number, Search::default());
            }
            DogNote::Goodbye => self.goodbye = true,
        }
    }

    /// When to look through `/proc` next: at once for the first child that ended, then at the pace that lets
    /// one look serve many.
    fn scan_due(&self) -> Option<Moment> {
        let now = Moment::now();
        let next = self.last_scan.map_or(now, |last| last + WATCHDOG_SCAN_STEP);
        (!self.ended.is_empty()).then_some(next)
    }

    /// Kills what carries the mark of an ended child, and tells burdock whose search is over.
    fn scan(&mut self) {
        let found = kill_marked(&self.nonce, |number| self.ended.contains_key(&number));
        self.last_scan = Some(Moment::now());
        let mut over = String::new();
        self.ended.retain(|number, search| {
            search.scans += 1;
            search.clean = if found.contains(number) { 0 } else { search.clean + 1 };
            let is_over = search.clean >= WATCHDOG_CLEAN_SCANS || search.scans >= WATCHDOG_SCANS_MAX;
            if is_over {
                // Writing to a String cannot fail.
                let _ = writeln!(over, "{number}");
            }
            !is_over
        });
        say(&over);
    }

    /// Kills everything burdock left: the groups at once, then whatever carries the mark. Returns how many
    /// children had left something.
    ///
    /// A child that was between fork and exec when burdock died carries no mark yet. It cannot be missed:
    /// until its exec it holds a copy of our pipe's other end, so the search goes on until the pipe is
    /// closed, and for `WATCHDOG_SWEEP` at least, which covers the moment from there to the mark.
    fn sweep(&mut self, left: Left) -> usize {
        for (pid, told) in &self.groups {
            if start_time(*pid).is_some_and(|started| started <= *told) {
                let _ = rustix::process::kill_process_group(*pid, Signal::KILL);
            }
        }
        let mut killed = self.groups.len();
        let begun = Moment::now();
        let mut clean = 0;
        loop {
            let found = kill_marked(&self.nonce, |_| true);
            clean = if found.is_empty() { clean + 1 } else { 0 };
            killed = killed.max(found.len());
            let long_enough = left == Left::InOrder || begun.elapsed() >= WATCHDOG_SWEEP;
            if clean >= WATCHDOG_CLEAN_SCANS && long_enough && self.closed
                || begun.elapsed() >= WATCHDOG_SWEEP_MAX
            {
                return killed;
            }
            self.rest();
        }
    }

    /// Waits for `WATCHDOG_SWEEP_STEP`, and looks whether the pipe has closed.
    fn rest(&mut self) {
        let _ = rustix::event::poll(&mut [], Some(&timespec(WATCHDOG_SWEEP_STEP)));
        while !self.closed && matches!(self.wait(Some(Duration::ZERO)), Woken::Notes) {
            self.read_notes();
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
