//! Server-sent events: the event, its encoding, and the reader a connection pulls events from.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::str::FromStr;
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

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.place)
    }
}

/// A text that is no [`EventId`] of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnEventId;

impl fmt::Display for NotAnEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an event id: two numbers joined by a hyphen")
    }
}

impl std::error::Error for NotAnEventId {}

impl FromStr for EventId {
    type Err = NotAnEventId;

    /// Takes exactly what `Display` writes: digits without sign or leading zero.
    fn from_str(text: &str) -> Result<EventId, NotAnEventId> {
        let (stream, place) = text.split_once('-').ok_or(NotAnEventId)?;
        Ok(EventId { stream: parse_number(stream)?, place: parse_number(place)? })
    }
}

fn parse_number(text: &str) -> Result<u32, NotAnEventId> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical).ok_or(NotAnEventId)
}

/// A comment, which clients skip (WHATWG HTML, section 9.2.6).
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

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

impl Event {
    /// Appends the event as it goes on the wire. Data is split into one `data:` line per line it has, so that
    /// nothing in it can end the event or begin a field; a reader joins them with LF. An event with neither id nor
    /// data has no `data:` line, and a reader takes only its `retry:` from it.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        if let Some(id) = self.id {
            let _ = writeln!(out, "id: {id}");
        }
        if let Some(retry_ms) = self.retry_ms {
            let _ = writeln!(out, "retry: {retry_ms}");
        }
        match &self.data {
            Some(data) => encode_data(data, out),
            None if self.id.is_some() => out.extend_from_slice(b"data:\n"),
            None => {}
        }
        out.push(b'\n');
    }
}

/// One `data:` line for each line; CR, LF and CRLF are line ends.
fn encode_data(mut data: &[u8], out: &mut Vec<u8>) {
    out.reserve(data.len() + b"data: \n\n".len());
    loop {
        let end = memchr::memchr2(b'\r', b'\n', data);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&data[..end.unwrap_or(data.len())]);
        out.push(b'\n');
        let Some(end) = end else { return };
        let line_end = if data[end..].starts_with(b"\r\n") { 2 } else { 1 };
        data = &data[end + line_end..];
    }
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
