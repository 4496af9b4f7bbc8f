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
    /// The place among these of the newest message that is no request and may be unread; 0 when there is none.
    /// An error without an id may be about it.
    told: u64,
    /// The place of the newest call that the backend has answered: it has read everything before.
    read: u64,
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
        self.read = self.read.max(call.written);
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
    /// flight, if there is just one, nothing but calls was written after it, and none of these is answered.
    fn could_not_read(&mut self, message: &Message) -> Effects {
        let could_not = matches!(
            message::error_code(message),
            Some(code) if [message::PARSE_ERROR, message::INVALID_REQUEST].map(i64::from).contains(&code)
        );
        let meant = self.calls.only().filter(|call| could_not && call.written > self.told.max(self.read));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Share;
    use crate::message::{Line, Parsed, parse, parse_line};
    use proptest::prelude::*;

    const NOW: Moment = Moment::ZERO;

    fn of(client: u32, reply: u32) -> ReplyTo {
        ReplyTo { client, reply }
    }

    fn message(text: &str) -> Message {
        match parse(text.as_bytes().to_vec(), Share::default()) {
            Ok(Parsed::One(message)) => message,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn text_of(payload: &Payload) -> String {
        String::from_utf8(payload.to_vec()).unwrap()
    }

    /// What a call looks like to the backend, and its number.
    fn call(conversation: &mut Conversation, to: ReplyTo, text: &str) -> (u64, String) {
        let effect = conversation.hear_client(to, message(text), NOW).into_iter().next();
        let Some(Effect::ToBackend(outbound)) = effect else { panic!("{text}: {effect:?}") };
        (outbound.call().unwrap(), text_of(&outbound.into_payload()))
    }

    fn request(id: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"x"}}}}"#)
    }

    /// All that the effects say, in short.
    fn told(effects: impl IntoIterator<Item = Effect>) -> Vec<String> {
        let short = |effect: Effect| match effect {
            Effect::ToBackend(outbound) => format!("to backend {}", text_of(&outbound.into_payload())),
            Effect::Respond { to, response, .. } => format!("respond {} {}", to.reply, text_of(&response)),
            Effect::LeaveUnanswered { to, .. } => format!("unanswered {}", to.reply),
            Effect::Deliver { to, message } => format!("deliver {to:?} {}", text_of(&message)),
            Effect::Ask { number, message, .. } => format!("ask {number} {}", text_of(&message)),
            Effect::Settle(Spot(stream, place)) => format!("settle {stream} {place}"),
            Effect::Detach(to) => format!("detach {}", to.reply),
            Effect::Tell(remark) => format!("tell {remark}"),
        };
        effects.into_iter().map(short).collect()
    }

    fn says(conversation: &mut Conversation, line: &str) -> Vec<String> {
        match parse_line(Payload::made_here(line.as_bytes().to_vec())) {
            Line::One(message) => told(conversation.hear_backend(message, NOW)),
            Line::Bad(bad) => told(conversation.hear_bad_line(bad)),
            Line::Batch(_) => panic!("a batch"),
        }
    }

    fn client_says(conversation: &mut Conversation, client: u32, text: &str) -> Vec<String> {
        told(conversation.hear_client(of(client, 99), message(text), NOW))
    }

    fn cancelled(id: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
    }

    fn progress(token: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token}}}}}"#
        )
    }

    /// L11, case 2b: an id used again after a cancel is another call.
    #[test]
    fn an_id_names_the_call_that_is_in_flight() {
        let mut conversation = Conversation::default();
        let (first, sent) = call(&mut conversation, of(0, 1), &request("7"));
        assert_eq!(sent, request("0"));
        assert_eq!(
            client_says(&mut conversation, 0, &cancelled("7")),
            [format!("to backend {}", cancelled("0")), "unanswered 1".to_owned()]
        );
        let (second, _) = call(&mut conversation, of(0, 2), &request("7"));
        assert_ne!(first, second);
        assert!(
            says(&mut conversation, r#"{"jsonrpc":"2.0","id":0,"result":"old"}"#)[0]
                .contains("was cancelled")
        );
        assert_eq!(
            says(&mut conversation, r#"{"jsonrpc":"2.0","id":"1","result":"new"}"#),
            [r#"respond 2 {"jsonrpc":"2.0","id":7,"result":"new"}"#]
        );
        assert!(
            says(&mut conversation, r#"{"jsonrpc":"2.0","id":1,"result":"twice"}"#)[0]
                .contains("nobody asked")
        );
    }

    /// L44: what may mean several calls cancels none; what means another client's call, neither.
    #[test]
    fn a_cancel_that_fits_several_calls_touches_none() {
        let mut conversation = Conversation::default();
        for (client, id) in [(0, "1"), (0, "1"), (0, "2.0"), (0, "\"2\""), (1, "3")] {
            call(&mut conversation, of(client, 1), &request(id));
        }
        for id in ["1", "1.0", "2", "3", "77"] {
            assert!(client_says(&mut conversation, 0, &cancelled(id))[0].starts_with("tell dropped"), "{id}");
        }
        assert_eq!(conversation.calls(), 5);
        assert_eq!(client_says(&mut conversation, 0, &cancelled("\"2\""))[1], "unanswered 1");
        assert_eq!(client_says(&mut conversation, 0, &cancelled("2"))[1], "unanswered 1");
    }

    /// L45, case 2c: a token is its own call's, and comes back in the client's words; that of a task outlives the
    /// response (T5).
    #[test]
    fn progress_is_told_to_its_own_call() {
        let mut conversation = Conversation::default();
        let with_token = |id: &str, token: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"a","params":{{"_meta":{{"progressToken":{token}}}}}}}"#
            )
        };
        let (_, sent) = call(&mut conversation, of(0, 1), &with_token("1", "5.0"));
        assert_eq!(sent, with_token("0", "0"));
        call(&mut conversation, of(0, 2), &with_token("2", "5.0"));
        call(&mut conversation, of(0, 3), &request("3"));
        let to = |reply| format!("deliver {:?} {}", Route::Caller(of(0, reply)), progress("5.0"));
        assert_eq!(says(&mut conversation, &progress("1")), [to(2)]);
        assert_eq!(says(&mut conversation, &progress("\"0\"")), [to(1)]);
        for none in ["2", "77", "\"x\""] {
            assert!(says(&mut conversation, &progress(none))[0].starts_with("tell dropped"), "{none}");
        }
        says(&mut conversation, r#"{"jsonrpc":"2.0","id":0,"result":{"task":{"taskId":"t"}}}"#);
        says(&mut conversation, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert_eq!(says(&mut conversation, &progress("0")), [format!("deliver Nobody {}", progress("5.0"))]);
        assert!(says(&mut conversation, &progress("1"))[0].starts_with("tell dropped"));
    }

    /// L47, L50: a server's own ids come back to it byte for byte; an answer of another client is none.
    #[test]
    fn a_request_of_the_backend_is_answered_in_its_own_words() {
        let mut conversation = Conversation::default();
        let ask = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#);
        for (id, client) in [("1", 0), ("\"1\"", 0), ("7.0", 0), ("8", 1)] {
            let effect = conversation.hear_backend(message(&ask(id)), NOW).into_iter().next();
            let Some(Effect::Ask { number, .. }) = effect else { panic!("{effect:?}") };
            conversation.put(number, client, Spot(3, number));
        }
        let answer = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        // Exactly, then by value when that leaves one.
        assert!(client_says(&mut conversation, 0, &answer("1.0"))[0].contains("nobody asked"));
        assert!(client_says(&mut conversation, 0, &answer("8"))[0].contains("nobody asked"));
        assert_eq!(
            client_says(&mut conversation, 0, &answer("\"1\""))[0],
            format!("to backend {}", answer("\"1\""))
        );
        assert_eq!(
            client_says(&mut conversation, 0, &answer("1.0")),
            [format!("to backend {}", answer("1")), "settle 3 0".to_owned()]
        );
        // The server takes one back: it is told to whoever has it.
        let taken_back = says(&mut conversation, &cancelled("7"));
        assert_eq!(taken_back[0], "settle 3 2");
        assert!(
            taken_back[1].contains(r#"With(Spot(3, 2))"#) && taken_back[1].contains("7.0"),
            "{taken_back:?}"
        );
    }

    /// L46: nobody waits for ever, and there are never more than so many.
    #[test]
    fn requests_of_the_backend_are_bounded_in_number_and_age() {
        let mut conversation = Conversation::default();
        let ask = |id: usize| message(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#));
        for id in 0..CALLS_MAX {
            let effects = conversation.hear_backend(ask(id), NOW);
            let Some(Effect::Ask { number, .. }) = effects.into_iter().next() else { panic!("not asked") };
            conversation.put(number, 0, Spot(0, number));
        }
        let refused = told(conversation.hear_backend(ask(CALLS_MAX), NOW));
        assert!(
            refused[0].starts_with("to backend") && refused[0].contains("too many requests"),
            "{refused:?}"
        );
        assert!(conversation.expire_asks(|_| false).is_empty());
        let expired = told(conversation.expire_asks(|_| true));
        assert_eq!(expired.len(), 2 * CALLS_MAX);
        assert!(expired[0].contains("did not answer") && expired[1] == "settle 0 0", "{expired:?}");
        assert_eq!(told(conversation.hear_backend(ask(1), NOW)).len(), 1);
    }

    /// L43: a ping that nobody would answer in time is answered here, under the server's id.
    #[test]
    fn a_ping_can_be_answered_here() {
        let mut conversation = Conversation::default();
        let ping = message(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
        let effect = conversation.hear_backend(ping, NOW).into_iter().next();
        let Some(Effect::Ask { number, is_ping: true, .. }) = effect else { panic!("{effect:?}") };
        let answer = conversation.answer_ask(number).unwrap();
        assert_eq!(text_of(&answer.into_payload()), r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
        assert!(conversation.answer_ask(number).is_none());
    }

    /// Kind 2 of the cases: a line ends only the call that it names.
    #[test]
    fn a_line_ends_only_the_call_that_it_names() {
        let mut conversation = Conversation::default();
        call(&mut conversation, of(0, 1), &request("1"));
        for harmless in [
            r#"{"level":30,"id":0,"msg":"x"}"#,
            r#"{ foo: 1 }"#,
            r#"{"id":0,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":9,"result":NaN}"#,
        ] {
            let told = says(&mut conversation, harmless);
            assert!(
                told.iter().all(|told| told.starts_with("tell")) && told[0].contains("1 request"),
                "{told:?}"
            );
        }
        // A mangled request of the server's own has the id of a call, and is refused.
        let refused = says(&mut conversation, r#"{"jsonrpc":"2.0","id":0,"method":"ping","params":{NaN}}"#);
        assert!(refused[0].starts_with(r#"to backend {"jsonrpc":"2.0","id":0,"error""#), "{refused:?}");
        assert_eq!(conversation.calls(), 1);
        call(&mut conversation, of(0, 2), &request("2"));
        assert!(says(&mut conversation, r#"{"jsonrpc":"2.0","result":{}}"#)[0].contains("2 requests wait"));
        let named = says(&mut conversation, r#"{"jsonrpc":"2.0","id":1,"result":NaN}"#);
        assert!(named[0].starts_with("respond 2") && named[0].contains("not valid JSON-RPC"), "{named:?}");
        let only = says(&mut conversation, r#"{"jsonrpc":"2.0","id":{},"result":1}"#);
        assert!(only[0].starts_with("respond 1"), "{only:?}");
    }

    #[test]
    fn an_error_without_an_id_counts_when_nothing_else_can_be_meant() {
        let could_not = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}"#;
        let mut conversation = Conversation::default();
        call(&mut conversation, of(0, 1), &request("1"));
        client_says(&mut conversation, 0, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
        assert_eq!(says(&mut conversation, could_not).len(), 1, "it may be about the notification");
        call(&mut conversation, of(0, 2), &request("2"));
        assert_eq!(says(&mut conversation, could_not).len(), 1, "it may be about either");
        // What came before a call that is answered has been read: it is not the call that still waits, either.
        says(&mut conversation, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert_eq!(says(&mut conversation, could_not).len(), 1, "the call that waits has been read");
        says(&mut conversation, r#"{"jsonrpc":"2.0","id":0,"result":{}}"#);
        call(&mut conversation, of(0, 3), &request("3"));
        let told = says(&mut conversation, could_not);
        assert!(told[1].starts_with("respond 3"), "{told:?}");
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// A client makes a call; with the id as its token as well.
        Call {
            client: u32,
            id: usize,
            token: bool,
        },
        /// The backend answers one of its calls, in one of several spellings.
        Answer {
            which: usize,
            spelling: usize,
        },
        Progress {
            which: usize,
        },
        Cancel {
            client: u32,
            id: usize,
        },
        /// The backend asks, under one of few ids; a client is given it.
        Ask {
            id: usize,
            client: u32,
        },
        AnswerAsk {
            client: u32,
            id: usize,
        },
        Mangled {
            which: usize,
        },
    }

    const IDS: [&str; 8] = ["0", "1", "1.0", "\"1\"", "2", "\"\\u0061\"", "\"a\"", "1e0"];

    fn step() -> impl Strategy<Value = Step> {
        let id = 0..IDS.len();
        prop_oneof![
            4 => (0..2u32, id.clone(), any::<bool>()).prop_map(|(client, id, token)| Step::Call { client, id, token }),
            3 => (0..9usize, 0..3usize).prop_map(|(which, spelling)| Step::Answer { which, spelling }),
            2 => (0..9usize).prop_map(|which| Step::Progress { which }),
            2 => (0..2u32, id.clone()).prop_map(|(client, id)| Step::Cancel { client, id }),
            1 => (id.clone(), 0..2u32).prop_map(|(id, client)| Step::Ask { id, client }),
            1 => (0..2u32, id).prop_map(|(client, id)| Step::AnswerAsk { client, id }),
            1 => (0..9usize).prop_map(|which| Step::Mangled { which }),
        ]
    }

    /// A call as its client and the backend know it.
    struct Known {
        number: u64,
        client: u32,
        id: &'static str,
        token: bool,
        answers: usize,
        cancelled: bool,
    }

    /// Both sides as they are: every effect must be one that the model expects.
    #[derive(Default)]
    struct Model {
        conversation: Conversation,
        calls: Vec<Known>,
        asks: Vec<(u64, &'static str, u32)>,
    }

    impl Model {
        fn open(&mut self, which: usize) -> Option<usize> {
            let open = self.calls.iter().enumerate().filter(|(_, call)| call.answers == 0 && !call.cancelled);
            open.map(|(at, _)| at).nth(which)
        }

        fn respond_of(&mut self, at: usize, effects: Vec<Effect>) {
            let responses = effects.into_iter().filter_map(|effect| match effect {
                Effect::Respond { to, response, .. } => Some((to, text_of(&response))),
                _ => None,
            });
            let responses: Vec<_> = responses.collect();
            let call = &mut self.calls[at];
            assert_eq!(responses.len(), 1, "a call is answered once");
            assert_eq!(responses[0].0, of(call.client, at as u32));
            assert!(responses[0].1.contains(&format!("\"id\":{},", call.id)), "{}", responses[0].1);
            call.answers += 1;
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Call { client, id, token } => {
                    let id = IDS[id];
                    let params = if token {
                        format!(r#","params":{{"_meta":{{"progressToken":{id}}}}}"#)
                    } else {
                        String::new()
                    };
                    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"{params}}}"#);
                    let (number, sent) =
                        call(&mut self.conversation, of(client, self.calls.len() as u32), &text);
                    assert!(self.calls.iter().all(|call| call.number < number), "a number twice");
                    assert!(sent.contains(&format!("\"id\":{number},")));
                    self.calls.push(Known { number, client, id, token, answers: 0, cancelled: false });
                }
                Step::Answer { which, spelling } => {
                    let Some(at) = self.open(which) else { return };
                    let number = self.calls[at].number;
                    let id = [number.to_string(), format!("{number}.0"), format!("\"{number}\"")][spelling]
                        .clone();
                    let answer =
                        message(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"of":{number}}}}}"#));
                    let effects = self.conversation.hear_backend(answer, NOW).into_iter().collect();
                    self.respond_of(at, effects);
                }
                Step::Mangled { which } => {
                    let Some(at) = self.open(which) else { return };
                    let line = format!(r#"{{"jsonrpc":"2.0","id":{},"result":NaN}}"#, self.calls[at].number);
                    let Line::Bad(bad) = parse_line(Payload::made_here(line.into_bytes())) else {
                        panic!("good")
                    };
                    let effects = self.conversation.hear_bad_line(bad);
                    self.respond_of(at, effects);
                }
                Step::Progress { which } => {
                    let Some(call) = self.calls.get(which) else { return };
                    let told = says(&mut self.conversation, &progress(&call.number.to_string()));
                    let heard = call.token && call.answers == 0 && !call.cancelled;
                    let expected = format!(
                        "deliver {:?} {}",
                        Route::Caller(of(call.client, which as u32)),
                        progress(call.id)
                    );
                    assert_eq!(told == [expected], heard, "{told:?}");
                }
                Step::Cancel { client, id } => self.cancel(client, IDS[id]),
                Step::Ask { id, client } => self.ask(IDS[id], client),
                Step::AnswerAsk { client, id } => self.answer_ask(client, IDS[id]),
            }
        }

        fn cancel(&mut self, client: u32, id: &str) {
            let open = |call: &&Known| call.client == client && call.answers == 0 && !call.cancelled;
            let wanted = Id::of_text(id).unwrap();
            let exact: Vec<u64> =
                self.calls.iter().filter(open).filter(|call| call.id == id).map(|call| call.number).collect();
            let fits = |call: &&Known| Id::of_text(call.id).unwrap().fits(&wanted);
            let loose: Vec<u64> =
                self.calls.iter().filter(open).filter(fits).map(|call| call.number).collect();
            let meant = if exact.is_empty() { loose } else { exact };
            let told = client_says(&mut self.conversation, client, &cancelled(id));
            match &meant[..] {
                [one] => {
                    assert_eq!(told[0], format!("to backend {}", cancelled(&one.to_string())));
                    let at = self.calls.iter().position(|call| call.number == *one).unwrap();
                    assert_eq!(told[1], format!("unanswered {at}"));
                    self.calls[at].cancelled = true;
                    let late = format!(r#"{{"jsonrpc":"2.0","id":{one},"result":{{}}}}"#);
                    assert!(says(&mut self.conversation, &late)[0].contains("was cancelled"));
                }
                _ => assert!(told.len() == 1 && told[0].starts_with("tell"), "{told:?}"),
            }
        }

        fn ask(&mut self, id: &'static str, client: u32) {
            let ask = message(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#));
            for effect in self.conversation.hear_backend(ask, NOW) {
                match effect {
                    Effect::Settle(Spot(_, number)) => self.asks.retain(|(known, ..)| *known != number),
                    Effect::Ask { number, .. } => {
                        self.conversation.put(number, client, Spot(0, number));
                        self.asks.push((number, id, client));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }

        fn answer_ask(&mut self, client: u32, id: &str) {
            let wanted = Id::of_text(id).unwrap();
            let own: Vec<_> = self.asks.iter().copied().filter(|(.., asked)| *asked == client).collect();
            let exact: Vec<_> = own.iter().copied().filter(|(_, known, _)| *known == id).collect();
            let fits = |(_, known, _): &(u64, &str, u32)| Id::of_text(known).unwrap().fits(&wanted);
            let meant = if exact.is_empty() { own.into_iter().filter(fits).collect() } else { exact };
            let told = client_says(
                &mut self.conversation,
                client,
                &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
            );
            match &meant[..] {
                [(number, known, _)] => {
                    assert!(
                        told[0].starts_with("to backend") && told[0].contains(&format!("\"id\":{known},")),
                        "{told:?}"
                    );
                    assert_eq!(told[1], format!("settle 0 {number}"));
                    let number = *number;
                    self.asks.retain(|(known, ..)| *known != number);
                }
                _ => assert!(told[0].contains("nobody asked"), "{told:?}"),
            }
        }
    }

    proptest! {
        /// Several clients with adversarial ids, a backend that answers in any order and spelling: every call is
        /// answered once, with its own bytes, and nothing crosses.
        #[test]
        fn prop_every_call_has_its_own_answer(steps in prop::collection::vec(step(), 0..60)) {
            let mut model = Model::default();
            steps.into_iter().for_each(|step| model.step(step));
            let open = model.calls.iter().filter(|call| call.answers == 0 && !call.cancelled).count();
            prop_assert_eq!(model.conversation.calls(), open);
            let failed = model.conversation.fail_all("over");
            prop_assert_eq!(failed.len(), open);
        }
    }
}
