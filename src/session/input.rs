//! What a session's worker is told, and what wakes it.

use super::streams::ReturnAddress;
use crate::backend::Output;
use crate::http::{EventId, EventReader};
use crate::message::Parsed;
use crate::queue::Sender;

/// What a session's worker is told.
#[derive(Debug)]
pub enum Input {
    /// A POST. Boxed, so that inputs in the inbox are small.
    Post(Box<Post>),
    /// A GET.
    Attach(Box<Attach>),
    /// Time has passed: look whether anything is stale.
    Tick,
    /// The node stops: end the session if nothing is in flight.
    Retire,
    /// Panic, to show the fence.
    #[cfg(test)]
    Panic,
}

/// The messages of one POST, and where their responses go.
#[derive(Debug)]
pub struct Post {
    /// The messages.
    pub messages: Parsed,
    /// Where responses go, if any are wanted.
    pub reply: Option<ReturnAddress>,
}

/// Attach to the standalone stream, or resume after an event.
#[derive(Debug)]
pub struct Attach {
    /// `Last-Event-ID`.
    pub after: Option<EventId>,
    /// Gets the reader.
    pub answer: Sender<EventReader>,
}

/// What the worker was woken by.
pub(super) enum Wake {
    Input(Input),
    InboxClosed,
    Output(Output),
    OutputsClosed,
    /// There is more of a batch.
    Batch,
    /// A reader that was behind has room.
    Room,
}
