//! Server-sent events: the event, its encoding, and the reader a connection pulls events from.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::budget::Payload;
use crate::http::Room;
use crate::limits::KEEP_ALIVE_COMMENT;
use crate::queue::{self, Receiver};

/// Where an event stands: a stream and a place in it. On the wire `<stream>-<place>`. Whoever makes the
/// streams of one client numbers them, so that no id is there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    /// The stream's number.
    pub stream: u32,
    /// The event's place: 0 is the event that opens the stream, others count from 1.
    pub place: u64,
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

    /// Accepts exactly what `Display` writes: digits without a sign or leading zeros.
    fn from_str(text: &str) -> Result<EventId, NotAnEventId> {
        let (stream, place) = text.split_once('-').ok_or(NotAnEventId)?;
        Ok(EventId { stream: parse_number(stream)?, place: parse_number(place)? })
    }
}

fn parse_number<N: FromStr>(text: &str) -> Result<N, NotAnEventId> {
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
    /// What it brings; `None` is an event with empty data, which tells its id and that the stream is open.
    pub data: Option<Payload>,
    /// Whether this is the last: after it the stream is ended gracefully.
    pub last: bool,
}

impl Event {
    /// Appends the event as it goes on the wire. Data is split into one `data:` line per line it has, so that
    /// nothing in it can end the event or begin a field; a reader joins them with LF. Such an event says
    /// `event: message`: readers that follow the WHATWG's rules take that for granted, but some do not
    /// (`@ai-sdk/mcp` drops an event without a type). An event without data has no type, for nobody
    /// dispatches it; one with neither id nor data has no `data:` line either, and a reader takes only its
    /// `retry:` from it.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        self.encode_fields_into(out);
        match &self.data {
            Some(data) => encode_data(data, out),
            None if self.id.is_some() => out.extend_from_slice(b"data:\n"),
            None => {}
        }
        out.push(b'\n');
    }

    /// Appends the fields before the data.
    pub(super) fn encode_fields_into(&self, out: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        if let Some(id) = self.id {
            out.extend_from_slice(b"id: ");
            out.extend_from_slice(number.format(id.stream).as_bytes());
            out.push(b'-');
            out.extend_from_slice(number.format(id.place).as_bytes());
            out.push(b'\n');
        }
        if let Some(retry_ms) = self.retry_ms {
            out.extend_from_slice(b"retry: ");
            out.extend_from_slice(number.format(retry_ms).as_bytes());
            out.push(b'\n');
        }
    }
}

/// What stands before an event's data, when that is one line: such an event says that it is a message.
pub(super) const DATA_FIELD: &[u8] = b"event: message\ndata: ";

/// One `data:` line for each line; CR, LF and CRLF are line ends.
fn encode_data(data: &Payload, out: &mut Vec<u8>) {
    out.reserve(DATA_FIELD.len() + data.len() + b"\n\n".len());
    out.extend_from_slice(DATA_FIELD);
    let mut after_cr = false;
    for mut piece in data.pieces() {
        if after_cr && piece.first() == Some(&b'\n') {
            piece = &piece[1..];
        }
        after_cr = piece.last() == Some(&b'\r');
        while let Some(end) = memchr::memchr2(b'\r', b'\n', piece) {
            out.extend_from_slice(&piece[..end]);
            out.extend_from_slice(b"\ndata: ");
            let line_end = if piece[end..].starts_with(b"\r\n") { 2 } else { 1 };
            piece = &piece[end + line_end..];
        }
        out.extend_from_slice(piece);
    }
    out.push(b'\n');
}

/// How a reply of events begins.
#[derive(Clone, Debug)]
pub enum Opening {
    /// As an event stream at once (GET); `first` is written with the head, when there is one.
    Stream {
        /// The event that opens the stream.
        first: Option<Event>,
    },
    /// As one JSON body when the first event is the last and comes within `patience`; as an event stream,
    /// beginning with `first`, when anything else comes before it or `patience` passes.
    Either {
        /// How long to wait in silence.
        patience: Duration,
        /// The event that opens the stream.
        first: Option<Event>,
    },
    /// As one JSON body, whenever the last event comes; events before it are skipped (a client that accepts
    /// nothing but JSON).
    Json,
}

/// The reading end of a stream: what was logged before it was attached, then what comes.
///
/// Dropping it tells the worker that the reader is gone. When the sending end is dropped without a last
/// event, the stream is ended gracefully all the same.
#[derive(Debug)]
pub struct EventReader {
    /// How the reply begins.
    pub opening: Opening,
    /// Events to be written first.
    pub backlog: VecDeque<Event>,
    /// Events as they happen.
    pub live: Receiver<Event>,
    /// Silence after which a comment is written.
    pub keep_alive_comment: Duration,
    /// Who wants to know when the queue has room again.
    pub room: Option<Room>,
}

impl EventReader {
    /// Of a stream that goes on: events as they come out of `live`.
    pub fn of(
        opening: Opening,
        live: Receiver<Event>,
        keep_alive_comment: Duration,
        room: Room,
    ) -> EventReader {
        EventReader { opening, backlog: VecDeque::new(), live, keep_alive_comment, room: Some(room) }
    }

    /// Of an event stream with these responses, which are all there is.
    pub fn whole(responses: Vec<Payload>) -> EventReader {
        let count = responses.len();
        let event =
            |(place, data)| Event { id: None, retry_ms: None, data: Some(data), last: place + 1 == count };
        let backlog = responses.into_iter().enumerate().map(event).collect();
        let mut reader = EventReader::over(None);
        reader.backlog = backlog;
        reader
    }

