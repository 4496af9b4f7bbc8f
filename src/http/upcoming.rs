//! What a stream writes next: waits for it, and makes it the bytes of one write.

use std::future::pending;

use smol::future::or;
use smol::io::AsyncRead;

use crate::budget::Payload;
use crate::http::ended::Disconnected;
use crate::http::read_ahead::ReadAhead;
use crate::http::sse::{DATA_FIELD, Event, EventReader, KEEP_ALIVE};
use crate::limits::{COPIED_BODY_BYTES_MAX, EVENT_ROOM_BYTES};
use crate::sweep::Deadline;

/// What a writer of events woke up for.
pub(super) enum Upcoming {
    Event(Event),
    /// Nothing happened for as long as was to be waited.
    Silence,
    /// The sending end was dropped.
    Over,
}

impl Upcoming {
    /// About how many bytes it needs.
    fn room(&self) -> usize {
        match self {
            Upcoming::Event(Event { data: Some(data), .. }) => EVENT_ROOM_BYTES + data.len(),
            Upcoming::Event(_) | Upcoming::Silence | Upcoming::Over => EVENT_ROOM_BYTES,
        }
    }
}

async fn next_event(reader: &mut EventReader) -> Upcoming {
    if let Some(event) = reader.backlog.pop_front() {
        return Upcoming::Event(event);
    }
    let next = reader.live.recv().await.map_or(Upcoming::Over, Upcoming::Event);
    reader.tell_room();
    next
}

async fn silence(deadline: &Deadline) -> Upcoming {
    deadline.wait().await;
    Upcoming::Silence
}

/// Appends a piece of an event stream: one chunk, or the bare bytes for HTTP/1.0.
pub(super) fn append_piece(out: &mut Vec<u8>, chunks: bool, encode: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    encode(out);
    if chunks {
        prepend_size(out, begin, 0);
        out.extend_from_slice(b"\r\n");
    }
}

/// Inserts the size line of a chunk at `begin`, before its data. The data is the rest of `out`, and `behind`
/// bytes that will follow it.
fn prepend_size(out: &mut Vec<u8>, begin: usize, behind: usize) {
    let size = out.len() - begin + behind;
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    let hexadecimal = (0..digits).rev().map(|place| b"0123456789abcdef"[size >> (4 * place) & 15]);
    out.splice(begin..begin, hexadecimal.chain(*b"\r\n"));
}

/// One write to a stream: `front`, then the event's data if it is too large to be copied, then `back`.
pub(super) struct NextWrite {
    pub(super) front: Vec<u8>,
    pub(super) beside: Option<Payload>,
    pub(super) back: &'static [u8],
    /// Whether it ends the stream.
    pub(super) last: bool,
}

impl NextWrite {
    pub(super) fn of(upcoming: Upcoming, chunks: bool) -> NextWrite {
        match upcoming {
            Upcoming::Event(Event { id, retry_ms, data: Some(data), last }) if is_large_line(&data) => {
                NextWrite::large(Event { id, retry_ms, data: None, last }, data, chunks)
            }
            upcoming => {
                let mut front = Vec::with_capacity(upcoming.room());
                let last = append_next(&mut front, chunks, &upcoming);
                NextWrite { front, beside: None, back: b"", last }
            }
        }
    }

    /// The write of an event whose data is too large to be copied. `event` has its other fields.
    fn large(event: Event, data: Payload, chunks: bool) -> NextWrite {
        let mut front = Vec::with_capacity(EVENT_ROOM_BYTES);
        event.encode_fields_into(&mut front);
        front.extend_from_slice(DATA_FIELD);
        if chunks {
            prepend_size(&mut front, 0, data.len() + b"\n\n".len());
        }
        let back: &[u8] = match (chunks, event.last) {
            (false, _) => b"\n\n",
            (true, false) => b"\n\n\r\n",
            (true, true) => b"\n\n\r\n0\r\n\r\n",
        };
        NextWrite { front, beside: Some(data), back, last: event.last }
    }
}

/// Whether an event's data is large and can go out as it is.
fn is_large_line(data: &Payload) -> bool {
    data.len() > COPIED_BODY_BYTES_MAX
        && data.pieces().all(|piece| memchr::memchr2(b'\r', b'\n', piece).is_none())
}

/// Appends what a stream writes next; returns whether it ended.
fn append_next(out: &mut Vec<u8>, chunks: bool, next: &Upcoming) -> bool {
    let ended = match next {
        Upcoming::Event(event) => {
            append_piece(out, chunks, |out| event.encode_into(out));
            event.last
        }
        Upcoming::Silence => {
            append_piece(out, chunks, |out| out.extend_from_slice(KEEP_ALIVE));
            false
        }
        Upcoming::Over => true,
    };
    if ended && chunks {
        out.extend_from_slice(b"0\r\n\r\n");
    }
    ended
}

/// Waits for the next event, for silence, or for the end. It is an error when the other end of `watched`
/// closes meanwhile; what that sends is read ahead as far as there is room.
pub(super) async fn next_or_close<S: AsyncRead + Unpin>(
    reader: &mut EventReader,
    deadline: &Deadline,
    ahead: &mut ReadAhead,
    watched: Option<&mut S>,
) -> Result<Upcoming, Disconnected> {
    let next = or(next_event(reader), silence(deadline));
    let closed = async {
        match watched {
            Some(socket) => ahead.closed(socket).await,
            None => pending().await,
        }
    };
    or(async { Ok(next.await) }, closed).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Edit;
    use crate::http::EventId;

    /// What is not copied is the same on the wire as what is.
    #[test]
    fn a_large_event_is_not_copied() {
        let id = Some(EventId { stream: 3, place: 41 });
        for (chunks, last) in [(true, false), (true, true), (false, false), (false, true)] {
            let payload = |byte| {
                let data = Payload::made_here(vec![byte; COPIED_BODY_BYTES_MAX + 100]);
                data.edited(&[Edit { place: 5..6, by: b"an id" }])
            };
            let event = |data| Event { id, retry_ms: Some(7), data: Some(data), last };
            let next = NextWrite::of(Upcoming::Event(event(payload(b'x'))), chunks);
            let mut copied = Vec::new();
            assert_eq!(append_next(&mut copied, chunks, &Upcoming::Event(event(payload(b'x')))), next.last);
            let beside = next.beside.expect("not copied");
            assert!(beside.pieces().count() > 1);
            assert_eq!([&next.front[..], &beside.to_vec(), next.back].concat(), copied);
            let lines = NextWrite::of(Upcoming::Event(event(payload(b'\n'))), chunks);
            assert!(lines.beside.is_none(), "each line gets a field of its own");
        }
    }
}
