//! Writing lines to a pipe.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::reactor::Source;

/// Writes `message` and a line feed, in one system call when the pipe has room.
pub(super) async fn write_line(pipe: &Source<OwnedFd>, message: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written <= message.len() {
        let pieces = [io::IoSlice::new(&message[written..]), io::IoSlice::new(b"\n")];
        match rustix::io::writev(pipe.get_ref(), &pieces) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => written += bytes,
            Err(Errno::AGAIN) => pipe.writable().await,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
