//! Bytes to request heads and reply heads to bytes, sans-io.
//!
//! httparse reads the grammar; this file adds what a server has to be strict about: line ends, sizes, the target,
//! Host, and how the body is framed (RFC 9112, sections 2 to 6). What it refuses, it refuses with a status and a
//! sentence. Two servers that disagree about where a request ends can be played against each other, so nothing
//! ambiguous is repaired here.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use crate::authority::Authority;
use crate::http::{Header, Refusal, Status};
use crate::limits::{BLANK_LINES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX};

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
    fn of(token: &str) -> Method {
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

/// What [`parse`] found.
#[derive(Debug)]
pub enum ParsedHead {
    /// The head is not all there. `scanned` is to be given to the next call, with the same bytes and more.
    Partial {
        /// Bytes that need not be looked at again.
        scanned: usize,
    },
    /// A head, and how many bytes it took, blank lines before it included.
    Complete(RequestHead, usize),
}

/// A part of a head's bytes. Heads are at most [`HEAD_BYTES_MAX`] long, so that 16 bits suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u16,
    end: u16,
}

const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize);

impl Span {
    const EMPTY: Span = Span { start: 0, end: 0 };

    /// Where `part`, a slice of `whole`, lies in it.
    fn of(part: &[u8], whole: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        Span { start: start as u16, end: (start + part.len()) as u16 }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A field that burdock asks a request for, besides those that frame it.
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
    const COUNT: usize = Field::ForwardedUser as usize + 1;

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
struct Places {
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

    fn first(&self, field: Field) -> Option<Span> {
        Some(self.first[field as usize]).filter(|span| *span != Span::EMPTY)
    }

    fn is_repeated(&self, field: Field) -> bool {
        self.repeated & (1 << field as u16) != 0
    }
}

/// A request's head: its own copy of the text, and where in it is what.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Without the blank lines before it. What was not UTF-8 is DEL, which no field can hold.
    text: Arc<str>,
    places: Places,
    method: Method,
    http_1_0: bool,
    path: Span,
    query: Option<Span>,
    host: Option<Span>,
    framing: Framing,
    wants_close: bool,
    expects_continue: bool,
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

    /// The path as sent, from the request line only: nothing decoded, no dot segment removed. It begins with `/`,
    /// or is `*` for `OPTIONS *`.
    pub fn path(&self) -> &str {
        self.part(self.path)
    }

    /// What follows the first `?` of the target, as sent.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.part(span))
    }

    /// Host and port as the client named them: from an absolute target (RFC 9112, section 3.2.2), else from Host.
    /// `None` only in HTTP/1.0.
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

    /// The head that has this [`RequestHead::text`]; `None` when no head has it.
    pub fn of_text(text: &str) -> Option<RequestHead> {
        // DEL stands for a byte that was not UTF-8. 0xff is one, so the head is read as it was.
        let bytes: Vec<u8> = text.bytes().map(|byte| if byte == 0x7f { 0xff } else { byte }).collect();
        match parse(&bytes, 0) {
            Ok(ParsedHead::Complete(head, used)) if used == bytes.len() => Some(head),
            _ => None,
        }
    }

    fn part(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }
}

/// Looks for a head at the beginning of `bytes`. `scanned` is 0 at first, then what the last call returned for the
/// same bytes: only what is new is searched for the end, and the head is parsed once, or twice when the first piece
/// of it is not the whole.
///
/// # Errors
/// A refusal with 400, 414, 417, 431, 501 or 505; the connection cannot be used after it.
pub fn parse(bytes: &[u8], scanned: usize) -> Result<ParsedHead, Refusal> {
    let start = after_blank_lines(bytes)?;
    let head = &bytes[start..bytes.len().min(start + HEAD_BYTES_MAX)];
    if head.first().is_some_and(|first| !is_token_byte(*first)) {
        return Err(Refusal::new(400, "this is not HTTP: a request begins with a method"));
    }
    if scanned == 0
        && let Some((head, length)) = parse_at_once(head)?
    {
        return Ok(ParsedHead::Complete(head, start + length));
    }
    match find_end(head, scanned.saturating_sub(start))? {
        HeadEnd::At(length) => Ok(ParsedHead::Complete(parse_complete(&head[..length])?, start + length)),
        HeadEnd::NotIn(_) if head.len() == HEAD_BYTES_MAX => Err(too_long(head)),
        HeadEnd::NotIn(searched) => Ok(ParsedHead::Partial { scanned: start + searched }),
    }
}

