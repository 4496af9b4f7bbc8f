//! A gateway in front of a small compiled child: what a call costs the gateway, and what a whole session costs all of
//! them together.

use std::process::Command;
use std::time::{Duration, Instant};

use super::calls::{begin_sessions, latencies};
use super::micros;
use crate::book::{Book, Metric};
use crate::machine::Cores;
use crate::server::{Server, Who, spawn_on};
use crate::{Failure, Scale, usage};

/// The child's name in `/proc`.
const CHILD: &str = "echo-child";
/// For the children of ended sessions to be gone.
const END_DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks for them.
const STEP: Duration = Duration::from_millis(50);
/// Then for what is done once they are: burdock's watchdog looks for strays.
const REST: Duration = Duration::from_millis(500);

/// Measures one gateway.
///
/// # Errors
/// When it answers wrongly, or its children do not end.
pub fn measure(server: &Server, scale: Scale, book: &mut Book, who: Who) -> Result<(), Failure> {
    book.note(Metric::StdioCall, who, call_share(server, scale)?);
    until_quiet(server)?;
    let sessions = sessions(scale);
    // All that runs below the load generator is the gateway and what it has started, orphans included.
    let before = usage::cpu_below_us();
    for _ in 0..sessions {
        session(server)?;
    }
    until_quiet(server)?;
    let used = usage::cpu_below_us().saturating_sub(before);
    book.note(Metric::StdioSession, who, micros(used) / f64::from(sessions));
    Ok(())
}

/// Sessions of one round.
pub fn sessions(scale: Scale) -> u32 {
    scale.pick(1_000, 20)
}

/// Measures what no gateway can do without: the same requests to a server of fixed answers, and, beside it and on its
/// core, the same number of children that are started, asked and waited for by `children`.
///
/// # Errors
/// As above.
pub fn measure_floor(
    server: &Server,
    mut children: Command,
    cores: Cores,
    scale: Scale,
    book: &mut Book,
) -> Result<(), Failure> {
    book.note(Metric::StdioCall, Who::Floor, call_share(server, scale)?);
    let sessions = sessions(scale);
    let before = usage::cpu_below_us();
    for _ in 0..sessions {
        session(server)?;
    }
    let requests = usage::cpu_below_us().saturating_sub(before);
    if !spawn_on(&mut children, cores.server)?.wait()?.success() {
        return Err("the bare children failed".into());
    }
    let used = usage::cpu_below_us().saturating_sub(before);
    eprintln!("  floor          of it the requests {:.2}", micros(requests) / f64::from(sessions));
    book.note(Metric::StdioSession, Who::Floor, micros(used) / f64::from(sessions));
    Ok(())
}

/// The CPU time of a call in all processes but the child.
fn call_share(server: &Server, scale: Scale) -> Result<f64, Failure> {
    let calls = scale.pick(5_000, 500);
    let mut single = server.single()?;
    let session = begin_sessions(&mut single, 1)?.remove(0);
    latencies(&mut single, &session, calls / 5)?;
    let before = usage::cpu_without(server.pid(), CHILD);
    latencies(&mut single, &session, calls)?;
    let used = usage::cpu_without(server.pid(), CHILD) - before;
    single.delete(&session)?;
    Ok(micros(used) / calls as f64)
}

fn session(server: &Server) -> Result<(), Failure> {
    let mut single = server.single()?;
    let session = begin_sessions(&mut single, 1)?.remove(0);
    single.call(&session)?;
    single.delete(&session)
}

fn until_quiet(server: &Server) -> Result<(), Failure> {
    let begun = Instant::now();
    while usage::count(server.pid(), CHILD) > 0 {
        if begun.elapsed() > END_DEADLINE {
            return Err("children of deleted sessions do not end".into());
        }
        std::thread::sleep(STEP);
    }
    std::thread::sleep(REST);
    Ok(())
}
