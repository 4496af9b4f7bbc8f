//! The envelope of one message. It is read strictly, except where there is only one meaning: a member that is
//! null is absent, and a member that JSON-RPC does not know is no part of the message. Both are left out when
//! the message is passed on, for peers that check schemas drop such messages without a word.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Id;
use super::envelope::{INVALID_PARAMS, Invalid, Kind, Meant, Message, MethodName};
use super::id::NoId;
use super::params;
use super::places::{ByteSpan, MessagePlaces};
use super::text::unquote;
use crate::budget::Payload;
use crate::foreign::Foreign;
use crate::limits::{ID_BYTES_MAX, METHOD_BYTES_MAX};

/// What was read of a message besides its bytes.
pub(super) struct EnvelopeRead {
    kind: Kind,
    concerns: Option<Id>,
    places: MessagePlaces,
}

impl EnvelopeRead {
    pub(super) fn from(text: &str) -> Result<EnvelopeRead, Invalid> {
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(not_json)?;
        let kind = judge(&envelope)?;
        let mut read = EnvelopeRead { kind, concerns: None, places: MessagePlaces::default() };
        read.places.id = envelope.id.and_then(|id| ByteSpan::of(id.get(), text.as_bytes()));
        read.look_into(&envelope, text)?;
        if envelope.members > read.members_of_kind(&envelope) {
            read.leave_out_members(text);
        }
        Ok(read)
    }

    /// The message whose bytes are `payload`.
    pub(super) fn with(self, payload: Payload) -> Message {
        let EnvelopeRead { kind, concerns, places } = self;
        Message { payload, kind, concerns, places }
    }

    /// Looks into the params, or the result.
    fn look_into(&mut self, envelope: &Envelope<'_>, text: &str) -> Result<(), Invalid> {
        let (member, id) = match &self.kind {
            Kind::Request { id, .. } => (given(envelope.params), Some(id)),
            Kind::Notification { .. } => (given(envelope.params), None),
            Kind::Response { .. } => {
                let result = envelope.result.and_then(|result| ByteSpan::of(result.get(), text.as_bytes()));
                if let Some(result) = result {
                    params::mend_meta(text, result, &mut self.places);
                }
                return Ok(());
            }
        };
        let Some(place) = member.and_then(|params| ByteSpan::of(params.get(), text.as_bytes())) else {
            return Ok(());
        };
        if text.as_bytes()[place.range().start] == b'[' {
            self.places.put(place.range(), "{}");
            return Ok(());
        }
        self.places.params = Some(place);
        let about = match &self.kind {
            Kind::Request { .. } => params::of_request(text, place, &mut self.places),
            Kind::Notification { method } => {
                Ok(params::of_notification(method, text, place, &mut self.places))
            }
            Kind::Response { .. } => Ok(None),
        };
        let about = about.map_err(|why| Invalid {
            id: id.cloned(),
            code: INVALID_PARAMS,
            text: Cow::Borrowed(why),
            meant: Meant::Request,
        })?;
        if let Some((concerns, place)) = about {
            (self.concerns, self.places.concerns) = (Some(concerns), Some(place));
        }
        Ok(())
    }

    /// How many members its envelope has when nothing is left out.
    fn members_of_kind(&self, envelope: &Envelope<'_>) -> usize {
        match self.kind {
            Kind::Request { .. } => 3 + usize::from(given(envelope.params).is_some()),
            Kind::Notification { .. } => 2 + usize::from(given(envelope.params).is_some()),
            Kind::Response { .. } => 2 + usize::from(envelope.id.is_some()),
        }
    }

    fn leave_out_members(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let Some(brace) = memchr::memchr(b'{', bytes) else { return };
        let names: &[&str] = match self.kind {
            Kind::Request { .. } => &["jsonrpc", "id", "method", "params"],
            Kind::Notification { .. } => &["jsonrpc", "method", "params"],
            Kind::Response { error: false, .. } => &["jsonrpc", "id", "result"],
            Kind::Response { error: true, .. } => &["jsonrpc", "id", "error"],
        };
        self.places.leave_out(bytes, brace, |member| {
            let name = names.iter().find(|name| member.is(name));
            name.is_some_and(|name| *name != "params" || &bytes[member.value.clone()] != b"null")
        });
        if matches!(self.kind, Kind::Notification { .. }) {
            self.places.id = None;
        }
    }
}

/// The members of a JSON-RPC message; a member that stands twice is an error.
#[derive(Default)]
struct Envelope<'a> {
    jsonrpc: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    /// How many members there are, unknown ones included.
    members: usize,
    /// How many of them are unknown.
    strangers: usize,
    /// One of the unknown ones has the value `"2.0"` that `jsonrpc` should have.
    misspelt: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum EnvelopeMember {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    #[serde(other)]
    Unknown,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Envelope<'de>, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(name) = map.next_key::<EnvelopeMember>()? {
            envelope.members += 1;
            let (slot, name) = match name {
                EnvelopeMember::Jsonrpc => (&mut envelope.jsonrpc, "jsonrpc"),
                EnvelopeMember::Id => (&mut envelope.id, "id"),
                EnvelopeMember::Method => (&mut envelope.method, "method"),
                EnvelopeMember::Params => (&mut envelope.params, "params"),
                EnvelopeMember::Result => (&mut envelope.result, "result"),
                EnvelopeMember::Error => (&mut envelope.error, "error"),
                EnvelopeMember::Unknown => {
                    let value: &RawValue = map.next_value()?;
                    envelope.strangers += 1;
                    envelope.misspelt |= value.get() == "\"2.0\"";
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom(format_args!("it has `{name}` twice")));
            }
        }
        Ok(envelope)
    }
}

