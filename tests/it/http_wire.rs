//! The wire: raw bytes in, raw bytes out, over real sockets. Every refusal has its status, and after each a good
//! request still works.

use std::collections::{HashMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Once};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_io::{Async, Timer, block_on};
use burdock::budget::Payload;
use burdock::http::{
    Connection, Deadlines, Disconnected, Event, EventId, EventReader, Method, Opening, Reply, RequestHead,
    Socket, Status,
};
use burdock::limits::{HEAD_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX};
use burdock::metrics::METRICS;
use burdock::queue::{self, Receiver, Sender};
use burdock::{runtime, sweep};
use smol::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

// --- The server of these tests --------------------------------------------------------------------------------

/// More than any test waits for anything that does happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// The body limit of the test endpoint.
const BODY_MAX: usize = 64 * 1024;
/// A reply that no socket buffer takes.
const HUGE_BYTES: usize = 32 * 1024 * 1024;

/// Long enough never to be met in a test.
const LONG: Deadlines = Deadlines {
    idle: PATIENCE,
    head: PATIENCE,
    body: PATIENCE,
    body_bytes_per_sec_min: 16 * 1024,
    write: PATIENCE,
    // Longer than a client waits for the close: it has to come from the shut half.
    linger: Duration::from_secs(60),
};

/// What the endpoint has done, for the test to look at.
#[derive(Default)]
struct Seen {
    /// Requests that reached the endpoint with their body.
    served: Mutex<Vec<String>>,
    /// How connections ended; `None` is an orderly end.
    ended: Mutex<Vec<Option<Disconnected>>>,
    /// Streams that `/events/<name>` hands out.
    streams: Mutex<HashMap<String, EventReader>>,
}

struct TestServer {
    address: SocketAddr,
    seen: Arc<Seen>,
    _accept: smol::Task<()>,
}

fn start_runtime() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        runtime::start(2).unwrap();
        runtime::spawn(sweep::run()).detach();
    });
}

impl TestServer {
    fn start(deadlines: Deadlines) -> TestServer {
        start_runtime();
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let accept = runtime::spawn({
            let seen = Arc::clone(&seen);
            async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    runtime::spawn(serve(socket, deadlines, Arc::clone(&seen))).detach();
                }
            }
        });
        TestServer { address, seen, _accept: accept }
    }

    fn client(&self) -> RawClient {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        RawClient { socket, buffer: Vec::new() }
    }

    /// Offers a stream at `/events/<name>` and returns the end that feeds it.
    fn offer(&self, name: &str, opening: Opening, backlog: Vec<Event>, comment: Duration) -> Sender<Event> {
        let (sender, live) = queue::bounded(16);
        let backlog = VecDeque::from(backlog);
        let reader = EventReader { opening, backlog, live, keep_alive_comment: comment, room: None };
        self.seen.streams.lock().unwrap().insert(name.to_owned(), reader);
        sender
    }

    fn served(&self) -> Vec<String> {
        self.seen.served.lock().unwrap().clone()
    }

    /// Waits for the `count`th connection to end and returns how it did.
    fn ended(&self, count: usize) -> Option<Disconnected> {
        wait_until(|| self.seen.ended.lock().unwrap().len() >= count);
        self.seen.ended.lock().unwrap()[count - 1].clone()
    }

    /// A new connection is served as if nothing had happened.
    fn still_serves(&self) {
        let mut client = self.client();
        client.send(HELLO);
        assert_eq!(client.reply().text(), "hello\n");
    }
}

/// The whole life of a connection, as `server.rs` has it.
async fn serve(socket: Async<TcpStream>, deadlines: Deadlines, seen: Arc<Seen>) {
    let mut connection =
        Connection::with_deadlines(Socket::new(socket.into_inner().unwrap()).unwrap(), deadlines);
    let mut serve = async || -> Result<(), Disconnected> {
        while let Some(head) = connection.read_head().await? {
            let reply = match head.path() {
                "/lazy" => Reply::text(404, "not read"),
                "/drain" => {
                    connection.close_after_reply();
                    Reply::text(200, "last")
                }
                _ => {
                    let body = connection.read_body(&head, BODY_MAX).await?;
                    endpoint(&head, body.bytes, &seen)
                }
            };
            connection.write_reply(head.asked(), reply).await?;
        }
        Ok(())
    };
    let ended = serve().await.err();
    seen.ended.lock().unwrap().push(ended);
}

fn endpoint(head: &RequestHead, body: Vec<u8>, seen: &Seen) -> Reply {
    seen.served.lock().unwrap().push(head.path().to_owned());
    if let Some(name) = head.path().strip_prefix("/events/") {
        let reader = seen.streams.lock().unwrap().remove(name).expect("an offered stream");
        return Reply::events(reader).header("Mcp-Session-Id", "n1-x");
    }
    match (head.method(), head.path()) {
        (Method::Other, _) => Reply::text(405, "no such method").header("Allow", "GET, POST"),
        (Method::Options, "*") => Reply::empty(204),
        (_, "/accepted") => Reply::empty(202),
        (_, "/huge") => Reply::json(200, Payload::made_here(vec![b'a'; HUGE_BYTES])),
        (_, "/split") => Reply::text(200, "x").header("X-Bad", "a\r\nX-Worse: b").header("X-Good", "c"),
        (Method::Post, _) => Reply::json(200, Payload::made_here(body)),
        (Method::Get | Method::Head | Method::Delete | Method::Options, _) => Reply::text(200, "hello"),
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "the condition did not come true in time");
        pause(Duration::from_millis(5));
    }
}

/// Between two looks at a condition, and between the bytes of a slow client.
fn pause(duration: Duration) {
    block_on(Timer::after(duration));
}

// --- The client of these tests --------------------------------------------------------------------------------

const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: n1\r\n\r\n";

