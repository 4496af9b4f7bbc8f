//! What processes use: CPU time in nanoseconds, and memory.

use std::fs;
use std::time::Duration;

use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

use crate::Failure;

/// The CPU time of a process, all its threads together, those that have ended included. The clock of
/// `clock_getcpuclockid(3)`: nanoseconds, where `/proc/PID/stat` has ticks of 10 ms. Zero when it is gone.
pub fn cpu(pid: u32) -> Duration {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let Ok(pid) = libc::pid_t::try_from(pid) else { return Duration::ZERO };
    // SAFETY: both calls write to the places they are given, which live longer than the calls.
    let known = unsafe {
        libc::clock_getcpuclockid(pid, &mut clock) == 0 && libc::clock_gettime(clock, &mut time) == 0
    };
    if known {
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    } else {
        Duration::ZERO
    }
}

/// One process of `/proc`.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, at most 15 bytes of it.
    pub name: String,
    parent: u32,
    /// CPU time of its children that have ended and were waited for.
    waited_for: Duration,
}

/// A process and everything below it.
pub fn tree(root: u32) -> Vec<Process> {
    let mut rest: Vec<Process> = processes();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let is_one = |process: &Process| process.parent == parent || process.pid == root && parent == root;
        let (new, others) = rest.into_iter().partition::<Vec<_>, _>(is_one);
        parents.extend(new.iter().map(|process| process.pid).filter(|pid| *pid != root));
        found.extend(new);
        rest = others;
    }
    found
}

/// The CPU time of everything below this process, what has ended included.
pub fn cpu_below_us() -> Duration {
    let own = std::process::id();
    reap_orphans();
    tree_cpu(own).saturating_sub(cpu(own))
}

/// From now on processes whose parent ends become children of this one, and their CPU time is counted here.
///
/// # Errors
/// When the system refuses.
pub fn adopt_orphans() -> Result<(), Failure> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Takes leave of children that have ended; servers are waited for by their own handles before.
pub fn reap_orphans() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// The CPU time of a tree, those included that have ended and were waited for.
pub fn tree_cpu(root: u32) -> Duration {
    tree(root).iter().map(|process| cpu(process.pid) + process.waited_for).sum()
}

/// The CPU time of what lives in a tree but for the processes of this name.
pub fn cpu_without(root: u32, name: &str) -> Duration {
    tree(root).iter().filter(|process| process.name != name).map(|process| cpu(process.pid)).sum()
}

/// How many processes of this name live in a tree.
pub fn count(root: u32, name: &str) -> usize {
    tree(root).iter().filter(|process| process.name == name).count()
}

fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Reads `/proc/PID/stat` (proc(5)): the name is in parentheses, the fields after it are counted from 3.
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks: u64 = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    Some(Process {
        pid,
        name: before.split_once('(')?.1.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        waited_for: ticks_time(ticks),
    })
}

/// Ticks of `/proc` as time.
pub fn ticks_time(ticks: u64) -> Duration {
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)))
}

/// Memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Pages of its own that are in memory: heap and stacks. Bytes.
    pub anonymous: u64,
    /// All that is in memory, its file's pages included. Bytes.
    pub resident: u64,
}

/// Reads `/proc/PID/status`.
///
/// # Errors
/// When the process is gone.
pub fn memory(pid: u32) -> Result<Memory, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64, Failure> {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no memory in its status")?;
        let kilobytes: u64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse()?;
        Ok(kilobytes * 1024)
    };
    Ok(Memory { anonymous: field("RssAnon:")?, resident: field("VmRSS:")? })
}
