//! Writing replies: one write for a full one, one write per event for a stream.
//!
//! The first write is tried at once, without waiting; what the socket does not take becomes the connection's
//! stage.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use smol::future::or;
use smol::io::{AsyncRead, AsyncWrite};

use crate::budget::Payload;
use crate::http::connection::Connection;
use crate::http::ended::Disconnected;
use crate::http::head::{Asked, ReplyFraming};
use crate::http::outline::{Outline, STREAM_HEADERS};
use crate::http::sse::{Event, EventReader, Opening};
use crate::http::stage::{AfterWriting, Closing, Outgoing, Stage, Streaming, Undecided};
use crate::http::upcoming::{NextWrite, Upcoming, append_piece, next_or_close};
use crate::http::{Body, Refusal, Reply, Status};
use crate::limits::{
    COPIED_BODY_BYTES_MAX, DISCARD_BYTES_MAX, GATHERED_SLICES_MAX, REPLY_HEAD_ROOM_BYTES, REPLY_PATIENCE,
    WRITE_STEP_BYTES,
};
use crate::metrics::METRICS;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Writes the reply to the request whose head was read last. When the connection ends with it (the client
    /// or the reply wants that, or a body was left that is not worth reading), it is closed gracefully, and
    /// the next [`Connection::read_head`] returns `None`.
    ///
    /// A reply of events takes as long as its stream: the reader is dropped when this returns, also when the
    /// client goes away.
    ///
    /// # Errors
    /// [`Disconnected`] when the reply could not be written to its end.
    pub async fn write_reply(&mut self, asked: Asked, reply: Reply) -> Result<(), Disconnected> {
        if let Err(ended) = self.begin_reply(asked, reply) {
            return Err(self.lost(ended));
        }
        self.write_on().await
    }

    /// Whether a reply is on its way, which [`Connection::write_on`] brings to its end.
    pub fn is_replying(&self) -> bool {
        match &self.stage {
            Stage::Idle | Stage::Head { .. } | Stage::Body(_) | Stage::Answering | Stage::Closed => false,
            Stage::Waiting(_)
            | Stage::Streaming(_)
            | Stage::Writing(_)
            | Stage::Discarding
            | Stage::Closing(_) => true,
        }
    }

    /// Goes on with a reply that was on its way when the future that wrote it was dropped.
    ///
    /// # Errors
    /// As [`Connection::write_reply`].
    pub async fn write_on(&mut self) -> Result<(), Disconnected> {
        while self.is_replying() {
            if let Err(ended) = self.write_step().await {
                return Err(self.lost(ended));
            }
        }
        Ok(())
    }

    /// From one stage of a reply to the next.
    async fn write_step(&mut self) -> Result<(), Disconnected> {
        match &self.stage {
            Stage::Waiting(_) => {
                let upcoming = self.wait_for_shape().await?;
                self.take_shape(upcoming)
            }
            Stage::Streaming(_) => {
                let upcoming = self.next_of_stream().await?;
                self.write_next(upcoming)
            }
            // Boxed, because these waits are rare and every connection's future would otherwise be large
            // enough for them.
            Stage::Writing(_) => Box::pin(self.write_rest()).await,
            Stage::Discarding => {
                Box::pin(self.discard_body()).await;
                Ok(())
            }
            Stage::Closing(_) => Box::pin(self.close()).await,
            Stage::Idle | Stage::Head { .. } | Stage::Body(_) | Stage::Answering | Stage::Closed => Ok(()),
        }
    }

    /// Writes what of a reply the socket takes at once.
    fn begin_reply(&mut self, asked: Asked, reply: Reply) -> Result<(), Disconnected> {
        self.closing |= reply.close || asked.close || !self.can_discard_body();
        let outline = Outline {
            status: reply.status,
            headers: reply.headers,
            close: self.closing,
            body_left_out: asked.head_only,
            chunks: !asked.http_1_0,
        };
        match reply.body {
            Body::Empty => self.write_full(&outline, None, AfterWriting::Reply { _ended: None }),
            Body::Full(media_type, payload) => {
                self.write_full(&outline, Some((media_type, payload)), AfterWriting::Reply { _ended: None })
            }
            Body::Events(reader) => self.begin_events(outline, reader),
        }
    }

    /// Begins to write the answer to a request that is not served; then the connection closes.
    pub(super) fn begin_refusal(&mut self, refusal: Refusal) -> Result<(), Disconnected> {
        let closing = AfterWriting::Closing(Closing::new(Some(refusal.status)));
        let reply = Reply::from(refusal);
        let outline = Outline {
            status: reply.status,
            headers: reply.headers,
            close: true,
            body_left_out: false,
            chunks: true,
        };
        let body = match reply.body {
            Body::Full(media_type, payload) => Some((media_type, payload)),
            Body::Empty | Body::Events(_) => None,
        };
        self.write_full(&outline, body, closing)
    }

    /// Whether the connection can go on after the reply: the rest of the request's body, if there is one,
    /// must be small enough to be thrown away and sure to come (a client that waits for `100 Continue` may
    /// never send it).
    fn can_discard_body(&mut self) -> bool {
        if !self.continue_owed
            && let Ok(used) = self.body.decode(self.ahead.unread(), DISCARD_BYTES_MAX, |_| {})
        {
            self.ahead.consume(used);
        }
        let small = self.body.left().is_some_and(|left| left <= DISCARD_BYTES_MAX as u64);
        self.body.is_done() || (small && !self.continue_owed)
    }

    fn write_full(
        &mut self,
        outline: &Outline,
        body: Option<(&str, Payload)>,
        then: AfterWriting,
    ) -> Result<(), Disconnected> {
        let (media_type, content) = body.unzip();
        let length = content.as_ref().map_or(0, Payload::len);
        let content = content.filter(|_| !outline.body_left_out);
        let framing = match outline.status.0 {
            204 => ReplyFraming::None,
            _ => ReplyFraming::Length(length),
        };
        let copied = content.as_ref().filter(|_| length <= COPIED_BODY_BYTES_MAX);
        let mut out = Vec::with_capacity(REPLY_HEAD_ROOM_BYTES + copied.map_or(0, Payload::len));
        outline.encode_into(&mut out, media_type, framing);
        copied.into_iter().flat_map(Payload::pieces).for_each(|piece| out.extend_from_slice(piece));
        outline.count();
        let beside = content.filter(|_| length > COPIED_BODY_BYTES_MAX);
        self.write(out, beside, b"", then)
    }

    fn begin_events(&mut self, outline: Outline, mut reader: Box<EventReader>) -> Result<(), Disconnected> {
        match &mut reader.opening {
            Opening::Stream { first } => {
                let first = first.take();
                return self.begin_stream(outline, reader, first);
            }
            Opening::Either { patience, .. } => self.deadline.arm(*patience),
            Opening::Json => self.deadline.arm(REPLY_PATIENCE),
        }
        self.stage = Stage::Waiting(Undecided { outline, reader, watched: false });
        Ok(())
    }

    /// Waits for what may show how a reply of events begins.
    async fn wait_for_shape(&mut self) -> Result<Upcoming, Disconnected> {
        let Connection { socket, ahead, deadline, stage, .. } = self;
        let Stage::Waiting(waiting) = stage else { return Ok(Upcoming::Over) };
        next_or_close(&mut waiting.reader, deadline, ahead, waiting.watched.then_some(socket)).await
    }

    /// Decides by what came first whether the reply is one JSON body or a stream. For a client that takes
    /// JSON only, all events but the last are skipped; from the first silence on, its connection is watched
    /// for a close.
    fn take_shape(&mut self, upcoming: Upcoming) -> Result<(), Disconnected> {
        let Stage::Waiting(waiting) = std::mem::replace(&mut self.stage, Stage::Answering) else {
            return Ok(());
        };
        let Undecided { mut outline, mut reader, .. } = waiting;
        match (std::mem::replace(&mut reader.opening, Opening::Json), upcoming) {
            (_, Upcoming::Event(Event { last: true, data: Some(payload), .. })) => {
                drop(reader);
                self.write_full(
                    &outline,
                    Some(("application/json", payload)),
                    AfterWriting::Reply { _ended: None },
                )
            }
            (Opening::Json, Upcoming::Event(Event { last: false, .. }) | Upcoming::Silence) => {
                self.deadline.arm(REPLY_PATIENCE);
                self.stage = Stage::Waiting(Undecided { outline, reader, watched: true });
                Ok(())
            }
            (Opening::Json, Upcoming::Event(_) | Upcoming::Over) => {
                outline.status = Status(202);
                self.write_full(&outline, None, AfterWriting::Reply { _ended: None })
            }
            (Opening::Either { first, .. } | Opening::Stream { first }, upcoming) => {
                if let Upcoming::Event(event) = upcoming {
                    reader.backlog.push_front(event);
                }
                self.begin_stream(outline, reader, first)
            }
        }
    }

    /// Writes the head of an event stream, and in the same write the event that opens it.
    fn begin_stream(
        &mut self,
        mut outline: Outline,
        reader: Box<EventReader>,
        first: Option<Event>,
    ) -> Result<(), Disconnected> {
        let Outline { chunks, body_left_out, .. } = outline;
        outline.headers.extend(STREAM_HEADERS);
        let framing = if chunks { ReplyFraming::Chunked } else { ReplyFraming::UntilClose };
        let mut out = Vec::with_capacity(REPLY_HEAD_ROOM_BYTES);
        outline.encode_into(&mut out, Some("text/event-stream"), framing);
        outline.count();
        if body_left_out {
            return self.write(out, None, b"", AfterWriting::Reply { _ended: None });
        }
        if let Some(first) = &first {
            append_piece(&mut out, chunks, |out| first.encode_into(out));
        }
        let written = first.and_then(|first| first.id);
        let streaming = Streaming { chunks, reader, written, _counted: METRICS.streams.enter() };
        self.write(out, None, b"", AfterWriting::Streaming(streaming))
    }

    /// Waits for what a stream writes next.
    async fn next_of_stream(&mut self) -> Result<Upcoming, Disconnected> {
        let Connection { socket, ahead, deadline, stage, .. } = self;
        let Stage::Streaming(streaming) = stage else { return Ok(Upcoming::Over) };
        next_or_close(&mut streaming.reader, deadline, ahead, Some(socket)).await
    }

    /// Writes an event, or a comment, or the end. Between events a stream holds no buffer.
    fn write_next(&mut self, upcoming: Upcoming) -> Result<(), Disconnected> {
        let Stage::Streaming(mut streaming) = std::mem::replace(&mut self.stage, Stage::Answering) else {
            return Ok(());
        };
        if let Upcoming::Event(Event { id: Some(id), .. }) = &upcoming {
            streaming.written = Some(*id);
        }
        let NextWrite { front, beside, back, last } = NextWrite::of(upcoming, streaming.chunks);
        let then = match last {
            true => AfterWriting::Reply { _ended: Some(streaming) },
            false => AfterWriting::Streaming(streaming),
        };
        self.write(front, beside, back, then)
    }

    /// Writes as much as the socket takes at once. That is nearly always all of it; otherwise the rest
    /// becomes the stage ([`Stage::Writing`]), and `write_rest` waits for the socket.
    pub(super) fn write(
        &mut self,
        front: Vec<u8>,
        beside: Option<Payload>,
        back: &'static [u8],
        then: AfterWriting,
    ) -> Result<(), Disconnected> {
        let mut outgoing = Outgoing { front, beside, back, written: 0, step_end: 0, then };
        // The waker is not needed: `write_rest` polls again before it waits.
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(count) = poll_write(&mut self.socket, &mut cx, &outgoing) {
            outgoing.written = counted(count?)?;
        }
        if outgoing.written == outgoing.len() {
            self.begin_next_stage(outgoing.then);
            return Ok(());
        }
        self.stage = Stage::Writing(Box::new(outgoing));
        Ok(())
    }

    /// Writes what is left, as the socket takes it, under the write deadline.
    async fn write_rest(&mut self) -> Result<(), Disconnected> {
        let Connection { socket, deadline, deadlines, stage, .. } = self;
        let Stage::Writing(outgoing) = stage else { return Ok(()) };
        let write = async {
            while outgoing.written < outgoing.len() {
                if outgoing.written >= outgoing.step_end {
                    deadline.arm(deadlines.write);
                    outgoing.step_end = outgoing.written + WRITE_STEP_BYTES;
                }
                outgoing.written += counted(poll_fn(|cx| poll_write(socket, cx, outgoing)).await?)?;
            }
            Ok(())
        };
        let late = async {
            deadline.wait().await;
            METRICS.slow_readers_total.add_one();
            Err(Disconnected::SlowReader)
        };
        or(write, late).await?;
        if let Stage::Writing(outgoing) = std::mem::replace(&mut self.stage, Stage::Answering) {
            self.begin_next_stage(outgoing.then);
        }
        Ok(())
    }

    /// Goes on after a write: all of it is out.
    fn begin_next_stage(&mut self, then: AfterWriting) {
        match then {
            AfterWriting::Body(unfinished) => self.await_body(unfinished),
            AfterWriting::Streaming(streaming) => {
                self.deadline.arm(streaming.reader.keep_alive_comment);
                self.stage = Stage::Streaming(streaming);
            }
            AfterWriting::Reply { .. } if self.closing => self.begin_closing(None),
            AfterWriting::Reply { .. } if self.body.is_done() => self.begin_idle(),
            AfterWriting::Reply { .. } => {
                self.deadline.arm(self.deadlines.linger);
                self.stage = Stage::Discarding;
            }
            AfterWriting::Closing(closing) => self.begin_closing(closing.refused),
        }
    }
}

/// Counts what one write took. A write that took nothing means that the other end takes no more.
fn counted(written: usize) -> Result<usize, Disconnected> {
    METRICS.sent_bytes_total.add(written as u64);
    if written == 0 { Err(Disconnected::Closed) } else { Ok(written) }
}

/// One write of what is left.
fn poll_write<S: AsyncWrite + Unpin>(
    socket: &mut S,
    cx: &mut Context<'_>,
    outgoing: &Outgoing,
) -> Poll<io::Result<usize>> {
    let socket = Pin::new(socket);
    let mut rest = outgoing.rest();
    let first = rest.next().unwrap_or_default();
    let Some(second) = rest.next() else { return socket.poll_write(cx, first) };
    let mut slices = [IoSlice::new(&[]); GATHERED_SLICES_MAX];
    let pieces = [first, second].into_iter().chain(rest);
    let count = slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
    socket.poll_write_vectored(cx, &slices[..count])
}
