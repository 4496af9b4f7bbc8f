//! How far a connection is with the request it serves. All state that is needed to go on is here or in the
//! [`Connection`] itself, none in a future: where a future of a connection is dropped in the middle, the next
//! one goes on from there.
//!
//! [`Connection`]: crate::http::Connection

use crate::budget::Payload;
use crate::http::Status;
use crate::http::body::RequestBody;
use crate::http::head::RequestHead;
use crate::http::outline::Outline;
use crate::http::sse::{EventId, EventReader};
use crate::metrics::Entered;

/// The stage of a connection.
///
/// ```text
///  Idle -> Head -> [Body] -> Answering -> [Waiting] -> Writing -> [Discarding] -> Idle
///                                             |        ^    |
///                                             +--> Streaming <+        any of these -> Closing -> Closed
/// ```
#[derive(Debug)]
pub(super) enum Stage {
    /// Between two requests: nothing has come but blank lines.
    Idle,
    /// A head has begun to come.
    Head {
        /// Bytes of it that need not be looked at again.
        scanned: usize,
    },
    /// A head was read, and of its body a part.
    Body(Box<UnfinishedBody>),
    /// The endpoint works on the request. This is the only stage that cannot be entered again: only the
    /// endpoint's own future knows how far it is.
    Answering,
    /// The reply is made of events, and it is not decided yet whether they become one JSON body or a stream.
    Waiting(Undecided),
    /// An event stream is open, its head is written, and it waits for its next event.
    Streaming(Streaming),
    /// Bytes are on their way that the socket did not take at once.
    Writing(Box<Outgoing>),
    /// The reply is written, and what nobody read of the request's body is thrown away.
    Discarding,
    /// The last reply is written: our half is shut, and what still comes is thrown away for a moment.
    Closing(Closing),
    /// Over.
    Closed,
}

/// A body that has not come whole.
#[derive(Debug)]
pub(super) struct UnfinishedBody {
    pub(super) head: RequestHead,
    pub(super) body: RequestBody,
    /// The length of the content when the deadline was last armed.
    pub(super) counted: usize,
}

/// See [`Stage::Waiting`].
#[derive(Debug)]
pub(super) struct Undecided {
    pub(super) outline: Outline,
    pub(super) reader: Box<EventReader>,
    /// Whether the socket is watched for a close while this waits. Not while patience lasts: so a client that
    /// shuts its half after the request still gets its answer, and a quick answer costs no read that would
    /// find nothing.
    pub(super) watched: bool,
}

/// See [`Stage::Streaming`].
#[derive(Debug)]
pub(super) struct Streaming {
    pub(super) chunks: bool,
    pub(super) reader: Box<EventReader>,
    /// The last event with an id that was written, or is in [`Outgoing`].
    pub(super) written: Option<EventId>,
    pub(super) _counted: Entered,
}

/// Bytes on their way: `front`, then `beside`, which is not copied, then `back`.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) front: Vec<u8>,
    pub(super) beside: Option<Payload>,
    pub(super) back: &'static [u8],
    /// Bytes of all three that the socket took.
    pub(super) written: usize,
    /// Up to here the running write deadline counts.
    pub(super) step_end: usize,
    pub(super) then: AfterWriting,
}

impl Outgoing {
    /// The bytes of all three.
    pub(super) fn len(&self) -> usize {
        self.front.len() + self.beside.as_ref().map_or(0, Payload::len) + self.back.len()
    }

    /// What is left to be written.
    pub(super) fn rest(&self) -> impl Iterator<Item = &[u8]> {
        let front = self.front.get(self.written..).unwrap_or_default();
        let mut skipped = self.written.saturating_sub(self.front.len());
        let beside = self.beside.iter().flat_map(move |payload| payload.pieces_from(skipped));
        skipped = skipped.saturating_sub(self.beside.as_ref().map_or(0, Payload::len));
        let back = self.back.get(skipped..).unwrap_or_default();
        [front].into_iter().chain(beside).chain([back]).filter(|piece| !piece.is_empty())
    }
}

/// The stage behind [`Stage::Writing`].
#[derive(Debug)]
pub(super) enum AfterWriting {
    /// The client was told to send its body (`100 Continue`).
    Body(Box<UnfinishedBody>),
    /// The stream goes on.
    Streaming(Streaming),
    /// The reply is complete. If it was a stream, its reader is kept until the end of it is written.
    Reply { _ended: Option<Streaming> },
    /// The request was refused.
    Closing(Closing),
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    /// With what the last request was refused, if it was.
    pub(super) refused: Option<Status>,
    /// Whether our half is shut.
    pub(super) shut: bool,
    /// Bytes thrown away since.
    pub(super) discarded: usize,
}

impl Closing {
    pub(super) fn new(refused: Option<Status>) -> Closing {
        Closing { refused, shut: false, discarded: 0 }
    }
}
