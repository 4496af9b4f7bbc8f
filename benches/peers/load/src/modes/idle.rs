//! Sessions that do nothing but keep their stream open: their memory, what is left of it when they are deleted, and
//! whether calls of others notice them.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::calls::{begin_sessions, latencies};
use crate::book::{Book, Metric, quantile};
use crate::server::{Server, Who};
use crate::single::Single;
use crate::{Failure, Scale, usage};

/// Sessions of the warm-up: what a server keeps after these is its own affair.
const WARM_UP: usize = 100;
/// Descriptors besides one for each session.
const DESCRIPTORS_SPARE: u64 = 600;
/// Calls of one turn, which has a p99 of its own.
const CALLS_PER_P99: usize = 1_000;
/// Memory counts as settled when it has not fallen for so long.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// It is not waited for longer.
const SETTLE_DEADLINE: Duration = Duration::from_secs(15);
/// When it is looked at after the last delete, besides the whole time of `SETTLE_DEADLINE`.
const LEFT_AFTER: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(6)];
/// Between two looks.
const SETTLE_STEP: Duration = Duration::from_millis(250);

/// How many sessions there are to be.
pub fn wanted(scale: Scale) -> usize {
    scale.pick(10_000, 500)
}

/// How many of them the limit of descriptors allows.
pub fn sessions(scale: Scale, descriptors: u64) -> usize {
    let wanted = wanted(scale);
    wanted.min(usize::try_from(descriptors.saturating_sub(DESCRIPTORS_SPARE)).unwrap_or(wanted))
}

/// Measures one server.
///
/// # Errors
/// When it answers wrongly.
pub fn measure(
    server: &Server,
    scale: Scale,
    count: usize,
    book: &mut Book,
    who: Who,
) -> Result<(), Failure> {
    let mut among = Caller::of(server)?;
    delete(server, open(server, WARM_UP)?)?;
    let warm = settled(server)?;

    let idle = open(server, count)?;
    let grown = usage::memory(server.pid())?.anonymous;
    let noticed = noticed(server, &mut among, scale.pick(40, 3))?;
    delete(server, idle)?;
    let left = left(server)?;

    book.note(Metric::IdleSession, who, (grown as f64 - warm as f64) / count as f64 / 1e3);
    book.note(Metric::IdleCalls, who, noticed);
    for (metric, left) in [Metric::IdleLeft2, Metric::IdleLeft6, Metric::IdleLeft].into_iter().zip(left) {
        book.note(metric, who, (left as f64 - warm as f64) / 1e6);
    }
    Ok(())
}

/// The p99 of calls `among` idle sessions by that of calls to another server of the kind, which has none. In turns, each
/// next to its like: what disturbs the machine for a while disturbs both.
fn noticed(server: &Server, among: &mut Caller, turns: usize) -> Result<f64, Failure> {
    let other = server.another()?;
    let mut alone = Caller::of(&other)?;
    let mut turn = || Ok(among.p99()? / alone.p99()?);
    let mut ratios = (0..turns).map(|_| turn()).collect::<Result<Vec<f64>, Failure>>()?;
    Ok(quantile(&mut ratios, 0.5))
}

/// A client that calls again and again.
struct Caller {
    single: Single,
    session: Vec<u8>,
}

impl Caller {
    /// With a session, and warmed up.
    fn of(server: &Server) -> Result<Caller, Failure> {
        let mut single = server.single()?;
        let session = begin_sessions(&mut single, 1)?.remove(0);
        let mut caller = Caller { single, session };
        for _ in 0..3 {
            caller.p99()?;
        }
        Ok(caller)
    }

    fn p99(&mut self) -> Result<f64, Failure> {
        Ok(quantile(&mut latencies(&mut self.single, &self.session, CALLS_PER_P99)?, 0.99))
    }
}

/// A session and the socket of its stream.
type Idle = (Vec<u8>, TcpStream);

/// One after the other, each on a connection of its own, as so many clients would have them.
fn open(server: &Server, count: usize) -> Result<Vec<Idle>, Failure> {
    let begin = |_| {
        let mut single = server.single()?;
        let session = single.initialize()?;
        single.initialized(&session)?;
        let stream = single.into_stream(&session)?;
        Ok((session, stream))
    };
    (0..count).map(begin).collect()
}

fn delete(server: &Server, idle: Vec<Idle>) -> Result<(), Failure> {
    let mut single = server.single()?;
    for (session, _) in &idle {
        single.delete(session)?;
    }
    // The sockets of the streams are closed here, after all sessions have ended.
    drop(idle);
    Ok(())
}

/// Memory in bytes 2 s and 6 s after this call, and the least of all until its end: who gives back late is seen to do so.
fn left(server: &Server) -> Result<[u64; 3], Failure> {
    let begun = Instant::now();
    let mut least = u64::MAX;
    let mut until = |after: Duration| {
        let mut now = usage::memory(server.pid())?.anonymous;
        while begun.elapsed() < after {
            std::thread::sleep(SETTLE_STEP);
            now = usage::memory(server.pid())?.anonymous;
            least = least.min(now);
        }
        Ok::<u64, Failure>(now)
    };
    let [soon, later] = [until(LEFT_AFTER[0])?, until(LEFT_AFTER[1])?];
    until(SETTLE_DEADLINE)?;
    Ok([soon, later, least])
}

/// The memory of its own once it no longer falls, in bytes.
fn settled(server: &Server) -> Result<u64, Failure> {
    let begun = Instant::now();
    let mut least = usage::memory(server.pid())?.anonymous;
    let mut fallen = begun;
    while fallen.elapsed() < SETTLED_AFTER && begun.elapsed() < SETTLE_DEADLINE {
        std::thread::sleep(SETTLE_STEP);
        let now = usage::memory(server.pid())?.anonymous;
        if now < least {
            (least, fallen) = (now, Instant::now());
        }
    }
    Ok(least)
}
