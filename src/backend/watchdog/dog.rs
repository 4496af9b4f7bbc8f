//! burdock's hold on the watchdog process: its start, its two pipes, and its end.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use async_io::Timer;
use rustix::process::{Pid, PidfdFlags, Signal};
use smol::future::or;

use super::notes::{NONCE_NAME, READY};
use crate::backend::mark;
use crate::backend::pipe::poll_write_line;
use crate::backend::reap::reap;
use crate::budget::Payload;
use crate::limits::{WATCHDOG_BATCH_BYTES, WATCHDOG_DEADLINE, WATCHDOG_LINE_BYTES_MAX};
use crate::moment::Moment;
use crate::reactor::Source;

/// Completes when an answer of the watchdog, or a write to it, has taken too long.
pub(super) async fn deadline() {
    Timer::after(WATCHDOG_DEADLINE).await;
}

/// A running watchdog process.
pub(super) struct Dog {
    pub(super) begun: Moment,
    /// Readable when the process has exited.
    pidfd: Source<OwnedFd>,
    /// `None` once closed.
    notes: Option<Source<OwnedFd>>,
    pub(super) lines: DogLines,
}

impl Dog {
    /// Starts the process and waits until it is ready.
    pub(super) async fn start() -> io::Result<Dog> {
        let mut dog = smol::unblock(Dog::spawn).await?;
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

    /// Starts the process and takes hold of its pipes; without them it is killed. Blocks: for the blocking
    /// pool.
    fn spawn() -> io::Result<Dog> {
        let mut child = spawn()?;
        match open(&mut child) {
            // The standard library's `Child` is dropped here, which neither kills nor waits: the pidfd stands
            // for it.
            Ok((pidfd, [notes, said])) => {
                let lines = DogLines { pipe: said, held: Vec::new() };
                Ok(Dog { begun: Moment::now(), pidfd, notes: Some(notes), lines })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Tells lines, each with its end.
    pub(super) async fn tell(&self, lines: String) -> io::Result<()> {
        let Some(pipe) = &self.notes else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let lines = Payload::made_here(lines.trim_end().into());
        let mut written = 0;
        or(poll_fn(|cx| poll_write_line(pipe, &lines, &mut written, cx)), async {
            deadline().await;
            Err(io::ErrorKind::TimedOut.into())
        })
        .await
    }

    /// Closes the pipe, waits for the process to finish its work, and reaps it. One that is late is killed.
    pub(super) async fn bury(mut self, at_once: bool) {
        self.notes = None;
        if at_once {
            self.kill();
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
            self.kill();
            self.pidfd.readable().await;
        }
        let _ = reap(self.pidfd.get_ref());
    }

    fn kill(&self) {
        // This fails only for a process that is gone.
        let _ = rustix::process::pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL);
    }
}

/// Starts this very binary again, even when its file was replaced. It gets no environment but the nonce. For
/// burdock may be the child of another burdock, and that one's mark would get the watchdog killed together
/// with what it watches. With the nonce it can do its work even if burdock dies before the first note. Its
/// stderr is burdock's, for the log.
fn spawn() -> io::Result<Child> {
    std::process::Command::new("/proc/self/exe")
        .arg0("burdock-watchdog")
        .arg("watchdog")
        .env_clear()
        .env(NONCE_NAME, mark::nonce()?)
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
pub(super) struct DogLines {
    pipe: Source<OwnedFd>,
    held: Vec<u8>,
}

impl DogLines {
    /// The next line; `None` when the process is gone or talks nonsense. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Option<String> {
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
                    // A read that filled its buffer may have left something.
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
