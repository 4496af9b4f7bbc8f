//! Reading a line that a backend wrote: a message, a batch, or what is none and may still say whose answer it
//! was.

use std::borrow::Cow;

use memchr::memmem;
use serde_json::value::RawValue;

use super::Id;
use super::envelope::{Invalid, Kind, Meant, Message, PARSE_ERROR, Parsed};
use super::glance::{Glimpse, glance, glance_at_ends};
use super::initialize::version_in;
use super::parse::{parse, parse_part};
use super::read::EnvelopeRead;
use crate::budget::{Payload, Share};
use crate::limits::FOREIGN_TEXT_BYTES_MAX;

/// What a backend wrote on one line.
#[derive(Debug)]
pub enum Line {
    /// A message.
    One(Message),
    /// What is none.
    Bad(BadLine),
    /// A batch, whose members are taken one by one.
    Batch(BatchLine),
}

/// A line, or a member of a batch, that is no message.
#[derive(Debug)]
pub struct BadLine {
    /// The ids that the line was meant to answer, a list for each answer in it. Several ids in one list stand
    /// in one answer, so that nobody knows which of them is meant.
    pub answers: Vec<Vec<Id>>,
    /// It is an answer by its shape, and no id can be read in it.
    pub nameless: bool,
    /// It would be an answer to this id if it had a `jsonrpc`. Such a line ends no call: programs that speak
    /// JSON-RPC write none.
    pub unmarked: Option<Id>,
    /// It has the result of an `initialize`.
    pub has_version: bool,
    /// The id of a request of the backend in this line: the backend waits for an answer to it.
    pub asks: Option<Id>,
    /// What is wrong with it.
    pub why: Cow<'static, str>,
    /// Its beginning, for messages to people: foreign text.
    pub head: Vec<u8>,
    /// The whole of it, if it is a line and not too long: others may have the rest of a message.
    pub line: Option<Payload>,
    /// It has too many bytes, so it was not read.
    pub too_long: bool,
}

impl BadLine {
    fn new(line: &[u8], why: Cow<'static, str>) -> BadLine {
        BadLine {
            answers: Vec::new(),
            nameless: false,
            unmarked: None,
            has_version: false,
            asks: None,
            why,
            head: line[..line.len().min(FOREIGN_TEXT_BYTES_MAX)].to_vec(),
            line: None,
            too_long: false,
        }
    }

    fn of(invalid: Invalid, line: &[u8]) -> BadLine {
        let mut bad = BadLine::new(line, invalid.text);
        match (invalid.meant, invalid.id) {
            (Meant::Response, Some(id)) => bad.answers.push(vec![id]),
            (Meant::Response, None) => bad.nameless = true,
            (Meant::Request, asks) => bad.asks = asks,
            (Meant::Unmarked, unmarked) => bad.unmarked = unmarked,
            // A line that is no JSON, or has a member twice, may still name its call.
            (Meant::Other, _) => bad.look(glance(line)),
        }
        bad.has_version = memmem::find(line, b"protocolVersion").is_some() && version_in(line).is_some();
        bad
    }

    /// A line of which only both ends are left, for it had more than `limit` bytes, or the budget was spent.
    pub fn too_long(head: &[u8], tail: &[u8], bytes: usize, limit: usize) -> BadLine {
        let why = if bytes > limit {
            format!("it has {bytes} bytes, and burdock takes messages of up to {limit}")
        } else {
            // It was given up before its time.
            format!("it has {bytes} bytes, and burdock holds as many bytes of messages as it may")
        };
        let mut bad = BadLine { too_long: true, ..BadLine::new(head, Cow::Owned(why)) };
        bad.look(glance_at_ends(head, tail));
        bad
    }

    fn look(&mut self, found: Vec<Glimpse>) {
        for glimpse in found {
            match (glimpse.method, glimpse.ids.is_empty()) {
                (true, _) => self.asks = self.asks.take().or(glimpse.ids.into_iter().next()),
                (false, false) => self.answers.push(glimpse.ids),
                (false, true) => self.nameless |= glimpse.outcome,
            }
        }
    }
}

/// Reads what a backend wrote on one line.
pub fn parse_line(payload: Payload) -> Line {
    let bytes = payload.bytes();
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Line::Batch(BatchLine::new(payload));
    }
    let read = std::str::from_utf8(bytes)
        .map_err(|error| Invalid::json(format!("the message is not UTF-8: {error}")))
        .and_then(EnvelopeRead::from);
    match read {
        Ok(read) => Line::One(read.with(payload)),
        Err(invalid) => {
            let bad = BadLine::of(invalid, bytes);
            Line::Bad(BadLine { line: Some(payload), ..bad })
        }
    }
}

