//! A whole node in this process, without its listener: endpoint, sessions, sweep and reaper as in `server::run`, on
//! one thread; and clients that are tasks on the same thread, so that a measurement is work and not waking threads.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use burdock::config::{Config, Environment, SessionLimits, Typed};
use burdock::connections::Requests;
use burdock::http::Connection;
use burdock::mcp::Endpoint;
use burdock::mcp::access::Peer;
use burdock::registry::Registry;
use burdock::session::Sessions;
use burdock::{runtime, server, sweep};
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::memory_socket::MemorySocket;

/// More than any bench begins.
const SESSIONS_MAX: usize = 200_000;
/// Longer than any bench takes: no session idles out, and no comment is written to an idle stream.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const VERSION: &str = "MCP-Protocol-Version: 2025-11-25";

/// Whether this is no measurement: `cargo test --benches`, or `cargo bench -- --test`. As criterion decides it.
pub fn is_test() -> bool {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    has("--test") || !has("--bench")
}

/// What `burdock serve` with these arguments would serve (the demo when they name no server), without caps that are
/// in the way.
pub fn config(arguments: &[&str]) -> Config {
    let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
    let environment = Environment::new();
    let typed = Typed::parse(&arguments, &environment).unwrap();
    unlimited(Config::check(&typed, &environment).unwrap().0)
}

pub fn unlimited(mut config: Config) -> Config {
    config.keep_alive_comment = NEVER;
    config.sessions = SessionLimits {
        max: SESSIONS_MAX,
        max_per_principal: SESSIONS_MAX,
        idle_timeout: NEVER,
        idle_timeout_no_stream: NEVER,
    };
    config
}

/// Runs a future as a task of the node, to its end.
pub fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    async_io::block_on(runtime::spawn(future))
}

#[derive(Clone)]
pub struct Node {
    config: Arc<Config>,
    endpoint: Arc<Endpoint>,
    pub sessions: Arc<Sessions>,
}

impl Node {
    /// To be called once in a process.
    pub fn start(config: Config) -> Node {
        runtime::start(1).unwrap();
        runtime::spawn(sweep::run()).detach();
        let (registry, service) = Registry::new(&config).unwrap();
        let sessions = Arc::new(Sessions::new(&config, registry));
        if let Some(service) = service {
            async_io::block_on(service.begin(Arc::clone(&sessions))).unwrap();
        }
        runtime::spawn(Arc::clone(&sessions).reap()).detach();
        let config = Arc::new(config);
        let endpoint = Arc::new(Endpoint::new(Arc::clone(&config), Arc::clone(&sessions)));
        Node { config, endpoint, sessions }
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        let (near, far) = MemorySocket::pair();
        let peer = Peer::new([127, 0, 0, 1].into(), &self.config.access);
        let endpoint = Arc::clone(&self.endpoint);
        runtime::spawn(async move {
            let requests = Requests::default();
            let _ = server::serve_connection(&mut Connection::new(far), peer, &endpoint, &requests).await;
        })
        .detach();
        Client { socket: near, received: Vec::new() }
    }
}

/// A client with one connection. A wrong answer is a panic.
pub struct Client {
    socket: MemorySocket,
    /// What has come and was not taken.
    received: Vec<u8>,
}

impl Client {
    /// `initialize` and `initialized`; returns the session's id.
    pub async fn begin(&mut self) -> String {
        let head = self.ask(&post("", INITIALIZE), 200).await;
        let (_, rest) = head.split_once("Mcp-Session-Id: ").expect("a session id");
        let session = rest.split("\r\n").next().unwrap().to_owned();
        self.ask(&post(&of(&session), INITIALIZED), 202).await;
        session
    }

    pub async fn call(&mut self, session: &str, tool: &str, arguments: &str) {
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        );
        self.ask(&post(&of(session), &call), 200).await;
    }

    pub async fn delete(&mut self, session: &str) {
        let request = format!("DELETE /mcp HTTP/1.1\r\nHost: localhost\r\n{}\r\n", of(session));
        self.ask(&request, 204).await;
    }

    /// A session's whole life.
    pub async fn churn(&mut self) {
        let session = self.begin().await;
        self.call(&session, "echo", r#"{"text":"hello"}"#).await;
        self.delete(&session).await;
    }

    /// Turns the connection into the session's stream, which stays open as long as the client lives.
    pub async fn listen(&mut self, session: &str) {
        let request = format!(
            "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{}\r\n",
            of(session)
        );
        self.socket.write_all(request.as_bytes()).await.unwrap();
        assert!(self.until(b"\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        self.event().await;
    }

    /// The next event of the stream, as a chunk.
    pub async fn event(&mut self) -> String {
        self.until(b"\n\n\r\n").await
    }

    /// Sends a request and takes the whole reply; returns its head.
    async fn ask(&mut self, request: &str, status: u16) -> String {
        self.socket.write_all(request.as_bytes()).await.unwrap();
        let head = self.until(b"\r\n\r\n").await;
        assert!(head[9..].starts_with(&status.to_string()), "{head}");
        let length = head
            .split_once("Content-Length: ")
            .map_or(0, |(_, rest)| rest.split("\r\n").next().unwrap().parse().unwrap());
        while self.received.len() < length {
            self.receive().await;
        }
        self.take(length);
        head
    }

    /// Everything up to an end.
    async fn until(&mut self, end: &[u8]) -> String {
        loop {
            if let Some(at) = memchr::memmem::find(&self.received, end) {
                return String::from_utf8(self.take(at + end.len())).unwrap();
            }
            self.receive().await;
        }
    }

    async fn receive(&mut self) {
        let mut buffer = [0; 4096];
        let count = self.socket.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&self.received));
        self.received.extend_from_slice(&buffer[..count]);
    }

    /// An idle client holds no buffer, so that it does not count as a session's memory.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = if count == self.received.len() { Vec::new() } else { self.received.split_off(count) };
        std::mem::replace(&mut self.received, rest)
    }
}

fn of(session: &str) -> String {
    format!("Mcp-Session-Id: {session}\r\n{VERSION}\r\n")
}

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n\
         Content-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
