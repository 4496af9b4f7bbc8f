//! The door to a session: what is said to its worker from outside.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::{Activity, Attach, CallCensus, Form, Input, Post, ReturnAddress};
use crate::http::{Event, EventId, EventReader, Opening, Room};
use crate::limits::{INBOX_WAIT, READER_EVENTS_MAX, REPLY_PATIENCE};
use crate::message::Parsed;
use crate::metrics::Entered;
use crate::moment::Moment;
use crate::principal::Principal;
use crate::queue::{self, Refused, Sender};
use crate::session_id::SessionId;

/// The door to one session's worker.
#[derive(Debug)]
pub struct SessionHandle {
    /// Its id.
    pub id: SessionId,
    /// The index of its server in the config.
    pub server: usize,
    /// Who it belongs to.
    pub principal: Option<Principal>,
    /// Its short id, for the log.
    pub(super) label: Arc<str>,
    /// The client's name: foreign text.
    pub(super) client: Box<str>,
    /// When it began, in seconds since 1970.
    pub(super) created: u64,
    /// Its `initialize`, when it may have to be begun again.
    pub(super) initialize: Option<Box<RawValue>>,
    /// What the worker lets others see.
    pub activity: Arc<Activity>,
    /// The pause between comments on a silent stream.
    pub(super) keep_alive_comment: Duration,
    /// By this a reader that was behind tells the worker that it has room.
    pub(super) room: Room,
    /// Where its calls are counted.
    pub(super) calls: CallCensus,
    pub(super) inbox: Sender<Input>,
    pub(super) _counted: Entered,
}

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The worker is behind.
    Busy,
    /// The session has ended.
    Ended,
}

impl SessionHandle {
    /// Hands over messages with requests among them; the reader gets what comes for these, to the last
    /// response.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn request(&self, messages: Parsed, form: Form) -> Result<EventReader, NotTaken> {
        let (events, live) = queue::bounded(READER_EVENTS_MAX);
        let stream = self.activity.new_stream();
        let census = self.calls.clone();
        let reply = ReturnAddress { stream, events, form, since: Moment::now(), census };
        self.tell(Input::Post(Box::new(Post { messages, reply: Some(reply) }))).await?;
        Ok(EventReader::of(self.opening(form, stream), live, self.keep_alive_comment, self.room.clone()))
    }

    /// Hands over messages that want no response.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn notify(&self, messages: Parsed) -> Result<(), NotTaken> {
        self.tell(Input::Post(Box::new(Post { messages, reply: None }))).await
    }

    /// Resumes a stream after that event; where there is no such stream, goes on with the standalone one.
    /// Only the worker knows where the reader starts, so this waits for its answer (a POST does not).
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn attach(&self, after: Option<EventId>) -> Result<EventReader, NotTaken> {
        let (answer, reader) = queue::bounded(1);
        self.tell(Input::Attach(Box::new(Attach { after, answer }))).await?;
        reader.recv().await.ok_or(NotTaken::Ended)
    }

    /// JSON when the response comes first and soon, else an event stream, with a priming event where the
    /// revision has one (L13).
    fn opening(&self, form: Form, stream: u32) -> Opening {
        let id = Some(EventId { stream, place: 0 });
        let priming = Event { id, retry_ms: None, data: None, last: false };
        let first = self.activity.version().primes().then_some(priming);
        match form {
            Form::Json => Opening::Json,
            Form::Stream => Opening::Stream { first },
            Form::Either => Opening::Either { patience: REPLY_PATIENCE, first },
        }
    }

    /// Hands over an input; waits a little for room, when many come at once.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(super) async fn tell(&self, input: Input) -> Result<(), NotTaken> {
        self.activity.touch();
        match self.inbox.try_send(input) {
            Ok(()) => Ok(()),
            Err(Refused::Closed(_)) => Err(NotTaken::Ended),
            // Boxed, because it is rare and every connection's future would otherwise be large enough for it.
            Err(Refused::Full(input)) => Box::pin(self.tell_in_time(input)).await,
        }
    }

    async fn tell_in_time(&self, input: Input) -> Result<(), NotTaken> {
        let sent = smol::future::or(async { Some(self.inbox.send(input).await) }, async {
            async_io::Timer::after(INBOX_WAIT).await;
            None
        });
        match sent.await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(NotTaken::Ended),
            None => Err(NotTaken::Busy),
        }
    }

    /// Asks the worker of a stopping node to end its session. While a call is in flight or a reader is behind
    /// the worker does nothing, and must be asked again. Never waits.
    pub fn retire(&self) {
        // A worker that is behind is not idle.
        let _ = self.inbox.try_send(Input::Retire);
    }

    /// Whether the session has ended: its worker takes nothing any more.
    pub fn is_over(&self) -> bool {
        self.inbox.is_closed()
    }
}
