//! One socket: read a request, write its reply, and again.
//!
//! How far a connection is with its request is its stage (`stage.rs`). Its futures keep no state of their
//! own: after one was dropped in the middle, a new one goes on where it stopped.
//!
//! A connection answers by itself what cannot be served as HTTP (a broken head, a body that is too large or
//! too slow), with a status line, and then closes gracefully: it shuts its half, reads on for a moment and
//! throws away what comes. A close with unread bytes would be a reset, and a reset can overtake the answer.
//!
//! Writing replies is in `writer.rs`, the read buffer in `read_ahead.rs`. The socket must not buffer what is
//! written, for nothing is ever flushed, and its `close` must shut its writing half (as [`Socket`] does, and
//! `Async<TcpStream>` does not).
//!
//! [`Socket`]: crate::http::Socket

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use smol::future::or;
use smol::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::http::body::{BODY_TOO_LARGE, BodyDecoder, RequestBody};
use crate::http::ended::{Disconnected, ReadPhase};
use crate::http::head::{self, ParsedHead, RequestHead};
use crate::http::read_ahead::ReadAhead;
use crate::http::stage::{AfterWriting, Closing, Stage, UnfinishedBody};
use crate::http::{Refusal, Status};
use crate::limits::{
    BODY_BYTES_PER_SEC_MIN, BODY_DEADLINE, BODY_ROOM_BYTES, DISCARD_BYTES_MAX, HEAD_DEADLINE,
    IDLE_CONNECTION_DEADLINE, LINGER_DEADLINE, WRITE_DEADLINE,
};
use crate::metrics::METRICS;
use crate::sweep::Deadline;

/// How long a connection waits for what. The default is what [`crate::limits`] says; tests use less.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For the first byte of the next request.
    pub idle: Duration,
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// From the head to the end of the body; more for a body that keeps `body_bytes_per_sec_min`.
    pub body: Duration,
    /// What a body has to bring per second beyond `body`.
    pub body_bytes_per_sec_min: usize,
    /// For the other end to take [`crate::limits::WRITE_STEP_BYTES`] of a reply, or all there is.
    pub write: Duration,
    /// From shutting our half to closing the socket.
    pub linger: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            idle: IDLE_CONNECTION_DEADLINE,
            head: HEAD_DEADLINE,
            body: BODY_DEADLINE,
            body_bytes_per_sec_min: BODY_BYTES_PER_SEC_MIN,
            write: WRITE_DEADLINE,
            linger: LINGER_DEADLINE,
        }
    }
}

/// One client socket.
#[derive(Debug)]
pub struct Connection<S> {
    pub(super) socket: S,
    pub(super) ahead: ReadAhead,
    pub(super) deadline: Deadline,
    pub(super) deadlines: Deadlines,
    pub(super) stage: Stage,
    /// Reads the body of the request being served; done when the body has ended, or there is none.
    pub(super) body: BodyDecoder,
    /// Whether the client waits for `100 Continue`: its body may never come.
    pub(super) continue_owed: bool,
    /// Whether the reply on its way, or the next one, is the last, see [`Connection::close_after_reply`].
    pub(super) closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection with the deadlines of [`crate::limits`]. The deadline sweep must be running.
    pub fn new(socket: S) -> Connection<S> {
        Connection::with_deadlines(socket, Deadlines::default())
    }

    /// A connection with other deadlines.
    pub fn with_deadlines(socket: S, deadlines: Deadlines) -> Connection<S> {
        let mut connection = Connection {
            socket,
            ahead: ReadAhead::default(),
            deadline: Deadline::new(),
            deadlines,
            stage: Stage::Idle,
            body: BodyDecoder::new(head::Framing::None),
            continue_owed: false,
            closing: false,
        };
        connection.begin_idle();
        connection
    }

    /// Makes the next reply the last one: it says `Connection: close`. For a node that drains.
    pub fn close_after_reply(&mut self) {
        self.closing = true;
    }

    pub(super) fn begin_idle(&mut self) {
        self.stage = Stage::Idle;
        self.deadline.arm(self.deadlines.idle);
    }

