//! The worker of one session: the only owner of its streams, its calls and its backend.
//!
//! One task, one loop, one closed set of inputs. It waits for nobody: messages to the backend and events to readers
//! are handed over without waiting, and what cannot be handed over has a written answer. What it owns dies with it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use smol::future::{FutureExt as _, or, poll_fn};

use super::streams::{ReturnAddress, STANDALONE, Streams};
use super::{Activity, Ended};
use crate::backend::{Backend, Exit, Output, Priority, SendError};
use crate::budget::{self, Payload};
use crate::foreign::Foreign;
use crate::http::{Event, EventId, EventReader, Opening, Room};
use crate::limits::{
    ASK_AGE, BEHIND_PATIENCE, CALLS_MAX, EARLY_INPUTS_MAX, FOREIGN_TEXT_BYTES_MAX, HELD_BYTES_CALLS_MAX,
    IDLE_WITH_CALLS_FACTOR, LOG_STEP, READER_EVENTS_MAX, RETIRE_RETRY_MS,
};
use crate::message::{self, Id, Invalid, Kind, Line, Message, Parsed};
use crate::metrics::{Entered, METRICS};
use crate::moment::Moment;
use crate::queue::{self, Receiver, Sender};
use crate::sweep::{self, Deadline};
use crate::version::{self, Version};

/// What a session's worker is told.
#[derive(Debug)]
pub enum Input {
    /// A POST. In a box, for the inbox has its places from the start.
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

/// What became of `initialize`.
#[derive(Debug)]
pub enum Opened {
    /// The session lives; the backend's answer.
    Ready(Payload),
    /// The backend refused; its error.
    Refused(Payload),
    /// There is no backend: an HTTP status and the reason.
    Failed(u16, String),
}

/// What a worker is told at its start and keeps.
#[derive(Debug)]
pub struct Setup {
    /// The session's short id, for the log.
    pub label: Arc<str>,
    /// What others see of the session.
    pub activity: Arc<Activity>,
    /// Where inputs come from.
    pub inbox: Receiver<Input>,
    /// What answers.
    pub backend: Backend,
    /// From the start to the answer of `initialize`.
    pub start_deadline: Duration,
    /// Idle time after which the session ends.
    pub idle_timeout: Duration,
    /// The same when no stream was ever opened.
    pub idle_timeout_no_stream: Duration,
    /// For the readers of its streams.
    pub keep_alive_comment: Duration,
    /// What readers tell when they have room again.
    pub room: Room,
}

/// See the module.
#[derive(Debug)]
pub struct Worker {
    setup: Setup,
    version: Version,
    /// Whether the client knows the session from a former life: it will not say `initialized` again.
    restored: bool,
    /// Inputs that came before the backend was ready, of clients that have the id already.
    early: VecDeque<Input>,
    streams: Streams,
    /// Requests of the client that the backend has not answered.
    calls: BTreeMap<Id, Call>,
    /// Requests of the backend that the client has not answered.
    asks: HashMap<Id, Ask>,
    /// Whose turn it is to be asked first.
    backend_first: bool,
    /// Since when some reader is behind.
    behind_since: Option<Instant>,
    garbage_logged: Option<Instant>,
    deaf_logged: Option<Instant>,
}

/// A backend's request in flight.
#[derive(Debug)]
struct Ask {
    /// Where its request stands, to be settled when the ask is over.
    at: EventId,
    since: Instant,
}

/// A client's request in flight.
#[derive(Debug)]
struct Call {
    stream: u32,
    progress_token: Option<Id>,
    since: Instant,
    _counted: Entered,
}

enum Next {
    Input(Input),
    InboxClosed,
    Output(Output),
    OutputsClosed,
    /// A reader that was behind has room.
    Room,
}

impl Worker {
    /// A worker before its `initialize`.
    pub fn new(setup: Setup) -> Worker {
        Worker {
            setup,
            version: Version::default(),
            restored: false,
            early: VecDeque::new(),
            streams: Streams::new(),
            calls: BTreeMap::new(),
            asks: HashMap::new(),
            backend_first: false,
            behind_since: None,
            garbage_logged: None,
            deaf_logged: None,
        }
    }