/// Where the request line begins: a few blank lines before it are forgiven (RFC 9112, section 2.2).
fn after_blank_lines(bytes: &[u8]) -> Result<usize, Refusal> {
    let lines = bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count();
    if lines > BLANK_LINES_MAX {
        return Err(Refusal::new(400, "too many blank lines before the request line"));
    }
    match &bytes[lines * 2..] {
        [b'\n', ..] => Err(BARE_LF),
        // The CR may be the first half of another blank line.
        [b'\r'] => Ok(bytes.len()),
        [b'\r', ..] => Err(BARE_CR),
        _ => Ok(lines * 2),
    }
}

const BARE_LF: Refusal = Refusal::new(400, "a line of the head ends with LF alone: lines end with CRLF");
const BARE_CR: Refusal = Refusal::new(400, "there is a CR in the head that is not part of a line end");

enum HeadEnd {
    /// The length of the head, its blank line included.
    At(usize),
    /// There is no end in so many bytes.
    NotIn(usize),
}

/// Finds the blank line, and refuses line ends that are not CRLF on the way: httparse would take a bare LF.
fn find_end(head: &[u8], scanned: usize) -> Result<HeadEnd, Refusal> {
    for at in memchr::memchr2_iter(b'\r', b'\n', &head[scanned..]).map(|at| at + scanned) {
        if head[at] == b'\n' {
            if at == 0 || head[at - 1] != b'\r' {
                return Err(BARE_LF);
            }
            if head[..at].ends_with(b"\r\n\r") {
                return Ok(HeadEnd::At(at + 1));
            }
        } else {
            match head.get(at + 1) {
                Some(b'\n') => {}
                Some(_) => return Err(BARE_CR),
                None => return Ok(HeadEnd::NotIn(at)),
            }
        }
    }
    Ok(HeadEnd::NotIn(head.len()))
}

/// Parses a head that came in one piece, as most do: httparse finds its end. Of any other head, also of a
/// wrong one, the slower way above decides: so a refusal does not depend on how the head was split.
fn parse_at_once(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) if lines_end_with_crlf(&bytes[..length]) => {
            Ok(Some((read_request(&request, &bytes[..length])?, length)))
        }
        _ => Ok(None),
    }
}

/// Whether each CR has an LF behind it, and each LF a CR before it. No early exit, so that the compiler checks many
/// bytes at once.
fn lines_end_with_crlf(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.iter().skip(1));
    pairs.fold(true, |right, (before, byte)| right & ((*before == b'\r') == (*byte == b'\n')))
}

/// Which part of an endless head is too long.
fn too_long(head: &[u8]) -> Refusal {
    if memchr::memchr(b'\n', head).is_none() { TARGET_TOO_LONG } else { HEAD_TOO_LONG }
}

const TARGET_TOO_LONG: Refusal = Refusal::new(414, "the request target is longer than 4096 bytes");
const HEAD_TOO_LONG: Refusal = Refusal::new(431, "the request head is longer than 8192 bytes");
const TOO_MANY_HEADERS: Refusal = Refusal::new(431, "the request has more than 64 header fields");

/// Parses a head that is all there.
fn parse_complete(bytes: &[u8]) -> Result<RequestHead, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut fields);
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        // The head ends at its first blank line, so httparse cannot have found another end.
        Ok(_) => return Err(Refusal::new(400, "the request head could not be read")),
        Err(error) => return Err(grammar_refusal(error, bytes)),
    }
    read_request(&request, bytes)
}

/// The head that `request` was read from, `bytes`.
fn read_request(request: &httparse::Request<'_, '_>, bytes: &[u8]) -> Result<RequestHead, Refusal> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Refusal::new(400, "the request line could not be read"));
    };
    let http_1_0 = version == 0;
    let target = Target::parse(method, target)?;
    let fields = Fields::read(request.headers, bytes, http_1_0)?;
    Ok(RequestHead {
        text: text_of(bytes),
        places: fields.places,
        method: Method::of(method),
        http_1_0,
        path: target.path_span(bytes),
        query: target.query.map(|query| Span::of(query.as_bytes(), bytes)),
        host: target.authority.map(str::as_bytes).or(fields.host).map(|host| Span::of(host, bytes)),
        framing: fields.framing(),
        wants_close: http_1_0 || fields.close,
        expects_continue: fields.expects_continue,
    })
}

