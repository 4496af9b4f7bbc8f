//! The header fields that somebody asks for, and those that decide how the rest of the connection is read.

use super::grammar::{KNOWN_NAME_ROOM, Span, decimal, has_token, is_host, lower_case};
use crate::http::Refusal;

/// How a request's body ends (RFC 9112, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// A field that burdock asks a request for, besides those that frame it. A closed list, for a head is
/// searched for all of them in the one pass that parses it; so the names of two headers that only MCP knows
/// stand here. What they mean, nothing in `http` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `Accept`
    Accept,
    /// `Authorization`
    Authorization,
    /// `Content-Type`
    ContentType,
    /// `Last-Event-ID`
    LastEventId,
    /// `MCP-Protocol-Version`
    ProtocolVersion,
    /// `Mcp-Session-Id`
    SessionId,
    /// `Origin`
    Origin,
    /// `X-Forwarded-For`
    ForwardedFor,
    /// `X-Forwarded-User`
    ForwardedUser,
}

impl Field {
    pub(super) const COUNT: usize = Field::ForwardedUser as usize + 1;

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Field::Accept => "accept",
            Field::Authorization => "authorization",
            Field::ContentType => "content-type",
            Field::LastEventId => "last-event-id",
            Field::ProtocolVersion => "mcp-protocol-version",
            Field::SessionId => "mcp-session-id",
            Field::Origin => "origin",
            Field::ForwardedFor => "x-forwarded-for",
            Field::ForwardedUser => "x-forwarded-user",
        }
    }
}

/// Where the [`Field`]s of a head are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    /// The first value of each field. No value stands at the very beginning of a head, so an empty span there
    /// means that the field is absent.
    first: [Span; Field::COUNT],
    /// The fields that came more than once, a bit for each.
    repeated: u16,
}

impl Places {
    const NONE: Places = Places { first: [Span::EMPTY; Field::COUNT], repeated: 0 };

    fn add(&mut self, field: Field, value: Span) {
        match self.first(field) {
            None => self.first[field as usize] = value,
            Some(_) => self.repeated |= 1 << field as u16,
        }
    }

    pub(super) fn first(&self, field: Field) -> Option<Span> {
        Some(self.first[field as usize]).filter(|span| *span != Span::EMPTY)
    }

    pub(super) fn is_repeated(&self, field: Field) -> bool {
        self.repeated & (1 << field as u16) != 0
    }
}

/// The fields that decide how the rest of the connection is read.
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    pub(super) close: bool,
    pub(super) expects_continue: bool,
    /// Where the fields are that burdock asks a request for.
    pub(super) places: Places,
}

impl<'a> Fields<'a> {
    /// Reads the fields of the head that is `bytes`.
    pub(super) fn read(
        headers: &[httparse::Header<'a>],
        bytes: &[u8],
        http_1_0: bool,
    ) -> Result<Fields<'a>, Refusal> {
        let mut fields = Fields {
            host: None,
            length: None,
            chunked: false,
            close: false,
            expects_continue: false,
            places: Places::NONE,
        };
        let mut coding = None;
        for header in headers {
            match lower_case(header.name, &mut [0; KNOWN_NAME_ROOM]) {
                b"host" => fields.read_host(header.value)?,
                b"content-length" => fields.read_length(header.value)?,
                // A second field makes a list, and a list is not a single `chunked`.
                b"transfer-encoding" => coding = Some(if coding.is_none() { header.value } else { b"" }),
                b"connection" => fields.close |= has_token(header.value, "close"),
                b"expect" if !http_1_0 => fields.read_expect(header.value)?,
                name => fields.note(name, Span::of(header.value, bytes)),
            }
        }
        if let Some(coding) = coding {
            fields.read_coding(coding, http_1_0)?;
        }
        if fields.host.is_none() && !http_1_0 {
            return Err(Refusal::new(400, "there is no Host header"));
        }
        Ok(fields)
    }

    /// Notes where a [`Field`] stands; ignores every other field.
    fn note(&mut self, name: &[u8], value: Span) {
        let field = match name {
            b"accept" => Field::Accept,
            b"authorization" => Field::Authorization,
            b"content-type" => Field::ContentType,
            b"last-event-id" => Field::LastEventId,
            b"mcp-protocol-version" => Field::ProtocolVersion,
            b"mcp-session-id" => Field::SessionId,
            b"origin" => Field::Origin,
            b"x-forwarded-for" => Field::ForwardedFor,
            b"x-forwarded-user" => Field::ForwardedUser,
            _ => return,
        };
        self.places.add(field, value);
    }

    fn read_host(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        if self.host.is_some() {
            return Err(Refusal::new(400, "there are two Host headers"));
        }
        self.host = Some(value).filter(|host| is_host(host));
        if self.host.is_none() {
            return Err(Refusal::new(
                400,
                "the Host header is not a host name or address with an optional port",
            ));
        }
        Ok(())
    }

    fn read_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::new(400, "there are two Content-Length headers"));
        }
        self.length = decimal(value);
        match self.length {
            Some(_) => Ok(()),
            None => Err(Refusal::new(400, "the Content-Length is not one decimal number")),
        }
    }

    /// A body whose coding is not known cannot even be skipped: its bytes would be read as the next request.
    fn read_coding(&mut self, value: &[u8], http_1_0: bool) -> Result<(), Refusal> {
        if http_1_0 {
            return Err(Refusal::new(400, "HTTP/1.0 has no Transfer-Encoding"));
        }
        if self.length.is_some() {
            return Err(Refusal::new(400, "there are both a Transfer-Encoding and a Content-Length"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::new(
                501,
                "the only Transfer-Encoding that burdock reads is a single chunked",
            ));
        }
        self.chunked = true;
        Ok(())
    }

    fn read_expect(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::new(417, "the only expectation that burdock meets is 100-continue"));
        }
        self.expects_continue = true;
        Ok(())
    }

    pub(super) fn framing(&self) -> Framing {
        match self.length {
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::None,
        }
    }
}
