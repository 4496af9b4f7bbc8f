//! What one request costs on the wire side: our `Connection` against `async_h1::accept`, the baseline.
//!
//! Both serve the same bytes from the same in-memory socket and give the same small JSON answer, so that only
//! parsing, framing and encoding differ: no network, no scheduler. The socket hands out one request per read,
//! because async-h1 loses what it has read ahead (`tests/it/baseline.rs`). Its header timer is never armed
//! either: a request is always there. Both choices are in its favour.
//!
//! `cargo bench --bench http`; README says what came out.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench may panic; macros of criterion"
)]

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_io::block_on;
use burdock::budget::Payload;
use burdock::http::{Connection, Reply, head};
use burdock::limits::BODY_BYTES_MAX;
use burdock::{runtime, sweep};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use smol::io::{AsyncRead, AsyncWrite};

/// Requests on one connection.
const REQUESTS: usize = 64;
const ANSWER: &[u8] = br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"hello"}]}}"#;

/// The least a client may send.
const SHORT: &str = "GET /health/live HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";
/// A call as an SDK sends it.
const CALL: &str = "POST /mcp HTTP/1.1\r\nHost: localhost:8080\r\nAccept: application/json, text/event-stream\r\n\
Content-Type: application/json\r\nMcp-Session-Id: local-0123456789abcdefghjkmnpqrs\r\n\
MCP-Protocol-Version: 2025-11-25\r\nContent-Length: 100\r\n\r\n\
{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"text\":\"hello\"}}}";

/// A head as it arrives behind a proxy: forwarded headers, tracing, cookies, a long token.
fn fat() -> String {
    let (head, body) = CALL.split_once("\r\n\r\n").unwrap();
    let mut fat = head.to_owned();
    for index in 0..24 {
        fat += &format!("\r\nX-Forwarded-Detail-{index}: {}", "203.0.113.7, 10.0.0.1; ".repeat(3));
    }
    fat += &format!("\r\nAuthorization: Bearer {}\r\nCookie: {}", "t".repeat(800), "name=value; ".repeat(20));
    format!("{fat}\r\n\r\n{body}")
}

/// A socket that brings the same request again and again, then the end, and takes whatever is written.
#[derive(Clone)]
struct Socket(Arc<Mutex<Tape>>);

struct Tape {
    request: Arc<[u8]>,
    /// Of the current request, what was read.
    at: usize,
    /// Requests still to come.
    left: usize,
    writes: usize,
}

impl Socket {
    fn new(request: &Arc<[u8]>) -> Socket {
        Socket(Arc::new(Mutex::new(Tape { request: Arc::clone(request), at: 0, left: REQUESTS, writes: 0 })))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut tape = self.0.lock().unwrap();
        if tape.left == 0 {
            return Poll::Ready(Ok(0));
        }
        let count = buffer.len().min(tape.request.len() - tape.at);
        buffer[..count].copy_from_slice(&tape.request[tape.at..tape.at + count]);
        tape.at += count;
        if tape.at == tape.request.len() {
            (tape.at, tape.left) = (0, tape.left - 1);
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().writes += 1;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Serves a connection as `server::serve_connection` does.
async fn ours(socket: Socket) -> usize {
    let mut served = 0;
    let mut connection = Connection::new(socket);
    while let Some(head) = connection.read_head().await.unwrap() {
        connection.read_body(&head, BODY_BYTES_MAX).await.unwrap();
        let reply = Reply::json(200, Payload::made_here(ANSWER.to_vec()));
        connection.write_reply(head.asked(), reply).await.unwrap();
        served += 1;
    }
    served
}

async fn async_h1(socket: Socket) -> usize {
    let served = Arc::new(Mutex::new(0));
    let count = Arc::clone(&served);
    async_h1::accept(socket, move |mut request| {
        let count = Arc::clone(&count);
        async move {
            request.body_bytes().await?;
            *count.lock().unwrap() += 1;
            let mut response = http_types::Response::new(200);
            response.set_body(http_types::Body::from_bytes(ANSWER.to_vec()));
            response.set_content_type(http_types::mime::JSON);
            Ok(response)
        }
    })
    .await
    .unwrap();
    *served.lock().unwrap()
}

fn requests() -> [(&'static str, Arc<[u8]>); 3] {
    [("short", SHORT.to_owned()), ("call", CALL.to_owned()), ("fat", fat())]
        .map(|(name, request)| (name, request.into_bytes().into()))
}

fn connection(criterion: &mut Criterion) {
    runtime::start(1).unwrap();
    runtime::spawn(sweep::run()).detach();
    let mut group = criterion.benchmark_group("connection");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    for (name, request) in requests() {
        let (mine, theirs) = (Socket::new(&request), Socket::new(&request));
        assert_eq!(block_on(ours(mine.clone())), REQUESTS);
        assert_eq!(block_on(async_h1(theirs.clone())), REQUESTS);
        let writes = |socket: Socket| socket.0.lock().unwrap().writes / REQUESTS;
        println!(
            "{name}: {} bytes; writes per reply: burdock {}, async-h1 {}",
            request.len(),
            writes(mine),
            writes(theirs)
        );
        group.bench_function(BenchmarkId::new("burdock", name), |bencher| {
            bencher.iter(|| block_on(ours(Socket::new(&request))));
        });
        group.bench_function(BenchmarkId::new("async-h1", name), |bencher| {
            bencher.iter(|| block_on(async_h1(Socket::new(&request))));
        });
    }
    group.finish();
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head::parse");
    for (name, request) in requests() {
        group.throughput(Throughput::Bytes(request.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| head::parse(std::hint::black_box(&request), 0).unwrap())
        });
    }
    group.finish();
}

criterion_group!(http, parse, connection);
criterion_main!(http);
