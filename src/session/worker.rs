//! The worker of one session: the only owner of its streams, its calls and its backend.
//!
//! One task, one loop, one closed set of inputs. What a message means is decided by the session's
//! [`Conversation`]; the worker does what that asks for. It waits for nobody: messages to the backend and
//! events to readers are handed over without waiting, and what cannot be handed over has a written answer.
//! What it owns dies with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use smol::future::yield_now;

use super::input::{Input, Wake};
use super::streams::{ReturnAddress, STANDALONE, Streams};
use super::worker_log::WorkerLog;
use super::{Activity, Ended};
use crate::backend::{Backend, Exit, Output, Priority, SendError};
use crate::budget::{self, Payload};
use crate::conversation::{Conversation, Effect, Outbound, ReplyTo, Route, Spot};
use crate::http::{Event, EventId, EventReader, Opening, Room};
use crate::limits::{
    ASK_AGE, CALLS_MAX, HELD_BYTES_CALLS_MAX, IDLE_WITH_CALLS_FACTOR, MEMBERS_PER_TURN, MESSAGE_BYTES_MAX,
    READER_EVENTS_MAX, RETIRE_RETRY_MS,
};
use crate::message::{self, BadLine, BatchLine, BatchMember, Fragments, Id, Kind, Line, Message, Parsed};
use crate::metrics::METRICS;
use crate::moment::Moment;
use crate::queue::{self, Receiver};
use crate::sweep;

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
    pub(super) setup: Setup,
    /// Whether the session was restored: its client will not send `initialized` again.
    pub(super) restored: bool,
    /// Inputs that came before the backend was ready, of clients that have the id already.
    pub(super) early: VecDeque<Input>,
    pub(super) streams: Streams,
    pub(super) conversation: Conversation,
    /// A message of the backend that it writes over several lines.
    pub(super) fragments: Fragments,
    /// A batch of the backend that is not taken to its end.
    pub(super) batch: Option<BatchLine>,
    /// Whether the backend is asked before the client at the next turn.
    pub(super) backend_first: bool,
    /// Since when some reader is behind.
    pub(super) behind_since: Option<Moment>,
    pub(super) log: WorkerLog,
}

impl Worker {
    /// A worker that has not seen its `initialize` yet.
    pub fn new(setup: Setup) -> Worker {
        let log = WorkerLog::new(Arc::clone(&setup.label));
        Worker {
            setup,
            restored: false,
            early: VecDeque::new(),
            streams: Streams::new(),
            conversation: Conversation::default(),
            fragments: Fragments::default(),
            batch: None,
            backend_first: false,
            behind_since: None,
            log,
        }
    }

    /// The same for a session that begins again.
    pub fn restored(mut self: Box<Worker>) -> Box<Worker> {
        self.restored = true;
        self.streams = Streams::restored();
        self
    }

    /// Serves the session until it ends.
    pub async fn run(&mut self) -> Ended {
        while let Some(early) = self.early.pop_front() {
            self.take_input(early);
        }
        loop {
            let ended = match self.next().await {
                Wake::Input(input) => self.take_input(input),
                Wake::InboxClosed => return self.setup.activity.ended(),
                Wake::Output(output) => self.take_output(output),
                Wake::OutputsClosed => Some(Ended::Exited(Exit::Stopped)),
                Wake::Batch => {
                    self.take_members();
                    None
                }
                Wake::Room => None,
            };
            if let Some(ended) = ended {
                return ended;
            }
            self.pump();
            if self.batch.is_some() {
                // A batch may have very many members, and there are other sessions.
                yield_now().await;
            }
        }
    }

