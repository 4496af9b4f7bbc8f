//! Why async-h1 is no more than a baseline: what it does with two kinds of requests, and what burdock does.
//!
//! Both serve the same bytes from memory. README refers to these tests; `benches/http.rs` has the cost.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_io::block_on;
use burdock::http::Disconnected;
use burdock::http::{Connection, Reply};
use smol::io::{AsyncRead, AsyncWrite};

/// A socket whose input is all there; what is written is kept.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<(Vec<u8>, Vec<u8>)>>);

impl Socket {
    fn with(input: &[u8]) -> Socket {
        Socket(Arc::new(Mutex::new((input.to_vec(), Vec::new()))))
    }

    fn written(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner).1).into_owned()
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let input = &mut self.0.lock().unwrap().0;
        let count = buffer.len().min(input.len());
        buffer[..count].copy_from_slice(&input[..count]);
        input.drain(..count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().1.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Answers each request with its path.
async fn ours(socket: Socket) -> Result<(), Disconnected> {
    let mut connection = Connection::new(socket);
    while let Some(head) = connection.read_head().await? {
        connection.write_reply(head.asked(), Reply::text(200, format!("path {}", head.path()))).await?;
    }
    Ok(())
}

async fn theirs(socket: Socket) -> http_types::Result<()> {
    let answer = |request: http_types::Request| async move {
        Ok(http_types::Response::from(format!("path {}", request.url().path())))
    };
    async_h1::accept(socket, answer).await
}

const PIPELINED: &[u8] = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn async_h1_loses_a_pipelined_request_and_burdock_answers_it() {
    let socket = Socket::with(PIPELINED);
    block_on(theirs(socket.clone())).unwrap();
    assert!(socket.written().contains("path /first"), "{}", socket.written());
    assert!(!socket.written().contains("path /second"), "async-h1 learned it: {}", socket.written());
    let socket = Socket::with(PIPELINED);
    block_on(ours(socket.clone())).unwrap();
    assert!(socket.written().contains("path /first"), "{}", socket.written());
    assert!(socket.written().contains("path /second"), "{}", socket.written());
}

/// The value is UTF-8 beyond ASCII: legal for a recipient to take (RFC 9110, section 5.5, obs-text).
const NOT_ASCII: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX-Name: caf\xc3\xa9\r\n\r\n";

#[test]
fn one_header_makes_async_h1_panic_and_burdock_answers() {
    let socket = Socket::with(NOT_ASCII);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| block_on(theirs(socket.clone()))));
    assert!(outcome.is_err(), "async-h1 learned it: {}", socket.written());
    let socket = Socket::with(NOT_ASCII);
    block_on(ours(socket.clone())).unwrap();
    assert!(socket.written().starts_with("HTTP/1.1 200"), "{}", socket.written());
}
