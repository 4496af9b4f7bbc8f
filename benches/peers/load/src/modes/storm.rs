//! `kill -9`, a new start, and everyone at once: initialize, initialized, the stream.

use super::micros;
use crate::book::{Book, Metric};
use crate::engine::{Engine, Next, Script};
use crate::reply::Reply;
use crate::requests::Requests;
use crate::server::{Server, Who};
use crate::single::{expect_accepted, session_of};
use crate::{Failure, Scale};

/// Clients that come at once, at most: what fits in the queue of every server's listener (128, when it is Rust's
/// own). In a longer queue the kernel drops connections, whose clients try again after a second; this is a row of its
/// own.
const AT_ONCE: usize = 100;

/// Measures one server. The time runs from the new start to the last client's stream.
///
/// # Errors
/// When it answers wrongly.
pub fn measure(server: &mut Server, scale: Scale, book: &mut Book, who: Who) -> Result<(), Failure> {
    let clients = scale.pick(1_000, 200);
    for (metric, at_once) in [(Metric::Storm, AT_ONCE), (Metric::StormAtOnce, clients)] {
        let mut before = Engine::new(server.port, clients)?;
        before.run(&mut Back::new(server.requests.clone(), clients, AT_ONCE))?;
        server.restart()?;
        let mut after = Engine::new(server.port, clients)?;
        after.run(&mut Back::new(server.requests.clone(), clients, at_once))?;
        book.note(metric, who, micros(server.begun.elapsed()) / 1e3);
        drop((before, after));
        server.restart()?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Step {
    Initialize,
    Initialized,
    Stream,
}

struct Back {
    requests: Requests,
    sessions: Vec<(Step, Vec<u8>)>,
    missing: usize,
    /// Clients whose sessions have begun, and how many more may come.
    begun: usize,
    at_once: usize,
}

impl Back {
    fn new(requests: Requests, clients: usize, at_once: usize) -> Back {
        Back {
            requests,
            sessions: vec![(Step::Initialize, Vec::new()); clients],
            missing: clients,
            begun: 0,
            at_once,
        }
    }
}

impl Script for Back {
    fn begin(&mut self, _connection: usize, out: &mut Vec<u8>) -> Next {
        self.requests.initialize(out);
        Next::Reply
    }

    fn replied(&mut self, connection: usize, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Next, Failure> {
        let (step, session) = &mut self.sessions[connection];
        match step {
            Step::Initialize => {
                *session = session_of(reply)?;
                self.begun += 1;
                *step = Step::Initialized;
                self.requests.initialized(session, out);
                Ok(Next::Reply)
            }
            Step::Initialized => {
                expect_accepted(reply)?;
                *step = Step::Stream;
                self.requests.stream(session, out);
                Ok(Next::Stream)
            }
            Step::Stream => {
                expect_accepted(reply)?;
                self.missing -= 1;
                Ok(Next::Nothing)
            }
        }
    }

    fn room(&self) -> usize {
        self.begun + self.at_once
    }

    fn is_over(&self) -> bool {
        self.missing == 0
    }
}