    fn take_input(&mut self, input: Input) -> Option<Ended> {
        match input {
            Input::Post(post) => self.take_client_messages(post.messages, post.reply),
            Input::Attach(attach) => {
                let _ = attach.answer.try_send(self.attach(attach.after));
            }
            Input::Tick => return self.tick(Moment::now()),
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
                METRICS.messages_from_backend_total.add_one();
                let effects = self.conversation.respond(to, payload);
                self.do_all(effects);
            }
            Output::Related { to, payload } => self.related(to, payload),
            Output::Unrelated(message) => {
                METRICS.messages_from_backend_total.add_one();
                self.do_one(Effect::Deliver { to: Route::Unrelated, message });
            }
            Output::Detach(number) => {
                let effects = self.conversation.detach(number);
                self.do_all(effects);
            }
            Output::Garbage(line) => self.take_garbage(line.bytes()),
            Output::Wrapped { line, at } => match message::parse_wrapped(&line, at) {
                Some(line) => self.take_line(line),
                None => self.take_garbage(line.bytes()),
            },
            Output::TooLong { head, tail, bytes } => {
                self.take_bad_line(BadLine::too_long(&head, &tail, bytes, MESSAGE_BYTES_MAX));
            }
            Output::Exited(Exit::Panicked) => return Some(Ended::Panicked),
            Output::Exited(exit) => return Some(Ended::Exited(exit)),
        }
        None
    }

    // --- From the client -----------------------------------------------------------------------------------

    fn take_client_messages(&mut self, messages: Parsed, reply: Option<ReturnAddress>) {
        let to = ReplyTo { client: 0, reply: reply.as_ref().map_or(STANDALONE, |reply| reply.stream) };
        if let Some(reply) = reply {
            let is_call = |message: &&Message| matches!(message.kind, Kind::Request { .. });
            self.streams.open(reply, messages.all().iter().filter(is_call).count());
        }
        match messages {
            Parsed::One(message) => self.take_client_message(message, to),
            Parsed::Batch(messages) => {
                messages.into_iter().for_each(|message| self.take_client_message(message, to));
            }
        }
    }

    fn take_client_message(&mut self, message: Message, to: ReplyTo) {
        if let Kind::Request { id, .. } = &message.kind
            && let Some(text) = self.refuses_calls()
        {
            return self.refuse_call(to, id, text);
        }
        for effect in self.conversation.hear_client(to, message, Moment::now()) {
            match effect {
                Effect::ToBackend(outgoing) => match outgoing.call() {
                    Some(number) => self.begin_call(number, outgoing),
                    None => self.give_backend(outgoing),
                },
                effect => self.do_one(effect),
            }
        }
    }

    /// Why no call is taken at the moment; `None` when calls are taken.
    fn refuses_calls(&self) -> Option<&'static str> {
        if self.conversation.calls() >= CALLS_MAX {
            return Some("too many requests of this session are in flight: wait for some of them");
        }
        (budget::held_bytes() > HELD_BYTES_CALLS_MAX)
            .then_some("burdock holds as many bytes of messages as it may: try again in a moment")
    }

    /// Answers a call that is not taken with a JSON-RPC error (invariant 7: never with an HTTP error).
    fn refuse_call(&mut self, to: ReplyTo, id: &Id, text: &str) {
        METRICS.calls_refused_total.add_one();
        self.respond(to.reply, message::error(id, message::INTERNAL_ERROR, text, None));
    }

    fn begin_call(&mut self, number: u64, outgoing: Outbound) {
        match self.setup.backend.send(outgoing, Priority::Request) {
            Ok(()) => {
                METRICS.calls_total.add_one();
                METRICS.messages_to_backend_total.add_one();
            }
            Err(error) => {
                let text = match error {
                    SendError::Full => "the server does not read its input: too many requests wait for it",
                    SendError::Closed => "the server is ending",
                };
                if let Some((to, id)) = self.conversation.not_taken(number) {
                    self.refuse_call(to, &id, text);
                }
            }
        }
    }

    pub(super) fn give_backend(&mut self, outgoing: Outbound) {
        METRICS.messages_to_backend_total.add_one();
        if let Err(error) = self.setup.backend.send(outgoing, Priority::Other) {
            self.log.deaf(error);
        }
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
        let opening = Opening::Stream { first: self.setup.activity.version().primes().then_some(priming) };
        EventReader::of(opening, live, self.setup.keep_alive_comment, self.setup.room.clone())
    }

    // --- From the backend ----------------------------------------------------------------------------------

    fn take_line(&mut self, line: Line) {
        match line {
            Line::One(message) => {
                let given_up = self.fragments.give_up();
                self.take_joined(given_up);
                self.take_backend_message(message);
            }
            Line::Bad(bad) => self.take_broken_line(bad),
            Line::Batch(batch) if self.fragments.has_part(batch.line().bytes()) => {
                let joined = self.fragments.add(batch.line().bytes());
                self.take_joined(joined);
            }
            Line::Batch(batch) => {
                self.batch = Some(batch);
                self.take_members();
            }
        }
    }

    pub(super) fn take_backend_message(&mut self, message: Message) {
        METRICS.messages_from_backend_total.add_one();
        let effects = self.conversation.hear_backend(message, Moment::now());
        self.do_all(effects);
    }

    pub(super) fn take_bad_line(&mut self, bad: BadLine) {
        let effects = self.conversation.hear_bad_line(bad);
        self.do_all(effects);
    }

    pub(super) fn next_member(&mut self) -> Option<BatchMember> {
        let member = self.batch.as_mut()?.next_member();
        if member.is_none() {
            self.batch = None;
        }
        member
    }

    /// Takes members of a batch, a bounded number at a time, for a line may have millions. Each message
    /// stands for itself: a bad one spoils no other.
    fn take_members(&mut self) {
        for _ in 0..MEMBERS_PER_TURN {
            match self.next_member() {
                Some(BatchMember::Message(message)) => self.take_backend_message(message),
                Some(BatchMember::Bad(bad)) => self.take_bad_line(bad),
                Some(BatchMember::Nothing) => METRICS.garbage_lines_total.add_one(),
                None => return,
            }
        }
    }

    /// A message of a handler, which knows the call it belongs to.
    fn related(&mut self, to: u64, payload: Payload) {
        match message::parse_line(payload) {
            Line::One(message) => {
                METRICS.messages_from_backend_total.add_one();
                let effects = self.conversation.hear_related(to, message, Moment::now());
                self.do_all(effects);
            }
            Line::Bad(bad) => self.take_bad_line(bad),
            Line::Batch(_) => {}
        }
    }

    // --- What the conversation asks for --------------------------------------------------------------------

    fn do_all(&mut self, effects: impl IntoIterator<Item = Effect>) {
        effects.into_iter().for_each(|effect| self.do_one(effect));
    }

    fn do_one(&mut self, effect: Effect) {
        match effect {
            Effect::ToBackend(outgoing) => self.give_backend(outgoing),
            Effect::Respond { to, response, since } => {
                if let Some(since) = since {
                    METRICS.call_seconds.observe(since.elapsed());
                }
                self.respond(to.reply, response);
            }
            Effect::LeaveUnanswered { to, instead } => {
                self.streams.leave_unanswered(to.reply, instead, Moment::now());
            }
            Effect::Deliver { to, message } => {
                self.streams.deliver(self.stream_of(to), message, false);
            }
            Effect::Ask { to, message, number, is_ping } => self.ask(to, message, number, is_ping),
            Effect::Settle(Spot(stream, place)) => {
                self.streams.settle(EventId { stream: stream as u32, place });
            }
            // Without priming events a client has nothing to resume after, so its stream stays.
            Effect::Detach(to) if self.setup.activity.version().primes() => self.streams.let_go(to.reply),
            Effect::Detach(_) => {}
            Effect::Tell(remark) => self.log.remark(&remark),
        }
    }

    /// A request of the backend to the client (L47).
    fn ask(&mut self, to: Route, message: Payload, number: u64, is_ping: bool) {
        let stream = self.stream_of(to);
        // Without a reader nobody answers a ping in time, and the server would take its client for dead. So
        // burdock answers (L43: pings are answered promptly).
        if is_ping && !self.streams.has_reader(stream) {
            if let Some(answer) = self.conversation.answer_ask(number) {
                self.give_backend(answer);
            }
            return;
        }
        let at = self.streams.deliver(stream, message, true);
        self.conversation.put(number, 0, Spot(at.stream.into(), at.place));
    }

    /// The stream that a message of the backend goes to: that of the request it belongs to, else the
    /// standalone one. Exactly one (L25).
    fn stream_of(&self, route: Route) -> u32 {
        let stream = match route {
            Route::Caller(to) => Some(to.reply),
            Route::With(Spot(stream, _)) => u32::try_from(stream).ok(),
            Route::Unrelated if self.streams.has_reader(STANDALONE) => None,
            Route::Unsaid | Route::Unrelated => self.only_post(),
            Route::Nobody => None,
        };
        stream.filter(|stream| self.streams.takes_messages(*stream)).unwrap_or(STANDALONE)
    }

    /// The stream of the only POST with a request in flight. POSTs whose streams are read come before those
    /// that nobody reads: a client that went away without `cancelled` must not get what is meant for one that
    /// is there.
    fn only_post(&self) -> Option<u32> {
        let streams = || self.conversation.callers().map(|to| to.reply);
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

    // --- Time and the end ----------------------------------------------------------------------------------

    fn tick(&mut self, now: Moment) -> Option<Ended> {
        self.streams.forget_old(now);
        self.expire_asks(now);
        let broken = self.fragments.look_again();
        self.take_joined(broken);
        if budget::pressure() {
            self.streams.shed_under_pressure();
        }
        let reading = self.streams.any_reader();
        let activity = &self.setup.activity;
        activity.note(reading, self.conversation.calls());
        if reading {
            activity.touch();
            return None;
        }
        let timeout =
            if activity.had_stream() { self.setup.idle_timeout } else { self.setup.idle_timeout_no_stream };
        // A call that nobody waits for must not keep a session alive for ever.
        let timeout = if self.conversation.calls() == 0 { timeout } else { timeout * IDLE_WITH_CALLS_FACTOR };
        (Duration::from_secs(activity.idle_secs(sweep::now_secs()).into()) >= timeout).then_some(Ended::Idle)
    }

    /// Ends the session of a stopping node when nobody would notice: no call in flight, no message on its
    /// way.
    fn retire(&mut self) -> Option<Ended> {
        let quiet = self.conversation.calls() == 0
            && self.batch.is_none()
            && self.setup.inbox.is_empty()
            && !self.streams.behind();
        quiet.then(|| {
            // From here on the client's requests get 404, which sends it to another node. So no call is taken
            // and refused later.
            self.setup.inbox.close();
            METRICS.sessions_retired_total.add_one();
            Ended::Drained
        })
    }

    /// Tells the server that a request of its own will not be answered any more (L46).
    fn expire_asks(&mut self, now: Moment) {
        let effects = self.conversation.expire_asks(|since| now.since(since) >= ASK_AGE);
        self.do_all(effects);
    }

    /// Answers whoever still waits (a client that gets no answer waits for its whole timeout), ends every
    /// stream gracefully and stops the backend.
    pub fn finish(&mut self, ended: &Ended) {
        self.setup.backend.stop();
        self.empty_inbox();
        let failed = self.conversation.fail_all(&ended.describe());
        self.do_all(failed);
        // A random delay: clients that all came back at once would overrun the nodes that are left.
        let come_back =
            matches!(ended, Ended::Drained | Ended::Suspended).then(|| fastrand::u32(RETIRE_RETRY_MS));
        self.streams.end(come_back);
    }

    /// Takes the inputs that still wait and refuses the calls among them, because the backend is stopping. Were
    /// they dropped, their clients' streams would end without an answer.
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

fn the_only(mut streams: impl Iterator<Item = u32>) -> Option<u32> {
    let first = streams.next()?;
    streams.all(|stream| stream == first).then_some(first)
}
