//! One socket: read a request, write its reply, and again.
//!
//! A connection answers by itself what cannot be served as HTTP (a broken head, a body that is too large or too
//! slow), with a status line, and then closes gracefully: it shuts its half, reads on for a moment and throws away
//! what comes. A close with unread bytes would be a reset, and a reset can overtake the answer.
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

use crate::budget::Share;
use crate::http::Refusal;
use crate::http::body::{BODY_TOO_LARGE, BodyDecoder};
use crate::http::ended::{Disconnected, ReadPhase};
use crate::http::head::{self, ParsedHead, RequestHead};
use crate::http::read_ahead::ReadAhead;
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

/// A request's body, with its part of the process's byte budget.
#[derive(Debug, Default)]
pub struct RequestBody {
    /// The content, chunks joined.
    pub bytes: Vec<u8>,
    /// What the content takes of the budget.
    pub share: Share,
}

/// One client socket.
#[derive(Debug)]
pub struct Connection<S> {
    pub(super) socket: S,
    pub(super) ahead: ReadAhead,
    pub(super) deadline: Deadline,
    pub(super) deadlines: Deadlines,
    /// The body of the request being served; done when there is none.
    pub(super) body: BodyDecoder,
    /// Whether the client waits for `100 Continue`: its body may never come.
    pub(super) continue_owed: bool,
    /// Whether the next reply is the last, see [`Connection::close_after_reply`].
    pub(super) closing: bool,
    /// Whether our half is shut.
    closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection with the deadlines of [`crate::limits`]. The deadline sweep must be running.
    pub fn new(socket: S) -> Connection<S> {
        Connection::with_deadlines(socket, Deadlines::default())
    }

    /// A connection with other deadlines.
    pub fn with_deadlines(socket: S, deadlines: Deadlines) -> Connection<S> {
        Connection {
            socket,
            ahead: ReadAhead::default(),
            deadline: Deadline::new(),
            deadlines,
            body: BodyDecoder::new(head::Framing::None),
            continue_owed: false,
            closing: false,
            closed: false,
        }
    }

    /// Makes the next reply the last one: it says `Connection: close`. For a node that drains.
    pub fn close_after_reply(&mut self) {
        self.closing = true;
    }

    /// Reads the next request's head. `None` when there will be none: the other end closed between two requests,
    /// was silent for too long, or the last reply closed the connection.
    ///
    /// # Errors
    /// [`Disconnected`]; a head that was refused has been answered.
    pub async fn read_head(&mut self) -> Result<Option<RequestHead>, Disconnected> {
        if self.closed {
            return Ok(None);
        }
        let mut scanned = 0;
        let mut in_head = false;
        self.deadline.arm(self.deadlines.idle);
        loop {
            // Nothing, as a rule, until something was read.
            if !self.ahead.unread().is_empty() {
                match head::parse(self.ahead.unread(), scanned) {
                    Ok(ParsedHead::Complete(head, used)) => return Ok(Some(self.begin_request(head, used))),
                    Ok(ParsedHead::Partial { scanned: so_far }) => scanned = so_far,
                    Err(refusal) => return Err(self.refuse(refusal).await),
                }
            }
            if !in_head && self.has_begun() {
                in_head = true;
                self.deadline.arm(self.deadlines.head);
            }
            match self.fill(ReadPhase::Head).await {
                Ok(true) => {}
                Ok(false) | Err(Disconnected::Deadline(_) | Disconnected::Closed) if !in_head => {
                    return Ok(self.hang_up().await);
                }
                Ok(false) => return Err(Disconnected::Closed),
                Err(Disconnected::Deadline(_)) => return Err(self.refuse(HEAD_TOO_SLOW).await),
                Err(ended) => return Err(ended),
            }
        }
    }

    /// Whether more than blank lines has arrived.
    fn has_begun(&self) -> bool {
        !self.ahead.unread().trim_ascii_start().is_empty()
    }

    fn begin_request(&mut self, head: RequestHead, used: usize) -> RequestHead {
        self.deadline.disarm();
        self.ahead.consume(used);
        self.body = BodyDecoder::new(head.framing());
        self.continue_owed = head.expects_continue() && !self.body.is_done();
        head
    }

    /// Between two requests there is nothing to answer.
    async fn hang_up(&mut self) -> Option<RequestHead> {
        self.close_gracefully().await;
        None
    }

    /// Reads the body of the request whose head was read last, once, of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`Disconnected`]; a body that was refused (400, 408, 413, 503) has been answered. A body that is cut short by a
    /// close is [`Disconnected::Closed`]: it never reaches anybody.
    pub async fn read_body(
        &mut self,
        head: &RequestHead,
        bytes_max: usize,
    ) -> Result<RequestBody, Disconnected> {
        let mut body = RequestBody::default();
        // Known before anything is read: the client need not be asked to send it.
        if matches!(head.framing(), head::Framing::Length(length) if length > bytes_max as u64) {
            return Err(self.refuse(BODY_TOO_LARGE).await);
        }
        self.take_body(&mut body, bytes_max).await?;
        self.send_continue().await?;
        let mut counted = 0;
        // Most bodies came with their head: then there is nothing to wait for.
        if !self.body.is_done() {
            self.deadline.arm(self.deadlines.body);
        }
        while !self.body.is_done() {
            match self.fill(ReadPhase::Body).await {
                Ok(true) => self.take_body(&mut body, bytes_max).await?,
                Ok(false) => return Err(Disconnected::Closed),
                Err(Disconnected::Deadline(_)) => {
                    self.extend_body_deadline(body.bytes.len() - counted).await?;
                    counted = body.bytes.len();
                }
                Err(ended) => return Err(ended),
            }
        }
        self.deadline.disarm();
        body.share.body_finished();
        Ok(body)
    }

