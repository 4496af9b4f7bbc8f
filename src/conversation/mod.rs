//! What is said between one server (a process or a handler) and those it serves, sans-io: requests in flight
//! both ways, their ids and progress tokens, cancellation, and whom a message is for.
//!
//! A server never sees a client's ids. Each request goes to the server under the next number of one counter,
//! and the number is also its progress token there. The answer goes to the client under the client's own id,
//! byte for byte. A server's own requests keep the server's ids. Messages go in, and effects come out as
//! data. Streams, sessions and clocks belong to the user of the conversation.
//!
//! An id is looked up by type and bytes first. Only if that finds nothing it is looked up by value (`7`,
//! `7.0` and `"7"` are the same), and then it must fit exactly one request. What fits several touches none.

mod effect;
mod remark;
mod tables;

use memchr::memmem;

use self::effect::id_of;
pub use self::effect::{Effect, Effects, Naming, Outbound, ReplyTo, Route, Spot};
pub use self::remark::{Remark, Side};
use self::tables::{Ask, Asks, Begun, Calls, Fits, InFlight};
use crate::budget::Payload;
use crate::limits::{CALLS_MAX, TASK_RESULT_BYTES_LOOKED_AT};
use crate::message::{self, BadLine, Id, Kind, Message};
use crate::metrics::METRICS;
use crate::moment::Moment;

const CANCELLED: &str = "notifications/cancelled";
const PROGRESS: &str = "notifications/progress";

/// See the room.
#[derive(Debug, Default)]
pub struct Conversation {
    /// The next number. No number is given twice. `initialize` gets 0, as most clients number it themselves.
    next_number: u64,
    /// How many messages went to the backend.
    written: u64,
    /// The place among these of the last message that is no request and may not have been read yet.
    told: u64,
    calls: Calls,
    asks: Asks,
}

impl Conversation {
    /// How many calls the backend has not answered.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Who made these calls, the oldest call first; who made two is named twice.
    pub fn callers(&self) -> impl Iterator<Item = ReplyTo> {
        self.calls.all().map(|call| call.caller)
    }

