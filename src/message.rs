//! JSON-RPC messages, sans-io: the envelope is read, params and result stay the bytes they were.
//!
//! A [`Message`] owns its bytes as one line (line breaks outside strings become blanks, which is what stdio's
//! framing and SSE need); what burdock has to know of it is taken out once, here.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::{memchr2, memmem};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::budget::{Payload, Share};
use crate::foreign::Foreign;
use crate::limits::{BATCH_MESSAGES_MAX, ID_BYTES_MAX, METHOD_BYTES_MAX};

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

/// A request id or progress token: a string or an integer, never null (L11).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// An integer.
    Number(i64),
    /// A string.
    Text(Box<str>),
}

impl fmt::Display for Id {
    /// As JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(number) => write!(f, "{number}"),
            Id::Text(text) => f.write_str(&serde_json::to_string(text).unwrap_or_default()),
        }
    }
}

impl Id {
    fn from_raw(raw: &RawValue) -> Option<Id> {
        let text = raw.get();
        if text.starts_with('"') {
            let text: Cow<'_, str> = unquote(raw)?;
            return (text.len() <= ID_BYTES_MAX).then(|| Id::Text(text.into()));
        }
        // Fractions and exponents are no integers in the spec's sense, whatever their value.
        text.parse().ok().map(Id::Number)
    }
}

/// A method's name; one that calls are full of takes no memory.
pub type Method = Cow<'static, str>;

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wants a response with this id.
    Request {
        /// The id of the response.
        id: Id,
        /// What is asked for.
        method: Method,
    },
    /// Is not answered.
    Notification {
        /// What it tells.
        method: Method,
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
    params: Option<Range<usize>>,
}

impl Message {
    /// The params of a request or notification, as JSON.
    pub fn params(&self) -> Option<&str> {
        std::str::from_utf8(self.payload.get(self.params.clone()?)?).ok()
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
    fn request(id: Option<Id>, text: &'static str) -> Invalid {
        Invalid { id, code: INVALID_REQUEST, text: Cow::Borrowed(text) }
    }

    fn json(text: String) -> Invalid {
        Invalid { id: None, code: PARSE_ERROR, text: Cow::Owned(text) }
    }
}

/// Reads a message or a batch from `bytes`, whose share of the budget is `share`.
///
/// # Errors
/// [`Invalid`] when they are not UTF-8, not JSON or not JSON-RPC 2.0. One bad message spoils a batch.
pub fn parse(mut bytes: Vec<u8>, share: Share) -> Result<Parsed, Invalid> {
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| Invalid::json(format!("the message is not UTF-8: {error}")))?;
    if text.trim_ascii_start().starts_with('[') {
        return parse_batch(text).map(Parsed::Batch);
    }
    let read = Read::from(text)?;
    unbreak_lines(&mut bytes);
    Ok(Parsed::One(read.with(Payload::new(bytes, share))))
}

/// What a backend wrote on one line.
#[derive(Debug)]
pub enum Line {
    /// A message, or what is none.
    One(Result<Message, Invalid>),
    /// A batch, each member by itself.
    Batch(Vec<Result<Message, Invalid>>),
}

/// Reads what a backend wrote on one line.
pub fn parse_line(payload: Payload) -> Line {
    let text = match std::str::from_utf8(&payload) {
        Ok(text) => text,
        Err(error) => return Line::One(Err(Invalid::json(format!("the message is not UTF-8: {error}")))),
    };
    if !text.trim_ascii_start().starts_with('[') {
        return Line::One(Read::from(text).map(|read| read.with(payload)));
    }
    match serde_json::from_str(text).map_err(not_json) {
        // A line is bounded, so are its members; to take them back together would lose the good ones.
        Ok(Batch::<{ usize::MAX }>(items)) => {
            Line::Batch(items.into_iter().map(|item| parse_owned(item.get())).collect())
        }
        Err(invalid) => Line::One(Err(invalid)),
    }
}

