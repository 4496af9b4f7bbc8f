//! Server-sent events: the event, its encoding, and the reader a connection pulls events from.

use std::collections::VecDeque;
use std::time::Duration;

use crate::budget::Payload;

/// Where an event stands: a stream of the session and a place in it. On the wire `<stream>-<place>`, unique in
/// the session (spec L26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    /// The stream: 0 is the standalone GET stream, POST streams count from 1.
    pub stream: u32,
    /// The event's place: 0 is the priming event, messages count from 1.
    pub place: u32,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The id a reader may resume after.
    pub id: Option<EventId>,
    /// The reader's wait before it reconnects, in milliseconds (`retry:`).
    pub retry_ms: Option<u32>,
    /// One JSON-RPC message; `None` is an event with empty data (the priming event, L13).
    pub data: Option<Payload>,
    /// Whether this is the response that ends the stream: after it the stream is ended gracefully (L17).
    pub last: bool,
}

/// How a reply of events begins.
#[derive(Clone, Debug)]
pub enum Opening {
    /// As an event stream at once (GET); `first` is written with the head, when there is one.
    Stream {
        /// The priming event.
        first: Option<Event>,
    },
    /// As one JSON body when the first event is the last and comes within `patience`; as an event stream,
    /// beginning with `first`, when anything else comes before it or `patience` passes.
    Either {
        /// How long to wait in silence.
        patience: Duration,
        /// The priming event.
        first: Option<Event>,
    },
    /// As one JSON body, whenever the last event comes; events before it are skipped (a client that accepts
    /// nothing but JSON).
    Json,
}

/// The reading end of a stream: what was logged before it was attached, then what comes.
///
/// Dropping it tells the worker that the reader is gone. When the sending end is dropped without a last event,
/// the stream is ended gracefully all the same.
#[derive(Debug)]
pub struct EventReader {
    /// How the reply begins.
    pub opening: Opening,
    /// Events to be written first.
    pub backlog: VecDeque<Event>,
    /// Events as they happen.
    pub live: async_channel::Receiver<Event>,
    /// Silence after which a comment is written.
    pub keep_alive_comment: Duration,
}
