//! Reading the body of a POST: a message, or a batch of them.

use std::fmt;

use memchr::memchr2;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::envelope::{Invalid, Meant, Message, Parsed};
use super::read::{EnvelopeRead, not_json};
use crate::budget::{Payload, Share};
use crate::limits::BATCH_MESSAGES_MAX;

/// U+FEFF, with which some programs begin whatever they write (RFC 8259, section 8.1: a parser may ignore
/// it).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a message or a batch from `bytes`, whose share of the budget is `share`.
///
/// # Errors
/// [`Invalid`] when they are not UTF-8, not JSON or not JSON-RPC 2.0. One bad message spoils a batch.
pub fn parse(mut bytes: Vec<u8>, share: Share) -> Result<Parsed, Invalid> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| Invalid::json(format!("the message is not UTF-8: {error}")))?;
    if text.trim_ascii_start().starts_with('[') {
        return parse_batch(text).map(Parsed::Batch);
    }
    let read = EnvelopeRead::from(text)?;
    unbreak_lines(&mut bytes);
    Ok(Parsed::One(read.with(Payload::new(bytes, share))))
}

fn parse_batch(text: &str) -> Result<Vec<Message>, Invalid> {
    let Batch(items) = serde_json::from_str(text).map_err(not_json)?;
    if items.is_empty() {
        return Err(Invalid::request(None, "an empty batch", Meant::Other));
    }
    items.into_iter().map(|item| parse_part(item.get())).collect()
}

/// Reads a message that is a part of `text`'s bytes, and copies it out of them.
pub(super) fn parse_part(text: &str) -> Result<Message, Invalid> {
    let read = EnvelopeRead::from(text)?;
    let mut bytes = text.as_bytes().to_vec();
    unbreak_lines(&mut bytes);
    Ok(read.with(Payload::made_here(bytes)))
}

/// The items of an array, at most `BATCH_MESSAGES_MAX`: reading stops there, not at the array's end.
struct Batch<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Batch<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Batch<'de>, D::Error> {
        deserializer.deserialize_seq(BatchVisitor)
    }
}

struct BatchVisitor;

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = Batch<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Batch<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            if items.len() == BATCH_MESSAGES_MAX {
                return Err(A::Error::custom(format_args!(
                    "more than {BATCH_MESSAGES_MAX} messages in one batch"
                )));
            }
            items.push(item);
        }
        Ok(Batch(items))
    }
}

/// JSON has no raw line break inside a string, so each one is white space between tokens.
fn unbreak_lines(bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr2(b'\n', b'\r', &bytes[from..]) {
        bytes[from + at] = b' ';
        from += at + 1;
    }
}