fn parse_batch(text: &str) -> Result<Vec<Message>, Invalid> {
    let Batch::<BATCH_MESSAGES_MAX>(items) = serde_json::from_str(text).map_err(not_json)?;
    if items.is_empty() {
        return Err(Invalid::request(None, "an empty batch"));
    }
    items.into_iter().map(|item| parse_owned(item.get())).collect()
}

/// The items of an array, at most `MAX`: reading stops there, not at the array's end.
struct Batch<'a, const MAX: usize>(Vec<&'a RawValue>);

impl<'de, const MAX: usize> Deserialize<'de> for Batch<'de, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Batch<'de, MAX>, D::Error> {
        deserializer.deserialize_seq(BatchVisitor::<MAX>)
    }
}

struct BatchVisitor<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for BatchVisitor<MAX> {
    type Value = Batch<'de, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Batch<'de, MAX>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            if items.len() == MAX {
                return Err(A::Error::custom(format_args!("more than {MAX} messages in one batch")));
            }
            items.push(item);
        }
        Ok(Batch(items))
    }
}

fn parse_owned(text: &str) -> Result<Message, Invalid> {
    let read = Read::from(text)?;
    let mut bytes = text.as_bytes().to_vec();
    unbreak_lines(&mut bytes);
    Ok(read.with(Payload::made_here(bytes)))
}

/// JSON has no raw line break inside a string, so each one is white space between tokens.
fn unbreak_lines(bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr2(b'\n', b'\r', &bytes[from..]) {
        bytes[from + at] = b' ';
        from += at + 1;
    }
}

fn not_json(error: serde_json::Error) -> Invalid {
    match error.classify() {
        // The JSON is fine but not an object of our form: a member twice, or no object at all.
        serde_json::error::Category::Data => Invalid {
            id: None,
            code: INVALID_REQUEST,
            // The reason quotes what stood there, as long as it is.
            text: Cow::Owned(format!("not a JSON-RPC message: {}", Foreign(error.to_string().as_bytes()))),
        },
        _ => Invalid::json(format!("the message is not valid JSON: {error}")),
    }
}

/// The members of a JSON-RPC message; a member that stands twice is an error.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Tells `null` (present) from absent.
fn present<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// What was read of a message besides its bytes.
struct Read {
    kind: Kind,
    concerns: Option<Id>,
    params: Option<Range<usize>>,
}

impl Read {
    fn from(text: &str) -> Result<Read, Invalid> {
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(not_json)?;
        let params = envelope.params.and_then(|params| place_of(params.get(), text.as_bytes()));
        let (kind, concerns) = judge(&envelope, text)?;
        Ok(Read { kind, concerns, params })
    }

    /// The message whose bytes are `payload`.
    fn with(self, payload: Payload) -> Message {
        let Read { kind, concerns, params } = self;
        Message { payload, kind, concerns, params }
    }
}

/// Where `part`, a slice of `whole`, lies in it.
fn place_of(part: &str, whole: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    Some(start..start + part.len())
}

fn judge(envelope: &Envelope<'_>, text: &str) -> Result<(Kind, Option<Id>), Invalid> {
    // serde takes an array of the members' values for the object.
    if text.trim_ascii_start().starts_with('[') {
        return Err(Invalid::request(None, "a message is an object"));
    }
    let id = envelope.id.and_then(Id::from_raw);
    if envelope.jsonrpc.is_none_or(|version| version.get() != "\"2.0\"") {
        return Err(Invalid::request(id, "`jsonrpc` must be \"2.0\""));
    }
    let Some(method) = envelope.method else { return response(envelope, id) };
    if envelope.result.is_some() || envelope.error.is_some() {
        return Err(Invalid::request(id, "a message with `method` has neither `result` nor `error`"));
    }
    if envelope.params.is_some_and(|params| !params.get().starts_with(['{', '['])) {
        return Err(Invalid::request(id, "`params` must be an object"));
    }
    let Some(method) = unquote(method).filter(|method| method.len() <= METHOD_BYTES_MAX) else {
        return Err(Invalid::request(id, "`method` must be a string, and not a long one"));
    };
    let params = envelope.params.map_or("", |params| params.get());
    if envelope.id.is_none() {
        let concerns = notification_concerns(&method, params);
        return Ok((Kind::Notification { method: kept(method) }, concerns));
    }
    let Some(id) = id else {
        return Err(Invalid::request(None, "`id` must be a string or an integer"));
    };
    Ok((Kind::Request { id, method: kept(method) }, progress_token(params)))
}