/// A member that is not null.
fn given(member: Option<&RawValue>) -> Option<&RawValue> {
    member.filter(|value| value.get() != "null")
}

pub(super) fn not_json(error: serde_json::Error) -> Invalid {
    match error.classify() {
        // The JSON is fine but not an object of our form: a member twice, or no object at all. The reason
        // quotes what stood there, as long as it is.
        serde_json::error::Category::Data => Invalid::request(
            None,
            format!("not a JSON-RPC message: {}", Foreign(error.to_string().as_bytes())),
            Meant::Other,
        ),
        _ => Invalid::json(format!("the message is not valid JSON: {error}")),
    }
}

fn judge(envelope: &Envelope<'_>) -> Result<Kind, Invalid> {
    let id = given(envelope.id).map(Id::of);
    let known = || id.clone().and_then(Result::ok);
    if envelope.jsonrpc.is_none_or(|version| version.get() != "\"2.0\"") {
        return Err(Invalid::request(known(), "`jsonrpc` must be \"2.0\"", meant(envelope)));
    }
    let Some(method) = given(envelope.method) else { return response(envelope, id) };
    let wrong = |text| Err(Invalid::request(known(), text, Meant::Request));
    if given(envelope.result).or(given(envelope.error)).is_some() {
        return wrong("a message with `method` has neither `result` nor `error`");
    }
    if given(envelope.params).is_some_and(|params| !is_object(params)) {
        return wrong("`params` must be an object");
    }
    let Some(method) = unquote(method).filter(|method| method.len() <= METHOD_BYTES_MAX) else {
        return wrong("`method` must be a string, and not a long one");
    };
    match (envelope.id, id) {
        (None, _) => Ok(Kind::Notification { method: kept(method) }),
        // A null id means no id, for a notification wants no answer.
        (Some(_), None) if method.starts_with("notifications/") => {
            Ok(Kind::Notification { method: kept(method) })
        }
        (Some(_), Some(Ok(id))) => Ok(Kind::Request { id, method: kept(method) }),
        (Some(_), why) => Err(no_id(why.and_then(Result::err), Meant::Other)),
    }
}

fn no_id(why: Option<NoId>, meant: Meant) -> Invalid {
    match why {
        Some(NoId::TooLong) => {
            Invalid::request(None, format!("`id` is longer than {ID_BYTES_MAX} bytes"), meant)
        }
        Some(NoId::OtherType) | None => Invalid::request(None, "`id` must be a string or an integer", meant),
    }
}

/// Some languages write an object without members as an empty array.
fn is_object(params: &RawValue) -> bool {
    let text = params.get();
    text.starts_with('{') || text.strip_prefix('[').is_some_and(|rest| rest.trim_ascii_start() == "]")
}

/// What a message without a good `jsonrpc` was meant to be.
fn meant(envelope: &Envelope<'_>) -> Meant {
    let is_object = |member| given(member).is_some_and(|value| value.get().starts_with('{'));
    let outcome = is_object(envelope.result) || is_object(envelope.error);
    match (envelope.jsonrpc, given(envelope.method)) {
        (Some(_), None) if envelope.result.or(given(envelope.error)).or(given(envelope.id)).is_some() => {
            Meant::Response
        }
        (Some(_), Some(_)) if given(envelope.id).is_some() => Meant::Request,
        (None, None) if outcome && envelope.strangers == 0 => Meant::Unmarked,
        // Only the name of its `jsonrpc` is broken.
        (None, None) if outcome && envelope.strangers == 1 && envelope.misspelt => Meant::Response,
        _ => Meant::Other,
    }
}

fn response(envelope: &Envelope<'_>, id: Option<Result<Id, NoId>>) -> Result<Kind, Invalid> {
    let (id, why) = match id {
        Some(Ok(id)) => (Some(id), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    match (envelope.result, given(envelope.error)) {
        (Some(result), Some(_)) if result.get() != "null" => {
            Err(Invalid::request(id, "a response has `result` or `error`, not both", Meant::Response))
        }
        (_, Some(_)) => Ok(Kind::Response { id, error: true }),
        (Some(_), None) if id.is_some() => Ok(Kind::Response { id, error: false }),
        (Some(_), None) if why.is_some() => Err(no_id(why, Meant::Response)),
        (Some(_), None) => Err(Invalid::request(None, "a result needs an `id`", Meant::Response)),
        (None, None) => {
            // With members of its own it is a log line.
            let is_answer = id.is_some() && envelope.strangers == 0;
            let meant = if is_answer { Meant::Response } else { Meant::Other };
            Err(Invalid::request(id, "a message has `method`, or exactly one of `result` and `error`", meant))
        }
    }
}

/// A method's name that outlives its message.
fn kept(method: Cow<'_, str>) -> MethodName {
    const COMMON: [&str; 4] =
        ["tools/call", "notifications/progress", "initialize", "notifications/initialized"];
    match COMMON.iter().find(|common| **common == method) {
        Some(common) => Cow::Borrowed(common),
        None => Cow::Owned(method.into_owned()),
    }
}
