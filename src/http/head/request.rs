//! A request's head: its own copy of the text, and where in it is what.

use std::sync::Arc;

use super::fields::{Field, Framing, Places};
use super::grammar::Span;
use crate::http::Refusal;

/// A request method. Methods are case-sensitive (RFC 9110, section 9.1): `get` is [`Method::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// Any other token; the endpoint answers it with 405.
    Other,
}

impl Method {
    pub(super) fn of(token: &str) -> Method {
        match token {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            _ => Method::Other,
        }
    }
}

/// A request's head: its own copy of the text, and where in it is what.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Without the blank lines before it. What was not UTF-8 is DEL, which no field can hold.
    pub(super) text: Arc<str>,
    pub(super) places: Places,
    pub(super) method: Method,
    pub(super) http_1_0: bool,
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    pub(super) host: Option<Span>,
    pub(super) framing: Framing,
    pub(super) wants_close: bool,
    pub(super) expects_continue: bool,
}

/// What a reply has to know of its request, when the head is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// A body would be taken for the next reply (HEAD).
    pub head_only: bool,
    /// The client speaks HTTP/1.0, which knows no chunks.
    pub http_1_0: bool,
    /// The connection is to end after the reply: the client said so, or speaks HTTP/1.0.
    pub close: bool,
}

impl std::fmt::Debug for RequestHead {
    /// Method and path only: other fields may hold tokens and session ids.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestHead({:?} {})", self.method, crate::foreign::Foreign(self.path().as_bytes()))
    }
}

impl RequestHead {
    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The path as sent, from the request line only: nothing decoded, no dot segment removed. It begins with
    /// `/`, or is `*` for `OPTIONS *`.
    pub fn path(&self) -> &str {
        self.part(self.path)
    }

    /// What follows the first `?` of the target, as sent.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.part(span))
    }

    /// Host and port as the client named them: from an absolute target (RFC 9112, section 3.2.2), else from
    /// Host. `None` only in HTTP/1.0.
    pub fn host(&self) -> Option<&str> {
        self.host.map(|span| self.part(span))
    }

    /// All fields in order, names as they came, values without the whitespace around them.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name, value.trim_matches([' ', '\t'])))
    }

    /// All values of a field, in order.
    pub fn values(&self, field: Field) -> impl Iterator<Item = &str> {
        let more = self.places.is_repeated(field).then(move || {
            let named = move |(name, _): &(&str, &str)| name.eq_ignore_ascii_case(field.name());
            self.fields().filter(named).map(|(_, value)| value).skip(1)
        });
        self.places.first(field).map(|first| self.part(first)).into_iter().chain(more.into_iter().flatten())
    }

    /// The value of a field that must not be repeated.
    ///
    /// # Errors
    /// 400 when it is there twice, or holds anything but visible ASCII and spaces.
    pub fn only(&self, field: Field) -> Result<Option<&str>, Refusal> {
        let Some(value) = self.places.first(field).map(|value| self.part(value)) else { return Ok(None) };
        if self.places.is_repeated(field) {
            let name = field.name();
            return Err(Refusal::with(400, format!("the header {name} is there twice: send it once")));
        }
        // No early exit, so that the compiler checks many bytes at once.
        if value.bytes().fold(true, |visible, byte| visible & matches!(byte, b' '..=b'~')) {
            return Ok(Some(value));
        }
        Err(Refusal::with(400, format!("the header {} must be visible ASCII", field.name())))
    }

    /// What the reply has to know.
    pub fn asked(&self) -> Asked {
        Asked { head_only: self.method == Method::Head, http_1_0: self.http_1_0, close: self.wants_close }
    }

    /// How the body is framed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client waits for `100 Continue` before it sends its body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// The head as text, see [`RequestHead::of_text`].
    pub fn text(&self) -> &str {
        &self.text
    }

    fn part(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }
}
