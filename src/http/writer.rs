//! Writing replies: one write for a full one, one write per event for a stream.

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use smol::future::or;
use smol::io::{AsyncRead, AsyncWrite};

use crate::budget::Payload;
use crate::http::connection::Connection;
use crate::http::ended::Disconnected;
use crate::http::head::{Asked, ReplyFraming, ReplyHead};
use crate::http::sse::{Event, EventReader, KEEP_ALIVE, Opening};
use crate::http::{Body, Header, Refusal, Reply, Status};
use crate::limits::{
    COPIED_BODY_BYTES_MAX, DISCARD_BYTES_MAX, EVENT_ROOM_BYTES, GATHERED_SLICES_MAX, REPLY_HEAD_ROOM_BYTES,
    REPLY_PATIENCE, WRITE_STEP_BYTES,
};
use crate::metrics::METRICS;
use crate::sweep::{self, Deadline};

/// What a reply's head needs besides its body.
struct Outline {
    status: Status,
    headers: Vec<Header>,
    /// Whether the connection ends after the reply.
    close: bool,
    /// Whether a body would be taken for the next reply (HEAD).
    body_left_out: bool,
    /// Whether the client knows chunks.
    chunks: bool,
}

/// Headers of every event stream: no cache keeps it, no proxy recodes it or holds it back.
const STREAM_HEADERS: [Header; 2] =
    [("Cache-Control", Cow::Borrowed("no-cache, no-transform")), ("X-Accel-Buffering", Cow::Borrowed("no"))];

impl Outline {
    fn encode_into(&self, out: &mut Vec<u8>, content_type: Option<&str>, framing: ReplyFraming) {
        with_date(|date| {
            let head = ReplyHead { status: self.status, date, content_type, framing, close: self.close };
            head.encode_into(out, &self.headers);
        });
    }

    /// Counts the reply by its class.
    fn count(&self) {
        match self.status.0 {
            400..500 => METRICS.requests_client_error_total.add_one(),
            500.. => METRICS.requests_server_error_total.add_one(),
            _ => METRICS.requests_ok_total.add_one(),
        }
    }
}

/// Calls `write` with the value of Date, which is made once per step of the sweep and thread: no clock is asked.
fn with_date<T>(write: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static DATE: RefCell<(u32, String)> = const { RefCell::new((0, String::new())) };
    }
    let step = sweep::swept_steps();
    DATE.with_borrow_mut(|(made, text)| {
        if *made != step || text.is_empty() {
            (*made, *text) = (step, httpdate::fmt_http_date(SystemTime::now()));
        }
        write(text)
    })
}

/// How a reply of events turned out.
enum ReplyShape {
    /// One JSON body: the first event was the response, or the client takes nothing else.
    Json(Payload),
    /// There is no response, and there will be none.
    Nothing,
    /// It is a stream; these events come first.
    Stream {
        /// Opens the stream, in one write with the head.
        first: Option<Event>,
        /// What turned the reply into a stream.
        then: Option<Event>,
    },
}

/// What a writer of events woke up for.
enum Upcoming {
    Event(Event),
    /// Nothing happened for as long as was to be waited.
    Silence,
    /// The sending end was dropped.
    Over,
}