/// A method's name for longer than its message.
fn kept(method: Cow<'_, str>) -> Method {
    const COMMON: [&str; 4] =
        ["tools/call", "notifications/progress", "initialize", "notifications/initialized"];
    match COMMON.iter().find(|common| **common == method) {
        Some(common) => Cow::Borrowed(common),
        None => Cow::Owned(method.into_owned()),
    }
}

fn response(envelope: &Envelope<'_>, id: Option<Id>) -> Result<(Kind, Option<Id>), Invalid> {
    match (envelope.result, envelope.error) {
        (Some(_), None) if id.is_none() => Err(Invalid::request(None, "a result needs an `id`")),
        (Some(_), None) => Ok((Kind::Response { id, error: false }, None)),
        (None, Some(_)) => Ok((Kind::Response { id, error: true }, None)),
        _ => Err(Invalid::request(id, "a message has `method`, or exactly one of `result` and `error`")),
    }
}

fn unquote(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(text).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

#[derive(Deserialize)]
struct WithMeta<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
}

/// `params._meta.progressToken`; the params are only looked into when the word is in them at all.
fn progress_token(params: &str) -> Option<Id> {
    static WORD: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("progressToken"));
    WORD.find(params.as_bytes())?;
    let params: WithMeta<'_> = serde_json::from_str(params).ok()?;
    params.meta?.progress_token.and_then(Id::from_raw)
}

#[derive(Deserialize)]
struct Concerned<'a> {
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
    #[serde(borrow, rename = "requestId")]
    request_id: Option<&'a RawValue>,
}

fn notification_concerns(method: &str, params: &str) -> Option<Id> {
    let request_id = match method {
        "notifications/progress" => false,
        "notifications/cancelled" | DETACH => true,
        _ => return None,
    };
    let params: Concerned<'_> = serde_json::from_str(params).ok()?;
    if request_id { params.request_id } else { params.progress_token }.and_then(Id::from_raw)
}

/// What burdock reads of an `initialize` request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Initialize {
    /// `protocolVersion`, when it is a string.
    pub version: Option<String>,
    /// `clientInfo.name` and `.version`, for the log: foreign text.
    pub client: String,
}

/// Its members stay raw here, so that one of a wrong type, which the backend may refuse, hides no other.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct InitializeParams<'a> {
    #[serde(borrow)]
    protocol_version: Option<&'a RawValue>,
    #[serde(borrow)]
    client_info: Option<&'a RawValue>,
}

impl InitializeParams<'_> {
    fn of(message: &Message) -> InitializeParams<'_> {
        message.params().and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct ClientInfo {
    name: Option<String>,
    version: Option<String>,
}

/// Reads an `initialize` request. What is missing or of another type is left empty: the backend judges it.
pub fn initialize(message: &Message) -> Initialize {
    let params = InitializeParams::of(message);
    let version = params.protocol_version.and_then(unquote).map(Cow::into_owned);
    let client = match params.client_info.and_then(|info| serde_json::from_str(info.get()).ok()) {
        Some(ClientInfo { name: Some(name), version: Some(version) }) => [&*name, " ", &version].concat(),
        Some(ClientInfo { name, version }) => name.or(version).unwrap_or_default(),
        None => String::new(),
    };
    Initialize { version, client }
}

