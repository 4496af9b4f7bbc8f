//! Why a connection is of no more use.

use std::fmt;
use std::io;

use crate::http::Status;

/// What a connection was doing when a deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPhase {
    /// Reading a head.
    Head,
    /// Reading a body.
    Body,
    /// Throwing away a body that nobody wanted.
    Discard,
}

/// Why a connection is of no more use. What could be answered has been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disconnected {
    /// The other end closed in the middle of a request or while an event stream was open.
    Closed,
    /// The request could not be served and was answered with this status.
    Refused(Status),
    /// A deadline passed and nothing could be answered.
    Deadline(ReadPhase),
    /// The other end did not take what was written to it.
    SlowReader,
    /// The socket failed.
    Io(io::ErrorKind),
}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disconnected::Closed => f.write_str("the client closed the connection"),
            Disconnected::Refused(status) => write!(f, "refused with {} {}", status.0, status.reason()),
            Disconnected::Deadline(phase) => write!(f, "the client was too slow ({phase:?})"),
            Disconnected::SlowReader => f.write_str("the client did not read what was written"),
            Disconnected::Io(kind) => write!(f, "the socket failed: {kind}"),
        }
    }
}

impl std::error::Error for Disconnected {}

impl From<io::Error> for Disconnected {
    /// A reset is a close in bad manners.
    fn from(error: io::Error) -> Disconnected {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                Disconnected::Closed
            }
            kind => Disconnected::Io(kind),
        }
    }
}
