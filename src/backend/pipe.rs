//! One end of a pipe to or from a child: what is half read and half written is kept as data.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;

use crate::budget::Payload;
use crate::limits::{CHILD_REST_BYTES_MAX, GATHERED_SLICES_MAX, PIPE_READ_BYTES};
use crate::queue::Receiver;
use crate::reactor::Source;

thread_local! {
    /// The buffer last given back on this thread. One is enough: a pipe rarely holds its buffer while another
    /// is read.
    static SPARE: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// A buffer to read into. It holds whatever was in it before.
fn take_buffer() -> Box<[u8]> {
    SPARE.take().unwrap_or_else(|| vec![0; PIPE_READ_BYTES].into_boxed_slice())
}

/// Keeps a buffer for the next pipe that has something to say.
fn give_back(buffer: Box<[u8]>) {
    SPARE.set(Some(buffer));
}

/// Writes a line: what is left of `message` after its first `written` bytes, and a line feed, in one system
/// call when the pipe has room and the message is of few pieces. `written` counts what is out, the line feed
/// included, and is right whenever this returns.
pub(super) fn poll_write_line(
    pipe: &Source<OwnedFd>,
    message: &Payload,
    written: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while *written <= message.len() {
        let mut slices = [io::IoSlice::new(&[]); GATHERED_SLICES_MAX];
        let line = message.pieces_from(*written).chain([&b"\n"[..]]);
        let count =
            slices.iter_mut().zip(line).map(|(slice, piece)| *slice = io::IoSlice::new(piece)).count();
        match rustix::io::writev(pipe.get_ref(), &slices[..count]) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(bytes) => *written += bytes,
            Err(Errno::AGAIN) => ready!(pipe.poll_writable(cx)),
            Err(Errno::INTR) => {}
            Err(error) => return Poll::Ready(Err(error.into())),
        }
    }
    Poll::Ready(Ok(()))
}

/// What is still to be written to a child's stdin.
#[derive(Debug)]
pub(super) struct StdinQueue {
    /// Messages of which nothing is written yet.
    queue: Receiver<Payload>,
    /// The message that is being written, and how many bytes of its line are out.
    current: Option<(Payload, usize)>,
}

/// Why nothing more is written to a child's stdin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputEnd {
    /// The queue is closed and all of it is written.
    AllWritten,
    /// The child has closed its stdin.
    Closed,
}

impl StdinQueue {
    /// What comes out of `queue`.
    pub(super) fn new(queue: Receiver<Payload>) -> StdinQueue {
        StdinQueue { queue, current: None }
    }

    /// Writes the queued messages, one line each, as far as the pipe has room.
    pub(super) fn poll_write(&mut self, pipe: &Source<OwnedFd>, cx: &mut Context<'_>) -> Poll<InputEnd> {
        loop {
            if let Some((message, written)) = &mut self.current {
                let line = ready!(poll_write_line(pipe, message, written, cx));
                self.current = None;
                if let Err(error) = line {
                    log::debug!("a child's stdin is closed: {error}");
                    return Poll::Ready(InputEnd::Closed);
                }
            }
            match self.queue.poll_recv(cx) {
                Poll::Ready(Some(message)) => self.current = Some((message, 0)),
                // The handle was dropped, or told to stop.
                Poll::Ready(None) => return Poll::Ready(InputEnd::AllWritten),
                // The writing end of a pipe becomes readable only when the reading end is closed.
                Poll::Pending => return pipe.poll_readable(cx).map(|()| InputEnd::Closed),
            }
        }
    }

    /// Takes no more messages. What is queued is dropped with this value.
    pub(super) fn close(&self) {
        self.queue.close();
    }
}

/// What a reader does before its next read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// The last read took all there was: wait until the pipe has something.
    Wait,
    /// The last read filled the buffer: let the thread's other tasks run once.
    Yield,
    /// The pipe was found readable.
    Nothing,
}

/// Reads a pipe of a child in pieces.
#[derive(Debug)]
pub(super) struct PipeReader {
    pipe: Source<OwnedFd>,
    /// Held only while there is something in it.
    buffer: Option<Box<[u8]>>,
    /// What in the buffer was read and not yet taken.
    unread: Range<usize>,
    before: Before,
    /// Bytes that may still be read; unbounded while the process lives.
    rest: Option<usize>,
    ended: bool,
}

impl PipeReader {
    /// Reads `pipe`.
    pub(super) fn new(pipe: Source<OwnedFd>) -> PipeReader {
        PipeReader { pipe, buffer: None, unread: 0..0, before: Before::Wait, rest: None, ended: false }
    }

    /// The process has exited: only as much as a pipe can hold is read from here on, for a grandchild may
    /// write for ever.
    pub(super) fn bound_rest(&mut self) {
        self.rest.get_or_insert(CHILD_REST_BYTES_MAX);
    }