    /// Reads the next request's head. `None` when there will be none: the other end closed between two
    /// requests, was silent for too long, or the last reply closed the connection. If a future that read a
    /// request's body was dropped, this gives that request's head again.
    ///
    /// # Errors
    /// [`Disconnected`]; a head that was refused has been answered.
    pub async fn read_head(&mut self) -> Result<Option<RequestHead>, Disconnected> {
        if self.is_replying() {
            Box::pin(self.write_on()).await?;
        }
        loop {
            let scanned = match &self.stage {
                Stage::Idle => 0,
                Stage::Head { scanned } => *scanned,
                Stage::Body(unfinished) => return Ok(Some(unfinished.head.clone())),
                Stage::Answering
                | Stage::Waiting(_)
                | Stage::Streaming(_)
                | Stage::Writing(_)
                | Stage::Discarding
                | Stage::Closing(_)
                | Stage::Closed => return Ok(None),
            };
            // Before the first read there is mostly nothing to parse.
            if !self.ahead.unread().is_empty() {
                match head::parse(self.ahead.unread(), scanned) {
                    Ok(ParsedHead::Complete(head, used)) => return Ok(Some(self.begin_request(head, used))),
                    Ok(ParsedHead::Partial { scanned }) => self.note_head(scanned),
                    Err(refusal) => return Err(self.refuse(refusal).await),
                }
            }
            let idle = matches!(self.stage, Stage::Idle);
            match self.fill(ReadPhase::Head).await {
                Ok(true) => {}
                // Between two requests there is nothing to answer.
                Ok(false) | Err(Disconnected::Deadline(_) | Disconnected::Closed) if idle => {
                    self.begin_closing(None);
                    Box::pin(self.write_on()).await?;
                }
                Ok(false) => return Err(self.lost(Disconnected::Closed)),
                Err(Disconnected::Deadline(_)) => return Err(self.refuse(HEAD_TOO_SLOW).await),
                Err(ended) => return Err(self.lost(ended)),
            }
        }
    }

    /// Notes that the head is incomplete. From its first byte on it has its own deadline; blank lines before
    /// it do not count.
    fn note_head(&mut self, scanned: usize) {
        if matches!(self.stage, Stage::Idle) {
            if self.ahead.unread().trim_ascii_start().is_empty() {
                return;
            }
            self.deadline.arm(self.deadlines.head);
        }
        self.stage = Stage::Head { scanned };
    }

    fn begin_request(&mut self, head: RequestHead, used: usize) -> RequestHead {
        self.deadline.disarm();
        self.ahead.consume(used);
        self.body = BodyDecoder::new(head.framing());
        self.continue_owed = head.expects_continue() && !self.body.is_done();
        self.stage = Stage::Answering;
        head
    }

    /// The connection is of no more use.
    pub(super) fn lost(&mut self, ended: Disconnected) -> Disconnected {
        self.stage = Stage::Closed;
        ended
    }

    /// Reads the body of the request whose head was read last, once, of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`Disconnected`]; a body that was refused (400, 408, 413, 503) has been answered. A body that is cut
    /// short by a close is [`Disconnected::Closed`]: it never reaches anybody.
    pub async fn read_body(
        &mut self,
        head: &RequestHead,
        bytes_max: usize,
    ) -> Result<RequestBody, Disconnected> {
        if matches!(self.stage, Stage::Answering) {
            let mut body = RequestBody::default();
            match self.begin_body(head, &mut body, bytes_max) {
                // Most bodies came with their head: then there is nothing to wait for.
                Ok(true) => return Ok(body),
                Ok(false) => {
                    self.ask_for_body(Box::new(UnfinishedBody { head: head.clone(), body, counted: 0 }))?
                }
                Err(refusal) => return Err(self.refuse(refusal).await),
            }
        }
        if matches!(self.stage, Stage::Writing(_)) {
            Box::pin(self.write_on()).await?;
        }
        self.read_rest_of_body(bytes_max).await
    }