    /// The id of a call in flight, as its client wrote it.
    pub fn id_of(&self, number: u64) -> Option<&Id> {
        self.calls.get(number).map(|call| &call.id)
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    // --- From clients --------------------------------------------------------------------------------------

    /// A message of a client.
    pub fn hear_client(&mut self, caller: ReplyTo, message: Message, now: Moment) -> Effects {
        match &message.kind {
            Kind::Request { id, method } => {
                let (id, is_initialize) = (id.clone(), method == "initialize");
                Effect::ToBackend(self.call(caller, id, is_initialize, message, now)).into()
            }
            Kind::Notification { method } => match (&**method, message.concerns.clone()) {
                (CANCELLED, Some(id)) => self.cancelled_by_client(caller, &id, message),
                (PROGRESS, Some(token)) => self.progress_of_client(caller, token, message),
                _ => self.given_to_backend(Outbound::naming_nothing(message)).into(),
            },
            Kind::Response { id, .. } => {
                let id = id.clone();
                self.answered_by_client(caller, id, message)
            }
        }
    }

    /// Sends the backend a message of burdock's own that wants no answer.
    pub fn say(&mut self, message: Message) -> Outbound {
        self.wrote_no_call();
        Outbound::naming_nothing(message)
    }

    fn wrote_no_call(&mut self) {
        self.written += 1;
        self.told = self.written;
    }

    fn given_to_backend(&mut self, outgoing: Outbound) -> Effect {
        self.wrote_no_call();
        if outgoing.message.is_mended() {
            METRICS.messages_mended_to_backend_total.add_one();
        }
        Effect::ToBackend(outgoing)
    }

    fn call(
        &mut self,
        caller: ReplyTo,
        id: Id,
        is_initialize: bool,
        message: Message,
        now: Moment,
    ) -> Outbound {
        let (number, token) = (self.take_number(), message.concerns.clone());
        if message.is_mended() {
            METRICS.messages_mended_to_backend_total.add_one();
        }
        self.written += 1;
        self.calls.begin(Begun { number, caller, id, token, now, written: self.written, is_initialize });
        Outbound { message, names: Naming::Call(number) }
    }

    /// The backend did not take a call, which is over now. Returns who made it, and its id as the client
    /// wrote it.
    pub fn not_taken(&mut self, number: u64) -> Option<(ReplyTo, Id)> {
        let call = self.calls.take(number)?;
        self.written -= 1;
        Some((call.caller, call.id))
    }

    /// A client no longer wants a response (L44). A `cancelled` that fits several calls cancels none.
    fn cancelled_by_client(&mut self, caller: ReplyTo, id: &Id, message: Message) -> Effects {
        let number = match self.calls.of_client(caller.client, id) {
            Fits::One(number) => number,
            // Not passed on: the backend would take the client's id for one of our numbers.
            Fits::None => {
                return Remark::Late { method: CANCELLED, id: id.clone(), by: Side::Client }.into();
            }
            Fits::Several => {
                return Remark::Ambiguous { method: CANCELLED, id: id.clone(), by: Side::Client }.into();
            }
        };
        let over = self.calls.cancel(number).map(|call| Effect::LeaveUnanswered {
            to: call.caller,
            instead: failure(&call.id, "the request was cancelled by the client"),
        });
        let told = self.given_to_backend(Outbound { message, names: Naming::Cancelled(number) });
        Effects::two(Some(told), over)
    }

    fn progress_of_client(&mut self, caller: ReplyTo, token: Id, message: Message) -> Effects {
        match self.asks.token_of(caller.client, &token) {
            Fits::One(token) => {
                self.given_to_backend(Outbound { message, names: Naming::Progress(token) }).into()
            }
            Fits::None => self.given_to_backend(Outbound::naming_nothing(message)).into(),
            Fits::Several => Remark::Ambiguous { method: PROGRESS, id: token, by: Side::Client }.into(),
        }
    }

    /// An answer goes only to the request it answers (L50).
    fn answered_by_client(&mut self, caller: ReplyTo, id: Option<Id>, message: Message) -> Effects {
        let found = id.as_ref().map(|id| self.asks.asked_of(caller.client, id));
        let ask = match found {
            Some(Fits::One(number)) => self.asks.take(number),
            _ => None,
        };
        let Some(ask) = ask else {
            let waiting = self.asks.asked_of_count(caller.client);
            return Remark::AnswerToNothing { id, by: Side::Client, waiting }.into();
        };
        let answer = self.given_to_backend(Outbound { message, names: Naming::Answer(ask.id.clone()) });
        Effects::two(Some(answer), settled(&ask))
    }

    // --- From the backend ----------------------------------------------------------------------------------

    /// A message of a backend that knows only our numbers: a process.
    pub fn hear_backend(&mut self, message: Message, now: Moment) -> Effects {
        if message.is_mended() {
            METRICS.messages_mended_from_backend_total.add_one();
        }
        match &message.kind {
            Kind::Response { id: Some(id), .. } => match id.value() {
                Some(number) if self.calls.get(number).is_some() => self.answered(number, message),
                number => self.answer_to_nothing(number, id.clone()),
            },
            Kind::Response { id: None, .. } => self.could_not_read(&message),
            Kind::Request { id, .. } => {
                let id = id.clone();
                self.ask(id, Route::Unsaid, message, now)
            }
            Kind::Notification { method } => match (&**method, message.concerns.clone()) {
                (PROGRESS, Some(token)) => self.progress_of_backend(token, message),
                // Of no call, so it is no call's business (L45).
                (PROGRESS, None) => deliver(Route::Nobody, message, None),
                (CANCELLED, Some(id)) => self.cancelled_by_backend(id, message),
                (message::DETACH, Some(id)) => {
                    id.value().map(|number| self.detach(number)).unwrap_or_default()
                }
                (message::DETACH, None) => Effects::default(),
                (
                    "notifications/tools/list_changed"
                    | "notifications/prompts/list_changed"
                    | "notifications/resources/list_changed"
                    | "notifications/resources/updated",
                    _,
                ) => deliver(Route::Unrelated, message, None),
                _ => deliver(Route::Unsaid, message, None),
            },
        }
    }

    fn answered(&mut self, number: u64, message: Message) -> Effects {
        let Some(call) = self.calls.take(number) else { return Effects::default() };
        self.was_read(&call);
        self.keep_token_of_task(&call, &message.payload);
        let response = message.into_payload(Some(&call.id), None);
        Effect::Respond { to: call.caller, response, since: Some(call.since) }.into()
    }

    /// The response of a backend that knows the client's id and has put it in: a handler.
    pub fn respond(&mut self, number: u64, response: Payload) -> Effects {
        match self.calls.take(number) {
            Some(call) => {
                self.keep_token_of_task(&call, &response);
                Effect::Respond { to: call.caller, response, since: Some(call.since) }.into()
            }
            None => self.answer_to_nothing(Some(number), id_of(number)),
        }
    }

    /// A backend reads in order. So once it answers a call, no message before that call can be one that it
    /// could not read.
    fn was_read(&mut self, call: &InFlight) {
        if call.written > self.told {
            self.told = 0;
        }
    }

    /// A call whose response says that it goes on as a task keeps its progress token (T5).
    fn keep_token_of_task(&mut self, call: &InFlight, response: &Payload) {
        let Some(token) = &call.token else { return };
        let bytes = response.bytes();
        let beginning = &bytes[..bytes.len().min(TASK_RESULT_BYTES_LOOKED_AT)];
        if memmem::find(beginning, b"\"taskId\"").is_some() {
            self.calls.keep_token(call.number, token.clone());
        }
    }

    fn answer_to_nothing(&mut self, number: Option<u64>, id: Id) -> Effects {
        match number {
            Some(number) if self.calls.was_cancelled(number) => Remark::LateAnswer(number).into(),
            _ => {
                Remark::AnswerToNothing { id: Some(id), by: Side::Backend, waiting: self.calls.len() }.into()
            }
        }
    }

    /// An error without an id: the backend could not read some message. It was surely the only call in
    /// flight, if there is just one and nothing but calls was written after it.
    fn could_not_read(&mut self, message: &Message) -> Effects {
        let could_not = matches!(
            message::error_code(message),
            Some(code) if [message::PARSE_ERROR, message::INVALID_REQUEST].map(i64::from).contains(&code)
        );
        let meant = self.calls.only().filter(|call| could_not && call.written > self.told);
        let number = meant.map(|call| call.number);
        let error = message.payload.bytes();
        let error = error[..error.len().min(crate::limits::FOREIGN_TEXT_BYTES_MAX)].to_vec();
        let told = Effect::Tell(Remark::CouldNotRead { error, waiting: self.calls.len() });
        let failed = number.and_then(|number| self.fail(number, "the server could not read the request"));
        Effects::two(Some(told), failed)
    }

    fn progress_of_backend(&mut self, token: Id, message: Message) -> Effects {
        let number = token.value();
        if let Some(call) = number.and_then(|number| self.calls.get(number))
            && let Some(token) = &call.token
        {
            return deliver(Route::Caller(call.caller), message, Some(token));
        }
        // A token of no call in flight may be that of a task (T5). It concerns no other call (L45).
        match number.and_then(|number| self.calls.token_of_task(number)) {
            Some(token) => deliver(Route::Nobody, message, Some(token)),
            None => Remark::Late { method: PROGRESS, id: token, by: Side::Backend }.into(),
        }
    }

    /// The backend no longer waits for an answer (L44).
    fn cancelled_by_backend(&mut self, id: Id, message: Message) -> Effects {
        let ask = match self.asks.of_backend(&id) {
            Fits::One(number) => self.asks.take(number),
            Fits::None => None,
            Fits::Several => return Remark::Ambiguous { method: CANCELLED, id, by: Side::Backend }.into(),
        };
        let Some(ask) = ask else {
            return Remark::Late { method: CANCELLED, id, by: Side::Backend }.into();
        };
        let to = ask.put.map_or(Route::Nobody, |(_, spot)| Route::With(spot));
        let message = message.into_payload(None, Some(&ask.id));
        Effects::two(settled(&ask), Some(Effect::Deliver { to, message }))
    }

    /// The stream of a call may end before its response.
    pub fn detach(&mut self, number: u64) -> Effects {
        let call = self.calls.get(number);
        call.map(|call| Effect::Detach(call.caller).into()).unwrap_or_default()
    }

    /// A message of a backend that knows which call it belongs to: a handler's. Its ids are the client's
    /// already.
    pub fn hear_related(&mut self, number: u64, message: Message, now: Moment) -> Effects {
        let to = self.calls.get(number).map_or(Route::Nobody, |call| Route::Caller(call.caller));
        match &message.kind {
            Kind::Request { id, .. } => {
                let id = id.clone();
                self.ask(id, to, message, now)
            }
            Kind::Notification { method } => match (&**method, message.concerns.clone()) {
                (CANCELLED, Some(id)) => self.cancelled_by_backend(id, message),
                _ => deliver(to, message, None),
            },
            Kind::Response { .. } => self.hear_backend(message, now),
        }
    }

    /// A request of the backend to a client (L47).
    fn ask(&mut self, id: Id, to: Route, message: Message, now: Moment) -> Effects {
        if self.asks.len() >= CALLS_MAX {
            let text = "too many requests to this client are in flight";
            return self.refuse_ask(&id, message::INTERNAL_ERROR, text).into();
        }
        // A backend that uses an id again has forgotten its first request of that id.
        let forgotten = match self.asks.of_backend(&id) {
            Fits::One(number) => self.asks.get_mut(number).filter(|ask| ask.id == id).map(|ask| ask.number),
            _ => None,
        };
        let forgotten = forgotten.and_then(|number| self.asks.take(number));
        let number = self.take_number();
        let is_ping = message.method() == Some("ping");
        self.asks.begin(Ask { number, id, token: message.concerns.clone(), since: now, put: None });
        let ask = Effect::Ask { to, message: message.into_payload(None, None), number, is_ping };
        Effects::two(forgotten.as_ref().and_then(settled), Some(ask))
    }

    /// The user has given the request of the backend with this number to `client`.
    pub fn put(&mut self, number: u64, client: u32, spot: Spot) {
        if let Some(ask) = self.asks.get_mut(number) {
            ask.put = Some((client, spot));
        }
    }

    /// Answers the backend's request with an empty result, in place of a client.
    pub fn answer_ask(&mut self, number: u64) -> Option<Outbound> {
        let ask = self.asks.take(number)?;
        let answer = Message::response(&ask.id, false, message::empty_result(&ask.id));
        Some(self.say(answer))
    }

    /// Gives up requests of the backend that no client has answered for long: the backend hears so (L46).
    pub fn expire_asks(&mut self, is_old: impl Fn(Moment) -> bool) -> Vec<Effect> {
        let old = self.asks.take_older(is_old);
        let mut effects = Vec::with_capacity(2 * old.len());
        for ask in old {
            effects.push(self.refuse_ask(&ask.id, message::INTERNAL_ERROR, "the client did not answer"));
            effects.extend(settled(&ask));
        }
        effects
    }

    fn refuse_ask(&mut self, id: &Id, code: i32, text: &str) -> Effect {
        let error = Message::response(id, true, message::error(id, code, text, None));
        self.given_to_backend(Outbound { message: error, names: Naming::Answer(id.clone()) })
    }

    // --- What is no message, and ends ----------------------------------------------------------------------

    /// A line of the backend that is no message. It ends the calls that it names, and no others. A line that
    /// has the shape of an answer and names no call ends the call in flight if there is just one.
    pub fn hear_bad_line(&mut self, bad: BadLine) -> Vec<Effect> {
        let BadLine { answers, nameless, asks, why, head, too_long, .. } = bad;
        let text = if too_long {
            format!("the server's answer is too large: {why}")
        } else {
            format!("the server's answer is not valid JSON-RPC: {why}")
        };
        let mut numbers: Vec<u64> = answers.iter().filter_map(|ids| self.the_call_of(ids)).collect();
        if answers.is_empty() && nameless {
            numbers.extend(self.calls.only().map(|call| call.number));
        }
        let mut effects: Vec<Effect> =
            numbers.into_iter().filter_map(|number| self.fail(number, &text)).collect();
        let calls = effects.len();
        if let Some(asks) = asks {
            let text = format!("burdock cannot read the request: {why}");
            effects.push(self.refuse_ask(&asks, message::INVALID_REQUEST, &text));
        }
        effects.push(Effect::Tell(match calls {
            0 => {
                let (is_answer, waiting) = (nameless || !answers.is_empty(), self.calls.len());
                Remark::NoMessage { line: head, why, is_answer, waiting }
            }
            calls => Remark::Failed { line: head, why, calls },
        }));
        effects
    }

    /// The call in flight that `ids` name, if they name just one.
    fn the_call_of(&self, ids: &[Id]) -> Option<u64> {
        let mut numbers = ids.iter().filter_map(Id::value).filter(|number| self.calls.get(*number).is_some());
        let first = numbers.next()?;
        numbers.all(|number| number == first).then_some(first)
    }

    /// Ends a call with an error.
    fn fail(&mut self, number: u64, text: &str) -> Option<Effect> {
        self.calls.take(number).map(|call| failed(&call, text))
    }

    /// Ends every call with an error.
    pub fn fail_all(&mut self, text: &str) -> Vec<Effect> {
        self.calls.take_all().iter().map(|call| failed(call, text)).collect()
    }
}

fn failure(id: &Id, text: &str) -> Payload {
    message::error(id, message::INTERNAL_ERROR, text, None)
}

fn failed(call: &InFlight, text: &str) -> Effect {
    Effect::Respond { to: call.caller, response: failure(&call.id, text), since: None }
}

fn settled(ask: &Ask) -> Option<Effect> {
    ask.put.map(|(_, spot)| Effect::Settle(spot))
}

fn deliver(to: Route, message: Message, token: Option<&Id>) -> Effects {
    Effect::Deliver { to, message: message.into_payload(None, token) }.into()
}