/// A client that knows no HTTP but to find the end of a reply.
struct RawClient {
    socket: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct RawReply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl RawReply {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl RawClient {
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends as much as the other end takes before it closes.
    fn send_some(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Reads until `buffer` has `needle`; returns what comes before it and takes both out.
    fn take_until(&mut self, needle: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(needle.len()).position(|window| window == needle) {
                let taken = self.buffer.drain(..at + needle.len()).take(at).collect();
                return taken;
            }
            self.read_more();
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            self.read_more();
        }
        self.buffer.drain(..count).collect()
    }

    fn read_more(&mut self) {
        let mut piece = [0; 16 * 1024];
        let count = self.socket.read(&mut piece).expect("a reply in time");
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        self.buffer.extend_from_slice(&piece[..count]);
    }

    fn reply_head(&mut self) -> RawReply {
        let head = String::from_utf8(self.take_until(b"\r\n\r\n")).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap().parse().unwrap();
        RawReply { status, head, body: Vec::new() }
    }

    fn reply(&mut self) -> RawReply {
        let mut reply = self.reply_head();
        let length = reply.header("Content-Length").map_or(0, |length| length.parse().unwrap());
        reply.body = self.take(length);
        reply
    }

    /// The next chunk's data; empty for the last.
    fn chunk(&mut self) -> String {
        let size = String::from_utf8(self.take_until(b"\r\n")).unwrap();
        let data = self.take(usize::from_str_radix(&size, 16).unwrap());
        assert_eq!(self.take(2), b"\r\n");
        String::from_utf8(data).unwrap()
    }

    /// The other end closes in good order (no reset) and sends nothing more.
    fn is_closed(&mut self) {
        let mut rest = std::mem::take(&mut self.buffer);
        match self.socket.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), ""),
            Err(error) => panic!("not a close: {error}"),
        }
    }
}

/// A request with some head fields and a body.
fn post(fields: &str, body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: n1\r\n{fields}\r\n{body}")
}

fn echo(body: &str) -> String {
    post(&format!("Content-Length: {}\r\n", body.len()), body)
}

/// `bytes` are answered with `status` and an orderly close, reach no handler, and harm nobody else.
fn refused(server: &TestServer, bytes: impl AsRef<[u8]>, status: u16) -> RawReply {
    let shown = String::from_utf8_lossy(&bytes.as_ref()[..bytes.as_ref().len().min(200)]).into_owned();
    let served = server.served().len();
    let mut client = server.client();
    client.send_some(bytes.as_ref());
    let reply = client.reply();
    assert_eq!(reply.status, status, "{shown:?}: {reply:?}");
    assert_eq!(reply.header("Connection"), Some("close"), "{shown:?}");
    assert_eq!(reply.header("Content-Type"), Some("text/plain; charset=utf-8"), "{shown:?}");
    assert!(reply.body.len() > 10, "{shown:?} says nothing");
    client.is_closed();
    assert_eq!(server.served().len(), served, "{shown:?} reached a handler");
    server.still_serves();
    reply
}

/// `bytes` get one good reply, and the same connection serves another request.
fn accepted(server: &TestServer, bytes: impl AsRef<[u8]>) -> RawReply {
    let mut client = server.client();
    client.send(bytes);
    let reply = client.reply();
    client.send(HELLO);
    assert_eq!(client.reply().text(), "hello\n");
    reply
}

// --- Heads ----------------------------------------------------------------------------------------------------

#[test]
fn line_ends_are_strict() {
    let server = TestServer::start(LONG);
    refused(&server, "GET /hello HTTP/1.1\nHost: n1\n\n", 400);
    refused(&server, "GET /hello HTTP/1.1\r\nHost: n1\nA: b\r\n\r\n", 400);
    refused(&server, "GET /hello HTTP/1.1\r\nHost: n1\rA: b\r\n\r\n", 400);
    refused(&server, "GET /hello HTTP/1.1\r\nHost: n1\r\n\n", 400);
    assert_eq!(accepted(&server, format!("\r\n\r\n{HELLO}")).status, 200);
    refused(&server, format!("{}{HELLO}", "\r\n".repeat(20)), 400);
}

#[test]
fn a_line_end_after_a_body_is_forgiven() {
    let server = TestServer::start(LONG);
    let reply = accepted(&server, format!("{}\r\n", echo("one")));
    assert_eq!(reply.text(), "one");
}

#[test]
fn versions() {
    let server = TestServer::start(LONG);
    let mut client = server.client();
    client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (200, "hello\n"));
    assert_eq!(reply.header("Connection"), Some("close"));
    client.is_closed();
    refused(&server, "GET /hello HTTP/2.0\r\nHost: n1\r\n\r\n", 505);
    refused(&server, "GET /hello HTTP/1.2\r\nHost: n1\r\n\r\n", 505);
    refused(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    refused(&server, "GET /hello HTTP/one\r\nHost: n1\r\n\r\n", 400);
    refused(&server, "GET /hello\r\nHost: n1\r\n\r\n", 400);
    refused(&server, "GET /hello  HTTP/1.1\r\nHost: n1\r\n\r\n", 400);
}