/// A head's bytes as text of the same length: where they are not UTF-8, a byte that is not ASCII becomes DEL.
fn text_of(bytes: &[u8]) -> Arc<str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes
            .iter()
            .map(|byte| if byte.is_ascii() { *byte as char } else { '\x7f' })
            .collect::<String>()
            .into(),
    }
}

/// One status and sentence for each part of the grammar.
fn grammar_refusal(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => TOO_MANY_HEADERS,
        httparse::Error::Version if names_other_version(bytes) => {
            Refusal::new(505, "burdock speaks HTTP/1.1, and HTTP/1.0 to those who have nothing newer")
        }
        httparse::Error::HeaderName => Refusal::new(
            400,
            "a header name is not a token followed by a colon (no space before the colon, no folded lines)",
        ),
        httparse::Error::HeaderValue => Refusal::new(400, "a header value holds a control character"),
        httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => {
            Refusal::new(400, "the request line is not: method, space, target, space, HTTP/1.1")
        }
    }
}

/// Whether the request line ends with a version that is well formed (`HTTP/d.d`, RFC 9112, section 2.3).
fn names_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ').skip(2);
    let (Some(version), None) = (parts.next(), parts.next()) else { return false };
    match version.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

/// A request target, taken apart (RFC 9112, section 3.2).
struct Target<'a> {
    /// Empty when an absolute target has none; that means `/`.
    path: &'a str,
    query: Option<&'a str>,
    authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn parse(method: &str, target: &'a str) -> Result<Target<'a>, Refusal> {
        if target.len() > TARGET_BYTES_MAX {
            return Err(TARGET_TOO_LONG);
        }
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(Refusal::new(400, "the request target holds a character that has to be %-encoded"));
        }
        if method == "CONNECT" {
            return Err(Refusal::new(501, "burdock is no proxy: CONNECT is not served"));
        }
        if target.starts_with('/') {
            return Ok(Target::split(target, None));
        }
        if target == "*" && method == "OPTIONS" {
            return Ok(Target { path: target, query: None, authority: None });
        }
        Target::parse_absolute(target)
    }

    fn parse_absolute(target: &'a str) -> Result<Target<'a>, Refusal> {
        let rest = ["http://", "https://"].iter().find_map(|scheme| {
            let (head, rest) = target.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then_some(rest)
        });
        let Some(rest) = rest else {
            return Err(Refusal::new(400, "the request target must be a path that begins with /"));
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !is_host(authority.as_bytes()) {
            return Err(Refusal::new(400, "the request target names no valid host"));
        }
        Ok(Target::split(path, Some(authority)))
    }

    fn split(path_and_query: &'a str, authority: Option<&'a str>) -> Target<'a> {
        match memchr::memchr(b'?', path_and_query.as_bytes()) {
            Some(mark) => {
                let (path, query) = (&path_and_query[..mark], &path_and_query[mark + 1..]);
                Target { path, query: Some(query), authority }
            }
            None => Target { path: path_and_query, query: None, authority },
        }
    }

    /// The path's place. An absolute target without one borrows the first slash of its `http://`.
    fn path_span(&self, bytes: &[u8]) -> Span {
        if !self.path.is_empty() {
            return Span::of(self.path.as_bytes(), bytes);
        }
        let slash = memchr::memchr(b'/', bytes);
        slash.map_or(Span::EMPTY, |slash| Span::of(&bytes[slash..=slash], bytes))
    }
}

/// Whether `host` is a name or address with an optional port.
fn is_host(host: &[u8]) -> bool {
    std::str::from_utf8(host).is_ok_and(|host| Authority::parse(host).is_ok())
}

/// The fields that decide how the rest of the connection is read.
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    expects_continue: bool,
    /// Where the fields are that burdock asks a request for.
    places: Places,
}

