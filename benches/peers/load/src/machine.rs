//! The machine: its cores, what it is, and whether somebody else was at work meanwhile.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Failure;
use crate::usage::{self, ticks_time};

/// Which core is whose.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The server's.
    pub server: usize,
    /// The load generator's, and Redis's.
    pub load: usize,
}

impl Cores {
    /// The first two cores that this process may use; one for both when there is no second.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn choose() -> Result<Cores, Failure> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let server = cores.next().ok_or("no core to run on")?;
        Ok(Cores { server, load: cores.next().unwrap_or(server) })
    }

    /// Puts this process on the core of the load.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn pin_load(self) -> Result<(), Failure> {
        let mut set = CpuSet::new();
        set.set(self.load);
        Ok(sched_setaffinity(None, &set)?)
    }
}

/// Raises the limit of descriptors, which servers inherit. How many there are.
pub fn raise_descriptors(wanted: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let maximum = now.maximum.unwrap_or(u64::MAX);
    // Only root may raise the hard limit, and not everywhere.
    let more = Rlimit { current: Some(wanted.max(maximum)), maximum: Some(wanted.max(maximum)) };
    if setrlimit(Resource::Nofile, more).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(maximum), maximum: Some(maximum) });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Looks whether others use the machine while something is measured. Long enough, for the kernel counts in ticks.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    busy: Duration,
    ours: Duration,
}

impl Watch {
    /// Begins.
    pub fn begin() -> Watch {
        Watch { begun: Instant::now(), busy: busy(), ours: ours() }
    }

    /// The share of one core that others had since, the hypervisor included.
    pub fn others(&self) -> f64 {
        let busy = busy().saturating_sub(self.busy);
        let ours = ours().saturating_sub(self.ours);
        busy.saturating_sub(ours).as_secs_f64() / self.begun.elapsed().as_secs_f64()
    }
}

/// Time that all cores together did not idle, stolen time included (`/proc/stat`, proc(5)).
fn busy() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, (idle, iowait), irq, softirq, steal; guest time is a part of user.
    ticks_time([0, 1, 2, 5, 6, 7].iter().filter_map(|index| fields.get(*index)).sum())
}

/// Time of this process, of its servers, and of those that have ended.
fn ours() -> Duration {
    usage::tree_cpu(std::process::id())
}

/// What the numbers were made on, a line each.
pub fn describe() -> Vec<String> {
    let cpu = line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let cores = line_count("/proc/cpuinfo", "processor");
    let memory = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        format!("date: {}", said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))),
        format!("hardware: {cores} x {cpu}, {memory}, Linux {}", kernel.trim()),
        format!("rustc: {}", said(Command::new("rustc").arg("--version"))),
    ]
}

/// The load average, as the kernel says it.
pub fn load_average() -> String {
    fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The first line that a program says.
pub fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}

fn line_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn line_count(path: &str, name: &str) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().filter(|line| line.starts_with(name)).count()
}