    /// Reads no further. What was read can still be taken.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Waits until there is something unread. False when the pipe has ended.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if !self.unread.is_empty() {
                return Poll::Ready(true);
            }
            if self.ended {
                self.put_buffer_back();
                return Poll::Ready(false);
            }
            match self.before {
                Before::Nothing => self.read(),
                Before::Yield => {
                    // A child that always has something to say must not keep this thread from other tasks.
                    self.before = Before::Nothing;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Before::Wait => {
                    self.put_buffer_back();
                    ready!(self.pipe.poll_readable(cx));
                    self.before = Before::Nothing;
                }
            }
        }
    }

    fn read(&mut self) {
        let buffer = self.buffer.get_or_insert_with(take_buffer);
        match rustix::io::read(self.pipe.get_ref(), &mut buffer[..]) {
            Ok(bytes) if bytes > 0 => {
                self.before = if bytes < buffer.len() { Before::Wait } else { Before::Yield };
                match self.rest.map(|rest| rest.checked_sub(bytes)) {
                    Some(None) => self.ended = true,
                    Some(rest) => (self.rest, self.unread) = (rest, 0..bytes),
                    None => self.unread = 0..bytes,
                }
            }
            Err(Errno::AGAIN) => self.before = Before::Wait,
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => self.ended = true,
        }
    }

    fn put_buffer_back(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            give_back(buffer);
        }
    }

    /// Whether all that came is taken, and nothing more has come yet.
    pub(super) fn is_drained(&self) -> bool {
        self.unread.is_empty() && self.before == Before::Wait
    }

    /// What was read and not yet taken.
    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.as_deref().map_or(&[], |buffer| &buffer[self.unread.clone()])
    }

    /// Takes the first `bytes` of what is unread.
    pub(super) fn take(&mut self, bytes: usize) {
        self.unread.start = self.unread.end.min(self.unread.start + bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::budget::Edit;
    use crate::queue;

    fn pipe() -> (OwnedFd, OwnedFd) {
        crate::runtime::start_for_tests();
        let (out, into) = std::io::pipe().unwrap();
        (out.into(), into.into())
    }

    /// Everything that `poll` makes readable in `out` until it completes.
    fn read_while_pending<T>(
        out: &OwnedFd,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> (Vec<u8>, T) {
        rustix::io::ioctl_fionbio(out, true).unwrap();
        let (mut all, mut piece) = (Vec::new(), [0; 9_999]);
        loop {
            let polled = poll(&mut Context::from_waker(Waker::noop()));
            match rustix::io::read(out, &mut piece) {
                Ok(bytes) => all.extend_from_slice(&piece[..bytes]),
                Err(Errno::AGAIN) if polled.is_pending() => {
                    std::thread::park_timeout(Duration::from_millis(1))
                }
                Err(Errno::AGAIN) => {}
                Err(error) => panic!("{error}"),
            }
            if let Poll::Ready(value) = polled {
                while let Ok(bytes @ 1..) = rustix::io::read(out, &mut piece) {
                    all.extend_from_slice(&piece[..bytes]);
                }
                return (all, value);
            }
        }
    }

    #[test]
    fn what_is_half_written_goes_on_where_it_stopped() {
        let (out, into) = pipe();
        let stdin = Source::new(into).unwrap();
        let (sender, queue) = queue::bounded(4);
        let large = Payload::made_here(vec![b'x'; 300_000]);
        let large =
            large.edited(&[Edit { place: 5..6, by: b"17" }, Edit { place: 299_999..300_000, by: b"" }]);
        let mut expected = large.to_vec();
        expected.extend_from_slice(b"\n{}\n");
        sender.try_send(large).unwrap();
        sender.try_send(Payload::made_here(b"{}".into())).unwrap();
        drop(sender);
        let mut outgoing = StdinQueue::new(queue);
        let (all, end) = read_while_pending(&out, |cx| outgoing.poll_write(&stdin, cx));
        assert_eq!((all == expected, end), (true, InputEnd::AllWritten));
    }

    #[test]
    fn a_reader_that_closes_ends_the_writing() {
        let (out, into) = pipe();
        let stdin = Source::new(into).unwrap();
        let (_sender, queue) = queue::bounded(4);
        let mut outgoing = StdinQueue::new(queue);
        drop(out);
        let end = smol::future::block_on(std::future::poll_fn(|cx| outgoing.poll_write(&stdin, cx)));
        assert_eq!(end, InputEnd::Closed);
    }

    #[test]
    fn what_is_read_and_not_taken_stays() {
        let (out, into) = pipe();
        let mut reader = PipeReader::new(Source::new(out).unwrap());
        rustix::io::write(&into, b"one two").unwrap();
        let mut filled = || smol::future::block_on(std::future::poll_fn(|cx| reader.poll_fill(cx)));
        assert!(filled());
        reader.take(4);
        assert_eq!((reader.unread(), reader.is_drained()), (&b"two"[..], false));
        reader.end();
        assert_eq!(reader.unread(), b"two", "what was read can still be taken");
        reader.take(3);
        drop(into);
        assert!(!smol::future::block_on(std::future::poll_fn(|cx| reader.poll_fill(cx))));
        assert!(reader.buffer.is_none(), "a pipe without a word holds no buffer");
    }

    #[test]
    fn the_rest_of_a_dead_process_is_bounded() {
        let (out, into) = pipe();
        let mut reader = PipeReader::new(Source::new(out).unwrap());
        reader.bound_rest();
        rustix::io::ioctl_fionbio(&into, true).unwrap();
        let mut read = 0;
        let mut fill = || {
            let _ = rustix::io::write(&into, &[b'x'; 4096]);
            smol::future::block_on(std::future::poll_fn(|cx| reader.poll_fill(cx))).then(|| {
                let bytes = reader.unread().len();
                reader.take(bytes);
                bytes
            })
        };
        while let Some(bytes) = fill() {
            read += bytes;
            assert!(read <= CHILD_REST_BYTES_MAX);
        }
        assert!(read > CHILD_REST_BYTES_MAX - PIPE_READ_BYTES);
    }
}