    /// The same for a session that begins again.
    pub fn restored(mut self: Box<Worker>) -> Box<Worker> {
        self.restored = true;
        self.streams = Streams::restored();
        self
    }

    /// Gives the backend its `initialize` and waits for the answer. On [`Opened::Ready`] the session's version is
    /// known to [`Activity`], and [`Worker::run`] is next.
    pub async fn open(&mut self, initialize: Box<Message>) -> Opened {
        let Kind::Request { id, .. } = &initialize.kind else {
            return Opened::Failed(500, "initialize is not a request".into());
        };
        if self.setup.backend.send(&initialize, Priority::Request).is_err() {
            return Opened::Failed(502, "the server has ended before it was asked".into());
        }
        let (mut deadline, mut garbage) = (None, None);
        loop {
            let Some(next) = self.next_in_time(&mut deadline).await else {
                return Opened::Failed(504, too_late(self.setup.start_deadline, garbage));
            };
            match next {
                Next::Output(Output::Message(payload)) => match message::parse_line(payload) {
                    Line::One(Ok(message)) if is_response_to(&message, id) => return self.opened(message),
                    line => self.take_line(line),
                },
                Next::Output(Output::Welcome { version, payload, .. }) => {
                    return self.agreed(version, payload);
                }
                // A handler's refusal: it was asked nothing else yet.
                Next::Output(Output::Response { payload, .. }) => return Opened::Refused(payload),
                Next::Output(Output::Garbage(line)) => {
                    self.log_garbage(&line);
                    garbage.get_or_insert(line);
                }
                Next::Output(Output::TooLong { .. }) => {
                    return Opened::Failed(502, "the server's answer to initialize is too large".into());
                }
                Next::Output(Output::Exited(exit)) => return Opened::Failed(502, too_early(&exit, garbage)),
                Next::OutputsClosed => {
                    return Opened::Failed(502, "the server ended before it answered initialize".into());
                }
                Next::InboxClosed => return Opened::Failed(503, "this node is stopping".into()),
                Next::Input(input) => self.early.push_back(input),
                // What only handlers say, and none of them has been called yet.
                Next::Output(_) | Next::Room => {}
            }
        }
    }

    /// `None` when the time to start is over. The deadline is made when there is something to wait for, for a handler
    /// has answered by then.
    async fn next_in_time(&mut self, deadline: &mut Option<Deadline>) -> Option<Next> {
        let time = self.setup.start_deadline;
        let late = async {
            deadline.get_or_insert_with(|| Deadline::after(time)).wait().await;
            None
        };
        or(async { Some(self.next().await) }, late).await
    }

    fn opened(&mut self, answer: Message) -> Opened {
        if matches!(answer.kind, Kind::Response { error: true, .. }) {
            return Opened::Refused(answer.payload);
        }
        match message::negotiated_version(&answer) {
            Some(version) if version::is_stateless(&version) => Opened::Failed(
                502,
                format!(
                    "the server answered initialize with {}, which has no initialize",
                    Foreign(version.as_bytes())
                ),
            ),
            Some(version) => self.agreed(Version::new(&version), answer.payload),
            None => Opened::Failed(502, "the server's answer to initialize has no protocolVersion".into()),
        }
    }

    fn agreed(&mut self, version: Version, answer: Payload) -> Opened {
        self.setup.activity.set_version(version);
        self.version = self.setup.activity.version();
        if self.restored {
            self.give_backend(&Message::initialized());
        }
        Opened::Ready(answer)
    }

    /// Serves the session until it ends.
    pub async fn run(&mut self) -> Ended {
        while let Some(early) = self.early.pop_front() {
            self.take_input(early);
        }
        loop {
            let ended = match self.next().await {
                Next::Input(input) => self.take_input(input),
                Next::InboxClosed => return self.setup.activity.ended(),
                Next::Output(output) => self.take_output(output),
                Next::OutputsClosed => Some(Ended::Exited(Exit::Stopped)),
                Next::Room => None,
            };
            if let Some(ended) = ended {
                return ended;
            }
            self.pump();
        }
    }

