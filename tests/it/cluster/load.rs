//! Clients on raw sockets that stay open: each owns a session, calls it again and again, and begins anew when it is
//! told that its session is gone.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::nodes::Nodes;
use crate::support::{BOTH, Client, JSON, Response, Session, call, initialize};

const VERSION: &str = "2025-11-25";

/// A client with its socket and its session.
pub(crate) struct Caller {
    client: Client,
    pub(crate) id: String,
    calls: i64,
}

/// What a call came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answered,
    /// 404: the session is gone.
    Gone,
    /// Anything else: its status and text.
    Failed(u16, String),
}

impl Caller {
    /// Connects to `front` and begins a session there.
    pub(crate) fn begin(front: SocketAddr) -> Caller {
        let mut caller = Caller { client: Client::connect(front), id: String::new(), calls: 0 };
        caller.begin_anew().unwrap_or_else(|why| panic!("no session: {why}"));
        caller
    }

    /// Another session on the same socket.
    pub(crate) fn begin_anew(&mut self) -> Result<(), String> {
        self.client.request("POST", "/mcp", &[BOTH, JSON], &initialize(VERSION));
        let response = self.client.response();
        match response.header("mcp-session-id") {
            Some(id) if response.status == 200 => self.id = id.to_owned(),
            _ => return Err(format!("initialize: {} {}", response.status, response.text())),
        }
        let response = self.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        match response.status {
            202 => Ok(()),
            status => Err(format!("initialized: {status} {}", response.text())),
        }
    }

    /// The node of its session.
    pub(crate) fn node(&self) -> &'static str {
        Nodes::of(&self.id)
    }

    /// Opens its stream, on a socket of its own; the session is for calls beside this caller's.
    pub(crate) fn listen(&self, front: SocketAddr) -> (Client, Session) {
        let (id, version) = (self.id.clone(), VERSION.to_owned());
        let path = "/mcp".to_owned();
        let session = Session { address: front, path, id, version, answer: Value::Null, extra: Vec::new() };
        let mut stream = session.get(None);
        assert_eq!(stream.head().status, 200);
        (stream, session)
    }

    /// One call of `echo`.
    pub(crate) fn call(&mut self) -> Outcome {
        self.calls += 1;
        let response = self.post(&call(self.calls, "echo", json!({"text": "here"})));
        match response.status {
            200 if response.json()["result"]["content"][0]["text"] == "here" => Outcome::Answered,
            404 => Outcome::Gone,
            status => Outcome::Failed(status, response.text()),
        }
    }

    fn post(&mut self, body: &str) -> Response {
        let headers = [BOTH, JSON, ("Mcp-Session-Id", &*self.id), ("MCP-Protocol-Version", VERSION)];
        self.client.request("POST", "/mcp", &headers, body);
        self.client.response()
    }
}

/// A session that had to begin anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) at: Instant,
}

/// What has happened under a load.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: usize,
    pub(crate) moves: Vec<Move>,
    /// What should not be.
    pub(crate) failures: Vec<String>,
}

/// A load that goes on while the test does something.
pub(crate) struct Load {
    /// Between two calls of one session.
    pub(crate) pause: Duration,
    /// After this the load ends by itself, whatever the test does.
    pub(crate) at_most: Duration,
    stopped: AtomicBool,
    seen: Mutex<Seen>,
}

impl Load {
    pub(crate) fn new(pause: Duration, at_most: Duration) -> Load {
        Load { pause, at_most, stopped: AtomicBool::new(false), seen: Mutex::default() }
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().calls
    }

    /// Keeps `callers` calling, some threads with a share each, until `meanwhile` returns or panics.
    pub(crate) fn run(&self, callers: &mut [Caller], meanwhile: impl FnOnce()) -> Seen {
        const THREADS: usize = 6;
        let share = callers.len().div_ceil(THREADS);
        std::thread::scope(|scope| {
            let _stop = StopOnDrop(&self.stopped);
            for share in callers.chunks_mut(share) {
                scope.spawn(|| self.rounds(share));
            }
            meanwhile();
        });
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// One more call of each.
    pub(crate) fn turn_of_each(&self, callers: &mut [Caller]) -> Seen {
        callers.iter_mut().for_each(|caller| self.turn(caller));
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn rounds(&self, callers: &mut [Caller]) {
        let begun = Instant::now();
        while !self.stopped.load(Ordering::Relaxed) && begun.elapsed() < self.at_most {
            let round = Instant::now();
            callers.iter_mut().for_each(|caller| self.turn(caller));
            std::thread::park_timeout(self.pause.saturating_sub(round.elapsed()));
        }
    }

    fn turn(&self, caller: &mut Caller) {
        let from = caller.node();
        let outcome = caller.call();
        let begun = if matches!(outcome, Outcome::Gone) { caller.begin_anew() } else { Ok(()) };
        let mut seen = self.seen.lock().unwrap();
        seen.calls += 1;
        match (outcome, begun) {
            (Outcome::Answered, _) => {}
            (Outcome::Gone, Ok(())) => seen.moves.push(Move { from, to: caller.node(), at: Instant::now() }),
            (Outcome::Gone, Err(why)) => seen.failures.push(format!("after {from}: {why}")),
            (Outcome::Failed(status, text), _) => seen.failures.push(format!("{from}: {status} {text}")),
        }
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