impl<'a> Fields<'a> {
    /// Reads the fields of the head that is `bytes`.
    fn read(headers: &[httparse::Header<'a>], bytes: &[u8], http_1_0: bool) -> Result<Fields<'a>, Refusal> {
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

    fn framing(&self) -> Framing {
        match self.length {
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::None,
        }
    }
}

/// Room for the longest name that is looked for.
const KNOWN_NAME_ROOM: usize = 32;

/// `name` with bit 0x20 set in every byte, written into `room`: lower case for letters; digits and `-` stay
/// as they are. Other token bytes change, but never into a letter, digit or `-`, so no foreign name becomes
/// equal to a known one. Empty when `name` is longer than any name that is looked for.
fn lower_case<'a>(name: &str, room: &'a mut [u8; KNOWN_NAME_ROOM]) -> &'a [u8] {
    let Some(copy) = room.get_mut(..name.len()) else { return &[] };
    copy.copy_from_slice(name.as_bytes());
    // All of the room, not only the name: for a fixed number of bytes the compiler needs no loop.
    for byte in room.iter_mut() {
        *byte |= b'a' ^ b'A';
    }
    &room[..name.len()]
}

/// Digits and nothing else, at least one.
fn decimal(digits: &[u8]) -> Option<u64> {
    let (first, others) = digits.split_first()?;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    others.iter().try_fold(digit(first)?, |number, byte| number.checked_mul(10)?.checked_add(digit(byte)?))
}

/// Whether a comma-separated list has a token, without case (RFC 9110, section 5.6.1).
fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// How a reply's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFraming {
    /// There is none, and no length is told (204, RFC 9110, section 8.6).
    None,
    /// After so many bytes.
    Length(usize),
    /// After the last chunk.
    Chunked,
    /// With the connection (HTTP/1.0).
    UntilClose,
}

/// A reply's head, before it is bytes.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHead<'a> {
    /// The status.
    pub status: Status,
    /// The value of Date.
    pub date: &'a str,
    /// The media type of the body, when there is one.
    pub content_type: Option<&'a str>,
    /// How the body ends.
    pub framing: ReplyFraming,
    /// Whether the connection ends after this reply.
    pub close: bool,
}

impl ReplyHead<'_> {
    /// Appends the status line, the headers and the blank line. An extra header whose value has a
    /// control character (CR, LF, NUL, ...) is left out: it would end the head, or be read differently by the next
    /// hop.
    pub fn encode_into(&self, out: &mut Vec<u8>, extra: &[Header]) {
        let mut number = itoa::Buffer::new();
        append(out, &["HTTP/1.1 ", number.format(self.status.0), " ", self.status.reason()]);
        append(out, &["\r\nDate: ", self.date]);
        if let Some(content_type) = self.content_type {
            append(out, &["\r\nContent-Type: ", content_type]);
        }
        match self.framing {
            ReplyFraming::None | ReplyFraming::UntilClose => {}
            ReplyFraming::Length(length) => append(out, &["\r\nContent-Length: ", number.format(length)]),
            ReplyFraming::Chunked => append(out, &["\r\nTransfer-Encoding: chunked"]),
        }
        if self.close {
            append(out, &["\r\nConnection: close"]);
        }
        for (name, value) in extra {
            if !value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                append(out, &["\r\n", name, ": ", value]);
            }
        }
        append(out, &["\r\n\r\n"]);
    }
}

