//! Finding and killing processes by the mark in their environment, wherever they have moved to (`setsid`, a
//! double fork). For the watchdog process: it reads `/proc` and blocks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;

use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::time::ClockId;

use crate::backend::mark::MARK_NAME;
use crate::limits::ENVIRON_BYTES_MAX;

/// Looks through all processes once and kills those that carry a mark of the run `nonce` whose number is
/// `wanted`. Returns the numbers found.
pub(super) fn kill_marked(nonce: &str, wanted: impl Fn(u64) -> bool) -> BTreeSet<u64> {
    let mark = format!("{MARK_NAME}={nonce}.");
    let mut environ = Vec::new();
    let mut found = BTreeSet::new();
    for pid in processes() {
        let number = marked(pid, &mark, &mut environ).filter(|number| wanted(*number));
        if let Some(number) = number
            && kill_if_still_marked(pid, &mark, number, &mut environ)
        {
            found.insert(number);
        }
    }
    found
}

/// All process ids but those of init and of this process.
fn processes() -> impl Iterator<Item = Pid> {
    let own = rustix::process::getpid();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(move |pid| !pid.is_init() && *pid != own)
}

/// The number in the mark of `pid`, if it has one. Zombies and other users' processes have none.
fn marked(pid: Pid, mark: &str, environ: &mut Vec<u8>) -> Option<u64> {
    environ.clear();
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRON_BYTES_MAX).read_to_end(environ).ok()?;
    number_in(environ, mark)
}

/// The number after `mark` in an environment block.
fn number_in(environ: &[u8], mark: &str) -> Option<u64> {
    // A whole variable, not text inside of another one.
    let at = memchr::memmem::find_iter(environ, mark).find(|at| *at == 0 || environ[at - 1] == 0)?;
    let value = environ[at + mark.len()..].split(|byte| *byte == 0).next()?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Opens a pidfd, looks at the mark again, and kills through the pidfd: so a process that got the id
/// meanwhile is never hit.
fn kill_if_still_marked(pid: Pid, mark: &str, number: u64, environ: &mut Vec<u8>) -> bool {
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return false };
    marked(pid, mark, environ) == Some(number)
        && rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
}

/// When `pid` was started, in clock ticks since boot: tells a process from a later one with the same id.
pub(super) fn start_time(pid: Pid) -> Option<u64> {
    start_time_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The moment as a start time: no process that is started later has a smaller one.
pub(super) fn start_time_now() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Boottime);
    let ticks = rustix::param::clock_ticks_per_second();
    now.tv_sec.unsigned_abs() * ticks + now.tv_nsec.unsigned_abs() * ticks / 1_000_000_000
}

/// Field 22 of proc_pid_stat(5). The name, field 2, is in parentheses and may contain anything.
fn start_time_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_variable_is_a_mark() {
        let mark = "BURDOCK_RUN=ab.";
        assert_eq!(number_in(b"BURDOCK_RUN=ab.7\0X=1\0", mark), Some(7));
        assert_eq!(number_in(b"X=1\0BURDOCK_RUN=ab.7", mark), Some(7));
        assert_eq!(number_in(b"X=BURDOCK_RUN=ab.7\0", mark), None);
        assert_eq!(number_in(b"X=BURDOCK_RUN=ab.7\0BURDOCK_RUN=ab.8\0", mark), Some(8));
        assert_eq!(number_in(b"BURDOCK_RUN=abc.7\0", mark), None);
        assert_eq!(number_in(b"BURDOCK_RUN=ab.7x\0", mark), None);
        assert_eq!(number_in(b"", mark), None);
    }

    #[test]
    fn a_process_name_does_not_confuse_the_start_time() {
        let stat = "12 (a) S (b c) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 3\n";
        assert_eq!(start_time_in(stat), Some(4711));
        assert!(start_time(rustix::process::getpid()).is_some());
    }

    #[test]
    fn a_start_time_is_between_the_moments_before_and_after_the_start() {
        for _ in 0..20 {
            let before = start_time_now();
            let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
            let started = start_time(Pid::from_child(&child)).unwrap();
            let after = start_time_now();
            child.kill().unwrap();
            child.wait().unwrap();
            assert!((before..=after).contains(&started), "{before} {started} {after}");
        }
    }
}
