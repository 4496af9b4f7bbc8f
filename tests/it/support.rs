//! What the tests share: a running burdock, a client that speaks raw HTTP, a session on top of it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a test waits for what should happen at once.
pub const SOON: Duration = Duration::from_secs(20);

/// The test child that Cargo builds beside the tests.
pub fn test_child() -> String {
    example("test-child")
}

/// The path of an example's binary.
pub fn example(name: &str) -> String {
    let mut path = PathBuf::from(env!("CARGO_BIN_EXE_burdock"));
    path.pop();
    path.push("examples");
    path.push(name);
    path.to_str().unwrap().to_owned()
}

pub use crate::tools::{bound_to_thread, skip};

/// Polls `condition` until it gives something, or panics with `what`.
pub fn wait_for<T>(what: &str, at_most: Duration, condition: impl FnMut() -> Option<T>) -> T {
    crate::tools::wait_in_steps(what, at_most, Duration::from_millis(10), condition)
}

/// A burdock process, killed and reaped on drop; its log is printed when the test fails.
pub struct Burdock {
    pub process: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Burdock {
    /// `burdock serve` with these arguments on a free port.
    pub fn serve(arguments: &[&str]) -> Burdock {
        Burdock::serve_with(arguments, |_| {})
    }

    /// With the test child as its only server.
    pub fn with_child(flags: &[&str], child: &[&str]) -> Burdock {
        let program = test_child();
        let arguments: Vec<&str> = [flags, &["--", &program], child].concat();
        Burdock::serve(&arguments)
    }

    pub fn serve_with(arguments: &[&str], adjust: impl FnOnce(&mut Command)) -> Burdock {
        Burdock::serve_binary(env!("CARGO_BIN_EXE_burdock").as_ref(), arguments, adjust)
    }

    /// Another build of burdock.
    pub fn serve_binary(binary: &Path, arguments: &[&str], adjust: impl FnOnce(&mut Command)) -> Burdock {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        Burdock::run(binary, &arguments, adjust)
    }

    /// Any command that becomes a serving burdock.
    pub fn run(program: impl AsRef<OsStr>, arguments: &[&str], adjust: impl FnOnce(&mut Command)) -> Burdock {
        let mut command = Command::new(program);
        command.args(arguments).env("BURDOCK_LOG", "debug").stdin(Stdio::null());
        adjust(&mut command);
        Burdock::start(command)
    }

    /// The same for a command that is ready to be run.
    pub fn start(mut command: Command) -> Burdock {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        collect(process.stderr.take().unwrap(), Arc::clone(&log));
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut banner = String::new();
        while !banner.contains("/mcp") {
            if stdout.read_line(&mut banner).unwrap() == 0 {
                panic!("burdock did not start: {banner}{}", log.lock().unwrap());
            }
        }
        let after = banner.split("http://").nth(1).unwrap();
        let address = after.split('/').next().unwrap().parse().unwrap();
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Burdock { process, address, log }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Initializes a session of `version` and says `initialized`.
    pub fn session(&self, version: &str) -> Session {
        Session::begin(self.address, "/mcp", version, &[])
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Its anonymous memory, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        wait_for("burdock's exit", SOON, || self.process.try_wait().unwrap())
    }
}

impl Drop for Burdock {
    fn drop(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            // SIGTERM might begin a handover to other nodes.
            self.signal("-INT");
            let begun = Instant::now();
            while self.process.try_wait().unwrap().is_none() && begun.elapsed() < SOON {
                std::thread::park_timeout(Duration::from_millis(10));
            }
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- burdock's log ---\n{}", self.log());
        }
    }
}

fn collect(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let mut log = into.lock().unwrap();
            log.push_str(&String::from_utf8_lossy(&line));
            log.push('\n');
        }
    });
}

/// A reply, read whole or with its body still to come.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The JSON of the body; of an event stream the data of its last event that has some.
    pub fn json(&self) -> Value {
        let text = self.text();
        if self.is_stream() {
            let last = self
                .events()
                .into_iter()
                .rev()
                .find(|event| !event.data.is_empty())
                .expect("an event with data");
            return last.json();
        }
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub fn is_stream(&self) -> bool {
        self.header("content-type") == Some("text/event-stream")
    }

    pub fn events(&self) -> Vec<SseEvent> {
        self.text().split_inclusive("\n\n").filter_map(SseEvent::parse).collect()
    }
}

/// A server-sent event as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    pub id: Option<String>,
    pub retry: Option<String>,
    /// The event's type.
    pub event: Option<String>,
    pub data: String,
}