    /// Moves what has been read ahead into the body.
    async fn take_body(&mut self, body: &mut RequestBody, bytes_max: usize) -> Result<(), Disconnected> {
        let input = self.ahead.unread();
        if input.is_empty() {
            return Ok(());
        }
        self.continue_owed = false;
        // A little more than is taken, when another request follows; never less.
        if !body.share.grow_unfinished_to(body.bytes.len() + input.len()) {
            return Err(self.refuse(BUDGET_SPENT).await);
        }
        if body.bytes.capacity() == 0 {
            let announced = self.body.left().map_or(input.len(), |left| left.min(bytes_max as u64) as usize);
            body.bytes.reserve_exact(announced.min(BODY_ROOM_BYTES));
        }
        match self.body.decode(input, bytes_max, |piece| body.bytes.extend_from_slice(piece)) {
            Ok(used) => {
                self.ahead.consume(used);
                Ok(())
            }
            Err(refusal) => Err(self.refuse(refusal).await),
        }
    }

    /// Asks for the body when the client waits to be asked (RFC 9110, section 10.1.1).
    async fn send_continue(&mut self) -> Result<(), Disconnected> {
        if std::mem::take(&mut self.continue_owed) {
            self.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", None).await?;
        }
        Ok(())
    }

    /// A body may take as long as it brings `body_bytes_per_sec_min`: `received` in the time that has just passed.
    async fn extend_body_deadline(&mut self, received: usize) -> Result<(), Disconnected> {
        let wanted = self.deadlines.body.as_secs_f64() * self.deadlines.body_bytes_per_sec_min as f64;
        if (received as f64) < wanted {
            return Err(self.refuse(BODY_TOO_SLOW).await);
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

    /// Answers what is not served and closes. The caller returns the result. In a box, for it is seldom, and every
    /// connection would have to have room for it.
    fn refuse(&mut self, refusal: Refusal) -> Pin<Box<impl Future<Output = Disconnected>>> {
        Box::pin(self.refuse_and_close(refusal))
    }

    async fn refuse_and_close(&mut self, refusal: Refusal) -> Disconnected {
        METRICS.wire_refusals_total.add_one();
        let status = refusal.status;
        match self.write_refusal(refusal).await {
            Ok(()) => {
                self.close_gracefully().await;
                Disconnected::Refused(status)
            }
            Err(ended) => {
                self.closed = true;
                ended
            }
        }
    }

    /// Does `work` unless the other end closes meanwhile: for work that is in vain without a client. What the client
    /// sends is read ahead as far as there is room.
    ///
    /// # Errors
    /// [`Disconnected::Closed`] or [`Disconnected::Io`]; then `work` was dropped.
    pub async fn unless_closed<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Disconnected> {
        let Connection { socket, ahead, .. } = self;
        or(async { Ok(work.await) }, ahead.closed(socket)).await
    }

    /// Throws away the rest of a body that nobody read, so that the next request can be.
    pub(super) async fn discard_body(&mut self) -> Result<(), Disconnected> {
        if self.body.is_done() {
            return Ok(());
        }
        self.deadline.arm(self.deadlines.linger);
        while !self.body.is_done() {
            let Ok(used) = self.body.decode(self.ahead.unread(), DISCARD_BYTES_MAX, |_| {}) else {
                return Err(Disconnected::Closed);
            };
            self.ahead.consume(used);
            if !self.body.is_done() && !self.fill(ReadPhase::Discard).await? {
                return Err(Disconnected::Closed);
            }
        }
        self.deadline.disarm();
        Ok(())
    }

    /// Shuts our half and throws away what still comes, for a moment, so that what was written is read.
    pub(super) async fn close_gracefully(&mut self) {
        self.closed = true;
        self.deadline.arm(self.deadlines.linger);
        let Connection { socket, deadline, .. } = self;
        or(async { drop(socket.close().await) }, deadline.wait()).await;
        let mut discarded = 0;
        while discarded <= DISCARD_BYTES_MAX {
            let count = self.ahead.unread().len();
            self.ahead.consume(count);
            discarded += count;
            if !matches!(self.fill(ReadPhase::Discard).await, Ok(true)) {
                break;
            }
        }
        self.deadline.disarm();
    }
}

const HEAD_TOO_SLOW: Refusal = Refusal::new(408, "the request head took too long to arrive");
const BODY_TOO_SLOW: Refusal = Refusal::new(408, "the request body took too long to arrive");
const BUDGET_SPENT: Refusal =
    Refusal::new(503, "burdock holds as many bytes as it may: try again in a moment");