fn append(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    /// What a head comes to: comparable, and without what may differ between two ways of feeding it.
    fn outcome(result: Result<ParsedHead, Refusal>) -> Result<Option<(RequestHead, usize)>, Status> {
        match result {
            Ok(ParsedHead::Partial { .. }) => Ok(None),
            Ok(ParsedHead::Complete(head, used)) => Ok(Some((head, used))),
            Err(refusal) => Err(refusal.status),
        }
    }

    fn head(bytes: &[u8]) -> RequestHead {
        match parse(bytes, 0) {
            Ok(ParsedHead::Complete(head, used)) if used == bytes.len() => head,
            other => panic!("{}: {other:?}", String::from_utf8_lossy(bytes)),
        }
    }

    fn with_host(line_and_fields: &str) -> RequestHead {
        head(format!("{line_and_fields}Host: n1\r\n\r\n").as_bytes())
    }

    fn status(bytes: &[u8]) -> u16 {
        match parse(bytes, 0) {
            Err(refusal) => refusal.status.0,
            other => panic!("{}: {other:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn reads_a_plain_head() {
        let head = head(
            b"POST /mcp/a?x=1?y HTTP/1.1\r\nHost: n1:8080\r\nA: 1\r\na:  2 \r\nContent-Length: 7\r\n\r\n",
        );
        assert_eq!(head.method(), Method::Post);
        assert_eq!((head.path(), head.query(), head.host()), ("/mcp/a", Some("x=1?y"), Some("n1:8080")));
        let fields = [("Host", "n1:8080"), ("A", "1"), ("a", "2"), ("Content-Length", "7")];
        assert_eq!(head.fields().collect::<Vec<_>>(), fields);
        assert_eq!(head.framing(), Framing::Length(7));
        assert!(!head.asked().close && !head.expects_continue() && !head.asked().http_1_0);
    }

    #[test]
    fn finds_its_fields() {
        let all = [
            Field::Accept,
            Field::Authorization,
            Field::ContentType,
            Field::LastEventId,
            Field::ProtocolVersion,
            Field::SessionId,
            Field::Origin,
            Field::ForwardedFor,
            Field::ForwardedUser,
        ];
        assert_eq!(all.len(), Field::COUNT);
        for field in all {
            let name = field.name();
            let sent = format!("GET / HTTP/1.1\r\n{}:  a b\t\r\nX-{name}: c\r\n", name.to_uppercase());
            let one = with_host(&sent);
            assert_eq!(one.only(field), Ok(Some("a b")), "{name}");
            assert_eq!(one.values(field).collect::<Vec<_>>(), ["a b"]);
            let found: Vec<Field> = all.into_iter().filter(|field| one.only(*field) != Ok(None)).collect();
            assert_eq!(found, [field]);
            let empty = with_host(&format!("GET / HTTP/1.1\r\n{name}:\r\n"));
            assert_eq!(empty.only(field), Ok(Some("")), "{name}");
            let two = with_host(&format!("{sent}{name}:\r\n{name}: d\r\n"));
            assert_eq!(two.only(field).unwrap_err().status, Status(400), "{name}");
            assert_eq!(two.values(field).collect::<Vec<_>>(), ["a b", "", "d"]);
        }
    }

    #[test]
    fn only_takes_visible_text() {
        let only = |value: &[u8]| {
            let sent = [b"GET / HTTP/1.1\r\nHost: n1\r\nOrigin: ", value, b"\r\nA: b\r\n\r\n"].concat();
            head(&sent).only(Field::Origin).map(|value| value.map(str::to_owned)).map_err(|no| no.status.0)
        };
        for wrong in
            [&b"caf\xc3\xa9"[..], b"caf\xe9", b"\xff", b"a\tb", b"a long one, of more than 16 bytes\xe9"]
        {
            assert_eq!(only(wrong), Err(400), "{wrong:?}");
        }
        assert_eq!(only(b"a b~"), Ok(Some("a b~".to_owned())));
        let head = head(b"GET / HTTP/1.1\r\nA: caf\xe9\r\nOrigin: b\r\nHost: n1\r\n\r\n");
        assert_eq!((head.only(Field::Origin), head.host()), (Ok(Some("b")), Some("n1")));
    }

    #[test]
    fn a_name_in_lower_case_is_no_other_names() {
        for token_byte in (0..=u8::MAX).filter(|byte| is_token_byte(*byte)) {
            let name = (token_byte as char).to_string();
            let lower = lower_case(&name, &mut [0; KNOWN_NAME_ROOM])[0];
            if lower.is_ascii_alphanumeric() || lower == b'-' {
                assert_eq!(lower, token_byte.to_ascii_lowercase(), "{name}");
            }
        }
        assert_eq!(lower_case(&"a".repeat(33), &mut [0; KNOWN_NAME_ROOM]), b"");
    }

    #[test]
    fn lengths_are_decimal_numbers() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "+1", "-1", "1 ", "1,1", "0x1", "a", "18446744073709551616"] {
            assert_eq!(decimal(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn takes_the_target_apart() {
        let absolute = with_host("GET HTTP://other:1/a/../b%2f?q HTTP/1.1\r\n");
        assert_eq!(
            (absolute.path(), absolute.query(), absolute.host()),
            ("/a/../b%2f", Some("q"), Some("other:1"))
        );
        let bare = with_host("GET http://other HTTP/1.1\r\n");
        assert_eq!((bare.path(), bare.query(), bare.host()), ("/", None, Some("other")));
        let query = with_host("GET http://other?q HTTP/1.1\r\n");
        assert_eq!((query.path(), query.query()), ("/", Some("q")));
        assert_eq!(with_host("OPTIONS * HTTP/1.1\r\n").path(), "*");
        assert_eq!(with_host("GET //a HTTP/1.1\r\n").path(), "//a");
    }

    #[test]
    fn knows_methods_by_case() {
        assert_eq!(with_host("get / HTTP/1.1\r\n").method(), Method::Other);
        assert_eq!(with_host("PATCH / HTTP/1.1\r\n").method(), Method::Other);
        assert_eq!(with_host("DELETE / HTTP/1.1\r\n").method(), Method::Delete);
    }

    #[test]
    fn reads_connection_and_expect() {
        assert!(with_host("GET / HTTP/1.1\r\nConnection: foo , CLOSE\r\n").asked().close);
        assert!(with_host("GET / HTTP/1.1\r\nConnection: foo\r\nConnection: close\r\n").asked().close);
        assert!(!with_host("GET / HTTP/1.1\r\nConnection: closed, x-close\r\n").asked().close);
        assert!(with_host("POST / HTTP/1.1\r\nExpect: 100-Continue\r\n").expects_continue());
        assert!(head(b"GET / HTTP/1.0\r\n\r\n").asked().close);
    }

    #[test]
    fn takes_valid_hosts_only() {
        // RFC 3986, section 3.2.3: a port may be empty.
        for host in
            ["n1", "n1.example.org:80", "127.0.0.1:8080", "[::1]", "[::1]:65535", "a_b~c", "n1:", "[::1]:"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "a/b",
            "a?b",
            "a#b",
            "u@h",
            "a b",
            "a,b",
            "n1:x",
            "n1:65536",
            "n1:+1",
            "::1",
            "[::1",
            "[x]",
            "[::1]x",
            "a:1:2",
            "caf\u{e9}",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn counts_sizes_as_they_arrive() {
        let fits = format!("GET / HTTP/1.1\r\nHost: n1\r\nA: {}\r\n\r\n", "a".repeat(HEAD_BYTES_MAX - 33));
        assert_eq!(fits.len(), HEAD_BYTES_MAX);
        head(fits.as_bytes());
        let blank = format!("\r\n\r\n{fits}");
        head(blank.as_bytes());
        assert_eq!(status(fits.replace("A: ", "A: a").as_bytes()), 431);
        assert_eq!(status(&[b'a'; HEAD_BYTES_MAX]), 414);
        assert_eq!(
            status(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(TARGET_BYTES_MAX)).as_bytes()),
            414
        );
        let many = |count| format!("GET / HTTP/1.1\r\nHost: n1\r\n{}\r\n", "A: b\r\n".repeat(count));
        head(many(HEADERS_MAX - 1).as_bytes());
        assert_eq!(status(many(HEADERS_MAX).as_bytes()), 431);
    }

    #[test]
    fn refuses_at_the_first_wrong_byte() {
        assert_eq!(status(b"\x16\x03\x01"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\n"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\rX"), 400);
        assert_eq!(status(b"\n"), 400);
        assert_eq!(status(&b"\r\n".repeat(BLANK_LINES_MAX + 1)), 400);
        assert!(matches!(parse(&b"\r\n".repeat(BLANK_LINES_MAX), 0), Ok(ParsedHead::Partial { .. })));
    }

    #[test]
    fn leaves_headers_out_that_would_end_the_head() {
        let mut out = Vec::new();
        let reply = ReplyHead {
            status: Status(200),
            date: "now",
            content_type: None,
            framing: ReplyFraming::Length(0),
            close: true,
        };
        let headers = [("A", "a\r\nSet-Cookie: b".into()), ("B", "b\0".into()), ("C", "c".into())];
        reply.encode_into(&mut out, &headers);
        let expected =
            "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0\r\nConnection: close\r\nC: c\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// Pieces that heads, good and bad, are made of.
    const PIECES: &[&str] = &[
        "GET",
        "POST",
        "OPTIONS",
        "CONNECT",
        " ",
        "/",
        "*",
        "http://a",
        "?",
        "#",
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/2.0",
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "Host: n1",
        "Host: a/b",
        "Content-Length: 5",
        "Content-Length: +5",
        ":",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Connection: close",
        "Expect: 100-continue",
        "\0",
        "Expect: x",
        "\t",
        "A: caf\u{e9}",
        "A : b",
        "\u{1}",
        "\r\nA: b",
    ];

    fn some_head() -> impl Strategy<Value = Vec<u8>> {
        let good = Just("GET / HTTP/1.1\r\nHost: n1\r\nAccept: */*\r\n\r\n".to_owned());
        let mixed = prop::collection::vec(select(PIECES), 0..24).prop_map(|pieces| pieces.concat());
        let fields = prop::collection::vec(select(PIECES), 0..4)
            .prop_map(|pieces| format!("POST /a HTTP/1.1\r\nHost: n1\r\n{}\r\n\r\n", pieces.join("\r\n")));
        let long = (8150usize..8250)
            .prop_map(|n| format!("GET / HTTP/1.1\r\nHost: n1\r\nA: {}\r\n\r\n", "a".repeat(n)));
        let base = prop_oneof![4 => good, 4 => mixed, 4 => fields, 1 => long];
        (base, prop::option::of((any_index(), any::<u8>()))).prop_map(|(text, mutation)| {
            let mut bytes = text.into_bytes();
            if let Some((index, byte)) = mutation.filter(|_| !bytes.is_empty()) {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
    }

    fn any_index() -> impl Strategy<Value = Index> {
        any::<Index>()
    }

    proptest! {
        #[test]
        fn prop_any_split_gives_the_same(bytes in some_head(), cuts in prop::collection::vec(any_index(), 0..6)) {
            let whole = outcome(parse(&bytes, 0));
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            ends.push(bytes.len());
            ends.sort_unstable();
            let mut scanned = 0;
            let mut in_pieces = Ok(None);
            for end in ends {
                let result = parse(&bytes[..end], scanned);
                if let Ok(ParsedHead::Partial { scanned: so_far }) = &result {
                    prop_assert!(scanned <= *so_far && *so_far <= end);
                    scanned = *so_far;
                    continue;
                }
                in_pieces = outcome(result);
                break;
            }
            prop_assert_eq!(in_pieces, whole);
        }

        #[test]
        fn prop_a_head_is_read_again_from_its_text(bytes in some_head()) {
            if let Ok(ParsedHead::Complete(head, _)) = parse(&bytes, 0) {
                prop_assert_eq!(RequestHead::of_text(head.text()), Some(head));
            }
        }

        #[test]
        fn prop_accepts_only_what_httparse_accepts(bytes in some_head()) {
            if let Ok(ParsedHead::Complete(head, used)) = parse(&bytes, 0) {
                let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
                let mut request = httparse::Request::new(&mut fields);
                prop_assert_eq!(request.parse(&bytes), Ok(httparse::Status::Complete(used)));
                let text = |value: &[u8]| match std::str::from_utf8(&bytes[..used]) {
                    Ok(_) => String::from_utf8(value.to_vec()).unwrap(),
                    Err(_) => value.iter().map(|byte| if *byte < 128 { *byte as char } else { '\x7f' }).collect(),
                };
                let fields = request.headers.iter().map(|field| (field.name.to_owned(), text(field.value)));
                let found = head.fields().map(|(name, value)| (name.to_owned(), value.to_owned()));
                prop_assert_eq!(fields.collect::<Vec<_>>(), found.collect::<Vec<_>>());
            }
        }

        #[test]
        fn prop_encoded_heads_read_back(
            code in 200u16..600,
            values in prop::collection::vec(any::<String>(), 0..5),
            length in any::<u16>(),
        ) {
            let headers: Vec<Header> = values.iter().map(|value| ("X-Value", value.clone().into())).collect();
            let framing = ReplyFraming::Length(length as usize);
            let reply = ReplyHead { status: Status(code), date: "d", content_type: Some("a/b"), framing, close: false };
            let (mut out, mut again) = (Vec::new(), Vec::new());
            reply.encode_into(&mut out, &headers);
            reply.encode_into(&mut again, &headers);
            prop_assert_eq!(&out, &again);
            let mut fields = [httparse::EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut fields);
            prop_assert_eq!(response.parse(&out), Ok(httparse::Status::Complete(out.len())));
            prop_assert_eq!(response.code, Some(code));
            let kept: Vec<&[u8]> = response.headers.iter().filter(|field| field.name == "X-Value").map(|field| field.value).collect();
            let sent: Vec<&[u8]> = values.iter()
                .filter(|value| !value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f))
                .map(|value| value.trim_matches([' ', '\t']).as_bytes()).collect();
            prop_assert_eq!(kept, sent);
        }
    }
}
