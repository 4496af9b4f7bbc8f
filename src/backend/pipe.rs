//! Writing lines to a pipe, and buffers to read from one.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::budget::Payload;
use crate::limits::{GATHERED_SLICES_MAX, PIPE_READ_BYTES};
use crate::reactor::Source;

thread_local! {
    /// The buffer last given back on this thread: nearly always no pipe holds one while the next is read.
    static SPARE: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// A buffer to read into, of whatever was there before.
pub(super) fn take_buffer() -> Box<[u8]> {
    SPARE.take().unwrap_or_else(|| vec![0; PIPE_READ_BYTES].into_boxed_slice())
}

/// For the next pipe that has something to say.
pub(super) fn give_back(buffer: Box<[u8]>) {
    SPARE.set(Some(buffer));
}

/// Writes `message` and a line feed, in one system call when the pipe has room and the message is of few pieces.
pub(super) async fn write_line(pipe: &Source<OwnedFd>, message: &Payload) -> io::Result<()> {
    let mut written = 0;
    while written <= message.len() {
        let mut slices = [io::IoSlice::new(&[]); GATHERED_SLICES_MAX];
        let line = message.pieces_from(written).chain([&b"\n"[..]]);
        let count =
            slices.iter_mut().zip(line).map(|(slice, piece)| *slice = io::IoSlice::new(piece)).count();
        match rustix::io::writev(pipe.get_ref(), &slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => written += bytes,
            Err(Errno::AGAIN) => pipe.writable().await,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