    /// Fair between the client and the backend: neither can starve the other.
    async fn next(&mut self) -> Next {
        match self.behind_since {
            None => poll_fn(|cx| self.poll_next(cx)).await,
            // Seldom, so in a box: every session would have to have room for it.
            Some(since) => Box::pin(self.next_while_behind(since)).await,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.backend_first = !self.backend_first;
        if self.backend_first {
            match self.poll_output(cx) {
                Poll::Ready(next) => Poll::Ready(next),
                Poll::Pending => self.poll_input(cx),
            }
        } else {
            match self.poll_input(cx) {
                Poll::Ready(next) => Poll::Ready(next),
                Poll::Pending => self.poll_output(cx),
            }
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.early.len() >= EARLY_INPUTS_MAX {
            // Not ready yet: what comes now waits in the inbox.
            return Poll::Pending;
        }
        let input = self.setup.inbox.poll_recv(cx);
        input.map(|input| input.map_or(Next::InboxClosed, Next::Input))
    }

    fn poll_output(&self, cx: &mut Context<'_>) -> Poll<Next> {
        let output = self.setup.backend.outputs().poll_recv(cx);
        output.map(|output| output.map_or(Next::OutputsClosed, |output| Next::Output(unwrapped(output))))
    }

    /// Back-pressure: a reader that reads gets a moment before its log fills. One that does not holds up nobody.
    async fn next_while_behind(&mut self, since: Instant) -> Next {
        let room = self.setup.room.clone();
        let room = async {
            room.told().await;
            Next::Room
        };
        let mut patience = BEHIND_PATIENCE.checked_sub(since.elapsed()).map(async_io::Timer::after);
        let next = poll_fn(|cx| {
            if patience.as_mut().is_some_and(|patience| Pin::new(patience).poll(cx).is_pending()) {
                return self.poll_input(cx);
            }
            patience = None;
            self.poll_next(cx)
        });
        or(room, next).await
    }

    /// Gives readers that are behind what they have room for; they tell when there is more.
    fn pump(&mut self) {
        if self.streams.behind() {
            // In this order: a reader that has room by now is seen by the pump, a later one tells.
            self.setup.room.want();
            self.streams.pump();
        }
        self.behind_since = match self.streams.behind() {
            true => Some(self.behind_since.unwrap_or_else(Instant::now)),
            false => None,
        };
    }

    fn take_input(&mut self, input: Input) -> Option<Ended> {
        match input {
            Input::Post(post) => self.take_client_messages(post.messages, post.reply),
            Input::Attach(attach) => {
                let _ = attach.answer.try_send(self.attach(attach.after));
            }
            Input::Tick => return self.tick(Instant::now()),
            Input::Retire => return self.retire(),
            #[cfg(test)]
            Input::Panic => panic!("asked to"),
        }
        None
    }

    fn take_output(&mut self, output: Output) -> Option<Ended> {
        match output {
            Output::Message(payload) => self.take_line(message::parse_line(payload)),
            Output::Welcome { to, payload, .. } | Output::Response { to, payload } => {
                self.answered(&to, payload);
            }
            Output::Related { to, payload } => self.related(&to, payload),
            Output::Unrelated(payload) => self.unrelated(payload),
            Output::Detach(id) => self.detach(&id),
            Output::Garbage(line) => self.log_garbage(&line),
            Output::Wrapped { .. } => {}
            Output::TooLong { .. } => self.too_long(),
            Output::Exited(Exit::Panicked) => return Some(Ended::Panicked),
            Output::Exited(exit) => return Some(Ended::Exited(exit)),
        }
        None
    }

    // --- From the client ------------------------------------------------------------------------------------------

    fn take_client_messages(&mut self, messages: Parsed, reply: Option<ReturnAddress>) {
        let stream = reply.as_ref().map_or(STANDALONE, |reply| reply.stream);
        if let Some(reply) = reply {
            let requests =
                messages.all().iter().filter(|message| matches!(message.kind, Kind::Request { .. }));
            self.streams.open(reply, requests.count());
        }
        match messages {
            Parsed::One(message) => self.take_client_message(&message, stream),
            Parsed::Batch(messages) => {
                messages.iter().for_each(|message| self.take_client_message(message, stream));
            }
        }
    }

    fn take_client_message(&mut self, message: &Message, stream: u32) {
        match &message.kind {
            Kind::Request { id, .. } => {
                if let Err(text) = self.call(id, message, stream) {
                    METRICS.calls_refused_total.add_one();
                    self.respond(stream, message::error(id, message::INTERNAL_ERROR, text, None));
                }
            }
            Kind::Notification { method } => {
                let cancelled =
                    if &**method == "notifications/cancelled" { message.concerns.clone() } else { None };
                self.give_backend(message);
                if let Some(id) = cancelled {
                    self.cancelled(&id);
                }
            }
            // An answer goes only to the request it answers (L50).
            Kind::Response { id, .. } => match id {
                Some(id) if self.settle(id) => self.give_backend(message),
                _ => log::debug!("[{}] dropped an answer to no request", self.setup.label),
            },
        }
    }

    /// Begins a call; the error is the text of the JSON-RPC error that answers it (invariant 7: never HTTP).
    fn call(&mut self, id: &Id, message: &Message, stream: u32) -> Result<(), &'static str> {
        if self.calls.len() >= CALLS_MAX {
            return Err("too many requests of this session are in flight: wait for some of them");
        }
        if budget::held_bytes() > HELD_BYTES_CALLS_MAX {
            return Err("burdock holds as many bytes of messages as it may: try again in a moment");
        }
        let Entry::Vacant(vacant) = self.calls.entry(id.clone()) else {
            return Err("a request with this id is already in flight");
        };
        self.setup.backend.send(message, Priority::Request).map_err(|error| match error {
            SendError::Full => "the server does not read its input: too many requests wait for it",
            SendError::Closed => "the server is ending",
        })?;
        METRICS.calls_total.add_one();
        METRICS.messages_to_backend_total.add_one();
        vacant.insert(Call {
            stream,
            progress_token: message.concerns.clone(),
            since: Instant::now(),
            _counted: METRICS.calls.enter(),
        });
        Ok(())
    }

    fn give_backend(&mut self, message: &Message) {
        METRICS.messages_to_backend_total.add_one();
        if let Err(error) = self.setup.backend.send(message, Priority::Other)
            && now_and_then(&mut self.deaf_logged)
        {
            log::warn!(
                "[{}] dropped an answer or notification of the client: the server does not read ({error:?})",
                self.setup.label
            );
        }
    }

    /// The client no longer wants a response (L44): none is sent.
    fn cancelled(&mut self, id: &Id) {
        let Some(call) = self.calls.remove(id) else { return };
        let instead =
            message::error(id, message::INTERNAL_ERROR, "the request was cancelled by the client", None);
        self.streams.leave_unanswered(call.stream, instead, Moment::now());
    }

    /// Resumes the stream of that event; the standalone one goes on when there is no such stream (any more).
    fn attach(&mut self, after: Option<EventId>) -> EventReader {
        let (events, live) = queue::bounded(READER_EVENTS_MAX);
        let (start, resumed) = self.streams.attach_or_go_on(after, events);
        if resumed {
            METRICS.streams_resumed_total.add_one();
        }
        self.setup.activity.attached();
        let priming = Event { id: Some(start), retry_ms: None, data: None, last: false };
        let opening = Opening::Stream { first: self.version.primes().then_some(priming) };
        EventReader::of(opening, live, self.setup.keep_alive_comment, self.setup.room.clone())
    }

    // --- From the backend -----------------------------------------------------------------------------------------

    /// In a batch each message stands for itself: a bad one spoils no other.
    fn take_line(&mut self, line: Line) {
        let mut take = |message: Result<Message, Invalid>| match message {
            Ok(message) => self.take_backend_message(message),
            Err(invalid) => self.unreadable(invalid),
        };
        match line {
            Line::One(message) => take(message),
            Line::Batch(messages) => messages.into_iter().for_each(take),
        }
    }

    fn take_backend_message(&mut self, message: Message) {
        let stream = self.route(&message);
        self.take_routed(message, stream);
    }

    /// A message of the backend that says itself which request it belongs to.
    fn related(&mut self, to: &Id, payload: Payload) {
        let stream = self.calls.get(to).map(|call| call.stream);
        let stream = stream.filter(|stream| self.streams.takes_messages(*stream)).unwrap_or(STANDALONE);
        match message::parse_line(payload) {
            Line::One(Ok(message)) => self.take_routed(message, stream),
            Line::Batch(_) => {}
            Line::One(Err(invalid)) => self.unreadable(invalid),
        }
    }

    /// A notification of the backend that says itself that it belongs to no request.
    fn unrelated(&mut self, payload: Payload) {
        METRICS.messages_from_backend_total.add_one();
        self.streams.deliver(self.route_unrelated(), payload, false);
    }

    fn answered(&mut self, id: &Id, response: Payload) {
        METRICS.messages_from_backend_total.add_one();
        match self.calls.remove(id) {
            Some(call) => {
                METRICS.call_seconds.observe(call.since.elapsed());
                self.streams.respond(call.stream, response, Moment::now());
            }
            None => log::debug!("[{}] dropped a response to no request", self.setup.label),
        }
    }

    /// Without priming events a client has nothing to resume after, so its stream stays.
    fn detach(&mut self, id: &Id) {
        if let Some(call) = self.calls.get(id).filter(|_| self.version.primes()) {
            self.streams.let_go(call.stream);
        }
    }

    fn take_routed(&mut self, message: Message, stream: u32) {
        match message.kind {
            Kind::Response { id: Some(id), .. } => return self.answered(&id, message.payload),
            Kind::Response { id: None, .. } => self.without_id(&message.payload),
            Kind::Request { id, method } => self.ask(id, &method, message.payload, stream),
            Kind::Notification { method } if &*method == message::DETACH => {
                if let Some(id) = &message.concerns {
                    self.detach(id);
                }
            }
            Kind::Notification { method } => {
                // The server no longer waits for this answer (L44).
                if let Some(id) = message.concerns.filter(|_| &*method == "notifications/cancelled") {
                    self.settle(&id);
                }
                self.streams.deliver(stream, message.payload, false);
            }
        }
        METRICS.messages_from_backend_total.add_one();
    }

    /// An error without an id: the server could not read a message. When one call is in flight it was that one.
    fn without_id(&mut self, payload: &Payload) {
        log::warn!(
            "[{}] the server could not read a message: {}",
            self.setup.label,
            Foreign(payload.bytes())
        );
        if self.calls.len() == 1 {
            self.fail_calls("the server could not read the request");
        }
    }

    /// A request of the backend to the client (L47).
    fn ask(&mut self, id: Id, method: &str, payload: Payload, stream: u32) {
        // Without a reader nobody would answer a ping in time, and the server would take its client for dead (L43).
        if method == "ping" && !self.streams.has_reader(stream) {
            let answer = Message::response(&id, false, message::empty_result(&id));
            let _ = self.setup.backend.send(&answer, Priority::Other);
            return;
        }
        if self.asks.len() >= CALLS_MAX {
            let text = "too many requests to this client are in flight";
            let refusal = message::error(&id, message::INTERNAL_ERROR, text, None);
            let _ = self.setup.backend.send(&Message::response(&id, true, refusal), Priority::Other);
            return;
        }
        let at = self.streams.deliver(stream, payload, true);
        if let Some(former) = self.asks.insert(id, Ask { at, since: Instant::now() }) {
            self.streams.settle(former.at);
        }
    }

    /// The ask of this id is over: nobody waits for its answer any more. False when there is none.
    fn settle(&mut self, id: &Id) -> bool {
        let Some(ask) = self.asks.remove(id) else { return false };
        self.streams.settle(ask.at);
        true
    }

    /// The stream of a message that is no response: that of the request it belongs to, else the standalone one.
    /// Exactly one (L25).
    fn route(&self, message: &Message) -> u32 {
        let (Kind::Request { method, .. } | Kind::Notification { method }) = &message.kind else {
            return STANDALONE;
        };
        let related = match &**method {
            // Of no live call, as that of a task may be (T5), it is no other call's business (L45).
            "notifications/progress" => {
                let owner =
                    |call: &&Call| call.progress_token.is_some() && call.progress_token == message.concerns;
                Some(self.calls.values().find(owner).map_or(STANDALONE, |call| call.stream))
            }
            "notifications/cancelled" => {
                message.concerns.as_ref().and_then(|id| self.asks.get(id)).map(|ask| ask.at.stream)
            }
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/resources/updated" => return self.route_unrelated(),
            _ => None,
        };
        self.or_only_post(related)
    }

    /// The stream of what is by its nature about no request: that of a request only when nobody reads the standalone
    /// one.
    fn route_unrelated(&self) -> u32 {
        if self.streams.has_reader(STANDALONE) { STANDALONE } else { self.or_only_post(None) }
    }

    fn or_only_post(&self, related: Option<u32>) -> u32 {
        related
            .or_else(|| self.only_post())
            .filter(|stream| self.streams.takes_messages(*stream))
            .unwrap_or(STANDALONE)
    }

    /// The stream of the only POST with a request in flight. One whose client is there comes before those that
    /// nobody reads: a client that went away without `cancelled` must not take what is meant for it.
    fn only_post(&self) -> Option<u32> {
        let streams = || self.calls.values().map(|call| call.stream);
        let read = || streams().filter(|stream| self.streams.has_reader(*stream));
        match (read().next(), self.streams.has_reader(STANDALONE)) {
            (Some(_), _) => the_only(read()),
            (None, true) => None,
            (None, false) => the_only(streams()),
        }
    }

    fn respond(&mut self, stream: u32, response: Payload) {
        self.streams.respond(stream, response, Moment::now());
    }

    fn unreadable(&mut self, invalid: Invalid) {
        self.log_garbage(invalid.text.as_bytes());
        let Some(id) = invalid.id else { return };
        if let Some(call) = self.calls.remove(&id) {
            self.respond(
                call.stream,
                message::error(
                    &id,
                    message::INTERNAL_ERROR,
                    "the server's answer is not valid JSON-RPC",
                    None,
                ),
            );
        }
    }

    /// Nobody knows whose response it was: every call hears of it rather than one waiting for ever.
    fn too_long(&mut self) {
        log::warn!("[{}] dropped a message of the server that is too large", self.setup.label);
        self.fail_calls("a message of the server was too large for burdock and was dropped; it may have been the answer to this request");
    }

    fn log_garbage(&mut self, line: &[u8]) {
        if now_and_then(&mut self.garbage_logged) {
            log::warn!(
                "[{}] the server's stdout has a line that is not JSON-RPC: {}",
                self.setup.label,
                Foreign(line)
            );
        }
    }

    // --- Time and the end -----------------------------------------------------------------------------------------

    fn tick(&mut self, now: Instant) -> Option<Ended> {
        self.streams.forget_old(Moment::now());
        self.expire_asks(now);
        if budget::pressure() {
            self.streams.shed_under_pressure();
        }
        let reading = self.streams.any_reader();
        let activity = &self.setup.activity;
        activity.note(reading, self.calls.len());
        if reading {
            activity.touch();
            return None;
        }
        let timeout =
            if activity.had_stream() { self.setup.idle_timeout } else { self.setup.idle_timeout_no_stream };
        // A call nobody waits for cannot keep a session for ever.
        let timeout = if self.calls.is_empty() { timeout } else { timeout * IDLE_WITH_CALLS_FACTOR };
        (Duration::from_secs(activity.idle_secs(sweep::now_secs()).into()) >= timeout).then_some(Ended::Idle)
    }

    /// Ends the session of a stopping node when nobody would notice: no call in flight, no message on its way.
    fn retire(&mut self) -> Option<Ended> {
        let quiet = self.calls.is_empty() && self.setup.inbox.is_empty() && !self.streams.behind();
        quiet.then(|| {
            // From here on the client hears 404, which sends it to another node: no call is taken and then refused.
            self.setup.inbox.close();
            METRICS.sessions_retired_total.add_one();
            Ended::Drained
        })
    }

    /// A server whose request was never answered hears so (L46).
    fn expire_asks(&mut self, now: Instant) {
        let old = self.asks.extract_if(|_, ask| now.duration_since(ask.since) >= ASK_AGE);
        for (id, ask) in old {
            self.streams.settle(ask.at);
            let answer = message::error(&id, message::INTERNAL_ERROR, "the client did not answer", None);
            let _ = self.setup.backend.send(&Message::response(&id, true, answer), Priority::Other);
        }
    }

    fn fail_calls(&mut self, text: &str) {
        let calls: Vec<(Id, Call)> = std::mem::take(&mut self.calls).into_iter().collect();
        for (id, call) in calls {
            self.respond(call.stream, message::error(&id, message::INTERNAL_ERROR, text, None));
        }
    }

    /// Answers whoever still waits, ends every stream gracefully and stops the backend (`clients.md` C12).
    pub fn finish(&mut self, ended: &Ended) {
        self.setup.backend.stop();
        self.empty_inbox();
        self.fail_calls(&ended.describe());
        // Clients that all came back at once would be a storm for the nodes that are left (design 7).
        let come_back =
            matches!(ended, Ended::Drained | Ended::Suspended).then(|| fastrand::u32(RETIRE_RETRY_MS));
        self.streams.end(come_back);
    }

    /// Takes what still waits: a queue keeps its inputs when its receiver is dropped, and with them the return
    /// addresses of clients that would wait for ever. Calls among them are refused, for the backend is stopping.
    fn empty_inbox(&mut self) {
        self.setup.inbox.close();
        let early = std::mem::take(&mut self.early);
        for input in early
            .into_iter()
            .chain(std::iter::from_fn(|| self.setup.inbox.try_recv().ok()).collect::<Vec<_>>())
        {
            if let Input::Post(post) = input
                && post.reply.is_some()
            {
                self.take_client_messages(post.messages, post.reply);
            }
        }
    }
}

/// Whether a line of its kind may go to the log: at most one a second, whatever clients and children do.
fn now_and_then(last: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let may = last.is_none_or(|last| now.duration_since(last) >= LOG_STEP);
    if may {
        *last = Some(now);
    }
    may
}

fn the_only(mut streams: impl Iterator<Item = u32>) -> Option<u32> {
    let first = streams.next()?;
    streams.all(|stream| stream == first).then_some(first)
}

fn is_response_to(message: &Message, id: &Id) -> bool {
    matches!(&message.kind, Kind::Response { id: Some(answered), .. } if answered == id)
}

fn too_early(exit: &Exit, garbage: Option<Vec<u8>>) -> String {
    match exit {
        Exit::NotStarted(_) => exit.describe(),
        ran => format!("{} before it answered initialize{}", ran.describe(), wrote(garbage)),
    }
}

/// A message behind text is a line of text like others.
fn unwrapped(output: Output) -> Output {
    let Output::Wrapped { line, .. } = output else { return output };
    Output::Garbage(line.bytes().iter().take(FOREIGN_TEXT_BYTES_MAX).copied().collect())
}

fn too_late(deadline: Duration, garbage: Option<Vec<u8>>) -> String {
    format!("the server did not answer initialize within {} s{}", deadline.as_secs(), wrote(garbage))
}

fn wrote(garbage: Option<Vec<u8>>) -> String {
    let stdout =
        garbage.map(|line| format!("; its stdout began with: {}", Foreign(&line))).unwrap_or_default();
    stdout + "; its stderr is in burdock's log"
}

/// Runs a worker's life behind the panic fence (invariant 12): whatever happens, waiting clients are answered.
pub async fn live(mut worker: Box<Worker>, initialize: Box<Message>, opened: Sender<Opened>) -> Ended {
    let life = std::panic::AssertUnwindSafe(async {
        match worker.open(initialize).await {
            Opened::Ready(answer) => {
                // Nobody waits any more: the client has gone, and without the id nobody can find the session.
                if opened.try_send(Opened::Ready(answer)).is_err() {
                    return Ended::Abandoned;
                }
                drop(opened);
                worker.run().await
            }
            failed => {
                let _ = opened.try_send(failed);
                Ended::NotStarted
            }
        }
    });
    let ended = life.catch_unwind().await.unwrap_or(Ended::Panicked);
    let finishing = std::panic::AssertUnwindSafe(async { worker.finish(&ended) });
    if finishing.catch_unwind().await.is_err() { Ended::Panicked } else { ended }
}