#[test]
fn exactly_one_valid_host() {
    let server = TestServer::start(LONG);
    refused(&server, "GET /hello HTTP/1.1\r\n\r\n", 400);
    refused(&server, "GET /hello HTTP/1.1\r\nHost: n1\r\nHost: n1\r\n\r\n", 400);
    for host in
        ["", "x/admin?", "x?", "x#", "u:p@h", "@", "n1:port", "n1:99999", "a b", "a,b", "[::1", "caf\u{e9}"]
    {
        refused(&server, format!("GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400);
    }
    for host in ["n1", "n1.example.org:8080", "127.0.0.1:1", "[::1]:8080", "n1:", "[::1]:"] {
        let reply = accepted(&server, format!("GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(reply.status, 200, "{host}");
    }
}

#[test]
fn header_fields_are_strict_in_form_and_free_in_content() {
    let server = TestServer::start(LONG);
    let with = |field: &[u8]| [b"GET /hello HTTP/1.1\r\nHost: n1\r\n", field, b"\r\n\r\n"].concat();
    refused(&server, with(b"A: b\0c"), 400);
    refused(&server, with(b"A: b\x01c"), 400);
    refused(&server, with(b"A : b"), 400);
    refused(&server, with(b": b"), 400);
    refused(&server, with(b"no colon"), 400);
    refused(&server, with(b"A: b\r\n folded"), 400);
    refused(&server, "GET /hello HTTP/1.1\r\n folded: a\r\nHost: n1\r\n\r\n", 400);
    assert_eq!(accepted(&server, with("A: caf\u{e9}".as_bytes())).status, 200);
    assert_eq!(accepted(&server, with(b"A: caf\xe9\xff")).status, 200);
    assert_eq!(accepted(&server, with(b"A:\t b \t")).status, 200);
    assert_eq!(accepted(&server, with(b"A:")).status, 200);
}

#[test]
fn sizes_are_counted_as_bytes_arrive() {
    let server = TestServer::start(LONG);
    let head =
        |field_bytes| format!("GET /hello HTTP/1.1\r\nHost: n1\r\nA: {}\r\n\r\n", "a".repeat(field_bytes));
    assert_eq!(accepted(&server, head(HEAD_BYTES_MAX - head(0).len())).status, 200);
    refused(&server, head(HEAD_BYTES_MAX - head(0).len() + 1), 431);
    refused(&server, head(9000), 431);
    refused(&server, format!("GET /hello HTTP/1.1\r\nHost: n1\r\n{}\r\n", "A: b\r\n".repeat(200)), 431);
    let fields = "A: b\r\n".repeat(HEADERS_MAX - 1);
    assert_eq!(accepted(&server, format!("GET /hello HTTP/1.1\r\nHost: n1\r\n{fields}\r\n")).status, 200);
    refused(&server, format!("GET /{} HTTP/1.1\r\nHost: n1\r\n\r\n", "a".repeat(TARGET_BYTES_MAX)), 414);
    let target = "a".repeat(TARGET_BYTES_MAX - 1);
    assert_eq!(accepted(&server, format!("GET /{target} HTTP/1.1\r\nHost: n1\r\n\r\n")).status, 200);
    refused(&server, format!("GET /{}", "a".repeat(100_000)), 414);
}

#[test]
fn an_endless_header_is_answered_and_not_held() {
    let server = TestServer::start(LONG);
    let mut client = server.client();
    client.send("GET /hello HTTP/1.1\r\nHost: n1\r\nA: ");
    // Far more than is ever discarded: the writes fail at some point, the answer comes all the same.
    client.send_some(&vec![b'a'; 200 * 1024]);
    assert_eq!(client.reply().status, 431);
    client.send_some(&vec![b'a'; 32 * 1024 * 1024]);
    assert_eq!(server.ended(1), Some(Disconnected::Refused(Status(431))));
    server.still_serves();
}

#[test]
fn methods_are_tokens_with_case() {
    let server = TestServer::start(LONG);
    for method in ["get", "PATCH", "TRACE", "M-SEARCH", "PROPFIND"] {
        let reply = accepted(&server, format!("{method} /hello HTTP/1.1\r\nHost: n1\r\n\r\n"));
        assert_eq!((reply.status, reply.header("Allow")), (405, Some("GET, POST")), "{method}");
    }
    assert_eq!(accepted(&server, "OPTIONS * HTTP/1.1\r\nHost: n1\r\n\r\n").status, 204);
    refused(&server, "G\u{e9}T /hello HTTP/1.1\r\nHost: n1\r\n\r\n", 400);
    refused(&server, "GET( /hello HTTP/1.1\r\nHost: n1\r\n\r\n", 400);
    refused(&server, " GET /hello HTTP/1.1\r\nHost: n1\r\n\r\n", 400);
    refused(&server, "CONNECT n1:80 HTTP/1.1\r\nHost: n1:80\r\n\r\n", 501);
}

#[test]
fn bytes_that_are_not_http_are_refused_at_once() {
    let server = TestServer::start(LONG);
    refused(&server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400);
    refused(&server, b"\x00\x00\x00", 400);
    refused(&server, b"{\"jsonrpc\":\"2.0\"}", 400);
}

#[test]
fn the_path_is_that_of_the_request_line() {
    let server = TestServer::start(LONG);
    accepted(&server, "GET http://other:80/abs/../x%2F HTTP/1.1\r\nHost: n1\r\n\r\n");
    accepted(&server, "GET HTTPS://other HTTP/1.1\r\nHost: n1\r\n\r\n");
    accepted(&server, "GET //twice/./x?/admin HTTP/1.1\r\nHost: n1\r\n\r\n");
    let served: Vec<String> = server.served().into_iter().filter(|path| path != "/hello").collect();
    assert_eq!(served, ["/abs/../x%2F", "/", "//twice/./x"]);
    for target in [
        "hello",
        "*",
        "n1:80",
        "ftp://n1/",
        "http://",
        "http:///x",
        "http://u@n1/",
        "/a#b",
        "/caf\u{e9}",
        "/\x7f",
    ] {
        refused(&server, format!("GET {target} HTTP/1.1\r\nHost: n1\r\n\r\n"), 400);
    }
    refused(&server, "GET http://other/ HTTP/1.1\r\n\r\n", 400);
}

#[test]
fn connection_is_a_list_of_tokens() {
    let server = TestServer::start(LONG);
    for value in ["close", "foo, close", "Close,foo", "keep-alive , CLOSE"] {
        let mut client = server.client();
        client.send(format!("GET /hello HTTP/1.1\r\nHost: n1\r\nConnection: {value}\r\n\r\n"));
        assert_eq!(client.reply().header("Connection"), Some("close"), "{value}");
        client.is_closed();
    }
    for value in ["keep-alive", "upgrade", "closed", "not-close"] {
        let reply =
            accepted(&server, format!("GET /hello HTTP/1.1\r\nHost: n1\r\nConnection: {value}\r\n\r\n"));
        assert_eq!(reply.header("Connection"), None, "{value}");
    }
}

// --- Bodies ---------------------------------------------------------------------------------------------------

#[test]
fn content_length_is_one_number() {
    let server = TestServer::start(LONG);
    assert_eq!(accepted(&server, echo("{}")).text(), "{}");
    assert_eq!(accepted(&server, post("", "")).text(), "");
    for fields in [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2 2\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
    ] {
        refused(&server, post(fields, "{}"), 400);
    }
}

#[test]
fn transfer_encoding_is_a_single_chunked() {
    let server = TestServer::start(LONG);
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: n1\r\n\r\n";
    refused(&server, post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", smuggled), 400);
    refused(&server, post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", smuggled), 400);
    for value in [
        "gzip, chunked",
        "xchunked",
        "chunked, chunked",
        "identity",
        "gzip",
        "",
        "chunked;q=1",
        "\"chunked\"",
    ] {
        refused(&server, post(&format!("Transfer-Encoding: {value}\r\n"), smuggled), 501);
    }
    refused(&server, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", smuggled), 501);
    refused(&server, "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    assert_eq!(
        accepted(&server, post("Transfer-Encoding: Chunked\r\n", "2\r\nhi\r\n0\r\n\r\n")).text(),
        "hi"
    );
}

#[test]
fn chunks() {
    let server = TestServer::start(LONG);
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "2;ext=\"a;b\"\r\nhe\r\n3\r\nllo\r\n0;last\r\n\r\n",
        "005\r\nhello\r\n000\r\nTrailer: one\r\nOther: caf\u{e9}\r\n\r\n",
    ] {
        assert_eq!(accepted(&server, chunked(body)).text(), "hello", "{body:?}");
    }
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "\r\nhello",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "0\r\nA: b\nC: d\r\n\r\n",
        "0\r\n folded\r\n\r\n",
    ] {
        refused(&server, chunked(body), 400);
    }
    refused(&server, chunked(&format!("5;{}", "e".repeat(2000))), 400);
    refused(&server, chunked(&format!("0\r\n{}", "A: b\r\n".repeat(1000))), 400);
}

#[test]
fn trailers_may_come_in_any_pieces() {
    let server = TestServer::start(LONG);
    let request = post("Transfer-Encoding: chunked\r\n", "5;x\r\nhello\r\n0\r\nA: b\r\nC: caf\u{e9}\r\n\r\n");
    let mut client = server.client();
    for byte in request.bytes() {
        client.send([byte]);
        pause(Duration::from_millis(1));
    }
    assert_eq!(client.reply().text(), "hello");
    client.send(HELLO);
    assert_eq!(client.reply().text(), "hello\n");
}

#[test]
fn a_body_too_large_is_answered_before_it_is_read() {
    let server = TestServer::start(LONG);
    let reply = refused(&server, post(&format!("Content-Length: {}\r\n", BODY_MAX + 1), ""), 413);
    assert_eq!(reply.text(), "the request body is too large\n");
    // The client is still sending when the answer comes.
    refused(&server, echo(&"a".repeat(BODY_MAX + 1)), 413);
    refused(&server, post("Content-Length: 99000000000\r\n", &"a".repeat(100_000)), 413);
    let chunk = format!("1000\r\n{}\r\n", "a".repeat(0x1000));
    refused(&server, post("Transfer-Encoding: chunked\r\n", &chunk.repeat(BODY_MAX / 0x1000 + 1)), 413);
    refused(&server, post("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n"), 413);
    refused(&server, post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n"), 413);
    let largest = "a".repeat(BODY_MAX);
    assert_eq!(accepted(&server, echo(&largest)).text(), largest);
}

#[test]
fn continue_is_said_before_the_first_read() {
    let server = TestServer::start(LONG);
    let mut client = server.client();
    client.send(post("Expect: 100-Continue\r\nContent-Length: 2\r\n", ""));
    assert_eq!(client.reply_head().head, "HTTP/1.1 100 Continue");
    client.send("hi");
    assert_eq!(client.reply().text(), "hi");
    // Who does not wait is not told.
    client.send(post("Expect: 100-continue\r\nContent-Length: 2\r\n", "ho"));
    assert_eq!(client.reply().text(), "ho");
    // Nor who has no body.
    client.send(post("Expect: 100-continue\r\n", ""));
    assert_eq!(client.reply().text(), "");
    refused(&server, post("Expect: 100-continue\r\nContent-Length: 99000000\r\n", ""), 413);
    refused(&server, post("Expect: 200-ok\r\nContent-Length: 2\r\n", "hi"), 417);
}

#[test]
fn a_body_that_was_not_asked_for_ends_the_connection() {
    let server = TestServer::start(LONG);
    let mut client = server.client();
    client.send("POST /lazy HTTP/1.1\r\nHost: n1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("Connection")), (404, Some("close")));
    client.is_closed();
    server.still_serves();
}

#[test]
fn a_small_body_that_nobody_read_is_skipped() {
    let server = TestServer::start(LONG);
    let mut client = server.client();
    client.send("POST /lazy HTTP/1.1\r\nHost: n1\r\nContent-Length: 5\r\n\r\nhe");
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("Connection")), (404, None));
    client.send(format!("llo{HELLO}"));
    assert_eq!(client.reply().text(), "hello\n");
    client.send("POST /lazy HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    assert_eq!(client.reply().header("Connection"), None);
    client.send(HELLO);
    assert_eq!(client.reply().text(), "hello\n");
}

#[test]
fn a_large_body_that_nobody_read_ends_the_connection() {
    let server = TestServer::start(LONG);
    for fields in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let mut client = server.client();
        client.send(format!("POST /lazy HTTP/1.1\r\nHost: n1\r\n{fields}\r\n\r\n10"));
        let reply = client.reply();
        assert_eq!((reply.status, reply.header("Connection")), (404, Some("close")), "{fields}");
        client.is_closed();
        server.still_serves();
    }
}

#[test]
fn what_is_cut_short_reaches_no_handler() {
    let server = TestServer::start(LONG);
    let cut = [
        post("Content-Length: 10\r\n", "hello"),
        post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        "POST /echo HTTP/1.1\r\nHost: n".to_owned(),
    ];
    for (at, bytes) in cut.iter().enumerate() {
        let mut client = server.client();
        client.send(bytes);
        client.socket.shutdown(Shutdown::Write).unwrap();
        client.is_closed();
        assert_eq!(server.ended(at + 1), Some(Disconnected::Closed), "{bytes:?}");
    }
    assert!(server.served().is_empty());
    server.still_serves();
}

#[test]
fn a_client_that_shuts_its_half_after_the_request_is_answered() {
    let server = TestServer::start(LONG);
    let mut client = server.client();
    client.send(echo("hi"));
    client.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.reply().text(), "hi");
    client.is_closed();
    assert_eq!(server.ended(1), None);
}

// --- Pipelining -----------------------------------------------------------------------------------------------

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start(LONG);
    let mut client = server.client();
    client.send(format!(
        "{}{HELLO}{}{}",
        echo("one"),
        post("Transfer-Encoding: chunked\r\n", "3\r\ntwo\r\n0\r\n\r\n"),
        echo("three")
    ));
    let replies: Vec<String> = (0..4).map(|_| client.reply().text().to_owned()).collect();
    assert_eq!(replies, ["one", "hello\n", "two", "three"]);
    // More than the server reads ahead.
    let bodies: Vec<String> = (0..200).map(|n| format!("{n}{}", "x".repeat(300))).collect();
    client.send(bodies.iter().map(|body| echo(body)).collect::<String>());
    for body in &bodies {
        assert_eq!(client.reply().text(), body);
    }
}

#[test]
fn any_split_of_the_input_gives_the_same_replies() {
    let server = TestServer::start(LONG);
    let input = format!(
        "\r\n{}{}{HELLO}",
        echo("one"),
        post("Transfer-Encoding: chunked\r\n", "3\r\ntwo\r\n0\r\n\r\n")
    );
    for cut in 0..input.len() {
        let mut client = server.client();
        client.send(&input[..cut]);
        // Mostly this makes two reads of it; which, matters to none of them.
        pause(Duration::from_micros(200));
        client.send(&input[cut..]);
        let replies: Vec<String> = (0..3).map(|_| client.reply().text().to_owned()).collect();
        assert_eq!(replies, ["one", "two", "hello\n"], "cut at {cut}");
    }
}

#[test]
fn garbage_behind_a_request_is_refused_after_its_reply() {
    let server = TestServer::start(LONG);
    for garbage in ["GET /desy\0nc HTTP/1.1\r\n\r\n", "nc HTTP/1.1\r\nHost: n1\r\n\r\n", "\x01"] {
        let mut client = server.client();
        client.send(format!("{HELLO}{garbage}"));
        assert_eq!(client.reply().status, 200);
        assert_eq!(client.reply().status, 400, "{garbage:?}");
        client.is_closed();
        server.still_serves();
    }
}

// --- Replies --------------------------------------------------------------------------------------------------

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let server = TestServer::start(LONG);
    let mut client = server.client();
    client.send(HELLO.replace("GET", "HEAD"));
    let head = client.reply_head();
    client.send(HELLO);
    let get = client.reply();
    let without_date =
        |head: &str| head.lines().filter(|line| !line.starts_with("Date: ")).collect::<Vec<_>>().join("\n");
    assert_eq!(without_date(&head.head), without_date(&get.head));
    assert_eq!(get.header("Content-Length"), Some("6"));
    assert!(get.header("Date").is_some_and(|date| date.ends_with(" GMT")));
}

#[test]
fn empty_replies_say_so() {
    let server = TestServer::start(LONG);
    let accepted_reply = accepted(&server, "POST /accepted HTTP/1.1\r\nHost: n1\r\n\r\n");
    assert_eq!((accepted_reply.status, accepted_reply.header("Content-Length")), (202, Some("0")));
    let no_content = accepted(&server, "OPTIONS * HTTP/1.1\r\nHost: n1\r\n\r\n");
    assert_eq!((no_content.status, no_content.header("Content-Length")), (204, None));
}

#[test]
fn no_header_value_ends_the_head() {
    let server = TestServer::start(LONG);
    let reply = accepted(&server, "GET /split HTTP/1.1\r\nHost: n1\r\n\r\n");
    assert_eq!((reply.header("X-Bad"), reply.header("X-Worse")), (None, None));
    assert_eq!(reply.header("X-Good"), Some("c"));
}

#[test]
fn a_draining_node_says_close() {
    let server = TestServer::start(LONG);
    let mut client = server.client();
    client.send("GET /drain HTTP/1.1\r\nHost: n1\r\n\r\n");
    assert_eq!(client.reply().header("Connection"), Some("close"));
    client.is_closed();
}

#[test]
fn a_huge_reply_arrives_whole() {
    let server = TestServer::start(LONG);
    assert_eq!(accepted(&server, "GET /huge HTTP/1.1\r\nHost: n1\r\n\r\n").body.len(), HUGE_BYTES);
}

// --- Deadlines ------------------------------------------------------------------------------------------------

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_slow_head_is_ended_with_408() {
    let server = TestServer::start(Deadlines { head: SHORT, ..LONG });
    refused(&server, "GET /hello HTTP/1.1\r\nHost:", 408);
    // Every byte comes in time, the head does not.
    let mut client = server.client();
    let begun = Instant::now();
    for byte in HELLO.bytes().cycle().filter(|byte| *byte != b'\n').take(20) {
        client.send_some(&[byte]);
        pause(Duration::from_millis(60));
    }
    assert_eq!(client.reply().status, 408);
    assert!(begun.elapsed() >= SHORT);
}

#[test]
fn a_slow_body_is_ended_with_408() {
    let server = TestServer::start(Deadlines { body: SHORT, ..LONG });
    refused(&server, post("Content-Length: 10\r\n", "hello"), 408);
    refused(&server, post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"), 408);
    let mut client = server.client();
    client.send(post("Content-Length: 100\r\n", ""));
    for _ in 0..20 {
        client.send_some(b"a");
        pause(Duration::from_millis(60));
    }
    assert_eq!(client.reply().status, 408);
}

#[test]
fn a_body_that_keeps_the_rate_may_take_longer() {
    let server = TestServer::start(Deadlines { body: SHORT, body_bytes_per_sec_min: 1000, ..LONG });
    let mut client = server.client();
    client.send(post("Content-Length: 5000\r\n", ""));
    let begun = Instant::now();
    for _ in 0..10 {
        client.send([b'a'; 500]);
        pause(Duration::from_millis(150));
    }
    assert!(begun.elapsed() > SHORT * 4);
    assert_eq!(client.reply().body.len(), 5000);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = TestServer::start(Deadlines { idle: SHORT, ..LONG });
    let mut client = server.client();
    let begun = Instant::now();
    client.is_closed();
    assert!(begun.elapsed() >= SHORT);
    drop(client);
    assert_eq!(server.ended(1), None);
    let mut client = server.client();
    client.send(format!("{HELLO}\r\n"));
    assert_eq!(client.reply().status, 200);
    client.is_closed();
    drop(client);
    assert_eq!(server.ended(2), None);
    server.still_serves();
}

#[test]
fn a_reader_that_takes_nothing_loses_its_connection() {
    let server = TestServer::start(Deadlines { write: SHORT, ..LONG });
    let before = METRICS.slow_readers_total.get();
    let mut client = server.client();
    client.send("GET /huge HTTP/1.1\r\nHost: n1\r\n\r\n");
    assert_eq!(server.ended(1), Some(Disconnected::SlowReader));
    assert!(METRICS.slow_readers_total.get() > before);
    server.still_serves();
}

#[test]
fn refusals_and_replies_are_counted() {
    let server = TestServer::start(LONG);
    let refusals = METRICS.wire_refusals_total.get();
    let (ok, errors) = (METRICS.requests_ok_total.get(), METRICS.requests_client_error_total.get());
    let (received, sent) = (METRICS.received_bytes_total.get(), METRICS.sent_bytes_total.get());
    refused(&server, "GET /hello HTTP/1.1\r\n\r\n", 400);
    assert!(METRICS.wire_refusals_total.get() > refusals);
    assert!(METRICS.requests_ok_total.get() > ok && METRICS.requests_client_error_total.get() > errors);
    assert!(METRICS.received_bytes_total.get() > received && METRICS.sent_bytes_total.get() > sent);
}

// --- Events ---------------------------------------------------------------------------------------------------

fn event(place: u64, data: &str, last: bool) -> Event {
    let data = Some(Payload::made_here(data.as_bytes().to_vec()));
    Event { id: Some(EventId { stream: 1, place }), retry_ms: None, data, last }
}

fn priming() -> Option<Event> {
    Some(Event { id: Some(EventId { stream: 1, place: 0 }), retry_ms: Some(1000), data: None, last: false })
}

fn get_events(name: &str) -> String {
    format!("GET /events/{name} HTTP/1.1\r\nHost: n1\r\nAccept: text/event-stream\r\n\r\n")
}

fn either(patience: Duration) -> Opening {
    Opening::Either { patience, first: priming() }
}

#[test]
fn a_stream_brings_each_event_at_once() {
    let server = TestServer::start(LONG);
    let feed =
        server.offer("a", Opening::Stream { first: priming() }, vec![event(1, "logged", false)], PATIENCE);
    let mut client = server.client();
    client.send(get_events("a"));
    let head = client.reply_head();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(head.header("Cache-Control"), Some("no-cache, no-transform"));
    assert_eq!(head.header("X-Accel-Buffering"), Some("no"));
    assert_eq!(head.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(head.header("Mcp-Session-Id"), Some("n1-x"));
    assert_eq!(head.header("Connection"), None);
    assert_eq!(client.chunk(), "id: 1-0\nretry: 1000\ndata:\n\n");
    assert_eq!(client.chunk(), "id: 1-1\nevent: message\ndata: logged\n\n");
    for place in 2..5 {
        smol::block_on(feed.send(event(place, "{\n\"a\":1}", false))).unwrap();
        assert_eq!(client.chunk(), format!("id: 1-{place}\nevent: message\ndata: {{\ndata: \"a\":1}}\n\n"));
    }
    smol::block_on(feed.send(event(5, "{}", true))).unwrap();
    assert_eq!(client.chunk(), "id: 1-5\nevent: message\ndata: {}\n\n");
    assert_eq!(client.chunk(), "");
    client.send(HELLO);
    assert_eq!(client.reply().text(), "hello\n");
}

#[test]
fn a_stream_whose_feed_is_dropped_ends_gracefully() {
    let server = TestServer::start(LONG);
    drop(server.offer("a", Opening::Stream { first: None }, vec![event(1, "x", false)], PATIENCE));
    let mut client = server.client();
    client.send(get_events("a"));
    client.reply_head();
    assert_eq!(
        (client.chunk(), client.chunk()),
        ("id: 1-1\nevent: message\ndata: x\n\n".to_owned(), String::new())
    );
    drop(server.offer("b", either(PATIENCE), vec![], PATIENCE));
    client.send(get_events("b"));
    assert_eq!(client.reply_head().header("Content-Type"), Some("text/event-stream"));
    assert_eq!(client.chunk(), "id: 1-0\nretry: 1000\ndata:\n\n");
    assert_eq!(client.chunk(), "");
    client.send(HELLO);
    assert_eq!(client.reply().text(), "hello\n");
}

#[test]
fn a_reply_that_comes_first_and_soon_is_json() {
    let server = TestServer::start(LONG);
    let feed = server.offer("a", either(PATIENCE), vec![], PATIENCE);
    smol::block_on(feed.send(event(1, "{\"result\":1}", true))).unwrap();
    let reply = accepted(&server, get_events("a"));
    assert_eq!((reply.status, reply.text()), (200, "{\"result\":1}"));
    assert_eq!(reply.header("Content-Type"), Some("application/json"));
    assert_eq!(reply.header("Mcp-Session-Id"), Some("n1-x"));
    let _feed = server.offer("b", either(PATIENCE), vec![event(1, "{}", true)], PATIENCE);
    assert_eq!(accepted(&server, get_events("b")).text(), "{}");
}

#[test]
fn a_reply_that_something_precedes_is_a_stream() {
    let server = TestServer::start(LONG);
    let feed = server.offer("a", either(PATIENCE), vec![], PATIENCE);
    smol::block_on(feed.send(event(1, "progress", false))).unwrap();
    let mut client = server.client();
    client.send(get_events("a"));
    assert_eq!(client.reply_head().header("Content-Type"), Some("text/event-stream"));
    assert_eq!(client.chunk(), "id: 1-0\nretry: 1000\ndata:\n\n");
    assert_eq!(client.chunk(), "id: 1-1\nevent: message\ndata: progress\n\n");
    smol::block_on(feed.send(event(2, "done", true))).unwrap();
    assert_eq!(client.chunk(), "id: 1-2\nevent: message\ndata: done\n\n");
    assert_eq!(client.chunk(), "");
}

#[test]
fn a_reply_that_takes_long_is_a_stream() {
    let server = TestServer::start(LONG);
    let feed = server.offer("a", either(Duration::from_millis(100)), vec![], SHORT);
    let mut client = server.client();
    client.send(get_events("a"));
    assert_eq!(client.reply_head().header("Content-Type"), Some("text/event-stream"));
    assert_eq!(client.chunk(), "id: 1-0\nretry: 1000\ndata:\n\n");
    let begun = Instant::now();
    assert_eq!(client.chunk(), ": keep-alive\n\n");
    assert!(begun.elapsed() + Duration::from_millis(20) >= SHORT);
    assert_eq!(client.chunk(), ": keep-alive\n\n");
    smol::block_on(feed.send(event(1, "done", true))).unwrap();
    assert_eq!(client.chunk(), "id: 1-1\nevent: message\ndata: done\n\n");
}

#[test]
fn a_client_that_takes_only_json_gets_only_the_response() {
    let server = TestServer::start(LONG);
    let feed = server.offer("a", Opening::Json, vec![event(1, "log", false)], PATIENCE);
    smol::block_on(feed.send(event(2, "progress", false))).unwrap();
    smol::block_on(feed.send(event(3, "{}", true))).unwrap();
    let reply = accepted(&server, get_events("a"));
    assert_eq!((reply.text(), reply.header("Content-Type")), ("{}", Some("application/json")));
    drop(server.offer("b", Opening::Json, vec![event(1, "log", false)], PATIENCE));
    let reply = accepted(&server, get_events("b"));
    assert_eq!((reply.status, reply.header("Content-Length")), (202, Some("0")));
}

#[test]
fn a_client_that_closes_is_noticed_while_nothing_happens() {
    let server = TestServer::start(LONG);
    let feed = server.offer("a", Opening::Stream { first: priming() }, vec![], PATIENCE);
    let mut client = server.client();
    client.send(get_events("a"));
    client.reply_head();
    let begun = Instant::now();
    drop(client);
    wait_until(|| feed.is_closed());
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(server.ended(1), Some(Disconnected::Closed));
    // Also when it waits for JSON that does not come.
    let feed = server.offer("b", Opening::Json, vec![], PATIENCE);
    let mut client = server.client();
    client.send(get_events("b"));
    drop(client);
    wait_until(|| feed.is_closed());
    server.still_serves();
}

#[test]
fn what_is_sent_during_a_stream_is_served_after_it() {
    let server = TestServer::start(LONG);
    let feed = server.offer("a", Opening::Stream { first: priming() }, vec![], PATIENCE);
    let mut client = server.client();
    client.send(get_events("a"));
    client.reply_head();
    client.chunk();
    // More than is read ahead: the rest waits in the socket.
    let bodies: Vec<String> = (0..50).map(|n| format!("{n}{}", "x".repeat(300))).collect();
    client.send(bodies.iter().map(|body| echo(body)).collect::<String>());
    smol::block_on(feed.send(event(1, "a", false))).unwrap();
    assert_eq!(client.chunk(), "id: 1-1\nevent: message\ndata: a\n\n");
    assert_eq!(server.served(), ["/events/a"]);
    smol::block_on(feed.send(event(2, "b", true))).unwrap();
    assert_eq!(
        (client.chunk(), client.chunk()),
        ("id: 1-2\nevent: message\ndata: b\n\n".to_owned(), String::new())
    );
    for body in &bodies {
        assert_eq!(client.reply().text(), body);
    }
}

#[test]
fn a_stream_for_http_1_0_has_no_chunks() {
    let server = TestServer::start(LONG);
    let feed = server.offer("a", Opening::Stream { first: None }, vec![], PATIENCE);
    smol::block_on(feed.send(event(1, "a", true))).unwrap();
    let mut client = server.client();
    client.send("GET /events/a HTTP/1.0\r\n\r\n");
    let head = client.reply_head();
    assert_eq!((head.header("Transfer-Encoding"), head.header("Connection")), (None, Some("close")));
    assert_eq!(client.take_until(b"\n\n"), b"id: 1-1\nevent: message\ndata: a");
    client.is_closed();
}

#[test]
fn head_of_a_stream_is_its_head() {
    let server = TestServer::start(LONG);
    let _feed = server.offer("a", Opening::Stream { first: priming() }, vec![], PATIENCE);
    let mut client = server.client();
    client.send(get_events("a").replace("GET", "HEAD"));
    assert_eq!(client.reply_head().header("Content-Type"), Some("text/event-stream"));
    client.send(HELLO);
    assert_eq!(client.reply().text(), "hello\n");
}

#[test]
fn a_stream_whose_reader_takes_nothing_is_dropped() {
    let server = TestServer::start(Deadlines { write: SHORT, ..LONG });
    let huge = "a".repeat(HUGE_BYTES);
    let feed = server.offer("a", Opening::Stream { first: None }, vec![event(1, &huge, false)], PATIENCE);
    let mut client = server.client();
    client.send(get_events("a"));
    assert_eq!(server.ended(1), Some(Disconnected::SlowReader));
    assert!(feed.is_closed());
    server.still_serves();
}

// --- In memory: what one write is -----------------------------------------------------------------------------

/// A socket that brings `input`, then waits for ever, and remembers each write.
struct Recording {
    input: VecDeque<Vec<u8>>,
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
    reads: Arc<Mutex<usize>>,
}

impl AsyncRead for Recording {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        *self.reads.lock().unwrap() += 1;
        let Some(piece) = self.input.pop_front() else { return Poll::Pending };
        into[..piece.len()].copy_from_slice(&piece);
        Poll::Ready(Ok(piece.len()))
    }
}

impl AsyncWrite for Recording {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.writes.lock().unwrap().push(bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let bytes = parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>();
        let count = bytes.len();
        self.writes.lock().unwrap().push(bytes);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Serves one request and returns the writes it took, and the reads.
fn writes_of(request: &str, reply: Reply) -> (Vec<String>, usize) {
    start_runtime();
    let (writes, reads) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let input = VecDeque::from([request.as_bytes().to_vec()]);
    let socket = Recording { input, writes: Arc::clone(&writes), reads: Arc::clone(&reads) };
    block_on(async {
        let mut connection = Connection::with_deadlines(socket, LONG);
        let head = connection.read_head().await.unwrap().unwrap();
        connection.read_body(&head, BODY_MAX).await.unwrap();
        connection.write_reply(head.asked(), reply).await.unwrap();
    });
    let writes =
        writes.lock().unwrap().iter().map(|write| String::from_utf8(write.clone()).unwrap()).collect();
    (writes, *reads.lock().unwrap())
}

#[test]
fn a_reply_is_one_read_and_one_write() {
    for size in [0, 100, 16 * 1024, 16 * 1024 + 1, 1024 * 1024] {
        let (writes, reads) = writes_of(&echo("{}"), Reply::json(200, Payload::made_here(vec![b'a'; size])));
        assert_eq!((writes.len(), reads), (1, 1), "{size}");
        assert_eq!(writes[0].split_once("\r\n\r\n").unwrap().1.len(), size);
    }
}

#[test]
fn an_event_is_one_write() {
    let (feed, live): (Sender<Event>, Receiver<Event>) = queue::bounded(16);
    feed.try_send(event(2, "two", false)).unwrap();
    feed.try_send(event(3, "three", true)).unwrap();
    let backlog = VecDeque::from([event(1, "one", false)]);
    let opening = Opening::Either { patience: PATIENCE, first: priming() };
    let reader = EventReader { opening, backlog, live, keep_alive_comment: PATIENCE, room: None };
    let (writes, _) = writes_of(&echo("{}"), Reply::events(reader));
    assert_eq!(writes.len(), 4, "{writes:?}");
    assert!(writes[0].ends_with("\r\n\r\n1b\r\nid: 1-0\nretry: 1000\ndata:\n\n\r\n"), "{writes:?}");
    assert_eq!(writes[1], "22\r\nid: 1-1\nevent: message\ndata: one\n\n\r\n");
    assert_eq!(writes[2], "22\r\nid: 1-2\nevent: message\ndata: two\n\n\r\n");
    assert_eq!(writes[3], "24\r\nid: 1-3\nevent: message\ndata: three\n\n\r\n0\r\n\r\n");
}

// --- An independent client ------------------------------------------------------------------------------------

/// async-h1 wants a socket that can be cloned.
#[derive(Clone)]
struct Shared(Arc<Async<TcpStream>>);

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut &*self.0).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut &*self.0).poll_close(cx)
    }
}

fn h1_request(
    server: &TestServer,
    method: http_types::Method,
    path: &str,
    body: &str,
) -> http_types::Request {
    let url = http_types::Url::parse(&format!("http://{}{path}", server.address)).unwrap();
    let mut request = http_types::Request::new(method, url);
    if !body.is_empty() {
        request.set_body(body);
    }
    request
}

#[test]
fn an_independent_client_is_served_again_and_again() {
    let server = TestServer::start(LONG);
    block_on(async {
        let socket = Shared(Arc::new(Async::<TcpStream>::connect(server.address).await.unwrap()));
        for body in ["one", "two", "three"] {
            let request = h1_request(&server, http_types::Method::Post, "/echo", body);
            let mut response = async_h1::connect(socket.clone(), request).await.unwrap();
            assert_eq!(response.status(), http_types::StatusCode::Ok);
            assert_eq!(response.body_string().await.unwrap(), body);
        }
    });
    assert_eq!(server.served(), ["/echo", "/echo", "/echo"]);
}

#[test]
fn an_independent_client_reads_a_stream() {
    let server = TestServer::start(LONG);
    let feed = server.offer("a", Opening::Stream { first: priming() }, vec![], PATIENCE);
    block_on(async {
        let socket = Shared(Arc::new(Async::<TcpStream>::connect(server.address).await.unwrap()));
        let request = h1_request(&server, http_types::Method::Get, "/events/a", "");
        let mut response = async_h1::connect(socket, request).await.unwrap();
        assert_eq!(response.header("content-type").unwrap().as_str(), "text/event-stream");
        feed.send(event(1, "{}", true)).await.unwrap();
        let mut body = String::new();
        response.take_body().read_to_string(&mut body).await.unwrap();
        assert_eq!(body, "id: 1-0\nretry: 1000\ndata:\n\nid: 1-1\nevent: message\ndata: {}\n\n");
    });
}

// --- Many ------------------------------------------------------------------------------------------------------

#[test]
fn many_connections_at_once() {
    let server = TestServer::start(LONG);
    let mut clients: Vec<RawClient> = (0..200).map(|_| server.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(echo(&n.to_string()));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.reply().text(), n.to_string());
    }
    drop(clients);
    wait_until(|| server.seen.ended.lock().unwrap().len() == 200);
    assert!(server.seen.ended.lock().unwrap().iter().all(Option::is_none));
}
