//! Reading messages: from the body of a POST, and from a line that a backend wrote.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::{memchr2, memmem};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Id;
use super::envelope::{DETACH, INVALID_REQUEST, Invalid, Kind, Line, Message, MethodName, Parsed};
use super::text::{place_of, unquote};
use crate::budget::{Payload, Share};
use crate::foreign::Foreign;
use crate::limits::{BATCH_MESSAGES_MAX, METHOD_BYTES_MAX};

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
    let read = EnvelopeRead::from(text)?;
    unbreak_lines(&mut bytes);
    Ok(Parsed::One(read.with(Payload::new(bytes, share))))
}

/// Reads what a backend wrote on one line.
pub fn parse_line(payload: Payload) -> Line {
    let text = match std::str::from_utf8(payload.bytes()) {
        Ok(text) => text,
        Err(error) => return Line::One(Err(Invalid::json(format!("the message is not UTF-8: {error}")))),
    };
    if !text.trim_ascii_start().starts_with('[') {
        return Line::One(EnvelopeRead::from(text).map(|read| read.with(payload)));
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
    let read = EnvelopeRead::from(text)?;
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
struct EnvelopeRead {
    kind: Kind,
    concerns: Option<Id>,
    params: Option<Range<usize>>,
}

impl EnvelopeRead {
    fn from(text: &str) -> Result<EnvelopeRead, Invalid> {
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(not_json)?;
        let params = envelope.params.and_then(|params| place_of(params.get(), text.as_bytes()));
        let (kind, concerns) = judge(&envelope, text)?;
        Ok(EnvelopeRead { kind, concerns, params })
    }

    /// The message whose bytes are `payload`.
    fn with(self, payload: Payload) -> Message {
        let EnvelopeRead { kind, concerns, params } = self;
        Message { payload, kind, concerns, params }
    }
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
fn kept(method: Cow<'_, str>) -> MethodName {
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