/// Reads an object that a backend wrote over several lines. One that is `broken`, for there were line breaks in its
/// strings, is no message: nobody knows whether they were meant to be there.
pub(super) fn parse_joined(text: Vec<u8>, broken: bool) -> Line {
    match parse(text.clone(), Share::overdraw(text.len())) {
        Ok(Parsed::One(message)) if broken => {
            let mut bad = BadLine::new(&text, Cow::Borrowed("a string in it has a line break"));
            match message.kind {
                Kind::Response { id, .. } => bad.answers.extend(id.map(|id| vec![id])),
                Kind::Request { id, .. } => bad.asks = Some(id),
                Kind::Notification { .. } => {}
            }
            Line::Bad(bad)
        }
        Ok(Parsed::One(message)) => Line::One(message),
        Ok(Parsed::Batch(_)) => Line::Bad(BadLine::new(&text, Cow::Borrowed("a batch over several lines"))),
        Err(invalid) => Line::Bad(BadLine::of(invalid, &text)),
    }
}

/// Reads a line that has an object at `at`, behind other text. Behind words it may be a log line that quotes
/// a message: `None`, unless the object is a response. A response is taken all the same: if the server also
/// logs what it writes, the same answer comes twice, which does no harm; if it writes nothing else, this is
/// its only answer.
pub fn parse_wrapped(line: &Payload, at: usize) -> Option<Line> {
    let bytes = line.bytes();
    let (before, object) = bytes.split_at_checked(at)?;
    if before.trim_ascii_start().starts_with(b"\"") || memmem::find(before, b"\"jsonrpc\"").is_some() {
        let why = "it begins in the middle of an object".to_owned();
        return Some(Line::Bad(BadLine::of(Invalid::json(why), bytes)));
    }
    let is_text = before.iter().any(|byte| byte.is_ascii_alphanumeric() || *byte == b'\'');
    let parsed = parse_line(Payload::made_here(object.to_vec()));
    // A log line that quotes a broken request is not the backend's own: nobody waits for an answer.
    let is_response = matches!(&parsed, Line::One(Message { kind: Kind::Response { id: Some(_), .. }, .. }));
    (is_response || !is_text).then_some(parsed)
}

/// A batch of a backend, as far as it was not taken yet. Each member stands for itself: a bad one spoils no
/// other. It holds the line and nothing else, however many members there are.
#[derive(Debug)]
pub struct BatchLine {
    payload: Payload,
    /// Behind the opening bracket.
    first: usize,
    /// Up to here members were taken.
    at: usize,
}

/// A member of a [`BatchLine`].
#[derive(Debug)]
pub enum BatchMember {
    /// A message.
    Message(Message),
    /// An object or the rest of the line, which is no message.
    Bad(BadLine),
    /// A number, a string, ...: nothing that could be a message.
    Nothing,
}

impl BatchLine {
    fn new(payload: Payload) -> BatchLine {
        let bracket = payload.bytes().iter().position(|byte| *byte == b'[').unwrap_or(0);
        BatchLine { payload, first: bracket + 1, at: bracket + 1 }
    }

    /// The whole line.
    pub fn line(&self) -> &Payload {
        &self.payload
    }

    /// The next member; `None` at the end.
    pub fn next_member(&mut self) -> Option<BatchMember> {
        let bytes = self.payload.bytes();
        let rest = bytes.get(self.at..)?;
        let rest = rest.trim_ascii_start();
        let from = bytes.len() - rest.len();
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        match values.next() {
            Some(Ok(value)) => {
                let between = bytes[from + values.byte_offset()..].trim_ascii_start();
                self.at = bytes.len() - between.len() + usize::from(between.first() == Some(&b','));
                Some(member(value))
            }
            _ if matches!(rest.first(), None | Some(b']')) => {
                self.at = bytes.len();
                None
            }
            _ => {
                // A line that only begins like a batch is quoted as it is.
                let line = if self.at == self.first { bytes } else { rest };
                self.at = bytes.len();
                let invalid = Invalid {
                    id: None,
                    code: PARSE_ERROR,
                    text: Cow::Borrowed("a batch is not valid JSON"),
                    meant: Meant::Other,
                };
                Some(BatchMember::Bad(BadLine::of(invalid, line)))
            }
        }
    }
}

fn member(value: &RawValue) -> BatchMember {
    let text = value.get();
    if !text.starts_with('{') {
        return BatchMember::Nothing;
    }
    match parse_part(text) {
        Ok(message) => BatchMember::Message(message),
        Err(invalid) => BatchMember::Bad(BadLine::of(invalid, text.as_bytes())),
    }
}