/// The same `initialize` with another `protocolVersion`; every other byte stays. `None` when it has none.
pub fn with_version(message: &Message, version: &str) -> Option<Message> {
    let old = place_of(InitializeParams::of(message).protocol_version?.get(), &message.payload)?;
    let mut bytes = Vec::with_capacity(message.payload.len() + version.len());
    bytes.extend_from_slice(message.payload.get(..old.start)?);
    bytes.extend_from_slice(&serde_json::to_vec(version).ok()?);
    bytes.extend_from_slice(message.payload.get(old.end..)?);
    let params = message.params.as_ref()?;
    let end = (params.end + bytes.len()).checked_sub(message.payload.len())?;
    Some(Message {
        payload: Payload::made_here(bytes),
        kind: message.kind.clone(),
        concerns: message.concerns.clone(),
        params: Some(params.start..end),
    })
}

/// `result.protocolVersion` of the answer to `initialize`.
pub fn negotiated_version(message: &Message) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        result: Option<ResultVersion>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ResultVersion {
        protocol_version: Option<String>,
    }
    serde_json::from_slice::<Answer>(&message.payload).ok()?.result?.protocol_version
}

#[derive(Serialize)]
struct ErrorMessage<'a> {
    jsonrpc: &'static str,
    id: &'a Id,
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<ErrorData<'a>>,
}

/// Why there is no such session: `data` of a 404 (design 5).
#[derive(Debug, Serialize)]
pub struct ErrorData<'a> {
    /// `unknown`, `closed`, `elsewhere`, `lost` or `registry-unreachable`.
    pub reason: &'static str,
    /// The node the session is or was on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<&'a str>,
}

/// An error response.
pub fn error(id: &Id, code: i32, text: &str, data: Option<ErrorData<'_>>) -> Payload {
    let message = ErrorMessage { jsonrpc: "2.0", id, error: ErrorObject { code, message: text, data } };
    Payload::made_here(serde_json::to_vec(&message).unwrap_or_default())
}

/// A [`DETACH`] notification.
pub fn detach(id: &Id) -> Payload {
    let text = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{DETACH}\",\"params\":{{\"requestId\":{id}}}}}");
    Payload::made_here(text.into_bytes())
}

