//! What was read from a socket and not used yet, in a buffer that an idle connection does not hold.
//!
//! A buffer is taken from the thread's pool for the length of one poll, and kept only when bytes arrived. So
//! ten thousand idle connections share a handful of buffers, and a request still needs one `read`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smol::io::AsyncRead;

use super::ended::Disconnected;
use crate::limits::{BLANK_LINES_MAX, POOLED_BUFFERS_MAX, READ_AHEAD_BYTES_MAX};
use crate::metrics::METRICS;

/// A head of the full length, after the blank lines that are forgiven, has to fit.
const BUFFER_BYTES: usize = READ_AHEAD_BYTES_MAX + BLANK_LINES_MAX * b"\r\n".len();

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn take_buffer() -> Box<[u8]> {
    let pooled = POOL.with_borrow_mut(Vec::pop);
    pooled.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
}

fn give_back(buffer: Box<[u8]>) {
    POOL.with_borrow_mut(|pool| {
        if pool.len() < POOLED_BUFFERS_MAX {
            pool.push(buffer);
        }
    });
}

/// Bytes read ahead, in order, at most [`READ_AHEAD_BYTES_MAX`] and a little.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    /// There only while something is unread.
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl ReadAhead {
    /// Puts bytes behind what is there; `None`, and nothing is put, when there is no room for them.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.is_empty() {
            return Some(());
        }
        let end = self.end + bytes.len();
        let buffer = self.buffer.get_or_insert_with(take_buffer);
        buffer.get_mut(self.end..end)?.copy_from_slice(bytes);
        self.end = end;
        Some(())
    }

    /// What has not been used.
    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    /// Whether the buffer has no room for another byte.
    fn is_full(&self) -> bool {
        self.end - self.start == BUFFER_BYTES
    }

    /// Marks the first `count` unread bytes as used.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.release();
        }
    }

    fn release(&mut self) {
        (self.start, self.end) = (0, 0);
        if let Some(buffer) = self.buffer.take() {
            give_back(buffer);
        }
    }

    /// Reads ahead as far as there is room, until the other end closes.
    pub(super) async fn closed<T, S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
    ) -> Result<T, Disconnected> {
        // Without room nothing wakes this future. It is raced against another one, which is woken.
        poll_fn(|cx| {
            while !self.is_full() {
                if ready!(self.poll_fill(socket, cx))? == 0 {
                    return Poll::Ready(Err(Disconnected::Closed));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Reads once from the socket. Returns how much came, 0 at its end. Not to be called when full.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let buffer = self.buffer.get_or_insert_with(take_buffer);
        if self.end == buffer.len() {
            buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let polled = Pin::new(socket).poll_read(cx, &mut buffer[self.end..]);
        if let Poll::Ready(Ok(count)) = polled {
            self.end += count;
            METRICS.received_bytes_total.add(count as u64);
        }
        if self.start == self.end {
            self.release();
        }
        Poll::Ready(ready!(polled))
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.release();
    }
}