impl Upcoming {
    /// The bytes it takes, about.
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
fn append_piece(out: &mut Vec<u8>, chunks: bool, encode: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    encode(out);
    if chunks {
        prepend_size(out, begin);
        out.extend_from_slice(b"\r\n");
    }
}

/// Puts the size line of a chunk before its data, which is in `out` from `begin` on.
fn prepend_size(out: &mut Vec<u8>, begin: usize) {
    let size = out.len() - begin;
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    let hexadecimal = (0..digits).rev().map(|place| b"0123456789abcdef"[size >> (4 * place) & 15]);
    out.splice(begin..begin, hexadecimal.chain(*b"\r\n"));
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

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Writes the reply to the request whose head was read last. When the connection ends with it (the client or the
    /// reply wants that, or a body was left that is not worth reading), it is closed gracefully, and the next
    /// [`Connection::read_head`] returns `None`.
    ///
    /// A reply of events takes as long as its stream: the reader is dropped when this returns, also when the client
    /// goes away.
    ///
    /// # Errors
    /// [`Disconnected`] when the reply could not be written to its end.
    pub async fn write_reply(&mut self, asked: Asked, reply: Reply) -> Result<(), Disconnected> {
        let outline = Outline {
            status: reply.status,
            headers: reply.headers,
            close: reply.close || self.closing || asked.close || !self.can_discard_body(),
            body_left_out: asked.head_only,
            chunks: !asked.http_1_0,
        };
        let close = outline.close;
        match reply.body {
            Body::Empty => self.write_full(&outline, None).await?,
            Body::Full(media_type, payload) => {
                self.write_full(&outline, Some((media_type, &payload))).await?
            }
            Body::Events(reader) => self.write_events(outline, reader).await?,
        }
        if close || self.discard_body().await.is_err() {
            self.close_gracefully().await;
        }
        Ok(())
    }

    /// Writes the answer to a request that is not served. The caller closes.
    pub(super) async fn write_refusal(&mut self, refusal: Refusal) -> Result<(), Disconnected> {
        let reply = Reply::from(refusal);
        let outline = Outline {
            status: reply.status,
            headers: reply.headers,
            close: true,
            body_left_out: false,
            chunks: true,
        };
        match reply.body {
            Body::Full(media_type, payload) => self.write_full(&outline, Some((media_type, &payload))).await,
            Body::Empty | Body::Events(_) => self.write_full(&outline, None).await,
        }
    }

    /// Whether what is left of the request's body, if anything, is sure to come and small enough to be thrown away.
    fn can_discard_body(&mut self) -> bool {
        if !self.continue_owed
            && let Ok(used) = self.body.decode(self.ahead.unread(), DISCARD_BYTES_MAX, |_| {})
        {
            self.ahead.consume(used);
        }
        let small = self.body.left().is_some_and(|left| left <= DISCARD_BYTES_MAX as u64);
        self.body.is_done() || (small && !self.continue_owed)
    }

    async fn write_full(
        &mut self,
        outline: &Outline,
        body: Option<(&str, &Payload)>,
    ) -> Result<(), Disconnected> {
        let length = body.map_or(0, |(_, payload)| payload.len());
        let content = body.map(|(_, payload)| payload).filter(|_| !outline.body_left_out);
        let framing = match outline.status.0 {
            204 => ReplyFraming::None,
            _ => ReplyFraming::Length(length),
        };
        let beside = content.filter(|_| length > COPIED_BODY_BYTES_MAX);
        let copied = content.filter(|_| beside.is_none());
        let mut out = Vec::with_capacity(REPLY_HEAD_ROOM_BYTES + copied.map_or(0, Payload::len));
        outline.encode_into(&mut out, body.map(|(media_type, _)| media_type), framing);
        copied.into_iter().flat_map(Payload::pieces).for_each(|piece| out.extend_from_slice(piece));
        outline.count();
        self.write_all(&out, beside).await
    }

    async fn write_events(
        &mut self,
        mut outline: Outline,
        mut reader: Box<EventReader>,
    ) -> Result<(), Disconnected> {
        match self.turn(&mut reader).await? {
            ReplyShape::Json(payload) => {
                drop(reader);
                self.write_full(&outline, Some(("application/json", &payload))).await
            }
            ReplyShape::Nothing => {
                outline.status = Status(202);
                self.write_full(&outline, None).await
            }
            ReplyShape::Stream { first, then } => {
                self.begin_stream(&mut outline, first).await?;
                match outline.body_left_out {
                    true => Ok(()),
                    false => self.write_stream(outline.chunks, then, &mut reader).await,
                }
            }
        }
    }

    /// Waits until it is known how a reply of events begins.
    ///
    /// While patience lasts, the socket is not looked at: a client that shuts its half after the request still gets
    /// its answer, and an answer that comes soon costs no read that would find nothing.
    async fn turn(&mut self, reader: &mut EventReader) -> Result<ReplyShape, Disconnected> {
        match std::mem::replace(&mut reader.opening, Opening::Json) {
            Opening::Stream { first } => Ok(ReplyShape::Stream { first, then: None }),
            Opening::Either { patience, first } => {
                self.deadline.arm(patience);
                Ok(match or(next_event(reader), silence(&self.deadline)).await {
                    Upcoming::Event(Event { last: true, data: Some(payload), .. }) => {
                        ReplyShape::Json(payload)
                    }
                    Upcoming::Event(event) => ReplyShape::Stream { first, then: Some(event) },
                    Upcoming::Silence | Upcoming::Over => ReplyShape::Stream { first, then: None },
                })
            }
            Opening::Json => self.last_event(reader).await,
        }
    }

    /// Skips events until the last. After a moment of silence a client that is gone is noticed.
    async fn last_event(&mut self, reader: &mut EventReader) -> Result<ReplyShape, Disconnected> {
        self.deadline.arm(REPLY_PATIENCE);
        let mut next = or(next_event(reader), silence(&self.deadline)).await;
        loop {
            match next {
                Upcoming::Event(Event { last: false, .. }) | Upcoming::Silence => {}
                Upcoming::Event(Event { data: Some(payload), .. }) => return Ok(ReplyShape::Json(payload)),
                Upcoming::Event(_) | Upcoming::Over => return Ok(ReplyShape::Nothing),
            }
            next = self.next_or_close(reader, REPLY_PATIENCE).await?;
        }
    }

    async fn begin_stream(
        &mut self,
        outline: &mut Outline,
        first: Option<Event>,
    ) -> Result<(), Disconnected> {
        outline.headers.extend(STREAM_HEADERS);
        let framing = if outline.chunks { ReplyFraming::Chunked } else { ReplyFraming::UntilClose };
        let mut out = Vec::with_capacity(REPLY_HEAD_ROOM_BYTES);
        outline.encode_into(&mut out, Some("text/event-stream"), framing);
        if let Some(first) = first.filter(|_| !outline.body_left_out) {
            append_piece(&mut out, outline.chunks, |out| first.encode_into(out));
        }
        outline.count();
        self.write_all(&out, None).await
    }

    /// Writes events as they come, each in one write, until the last. Between events it holds no buffer.
    async fn write_stream(
        &mut self,
        chunks: bool,
        then: Option<Event>,
        reader: &mut EventReader,
    ) -> Result<(), Disconnected> {
        let _counted = METRICS.streams.enter();
        let mut then = then.map(Upcoming::Event);
        loop {
            let next = match then.take() {
                Some(next) => next,
                None => self.next_or_close(reader, reader.keep_alive_comment).await?,
            };
            let mut out = Vec::with_capacity(next.room());
            let ended = append_next(&mut out, chunks, &next);
            drop(next);
            self.write_all(&out, None).await?;
            if ended {
                return Ok(());
            }
        }
    }

    /// The next event, or silence, or the end; an error when the other end closes meanwhile. What it sends is read
    /// ahead as far as there is room.
    async fn next_or_close(
        &mut self,
        reader: &mut EventReader,
        patience: Duration,
    ) -> Result<Upcoming, Disconnected> {
        let Connection { socket, ahead, deadline, .. } = self;
        deadline.arm(patience);
        let next = or(next_event(reader), silence(deadline));
        or(async { Ok(next.await) }, ahead.closed(socket)).await
    }

    /// Writes two parts, the second without copying it, under the write deadline.
    pub(super) async fn write_all(
        &mut self,
        first: &[u8],
        second: Option<&Payload>,
    ) -> Result<(), Disconnected> {
        let at_once = poll_fn(|cx| Poll::Ready(poll_write(&mut self.socket, cx, first, second, 0))).await;
        let written = match at_once {
            Poll::Ready(count) => counted(count?)?,
            Poll::Pending => 0,
        };
        // As nearly always: there was room for all of it, and nothing to wait for.
        if written == first.len() + second.map_or(0, Payload::len) {
            self.deadline.disarm();
            return Ok(());
        }
        Box::pin(self.write_rest(first, second, written)).await
    }

    async fn write_rest(
        &mut self,
        first: &[u8],
        second: Option<&Payload>,
        mut written: usize,
    ) -> Result<(), Disconnected> {
        let Connection { socket, deadline, deadlines, .. } = self;
        let write = async {
            let mut step_end = 0;
            while written < first.len() + second.map_or(0, Payload::len) {
                if written >= step_end {
                    deadline.arm(deadlines.write);
                    step_end = written + WRITE_STEP_BYTES;
                }
                written += counted(poll_fn(|cx| poll_write(socket, cx, first, second, written)).await?)?;
            }
            Ok(())
        };
        let late = async {
            deadline.wait().await;
            METRICS.slow_readers_total.add_one();
            Err(Disconnected::SlowReader)
        };
        let result = or(write, late).await;
        self.deadline.disarm();
        result
    }
}

/// What one write took. Nothing is the other end's word that it takes no more.
fn counted(written: usize) -> Result<usize, Disconnected> {
    METRICS.sent_bytes_total.add(written as u64);
    if written == 0 { Err(Disconnected::Closed) } else { Ok(written) }
}

/// One write of what is left of two parts when `written` bytes of them are out.
fn poll_write<S: AsyncWrite + Unpin>(
    socket: &mut S,
    cx: &mut Context<'_>,
    first: &[u8],
    second: Option<&Payload>,
    written: usize,
) -> Poll<io::Result<usize>> {
    let socket = Pin::new(socket);
    let rest = first.get(written..).unwrap_or_default();
    let Some(second) = second else { return socket.poll_write(cx, rest) };
    let mut slices = [IoSlice::new(&[]); GATHERED_SLICES_MAX];
    let pieces = [rest].into_iter().chain(second.pieces_from(written.saturating_sub(first.len())));
    let pieces = pieces.filter(|piece| !piece.is_empty());
    let count = slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
    socket.poll_write_vectored(cx, &slices[..count])
}
