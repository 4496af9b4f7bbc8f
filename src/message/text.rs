//! Pieces of JSON text.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;

/// Where `part`, a slice of `whole`, lies in it.
pub(super) fn place_of(part: &str, whole: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    Some(start..start + part.len())
}

/// The string that a JSON string stands for; `None` when it is no string.
pub(super) fn unquote(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(text).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}
