//! What a request asks for: the target of its first line.

use super::grammar::{Span, is_host};
use crate::http::Refusal;
use crate::limits::TARGET_BYTES_MAX;

/// A request target, taken apart (RFC 9112, section 3.2).
pub(super) struct Target<'a> {
    /// Empty when an absolute target has none; that means `/`.
    path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub(super) fn parse(method: &str, target: &'a str) -> Result<Target<'a>, Refusal> {
        if target.len() > TARGET_BYTES_MAX {
            return Err(target_too_long());
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
    pub(super) fn path_span(&self, bytes: &[u8]) -> Span {
        if !self.path.is_empty() {
            return Span::of(self.path.as_bytes(), bytes);
        }
        let slash = memchr::memchr(b'/', bytes);
        slash.map_or(Span::EMPTY, |slash| Span::of(&bytes[slash..=slash], bytes))
    }
}

/// 414, for a target or a first line without end.
pub(super) fn target_too_long() -> Refusal {
    Refusal::with(414, format!("the request target is longer than {TARGET_BYTES_MAX} bytes"))
}
