//! The whole read loop over a socket in memory: the cut does not matter, neither that of the input nor that of the
//! connection, which is taken apart and goes on; and every reply is one a client can read.
#![no_main]

use std::io;
use std::pin::{Pin, pin};
use std::sync::Once;
use std::task::{Context, Poll, Waker};

use burdock::http::{Connection, Deadlines, Disconnected, Reply};
use burdock::{runtime, sweep};
use smol::io::{AsyncRead, AsyncWrite};

/// A client that sends `input` in pieces of `step`, then shuts its half, and takes whatever is written.
struct Client<'a> {
    input: &'a [u8],
    step: usize,
    output: &'a mut Vec<u8>,
    hesitates: bool,
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.hesitates = !self.hesitates;
        if self.hesitates && self.step != usize::MAX {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (piece, rest) = self.input.split_at(self.step.min(self.input.len()).min(buffer.len()));
        buffer[..piece.len()].copy_from_slice(piece);
        self.input = rest;
        Poll::Ready(Ok(piece.len()))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.step);
        self.output.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What was served (path and body), how it ended, and the statuses that were written.
type Served = (Vec<(String, Vec<u8>)>, String, Vec<u16>);

/// Serves one request after the other, also from the middle of one.
async fn serve_all(
    connection: &mut Connection<Client<'_>>,
    read_bodies: bool,
    served: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), Disconnected> {
    connection.write_on().await?;
    while let Some(head) = connection.read_head().await? {
        let body = if read_bodies { connection.read_body(&head, 4096).await?.bytes } else { Vec::new() };
        served.push((head.path().to_owned(), body.clone()));
        let reply = Reply::text(200, format!("body: {}", String::from_utf8_lossy(&body)));
        connection.write_reply(head.asked(), reply.header("X", head.path().to_owned())).await?;
    }
    Ok(())
}

fn serve(input: &[u8], step: usize, read_bodies: bool) -> Served {
    let (mut served, mut output) = (Vec::new(), Vec::new());
    let mut connection = Connection::new(Client { input, step, output: &mut output, hesitates: false });
    let ended = smol::block_on(serve_all(&mut connection, read_bodies, &mut served));
    drop(connection);
    (served, format!("{ended:?}"), statuses(&output))
}

/// The same, but whenever the connection waits, it is taken apart and another one goes on.
fn serve_in_parts(input: &[u8], step: usize) -> Served {
    let (mut served, mut output) = (Vec::new(), Vec::new());
    let mut connection = Connection::new(Client { input, step, output: &mut output, hesitates: false });
    let ended = loop {
        let polled = {
            let mut serving = pin!(serve_all(&mut connection, true, &mut served));
            serving.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        if let Poll::Ready(ended) = polled {
            break ended;
        }
        let (socket, at_rest) = connection.rest().expect("the endpoint answers at once");
        connection = Connection::resume(socket, at_rest, Deadlines::default()).expect("its own state");
    };
    drop(connection);
    (served, format!("{ended:?}"), statuses(&output))
}

/// Takes replies apart as a client does. 200 to HEAD is not told apart, so that bodies are left out of the count.
fn statuses(mut output: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !output.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut reply = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(head)) = reply.parse(output) else {
            panic!("no reply: {}", String::from_utf8_lossy(output))
        };
        let length = reply.headers.iter().find(|header| header.name == "Content-Length");
        let length = length.map_or(0, |header| std::str::from_utf8(header.value).unwrap().parse().unwrap());
        statuses.extend(reply.code.filter(|code| *code != 100));
        let body: usize = if output[head..].starts_with(b"HTTP/1.1 ") { 0 } else { length };
        output = output.get(head + body..).unwrap_or_default();
    }
    statuses
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(|| {
        runtime::start(1).expect("no thread");
        runtime::spawn(sweep::run()).detach();
    });
    let whole = serve(input, usize::MAX, true);
    assert_eq!(whole, serve(input, 1 + input.len() % 5, true), "the cut matters");
    assert_eq!(whole, serve_in_parts(input, 1 + input.len() % 5), "it matters that the connection is taken apart");
    let (served, _, statuses) = whole;
    assert!(
        statuses.len() == served.len() || statuses.len() == served.len() + 1,
        "{statuses:?} for {served:?}"
    );
    assert!(statuses.iter().take(served.len()).all(|status| *status == 200), "{statuses:?}");
    // Bodies that nobody reads: what is served after them is what would have been served after reading them.
    let (skipping, ..) = serve(input, 1 + input.len() % 5, false);
    assert!(
        skipping.iter().zip(&served).all(|(skipped, read)| skipped.0 == read.0),
        "a body ran as a request"
    );
});
