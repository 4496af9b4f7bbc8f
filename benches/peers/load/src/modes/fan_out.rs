//! One notification to many streams: from the call that asks for it to its arrival on each of them.

use std::time::Instant;

use memchr::memmem::find;

use super::micros;
use crate::book::{Book, Metric, quantile};
use crate::engine::{Engine, Next, Script};
use crate::reply::Reply;
use crate::requests::Requests;
use crate::server::{Server, Who};
use crate::single::{expect_accepted, session_of};
use crate::{Failure, Scale};

const STREAMS: usize = 200;
/// What the notification has in it.
const NOTIFICATION: &[u8] = b"tools/list_changed";

/// Measures one server.
///
/// # Errors
/// When it answers wrongly, or a notification does not come.
pub fn measure(server: &Server, scale: Scale, book: &mut Book, who: Who) -> Result<(), Failure> {
    let (warm_up, broadcasts) = scale.pick((10, 100), (3, 10));
    // The first connection is the one that calls.
    let mut engine = Engine::new(server.port, STREAMS + 1)?;
    let mut fan_out = FanOut::new(&server.requests);
    engine.run(&mut fan_out)?;
    for broadcast in 0..warm_up + broadcasts {
        if broadcast == warm_up {
            fan_out.latencies.clear();
        }
        fan_out.begin_broadcast();
        engine.run(&mut fan_out)?;
    }
    book.note(Metric::FanOut, who, quantile(&mut fan_out.latencies, 0.99) / 1e3);
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Initialize,
    Initialized,
    Join,
    Stream,
    Broadcast,
}

struct FanOut<'a> {
    requests: &'a Requests,
    sessions: Vec<(Step, Vec<u8>)>,
    /// What is waited for: connections that are not ready, then streams without the notification and the call.
    missing: usize,
    broadcasting: bool,
    asked: Instant,
    /// In microseconds.
    latencies: Vec<f64>,
}

impl<'a> FanOut<'a> {
    fn new(requests: &'a Requests) -> FanOut<'a> {
        FanOut {
            requests,
            sessions: vec![(Step::Initialize, Vec::new()); STREAMS + 1],
            missing: STREAMS + 1,
            broadcasting: false,
            asked: Instant::now(),
            latencies: Vec::new(),
        }
    }

    fn begin_broadcast(&mut self) {
        self.broadcasting = true;
        self.missing = STREAMS + 1;
        self.sessions[0].0 = Step::Broadcast;
    }
}

impl Script for FanOut<'_> {
    fn begin(&mut self, connection: usize, out: &mut Vec<u8>) -> Next {
        match self.sessions[connection].0 {
            Step::Broadcast => {
                self.requests.call_tool(&self.sessions[connection].1, "broadcast", out);
                self.asked = Instant::now();
            }
            _ => self.requests.initialize(out),
        }
        Next::Reply
    }

    fn replied(&mut self, connection: usize, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Next, Failure> {
        expect_accepted(reply)?;
        let (step, session) = &mut self.sessions[connection];
        match *step {
            Step::Initialize => {
                *session = session_of(reply)?;
                *step = Step::Initialized;
                self.requests.initialized(session, out);
            }
            Step::Initialized if connection == 0 => {
                self.missing -= 1;
                return Ok(Next::Nothing);
            }
            Step::Initialized => {
                *step = Step::Join;
                self.requests.call_tool(session, "join", out);
            }
            Step::Join if find(reply.body, b"joined").is_none() => return Err("join did not".into()),
            Step::Join => {
                *step = Step::Stream;
                self.requests.stream(session, out);
                return Ok(Next::Stream);
            }
            Step::Stream | Step::Broadcast => {
                self.missing -= 1;
                return Ok(Next::Nothing);
            }
        }
        Ok(Next::Reply)
    }

    fn streamed(&mut self, _connection: usize, bytes: &[u8]) -> bool {
        let come = find(bytes, NOTIFICATION).is_some();
        if come && self.broadcasting {
            self.latencies.push(micros(self.asked.elapsed()));
            self.missing -= 1;
        }
        come
    }

    fn is_over(&self) -> bool {
        self.missing == 0
    }
}
