//! What a conversation asks its user to do, as plain data.

use super::remark::Remark;
use crate::budget::Payload;
use crate::message::{Id, Message};
use crate::moment::Moment;

/// Who sent a request. The user of a conversation chooses both numbers and gets them back; the conversation
/// never looks into `reply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// Which client sent the request. An id means something only among the requests of one client.
    pub client: u32,
    /// Where the response goes.
    pub reply: u32,
}

/// Where the user of a conversation has put a request of the backend: two numbers of the user's own choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot(pub u64, pub u64);

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Give the backend this message. If the message is a call and the backend does not take it, tell
    /// `Conversation::not_taken`.
    ToBackend(Outbound),
    /// Send the response to a call, which is over now.
    Respond {
        /// Whose call it was.
        to: ReplyTo,
        /// The response, with the client's own id in it.
        response: Payload,
        /// When the call began, if the backend itself answered; `None` for an error that was made here.
        since: Option<Moment>,
    },
    /// A call is over without a response: its client cancelled it (L44).
    LeaveUnanswered {
        /// Whose call it was.
        to: ReplyTo,
        /// An error, for a client that waits for a response all the same.
        instead: Payload,
    },
    /// A notification for a client.
    Deliver {
        /// Which one.
        to: Route,
        /// The notification.
        message: Payload,
    },
    /// A request of the backend for a client. Where it went is told to `Conversation::put`; or it is answered
    /// here, by `Conversation::answer_ask`.
    Ask {
        /// Which client.
        to: Route,
        /// The request.
        message: Payload,
        /// Its number here.
        number: u64,
        /// It only asks whether somebody is there.
        is_ping: bool,
    },
    /// The request of the backend that was put there is no longer waited for.
    Settle(Spot),
    /// The stream of this call may end before its response: its client is to resume it.
    Detach(ReplyTo),
    /// Something for the log.
    Tell(Remark),
}

/// Which client a message of the backend is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Whoever made this call.
    Caller(ReplyTo),
    /// The client that was given that request of the backend.
    With(Spot),
    /// The message names no call. When only one caller has calls in flight, it is for that one.
    Unsaid,
    /// Messages of this kind belong to no call. Where nobody listens to such messages, the only caller gets
    /// it.
    Unrelated,
    /// It belongs to a call that is over.
    Nobody,
}

/// At most two effects, in the order in which they must be done.
#[derive(Debug, Default)]
pub struct Effects([Option<Effect>; 2]);

impl Effects {
    pub(super) fn two(first: Option<Effect>, then: Option<Effect>) -> Effects {
        Effects([first, then])
    }
}

impl From<Effect> for Effects {
    fn from(effect: Effect) -> Effects {
        Effects([Some(effect), None])
    }
}

impl From<Remark> for Effects {
    fn from(remark: Remark) -> Effects {
        Effect::Tell(remark).into()
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Effect>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// A message on its way to a backend.
#[derive(Debug)]
pub struct Outbound {
    /// As the client wrote it.
    pub message: Message,
    /// What it names, in the backend's words.
    pub names: Naming,
}

/// What a message to a backend names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// A call that begins: its id there, and its progress token if it has one.
    Call(u64),
    /// A call that its client has cancelled.
    Cancelled(u64),
    /// The backend's own request that this answers.
    Answer(Id),
    /// The token of the backend's own request that this is progress of.
    Progress(Id),
    /// Nothing.
    Nothing,
}

impl Outbound {
    pub(super) fn naming_nothing(message: Message) -> Outbound {
        Outbound { message, names: Naming::Nothing }
    }

    /// The number of the call that it begins, if it does.
    pub fn call(&self) -> Option<u64> {
        match self.names {
            Naming::Call(number) => Some(number),
            _ => None,
        }
    }

    /// The bytes that the process of a backend is given.
    pub fn into_payload(self) -> Payload {
        match self.names {
            Naming::Call(number) => {
                let id = id_of(number);
                self.message.into_payload(Some(&id), Some(&id))
            }
            Naming::Cancelled(number) => self.message.into_payload(None, Some(&id_of(number))),
            Naming::Answer(id) => self.message.into_payload(Some(&id), None),
            Naming::Progress(token) => self.message.into_payload(None, Some(&token)),
            Naming::Nothing => self.message.into_payload(None, None),
        }
    }
}

/// A number of ours as an id. Numbers last for 290 years of a billion calls a second.
pub(super) fn id_of(number: u64) -> Id {
    Id::from(i64::try_from(number).unwrap_or(i64::MAX))
}
