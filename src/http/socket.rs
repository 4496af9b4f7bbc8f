//! A system socket whose `close` shuts its writing half.
//!
//! `Async<TcpStream>` only flushes on `close`. A connection that ends has to say so before it is dropped, or the
//! other end waits for the rest of the answer until we have stopped lingering.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_io::{Async, IoSafe};
use rustix::net::Shutdown;
use smol::io::{AsyncRead, AsyncWrite};

/// A TCP or unix socket, to be given to [`Connection::new`](crate::http::Connection::new).
#[derive(Debug)]
pub struct Socket<T>(pub Async<T>);

impl<T: IoSafe + Read> AsyncRead for Socket<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<T: IoSafe + Write + AsFd> AsyncWrite for Socket<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    /// Shuts the writing half; reading goes on.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(rustix::net::shutdown(self.0.get_ref(), Shutdown::Write)?))
    }
}
