//! What a message is, and what is none.

use super::Id;
use super::places::MessagePlaces;
use crate::budget::{Edit, Payload};
use std::borrow::Cow;

/// JSON-RPC: the text is not JSON.
pub const PARSE_ERROR: i32 = -32700;
/// JSON-RPC: the JSON is not a request.
pub const INVALID_REQUEST: i32 = -32600;
/// JSON-RPC: no such method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// JSON-RPC: the params are not what the method takes.
pub const INVALID_PARAMS: i32 = -32602;
/// JSON-RPC: something went wrong on this side.
pub const INTERNAL_ERROR: i32 = -32603;

/// What a child made with our handlers tells burdock: the stream of the request `requestId` may end before
/// its response. Not part of the protocol, so only a child of burdock's says it, and burdock passes it to
/// nobody.
pub const DETACH: &str = "notifications/burdock/detach";

/// A method's name. A common one takes no memory.
pub type MethodName = Cow<'static, str>;

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wants a response with this id.
    Request {
        /// The id of the response.
        id: Id,
        /// What is asked for.
        method: MethodName,
    },
    /// Is not answered.
    Notification {
        /// What it tells.
        method: MethodName,
    },
    /// The answer to a request of the other side; no id when the other side could not read one.
    Response {
        /// The id of the request.
        id: Option<Id>,
        /// Whether it is an error.
        error: bool,
    },
}

/// One message: its bytes without line breaks, and what they say.
#[derive(Clone, Debug)]
pub struct Message {
    /// The bytes, as they came.
    pub payload: Payload,
    /// What it is.
    pub kind: Kind,
    /// What it is about: a request's `_meta.progressToken`, a progress notification's token, a `cancelled`
    /// notification's request id.
    pub concerns: Option<Id>,
    /// Where that stands in the bytes.
    pub(super) places: MessagePlaces,
}

impl Message {
    /// The params of a request or notification, as JSON. Null and empty arrays are no params.
    pub fn params(&self) -> Option<&str> {
        std::str::from_utf8(self.payload.bytes().get(self.places.params?.range())?).ok()
    }

    /// The method's name; responses have none.
    pub fn method(&self) -> Option<&str> {
        match &self.kind {
            Kind::Request { method, .. } | Kind::Notification { method } => Some(method),
            Kind::Response { .. } => None,
        }
    }

    /// Whether something in its envelope must be left out when it is passed on: a null or unknown member.
    pub fn is_mended(&self) -> bool {
        !self.places.mends.is_empty()
    }

    /// The message for the other side: mended, with `id` in place of its id and `concerns` in place of what
    /// it is about. Everything else stays the bytes it was, and a large message is not copied.
    pub fn into_payload(self, id: Option<&Id>, concerns: Option<&Id>) -> Payload {
        let mut texts = (itoa::Buffer::new(), itoa::Buffer::new());
        let id = self.places.id.zip(id.map(|id| id.text(&mut texts.0)));
        let concerns = self.places.concerns.zip(concerns.map(|id| id.text(&mut texts.1)));
        let bytes = self.payload.bytes();
        let changed =
            [id, concerns].map(|edit| edit.filter(|(place, by)| &bytes[place.range()] != by.as_bytes()));
        match (changed, self.places.mends.is_empty()) {
            ([None, None], true) => self.payload,
            ([Some((place, by)), None] | [None, Some((place, by))], true) => {
                self.payload.edited(&[Edit { place: place.range(), by: by.as_bytes() }])
            }
            (changed, _) => {
                let mends = self.places.mends.iter().map(|mend| (mend.place, mend.by));
                let mut edits: Vec<_> = changed.into_iter().flatten().chain(mends).collect();
                edits.sort_unstable_by_key(|(place, _)| place.range().start);
                let edits: Vec<Edit<'_>> = edits
                    .iter()
                    .map(|(place, by)| Edit { place: place.range(), by: by.as_bytes() })
                    .collect();
                self.payload.edited(&edits)
            }
        }
    }

    /// What a client says after `initialize` was answered (L40).
    pub fn initialized() -> Message {
        let text = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        Message {
            payload: Payload::made_here(text.into()),
            kind: Kind::Notification { method: "notifications/initialized".into() },
            concerns: None,
            places: MessagePlaces::default(),
        }
    }

    /// A response made here, to a request of the other side.
    pub fn response(id: &Id, error: bool, payload: Payload) -> Message {
        let kind = Kind::Response { id: Some(id.clone()), error };
        Message { payload, kind, concerns: None, places: MessagePlaces::default() }
    }
}

/// One message, or several in an array (2025-03-26 only, L7).
#[derive(Debug)]
pub enum Parsed {
    /// A single message.
    One(Message),
    /// A batch, not empty.
    Batch(Vec<Message>),
}

impl Parsed {
    /// The messages in their order.
    pub fn all(&self) -> &[Message] {
        match self {
            Parsed::One(message) => std::slice::from_ref(message),
            Parsed::Batch(messages) => messages,
        }
    }
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The id, when it could be read: an error answer must carry it, and must not be JSON without it.
    pub id: Option<Id>,
    /// [`PARSE_ERROR`], [`INVALID_REQUEST`] or [`INVALID_PARAMS`].
    pub code: i32,
    /// What is wrong, in words for people.
    pub text: Cow<'static, str>,
    /// What the bytes were meant to be.
    pub meant: Meant,
}

/// What bytes that are no message were meant to be, by their shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// Something that wants an answer.
    Request,
    /// An answer.
    Response,
    /// An answer, but for the `jsonrpc` that it does not have.
    Unmarked,
    /// A notification, or no JSON-RPC at all.
    Other,
}

impl Invalid {
    pub(super) fn request(id: Option<Id>, text: impl Into<Cow<'static, str>>, meant: Meant) -> Invalid {
        Invalid { id, code: INVALID_REQUEST, text: text.into(), meant }
    }

    pub(super) fn json(text: String) -> Invalid {
        Invalid { id: None, code: PARSE_ERROR, text: Cow::Owned(text), meant: Meant::Other }
    }
}
