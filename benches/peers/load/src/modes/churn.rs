//! Short sessions: initialize, initialized, one call, DELETE, again and again.

use super::{micros, timed};
use crate::book::{Book, Metric, quantile};
use crate::engine::{Engine, Next, Script};
use crate::reply::Reply;
use crate::requests::Requests;
use crate::server::Server;
use crate::single::{expect_accepted, expect_echo, session_of};
use crate::{Failure, Scale};

/// Connections, each with one session at a time.
const CONNECTIONS: usize = 32;

/// Measures one server.
///
/// # Errors
/// When it answers wrongly.
pub fn measure(
    server: &Server,
    scale: Scale,
    book: &mut Book,
    who: crate::server::Who,
) -> Result<(), Failure> {
    let (warm_up, units) = scale.pick((2_000, 20_000), (200, 1_000));
    let mut engine = Engine::new(server.port, CONNECTIONS)?;
    engine.run(&mut Churn::new(&server.requests, warm_up))?;
    let before = server.cpu();
    engine.run(&mut Churn::new(&server.requests, units))?;
    book.note(Metric::Churn, who, micros(server.cpu() - before) / units as f64);
    drop(engine);
    book.note(Metric::Initialize, who, initialize_latency(server, scale.pick(2_000, 200))?);
    Ok(())
}

fn initialize_latency(server: &Server, units: usize) -> Result<f64, Failure> {
    let mut single = server.single()?;
    let mut latencies = Vec::with_capacity(units);
    for _ in 0..units {
        let (latency, session) = timed(|| single.initialize())?;
        latencies.push(latency);
        single.initialized(&session)?;
        single.call(&session)?;
        single.delete(&session)?;
    }
    Ok(quantile(&mut latencies, 0.5))
}

/// What each connection does next.
#[derive(Clone, Copy)]
enum Step {
    Initialize,
    Initialized,
    Call,
    Delete,
}

struct Churn<'a> {
    requests: &'a Requests,
    steps: [(Step, Vec<u8>); CONNECTIONS],
    /// Sessions still to be begun, and those to be ended.
    unbegun: usize,
    unfinished: usize,
}

impl<'a> Churn<'a> {
    fn new(requests: &'a Requests, units: usize) -> Churn<'a> {
        let steps = std::array::from_fn(|_| (Step::Initialize, Vec::new()));
        Churn { requests, steps, unbegun: units, unfinished: units }
    }
}

impl Script for Churn<'_> {
    fn begin(&mut self, connection: usize, out: &mut Vec<u8>) -> Next {
        if self.unbegun == 0 {
            return Next::Nothing;
        }
        self.unbegun -= 1;
        self.steps[connection].0 = Step::Initialize;
        self.requests.initialize(out);
        Next::Reply
    }

    fn replied(&mut self, connection: usize, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Next, Failure> {
        let (step, session) = &mut self.steps[connection];
        match step {
            Step::Initialize => {
                *session = session_of(reply)?;
                *step = Step::Initialized;
                self.requests.initialized(session, out);
            }
            Step::Initialized => {
                expect_accepted(reply)?;
                *step = Step::Call;
                self.requests.call(session, out);
            }
            Step::Call => {
                expect_echo(reply)?;
                *step = Step::Delete;
                self.requests.delete(session, out);
            }
            Step::Delete => {
                expect_accepted(reply)?;
                self.unfinished -= 1;
                return Ok(self.begin(connection, out));
            }
        }
        Ok(Next::Reply)
    }

    fn is_over(&self) -> bool {
        self.unfinished == 0
    }
}