    /// Takes the part of the body that came with its head. True when that was all of it.
    fn begin_body(
        &mut self,
        head: &RequestHead,
        body: &mut RequestBody,
        bytes_max: usize,
    ) -> Result<bool, Refusal> {
        // Refused before anything is read, so that the client is not asked to send the body.
        if matches!(head.framing(), head::Framing::Length(length) if length > bytes_max as u64) {
            return Err(BODY_TOO_LARGE);
        }
        self.continue_owed &= self.ahead.unread().is_empty();
        take_body(&mut self.ahead, &mut self.body, body, bytes_max)?;
        if self.body.is_done() {
            body.share.body_finished();
        }
        Ok(self.body.is_done())
    }

    /// Begins to wait for the body, and asks for it when the client waits to be asked (RFC 9110, section
    /// 10.1.1).
    fn ask_for_body(&mut self, unfinished: Box<UnfinishedBody>) -> Result<(), Disconnected> {
        match std::mem::take(&mut self.continue_owed) {
            true => {
                let asked = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
                self.write(asked, None, b"", AfterWriting::Body(unfinished))
            }
            false => {
                self.await_body(unfinished);
                Ok(())
            }
        }
    }

    pub(super) fn await_body(&mut self, unfinished: Box<UnfinishedBody>) {
        self.stage = Stage::Body(unfinished);
        self.deadline.arm(self.deadlines.body);
    }

    async fn read_rest_of_body(&mut self, bytes_max: usize) -> Result<RequestBody, Disconnected> {
        loop {
            match self.take_more_body(bytes_max) {
                Ok(None) => {}
                Ok(Some(body)) => return Ok(body),
                Err(refusal) => return Err(self.refuse(refusal).await),
            }
            match self.fill(ReadPhase::Body).await {
                Ok(true) => {}
                Ok(false) => return Err(self.lost(Disconnected::Closed)),
                Err(Disconnected::Deadline(_)) => {
                    if let Err(refusal) = self.extend_body_deadline() {
                        return Err(self.refuse(refusal).await);
                    }
                }
                Err(ended) => return Err(self.lost(ended)),
            }
        }
    }

    /// The body, when what was read ahead completes it.
    fn take_more_body(&mut self, bytes_max: usize) -> Result<Option<RequestBody>, Refusal> {
        let Stage::Body(unfinished) = &mut self.stage else { return Ok(Some(RequestBody::default())) };
        take_body(&mut self.ahead, &mut self.body, &mut unfinished.body, bytes_max)?;
        if !self.body.is_done() {
            return Ok(None);
        }
        let mut body = std::mem::take(&mut unfinished.body);
        body.share.body_finished();
        self.deadline.disarm();
        self.stage = Stage::Answering;
        Ok(Some(body))
    }

    /// A body may take as long as it brings `body_bytes_per_sec_min` in each of its deadlines.
    fn extend_body_deadline(&mut self) -> Result<(), Refusal> {
        let Stage::Body(unfinished) = &mut self.stage else { return Ok(()) };
        let received = unfinished.body.bytes.len()
            - std::mem::replace(&mut unfinished.counted, unfinished.body.bytes.len());
        let wanted = self.deadlines.body.as_secs_f64() * self.deadlines.body_bytes_per_sec_min as f64;
        if (received as f64) < wanted {
            return Err(BODY_TOO_SLOW);
        }
        self.deadline.arm(self.deadlines.body);
        Ok(())
    }

    /// Reads some bytes ahead; false at the end. The deadline must be armed, and there must be room.
    pub(super) async fn fill(&mut self, phase: ReadPhase) -> Result<bool, Disconnected> {
        let Connection { socket, ahead, deadline, .. } = self;
        let read = async {
            let count = poll_fn(|cx| ahead.poll_fill(socket, cx)).await?;
            Ok(count > 0)
        };
        let late = async {
            deadline.wait().await;
            Err(Disconnected::Deadline(phase))
        };
        or(read, late).await
    }

