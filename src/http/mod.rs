//! The wire: HTTP/1.1 and server-sent events over any byte stream. Knows nothing of MCP.
//!
//! [`connection::Connection`] reads a [`RequestHead`], then its body, and writes a [`Reply`]. What cannot be
//! served is a [`Refusal`]: a status and a sentence that says what was wrong.

pub mod accept;
pub mod body;
pub mod connection;
mod ended;
pub mod head;
mod outline;
mod read_ahead;
mod resting;
mod room;
pub mod socket;
pub mod sse;
mod stage;
mod upcoming;
mod writer;

pub use body::RequestBody;
pub use connection::{Connection, Deadlines};
pub use ended::{Disconnected, ReadPhase};
pub use head::{Asked, Field, Method, RequestHead};
pub use resting::AtRest;
pub use room::Room;
pub use socket::Socket;
pub use sse::{Event, EventId, EventReader, Opening};

use std::borrow::Cow;

use crate::budget::Payload;

/// An HTTP status code that burdock sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    /// The reason phrase (RFC 9110, section 15).
    pub fn reason(self) -> &'static str {
        match self.0 {
            100 => "Continue",
            200 => "OK",
            202 => "Accepted",
            204 => "No Content",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            408 => "Request Timeout",
            411 => "Length Required",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            417 => "Expectation Failed",
            421 => "Misdirected Request",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "Unknown",
        }
    }
}

/// A request that is not served: the status, and in one sentence what was wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A 4xx or 5xx.
    pub status: Status,
    /// Sent as `text/plain`, without a line break at its end.
    pub text: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with a fixed text.
    pub const fn new(status: u16, text: &'static str) -> Refusal {
        Refusal { status: Status(status), text: Cow::Borrowed(text) }
    }

    /// A refusal whose text was put together.
    pub fn with(status: u16, text: String) -> Refusal {
        Refusal { status: Status(status), text: Cow::Owned(text) }
    }
}

/// A response header: a name in our spelling, a value without CR and LF.
pub type Header = (&'static str, Cow<'static, str>);

/// What is written back.
#[derive(Debug)]
pub struct Reply {
    /// The status. For [`Body::Events`] 200.
    pub status: Status,
    /// Headers besides Date, Content-Type, Content-Length, Transfer-Encoding and Connection, which the
    /// connection writes itself. A value with a control character (CR, LF, NUL, ...) is dropped, name and
    /// all.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Body,
    /// Whether the connection ends after this reply.
    pub close: bool,
}

/// A reply's body.
#[derive(Debug)]
pub enum Body {
    /// No body: 202, 204, and answers to HEAD.
    Empty,
    /// All of it, with its media type.
    Full(&'static str, Payload),
    /// Events as they come: one JSON body or an event stream, see [`Opening`].
    Events(Box<EventReader>),
}

impl Reply {
    /// A reply without a body.
    pub fn empty(status: u16) -> Reply {
        Reply { status: Status(status), headers: Vec::new(), body: Body::Empty, close: false }
    }

    /// A plain text reply; a line break is added.
    pub fn text(status: u16, text: impl AsRef<str>) -> Reply {
        let body = Payload::made_here(format!("{}\n", text.as_ref()).into_bytes());
        Reply {
            status: Status(status),
            headers: Vec::new(),
            body: Body::Full("text/plain; charset=utf-8", body),
            close: false,
        }
    }

    /// A JSON reply.
    pub fn json(status: u16, json: Payload) -> Reply {
        Reply {
            status: Status(status),
            headers: Vec::new(),
            body: Body::Full("application/json", json),
            close: false,
        }
    }

    /// 200 and events.
    pub fn events(events: EventReader) -> Reply {
        Reply { status: Status(200), headers: Vec::new(), body: Body::Events(Box::new(events)), close: false }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Reply::text(refusal.status.0, refusal.text)
    }
}
