//! What burdock reads in params, and mends there: the rest stays the bytes it was, and mostly unread.

use std::sync::LazyLock;

use memchr::memmem;
use serde_json::value::RawValue;

use super::envelope::DETACH;
use super::id::{Id, NoId};
use super::members::{JsonMember, members};
use super::places::{ByteSpan, MessagePlaces};

/// What a message is about, and where it says so.
pub(super) type Concern = (Id, ByteSpan);

/// Looks for `_meta.progressToken` in the params of a request. Params without that word are not parsed.
///
/// # Errors
/// Why a server that checks schemas would drop the request without a word.
pub(super) fn of_request(
    text: &str,
    params: ByteSpan,
    places: &mut MessagePlaces,
) -> Result<Option<Concern>, &'static str> {
    let Some(meta) = mend_meta(text, params, places) else { return Ok(None) };
    let bytes = text.as_bytes();
    if bytes[meta.start] != b'{' {
        return Err("`params._meta` must be an object");
    }
    let Some(token) = last(bytes, meta.start, "progressToken") else { return Ok(None) };
    if is_null(bytes, &token) {
        places.leave_out(bytes, meta.start, |member| !member.is("progressToken") || !is_null(bytes, member));
        return Ok(None);
    }
    match concern(text, &token, Id::of_token) {
        Some(concern) => Ok(Some(concern)),
        None => Err("`params._meta.progressToken` must be a string or a number, and not a long one"),
    }
}

/// Looks into the params of a notification for the token or the request it is about.
pub(super) fn of_notification(
    method: &str,
    text: &str,
    params: ByteSpan,
    places: &mut MessagePlaces,
) -> Option<Concern> {
    mend_meta(text, params, places);
    let member = |name| last(text.as_bytes(), params.range().start, name);
    match method {
        "notifications/progress" => concern(text, &member("progressToken")?, Id::of_token),
        "notifications/cancelled" | DETACH => concern(text, &member("requestId")?, Id::of),
        _ => None,
    }
}

/// Leaves a `_meta` that is null out of params or a result; returns where one that is not null stands.
pub(super) fn mend_meta(
    text: &str,
    object: ByteSpan,
    places: &mut MessagePlaces,
) -> Option<std::ops::Range<usize>> {
    static WORD: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("_meta"));
    let bytes = text.as_bytes();
    let object = object.range();
    if bytes[object.start] != b'{' {
        return None;
    }
    WORD.find(&bytes[object.clone()])?;
    let meta = last(bytes, object.start, "_meta")?;
    if is_null(bytes, &meta) {
        places.leave_out(bytes, object.start, |member| !member.is("_meta"));
        return None;
    }
    Some(meta.value)
}

/// The member of this name. Where there are several it is the last one, as for most JSON readers.
fn last<'a>(bytes: &'a [u8], brace: usize, name: &str) -> Option<JsonMember<'a>> {
    members(bytes, brace).filter(|member| member.is(name)).last()
}

fn is_null(bytes: &[u8], member: &JsonMember<'_>) -> bool {
    &bytes[member.value.clone()] == b"null"
}

fn concern(text: &str, member: &JsonMember<'_>, of: fn(&RawValue) -> Result<Id, NoId>) -> Option<Concern> {
    let raw: &RawValue = serde_json::from_str(text.get(member.value.clone())?).ok()?;
    Some((of(raw).ok()?, ByteSpan::new(member.value.clone())?))
}
