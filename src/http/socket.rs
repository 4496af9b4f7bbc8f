//! A system socket as a byte stream.
//!
//! Its `close` shuts the writing half: a connection that ends has to say so before it is dropped, or the
//! other end waits for the rest of the answer until we have stopped lingering.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::Shutdown;
use smol::io::{AsyncRead, AsyncWrite};

use crate::reactor::Source;

/// A TCP or unix socket, to be given to [`Connection::new`](crate::http::Connection::new).
#[derive(Debug)]
pub struct Socket<T>(Source<T>);

impl<T: AsFd> Socket<T> {
    /// A socket that was accepted. [`crate::runtime::start`] must have been called.
    ///
    /// # Errors
    /// The system's: too many descriptors are watched.
    pub fn new(io: T) -> io::Result<Socket<T>> {
        let source = Source::new(io)?;
        // A client that connects mostly sends at once, so the first read is tried without waiting for an
        // event.
        source.look_again();
        Ok(Socket(source))
    }

    fn poll_written(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&T) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(self.0.get_ref()) {
                Err(Errno::AGAIN) => ready!(self.0.poll_writable(cx)),
                Err(Errno::INTR) => {}
                written => return Poll::Ready(Ok(written?)),
            }
        }
    }
}

impl<T: AsFd> AsyncRead for Socket<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_readable(cx));
            match rustix::io::read(self.0.get_ref(), &mut *into) {
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => self.0.look_again(),
                Ok(count) => {
                    // A read that does not fill the room took all there was, and epoll tells of what comes
                    // later. A full read may have left something.
                    if count == into.len() {
                        self.0.look_again();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl<T: AsFd> AsyncWrite for Socket<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |io| rustix::io::write(io, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |io| rustix::io::writev(io, parts))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Shuts the writing half; reading goes on.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(rustix::net::shutdown(self.0.get_ref(), Shutdown::Write)?))
    }
}
