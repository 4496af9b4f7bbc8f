//! Request ids and progress tokens.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use super::text::unquote;
use crate::limits::ID_BYTES_MAX;

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
    pub(super) fn from_raw(raw: &RawValue) -> Option<Id> {
        let text = raw.get();
        if text.starts_with('"') {
            let text: Cow<'_, str> = unquote(raw)?;
            return (text.len() <= ID_BYTES_MAX).then(|| Id::Text(text.into()));
        }
        // Fractions and exponents are no integers in the spec's sense, whatever their value.
        text.parse().ok().map(Id::Number)
    }
}