    /// Answers with the refusal and closes; the caller returns the result. Boxed, because refusals are rare
    /// and every connection's future would otherwise be large enough for one.
    fn refuse(&mut self, refusal: Refusal) -> Pin<Box<impl Future<Output = Disconnected>>> {
        Box::pin(self.refuse_and_close(refusal))
    }

    async fn refuse_and_close(&mut self, refusal: Refusal) -> Disconnected {
        METRICS.wire_refusals_total.add_one();
        let status = refusal.status;
        if let Err(ended) = self.begin_refusal(refusal) {
            return self.lost(ended);
        }
        self.write_on().await.err().unwrap_or(Disconnected::Refused(status))
    }

    /// Runs `work`, and drops it when the other end closes: for work that is in vain without a client. What
    /// the client sends meanwhile is read ahead as far as there is room.
    ///
    /// # Errors
    /// [`Disconnected::Closed`] or [`Disconnected::Io`]; then `work` was dropped.
    pub async fn unless_closed<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Disconnected> {
        let Connection { socket, ahead, .. } = self;
        or(async { Ok(work.await) }, ahead.closed(socket)).await
    }

    /// Throws away the rest of a body that nobody read, so that the next request can be.
    pub(super) async fn discard_body(&mut self) {
        while let Ok(used) = self.body.decode(self.ahead.unread(), DISCARD_BYTES_MAX, |_| {}) {
            self.ahead.consume(used);
            if self.body.is_done() {
                return self.begin_idle();
            }
            if !matches!(self.fill(ReadPhase::Discard).await, Ok(true)) {
                break;
            }
        }
        self.begin_closing(None);
    }

    /// Begins the end of the connection, after the last reply or when a request was `refused`.
    pub(super) fn begin_closing(&mut self, refused: Option<Status>) {
        self.stage = Stage::Closing(Closing::new(refused));
        self.deadline.arm(self.deadlines.linger);
    }

    /// Shuts our half and throws away what still comes, for a moment, so that what was written is read.
    pub(super) async fn close(&mut self) -> Result<(), Disconnected> {
        loop {
            let Connection { socket, ahead, deadline, stage, .. } = &mut *self;
            let Stage::Closing(closing) = stage else { return Ok(()) };
            if !closing.shut {
                or(async { drop(socket.close().await) }, deadline.wait()).await;
                closing.shut = true;
            }
            let count = ahead.unread().len();
            ahead.consume(count);
            closing.discarded += count;
            let (discarded, refused) = (closing.discarded, closing.refused);
            if discarded > DISCARD_BYTES_MAX || !matches!(self.fill(ReadPhase::Discard).await, Ok(true)) {
                self.deadline.disarm();
                self.stage = Stage::Closed;
                return refused.map_or(Ok(()), |status| Err(Disconnected::Refused(status)));
            }
        }
    }
}

/// Moves what has been read ahead into the body.
fn take_body(
    ahead: &mut ReadAhead,
    decoder: &mut BodyDecoder,
    body: &mut RequestBody,
    bytes_max: usize,
) -> Result<(), Refusal> {
    let input = ahead.unread();
    if input.is_empty() {
        return Ok(());
    }
    // Where another request follows in the same bytes this counts a little too much, never too little.
    if !body.share.grow_unfinished_to(body.bytes.len() + input.len()) {
        return Err(BUDGET_SPENT);
    }
    if body.bytes.capacity() == 0 {
        let announced = decoder.left().map_or(input.len(), |left| left.min(bytes_max as u64) as usize);
        body.bytes.reserve_exact(announced.min(BODY_ROOM_BYTES));
    }
    let used = decoder.decode(input, bytes_max, |piece| body.bytes.extend_from_slice(piece))?;
    ahead.consume(used);
    Ok(())
}

const HEAD_TOO_SLOW: Refusal = Refusal::new(408, "the request head took too long to arrive");
const BODY_TOO_SLOW: Refusal = Refusal::new(408, "the request body took too long to arrive");
const BUDGET_SPENT: Refusal =
    Refusal::new(503, "burdock holds as many bytes as it may: try again in a moment");
