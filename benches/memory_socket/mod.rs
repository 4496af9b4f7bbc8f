//! A pair of sockets in memory: what is written to one is read from the other. They need no descriptor, so no limit of
//! the system is in the way of 100,000 of them. An idle one holds no buffer.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use smol::io::{AsyncRead, AsyncWrite};

/// Bytes on their way, at most: a writer waits for the reader, as the kernel would make it.
const ON_THE_WAY_BYTES_MAX: usize = 64 * 1024;

/// One end of a pair. Dropping it closes both directions.
pub struct MemorySocket {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

/// One direction.
#[derive(Default)]
struct Pipe(Mutex<State>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// How much of `bytes` was read.
    read: usize,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl MemorySocket {
    pub fn pair() -> (MemorySocket, MemorySocket) {
        let (one, other) = (Arc::<Pipe>::default(), Arc::<Pipe>::default());
        let near = MemorySocket { incoming: Arc::clone(&one), outgoing: Arc::clone(&other) };
        (near, MemorySocket { incoming: other, outgoing: one })
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        self.incoming.close();
        self.outgoing.close();
    }
}

impl Pipe {
    fn close(&self) {
        let mut state = self.0.lock().unwrap();
        state.closed = true;
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn read(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().unwrap();
        let left = &state.bytes[state.read..];
        if left.is_empty() && !state.closed {
            keep(&mut state.reader, cx);
            return Poll::Pending;
        }
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        state.read += count;
        if state.read == state.bytes.len() {
            (state.bytes, state.read) = (Vec::new(), 0);
        }
        let writer = state.writer.take();
        drop(state);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().unwrap();
        if state.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = ON_THE_WAY_BYTES_MAX.saturating_sub(state.bytes.len() - state.read);
        if room == 0 {
            keep(&mut state.writer, cx);
            return Poll::Pending;
        }
        let count = room.min(bytes.len());
        state.bytes.extend_from_slice(&bytes[..count]);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }
}

fn keep(kept: &mut Option<Waker>, cx: &Context<'_>) {
    if !kept.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *kept = Some(cx.waker().clone());
    }
}

impl AsyncRead for MemorySocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.incoming.read(cx, buffer)
    }
}

impl AsyncWrite for MemorySocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.outgoing.write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.close();
        Poll::Ready(Ok(()))
    }
}
