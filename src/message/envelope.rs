//! What a message is, and what is none.

use std::borrow::Cow;
use std::ops::Range;

use super::Id;
use crate::budget::Payload;

/// JSON-RPC: the text is not JSON.
pub const PARSE_ERROR: i32 = -32700;
/// JSON-RPC: the JSON is not a request.
pub const INVALID_REQUEST: i32 = -32600;
/// JSON-RPC: no such method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// JSON-RPC: something went wrong on this side.
pub const INTERNAL_ERROR: i32 = -32603;

/// What a child made with our handlers tells burdock: the stream of the request `requestId` may end before its
/// response. Not part of the protocol, so only a child of burdock's says it, and burdock passes it to nobody.
pub const DETACH: &str = "notifications/burdock/detach";

/// A method's name; one that calls are full of takes no memory.
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
    /// The bytes.
    pub payload: Payload,
    /// What it is.
    pub kind: Kind,
    /// What it is about: a request's `_meta.progressToken`, a progress notification's token, a `cancelled`
    /// notification's request id.
    pub concerns: Option<Id>,
    /// Where the params are in the bytes.
    pub(super) params: Option<Range<usize>>,
}

impl Message {
    /// The params of a request or notification, as JSON.
    pub fn params(&self) -> Option<&str> {
        std::str::from_utf8(self.payload.bytes().get(self.params.clone()?)?).ok()
    }

    /// What a client says after `initialize` was answered (L40).
    pub fn initialized() -> Message {
        let text = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        Message {
            payload: Payload::made_here(text.into()),
            kind: Kind::Notification { method: "notifications/initialized".into() },
            concerns: None,
            params: None,
        }
    }

    /// A response made here, to a request of the other side.
    pub fn response(id: &Id, error: bool, payload: Payload) -> Message {
        let kind = Kind::Response { id: Some(id.clone()), error };
        Message { payload, kind, concerns: None, params: None }
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
    /// [`PARSE_ERROR`] or [`INVALID_REQUEST`].
    pub code: i32,
    /// What was wrong.
    pub text: Cow<'static, str>,
}

impl Invalid {
    pub(super) fn request(id: Option<Id>, text: &'static str) -> Invalid {
        Invalid { id, code: INVALID_REQUEST, text: Cow::Borrowed(text) }
    }

    pub(super) fn json(text: String) -> Invalid {
        Invalid { id: None, code: PARSE_ERROR, text: Cow::Owned(text) }
    }
}

/// What a backend wrote on one line.
#[derive(Debug)]
pub enum Line {
    /// A message, or what is none.
    One(Result<Message, Invalid>),
    /// A batch, each member by itself.
    Batch(Vec<Result<Message, Invalid>>),
}