impl SseEvent {
    /// `None` for comments only.
    fn parse(block: &str) -> Option<SseEvent> {
        let mut event = SseEvent::default();
        let mut data: Option<Vec<&str>> = None;
        for line in block.lines().filter(|line| !line.starts_with(':') && !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => event.id = Some(value.to_owned()),
                "retry" => event.retry = Some(value.to_owned()),
                "event" => event.event = Some(value.to_owned()),
                "data" => data.get_or_insert_default().push(value),
                other => panic!("unknown field {other}"),
            }
        }
        let has_data = data.is_some();
        event.data = data.unwrap_or_default().join("\n");
        // Some clients drop an event that has data and does not say that it is a message.
        assert_eq!(event.event.as_deref(), (!event.data.is_empty()).then_some("message"), "{block:?}");
        (has_data || event.id.is_some() || event.retry.is_some()).then_some(event)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {:?}", self.data))
    }
}

/// A raw HTTP/1.1 client on one connection.
pub struct Client {
    pub socket: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.set_nodelay(true).unwrap();
        Client { socket: BufReader::new(socket) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).unwrap();
    }

    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += "Host: localhost\r\n";
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if method == "POST" || !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.send(format!("{head}\r\n{body}").as_bytes());
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        line.trim_end_matches("\r\n").to_owned()
    }

    /// The status line and headers; the body is still to come.
    pub fn head(&mut self) -> Response {
        let status_line = self.line();
        let status = status_line
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no status line: {status_line:?}"))
            .parse()
            .unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => break,
            }
        }
        Response { status, headers, body: Vec::new() }
    }

    /// One chunk of a chunked body; `None` at its end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line();
        let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("not a chunk size: {line:?}"));
        let mut chunk = vec![0; size + 2];
        self.socket.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    /// A whole reply.
    pub fn response(&mut self) -> Response {
        let mut response = self.head();
        if response.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                response.body.extend(chunk);
            }
        } else if let Some(length) = response.header("content-length") {
            response.body = vec![0; length.parse().unwrap()];
            self.socket.read_exact(&mut response.body).unwrap();
        }
        response
    }

    /// The next event of an event stream whose head was read; comments are skipped; `None` at its end.
    pub fn event(&mut self) -> Option<SseEvent> {
        loop {
            let chunk = String::from_utf8(self.chunk()?).unwrap();
            if let Some(event) = SseEvent::parse(&chunk) {
                return Some(event);
            }
        }
    }
}

/// A session: every POST on its own connection, as rmcp does.
pub struct Session {
    pub address: SocketAddr,
    pub path: String,
    pub id: String,
    pub version: String,
    pub answer: Value,
    pub extra: Vec<(String, String)>,
}

pub fn initialize(version: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": {"elicitation": {}, "sampling": {}, "roots": {}},
        "clientInfo": {"name": "test", "version": "1"}}})
    .to_string()
}

pub const BOTH: (&str, &str) = ("Accept", "application/json, text/event-stream");
pub const JSON: (&str, &str) = ("Content-Type", "application/json");

impl Session {
    pub fn begin(address: SocketAddr, path: &str, version: &str, extra: &[(&str, &str)]) -> Session {
        let mut client = Client::connect(address);
        let headers: Vec<(&str, &str)> = [&[BOTH, JSON], extra].concat();
        client.request("POST", path, &headers, &initialize(version));
        let response = client.response();
        assert_eq!(response.status, 200, "{}", response.text());
        let session = Session {
            address,
            path: path.to_owned(),
            id: response.header("mcp-session-id").expect("a session id").to_owned(),
            version: response.json()["result"]["protocolVersion"].as_str().unwrap().to_owned(),
            answer: response.json(),
            extra: extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        assert_eq!(session.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).status, 202);
        session
    }

    pub fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers =
            vec![BOTH, JSON, ("Mcp-Session-Id", &*self.id), ("MCP-Protocol-Version", &*self.version)];
        headers.extend(self.extra.iter().map(|(name, value)| (&**name, &**value)));
        headers
    }

    /// Sends a message and returns the client, whose reply is still to come.
    pub fn start(&self, body: &str) -> Client {
        let mut client = Client::connect(self.address);
        client.request("POST", &self.path, &self.headers(), body);
        client
    }

    pub fn post(&self, body: &str) -> Response {
        self.start(body).response()
    }

    /// A `tools/call`; returns the response message.
    pub fn call(&self, id: i64, tool: &str, arguments: Value) -> Value {
        let response = self.post(&call(id, tool, arguments));
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    pub fn get(&self, last_event_id: Option<&str>) -> Client {
        let mut client = Client::connect(self.address);
        let mut headers = self.headers();
        if let Some(id) = last_event_id {
            headers.push(("Last-Event-ID", id));
        }
        client.request("GET", &self.path, &headers, "");
        client
    }

    pub fn delete(&self) -> Response {
        let mut client = Client::connect(self.address);
        client.request("DELETE", &self.path, &self.headers(), "");
        client.response()
    }
}

pub fn call(id: i64, tool: &str, arguments: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {
        "name": tool, "arguments": arguments, "_meta": {"progressToken": format!("token-{id}")}}})
    .to_string()
}