    /// Of an event stream that says when to come back, in milliseconds, and ends.
    pub fn come_back(retry_ms: u32) -> EventReader {
        EventReader::over(Some(Event { id: None, retry_ms: Some(retry_ms), data: None, last: false }))
    }

    /// Nothing comes any more.
    fn over(first: Option<Event>) -> EventReader {
        let (_, live) = queue::bounded(1);
        EventReader {
            opening: Opening::Stream { first },
            backlog: VecDeque::new(),
            live,
            keep_alive_comment: KEEP_ALIVE_COMMENT,
            room: None,
        }
    }

    /// Tells whoever wants to know when the queue has room again. To be called when an event was taken.
    pub(super) fn tell_room(&self) {
        if self.live.is_empty()
            && let Some(room) = &self.room
        {
            room.tell();
        }
    }
}

impl Drop for EventReader {
    /// The queue is emptied first: the sender is told that there is room, and finds the queue closed.
    fn drop(&mut self) {
        self.live.close_and_clear();
        self.tell_room();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a browser would make of one event (WHATWG HTML, section 9.2.6).
    fn decode(bytes: &[u8]) -> (Option<EventId>, Option<u32>, Option<Vec<u8>>) {
        let (mut id, mut retry, mut event, mut data) = (None, None, None, None::<Vec<u8>>);
        let body = bytes.strip_suffix(b"\n\n").expect("an event ends with a blank line");
        for line in body.split(|byte| matches!(byte, b'\n' | b'\r')) {
            assert!(!line.is_empty(), "an event ends before its end");
            let colon = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
            let value = line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]);
            match &line[..colon] {
                b"id" => id = Some(std::str::from_utf8(value).unwrap().parse().unwrap()),
                b"retry" => retry = Some(std::str::from_utf8(value).unwrap().parse().unwrap()),
                b"event" => event = Some(value),
                b"data" => match &mut data {
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                    None => data = Some(value.to_vec()),
                },
                other => panic!("field {}", String::from_utf8_lossy(other)),
            }
        }
        let has_data = data.as_ref().is_some_and(|data| !data.is_empty());
        assert!(event == Some(b"message") || event.is_none() && !has_data, "event {event:?}, data {data:?}");
        (id, retry, data)
    }

    fn encode(id: Option<EventId>, retry_ms: Option<u32>, data: Option<&[u8]>) -> Vec<u8> {
        let data = data.map(|data| Payload::made_here(data.to_vec()));
        let mut out = Vec::new();
        Event { id, retry_ms, data, last: false }.encode_into(&mut out);
        out
    }

    const ID: EventId = EventId { stream: 3, place: 41 };

    #[test]
    fn writes_fields_in_their_lines() {
        assert_eq!(
            encode(Some(ID), Some(1000), Some(b"{}")),
            b"id: 3-41\nretry: 1000\nevent: message\ndata: {}\n\n"
        );
        assert_eq!(encode(Some(ID), None, None), b"id: 3-41\ndata:\n\n");
        assert_eq!(encode(None, Some(5), None), b"retry: 5\n\n");
        assert_eq!(
            encode(None, None, Some(b"a\r\nb\rc\nid: 9-9")),
            b"event: message\ndata: a\ndata: b\ndata: c\ndata: id: 9-9\n\n"
        );
        assert_eq!(encode(None, None, Some(b"\n")), b"event: message\ndata: \ndata: \n\n");
    }

    #[test]
    fn takes_only_ids_of_ours() {
        assert_eq!("3-41".parse(), Ok(ID));
        assert_eq!("0-4294967295".parse(), Ok(EventId { stream: 0, place: u32::MAX.into() }));
        for text in [
            "",
            "-",
            "3-",
            "-41",
            "3",
            "+3-41",
            "3-+41",
            "03-41",
            "3-041",
            "4294967296-3",
            "3-18446744073709551616",
            "3-41-5",
            " 3-41",
            "3_41",
            "3-4x",
            "\u{0663}-41",
        ] {
            assert_eq!(text.parse::<EventId>(), Err(NotAnEventId), "{text}");
        }
    }

    fn some_data() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "\r",
            "\n",
            "\r\n",
            "\0",
            " ",
            ":",
            "data: x",
            "{\"a\":1}",
            "\u{feff}",
        ]);
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes()),
        ]
    }

    /// Line ends, whichever, arrive as LF.
    fn with_lf(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, byte) in data.iter().enumerate() {
            match byte {
                b'\n' if at > 0 && data[at - 1] == b'\r' => {}
                b'\r' => out.push(b'\n'),
                other => out.push(*other),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn prop_events_read_back(
            id in prop::option::of((any::<u32>(), any::<u64>())),
            retry_ms in prop::option::of(any::<u32>()),
            data in some_data(),
        ) {
            let id = id.map(|(stream, place)| EventId { stream, place });
            let bytes = encode(id, retry_ms, Some(&data));
            prop_assert_eq!(decode(&bytes), (id, retry_ms, Some(with_lf(&data))));
        }

        #[test]
        fn prop_ids_read_back(stream in any::<u32>(), place in any::<u64>()) {
            let id = EventId { stream, place };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn prop_id_text_is_canonical(text in "[0-9+-]{0,12}") {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
