//! Pieces of JSON text.

use std::borrow::Cow;

use serde_json::value::RawValue;

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