/// A response with an empty result: the answer to `ping` (L43).
pub fn empty_result(id: &Id) -> Payload {
    Payload::made_here(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Result<Message, Invalid> {
        match parse(text.as_bytes().to_vec(), Share::default())? {
            Parsed::One(message) => Ok(message),
            Parsed::Batch(_) => panic!("a batch"),
        }
    }

    fn number(id: i64) -> Id {
        Id::Number(id)
    }

    #[test]
    fn kinds_are_told_apart() {
        let request = one(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).unwrap();
        assert_eq!(request.kind, Kind::Request { id: number(1), method: "ping".into() });
        let notification = one(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
        assert_eq!(notification.kind, Kind::Notification { method: "notifications/initialized".into() });
        let response = one(r#"{"jsonrpc":"2.0","id":"a","result":{}}"#).unwrap();
        assert_eq!(response.kind, Kind::Response { id: Some(Id::Text("a".into())), error: false });
        let error = one(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#).unwrap();
        assert_eq!(error.kind, Kind::Response { id: None, error: true });
    }

    #[test]
    fn the_id_keeps_its_json_type() {
        let text = one(r#"{"jsonrpc":"2.0","id":"1","method":"ping"}"#).unwrap();
        assert_eq!(text.kind, Kind::Request { id: Id::Text("1".into()), method: "ping".into() });
        assert_eq!(Id::Text("a\"b".into()).to_string(), r#""a\"b""#);
        assert_eq!(number(-7).to_string(), "-7");
    }

    /// L11, L6, L9: what is refused, with the id when it can be read.
    #[test]
    fn what_is_no_message_is_refused() {
        let cases: &[(&str, i32, Option<Id>)] = &[
            ("", PARSE_ERROR, None),
            ("{", PARSE_ERROR, None),
            ("nope", PARSE_ERROR, None),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}", PARSE_ERROR, None),
            ("3", INVALID_REQUEST, None),
            ("{}", INVALID_REQUEST, None),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST, None),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, INVALID_REQUEST, None),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, INVALID_REQUEST, None),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":3}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","id":1}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","result":{}}"#, INVALID_REQUEST, None),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, INVALID_REQUEST, None),
        ];
        for (text, code, id) in cases {
            let invalid = one(text).expect_err(text);
            assert_eq!((invalid.code, &invalid.id), (*code, id), "{text}: {}", invalid.text);
        }
        let bad_utf8 = parse(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}".to_vec(), Share::default());
        assert_eq!(bad_utf8.unwrap_err().code, PARSE_ERROR);
    }

    /// serde takes an array for a struct; a server would be given what is no JSON-RPC.
    #[test]
    fn an_array_of_members_is_no_message() {
        for text in [r#"[["2.0",1,"ping"]]"#, r#"[ [ "2.0",1,"ping",{}]]"#] {
            let invalid = parse(text.into(), Share::default()).expect_err(text);
            assert_eq!((invalid.code, invalid.id), (INVALID_REQUEST, None), "{text}");
        }
    }

    /// serde's reasons quote what they found.
    #[test]
    fn a_refusal_is_short_however_long_the_message() {
        let invalid = one(&format!("\"{}\"", "x".repeat(100_000))).unwrap_err();
        assert!(invalid.text.len() < 300, "{} bytes", invalid.text.len());
    }

    #[test]
    fn tokens_and_cancelled_ids_are_found() {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":"t"}}}"#;
        assert_eq!(one(call).unwrap().concerns, Some(Id::Text("t".into())));
        let elsewhere =
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":{"_meta":{"progressToken":3}}}}"#;
        assert_eq!(one(elsewhere).unwrap().concerns, None);
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1}}"#;
        assert_eq!(one(progress).unwrap().concerns, Some(number(3)));
        let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#;
        assert_eq!(one(cancelled).unwrap().concerns, Some(Id::Text("a".into())));
    }

    #[test]
    fn a_batch_is_split() {
        let text =
            "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"},\n {\"jsonrpc\":\"2.0\",\n\"method\":\"b\"}]";
        let Ok(Parsed::Batch(messages)) = parse(text.as_bytes().to_vec(), Share::default()) else {
            panic!("no batch")
        };
        assert_eq!(&*messages[1].payload, b"{\"jsonrpc\":\"2.0\", \"method\":\"b\"}");
        assert_eq!(parse(b"[]".to_vec(), Share::default()).unwrap_err().code, INVALID_REQUEST);
    }

    #[test]
    fn initialize_is_read_and_its_version_replaced() {
        let text = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"x":[1, 2],"protocolVersion":"2026-07-28","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
        let message = one(text).unwrap();
        assert_eq!(
            initialize(&message),
            Initialize { version: Some("2026-07-28".into()), client: "c 1".into() }
        );
        let replaced = with_version(&message, "2025-11-25").unwrap();
        assert_eq!(&*replaced.payload, text.replace("2026-07-28", "2025-11-25").as_bytes());
        let odd = one(&text.replace(r#""name":"c""#, r#""name":5"#)).unwrap();
        assert_eq!(
            initialize(&odd),
            Initialize { version: Some("2026-07-28".into()), client: String::new() }
        );
    }

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn prop_params_stay_the_bytes_they_were(params in prop::collection::hash_map(any::<String>(), json_value(), 0..5), pretty in any::<bool>()) {
            let params = serde_json::Value::Object(params.into_iter().collect());
            let params = if pretty { serde_json::to_string_pretty(&params) } else { serde_json::to_string(&params) }.unwrap();
            let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{params}}}");
            let message = one(&text).unwrap();
            let unbroken = text.replace(['\n', '\r'], " ");
            prop_assert_eq!(&*message.payload, unbroken.as_bytes());
        }

        #[test]
        fn prop_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(bytes, Share::default());
        }

        #[test]
        fn prop_an_id_survives(text in ".{0,40}", number in any::<i64>()) {
            for id in [Id::Text(text.into()), Id::Number(number)] {
                let parsed = one(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"m\"}}")).unwrap();
                prop_assert_eq!(parsed.kind, Kind::Request { id: id.clone(), method: "m".into() });
            }
        }
    }
}
