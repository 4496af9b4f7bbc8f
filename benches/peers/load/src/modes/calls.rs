//! Calls in sessions that last.

use super::{micros, timed};
use crate::book::{Book, Metric, quantile};
use crate::engine::{Engine, Next, Script};
use crate::reply::Reply;
use crate::requests::Requests;
use crate::server::{Server, Who};
use crate::single::{Single, expect_echo};
use crate::{Failure, Scale};

const CONNECTIONS: usize = 32;
const SESSIONS: usize = 100;

/// Measures one server.
///
/// # Errors
/// When it answers wrongly.
pub fn measure(server: &Server, scale: Scale, book: &mut Book, who: Who) -> Result<(), Failure> {
    let (warm_up, units) = scale.pick((5_000, 50_000), (500, 3_000));
    let mut single = server.single()?;
    let sessions = begin_sessions(&mut single, SESSIONS)?;
    let mut engine = Engine::new(server.port, CONNECTIONS)?;
    engine.run(&mut Calls::new(&server.requests, &sessions, warm_up))?;
    let before = server.cpu();
    engine.run(&mut Calls::new(&server.requests, &sessions, units))?;
    book.note(Metric::Call, who, micros(server.cpu() - before) / units as f64);
    drop(engine);
    let mut latencies = latencies(&mut single, &sessions[0], scale.pick(10_000, 1_000))?;
    book.note(Metric::CallLatency, who, quantile(&mut latencies, 0.5));
    Ok(())
}

/// Begins so many sessions on one connection.
///
/// # Errors
/// When the server answers wrongly.
pub fn begin_sessions(single: &mut Single, count: usize) -> Result<Vec<Vec<u8>>, Failure> {
    let begin = |_| {
        let session = single.initialize()?;
        single.initialized(&session)?;
        Ok(session)
    };
    (0..count).map(begin).collect()
}

/// Of so many calls, one after the other, in microseconds.
///
/// # Errors
/// When the server answers wrongly.
pub fn latencies(single: &mut Single, session: &[u8], count: usize) -> Result<Vec<f64>, Failure> {
    (0..count).map(|_| Ok(timed(|| single.call(session))?.0)).collect()
}

struct Calls<'a> {
    requests: &'a Requests,
    sessions: &'a [Vec<u8>],
    /// The session that is called next; they take turns.
    next: usize,
    unbegun: usize,
    unfinished: usize,
}

impl<'a> Calls<'a> {
    fn new(requests: &'a Requests, sessions: &'a [Vec<u8>], units: usize) -> Calls<'a> {
        Calls { requests, sessions, next: 0, unbegun: units, unfinished: units }
    }
}

impl Script for Calls<'_> {
    fn begin(&mut self, _connection: usize, out: &mut Vec<u8>) -> Next {
        if self.unbegun == 0 {
            return Next::Nothing;
        }
        self.unbegun -= 1;
        self.next = (self.next + 1) % self.sessions.len();
        self.requests.call(&self.sessions[self.next], out);
        Next::Reply
    }

    fn replied(&mut self, connection: usize, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Next, Failure> {
        expect_echo(reply)?;
        self.unfinished -= 1;
        Ok(self.begin(connection, out))
    }

    fn is_over(&self) -> bool {
        self.unfinished == 0
    }
}
