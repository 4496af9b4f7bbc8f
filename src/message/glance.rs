//! A lenient look at what should have been a message: whose answer was it meant to be?
//!
//! Linear in the bytes: once forwards and, when that finds nothing, once backwards.

use std::ops::Range;

use memchr::{memchr, memmem};
use serde_json::value::RawValue;

use super::Id;
use super::members::{JsonMembers, members};
use crate::limits::{GLANCE_HEAD_BYTES, GLANCE_IDS_MAX};

/// What a look at one object found.
#[derive(Debug, Default)]
pub(super) struct Glimpse {
    /// Its `id`, or all of them when it has several that differ.
    pub(super) ids: Vec<Id>,
    /// It has a `method`, so it is no answer.
    pub(super) method: bool,
    /// It has a `result` or an `error`.
    pub(super) outcome: bool,
    jsonrpc: bool,
}

impl Glimpse {
    fn take(&mut self, name: &[u8], value: &[u8]) {
        match name {
            // Each is compared with all others.
            b"id" if self.ids.len() < GLANCE_IDS_MAX => {
                self.ids.extend(id(value).filter(|id| !self.ids.contains(id)));
            }
            b"method" => self.method = value != b"null",
            b"result" | b"error" => self.outcome = true,
            b"jsonrpc" => self.jsonrpc = true,
            _ => {}
        }
    }
}

fn id(value: &[u8]) -> Option<Id> {
    Id::of(serde_json::from_slice::<&RawValue>(value).ok()?).ok()
}

/// The JSON-RPC objects that can be seen in a broken line.
pub(super) fn glance(line: &[u8]) -> Vec<Glimpse> {
    let mut found = Vec::new();
    if is_printed(line) {
        return found;
    }
    let names_nothing = |found: &[Glimpse]| found.iter().all(|glimpse| glimpse.ids.is_empty());
    if memmem::find(line, b"jsonrpc").is_some() {
        found = forwards(line);
        if names_nothing(&found) {
            found.extend(backwards(line));
        }
    }
    if names_nothing(&found) {
        found.extend(at_the_edges(line));
    }
    found
}

/// Whether a program has printed some value of its own, as `console.log` does: the first word in its brace or
/// bracket has no double quote, and is none that an answer begins with (whose quote may be lost). It may quote
/// messages, but is none.
fn is_printed(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let Some(inside) = line.strip_prefix(b"{").or_else(|| line.strip_prefix(b"[")) else { return false };
    let inside = inside.trim_ascii_start();
    let word = inside.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    let word = &inside[..word.unwrap_or(inside.len())];
    match inside.first() {
        Some(b'\'') => true,
        Some(first) if first.is_ascii_alphabetic() || b"_$".contains(first) => {
            ![&b"jsonrpc"[..], b"id", b"result", b"error", b"method"].contains(&word)
        }
        _ => false,
    }
}

/// The last resort, for an answer that is broken near its envelope: the id near the line's beginning behind a
/// `jsonrpc`, or else the one that is the line's last member; never one inside the result.
fn at_the_edges(line: &[u8]) -> Option<Glimpse> {
    let head = &line[..line.len().min(GLANCE_HEAD_BYTES)];
    let has = |text: &[u8]| memmem::find(line, text).is_some();
    let marked =
        |bytes: &[u8]| [&b"jsonrpc"[..], b"\"2.0"].iter().any(|mark| memmem::find(bytes, mark).is_some());
    if has(b"\"method\"") || !(has(b"result\"") || has(b"error\"")) {
        return None;
    }
    // In no object but the outermost, whose brace may be lost or doubled.
    let is_outer = |at: usize| memchr::memrchr(b'{', &line[..at]) < memchr(b'"', line);
    let first = memmem::find(head, b"\"id\"").filter(|at| marked(&line[..*at]) && is_outer(*at));
    let last = || {
        let at = memmem::rfind(line, b"\"id\"").filter(|_| marked(line))?;
        let follows = line[..at].trim_ascii_end().ends_with(b",");
        let (_, rest) = value_behind(line, at)?;
        (follows && rest.trim_ascii() == b"}").then_some(at)
    };
    let (value, _) = value_behind(line, first.or_else(last)?)?;
    Some(Glimpse { ids: vec![id(value)?], ..Glimpse::default() })
}

/// The value of the `"id"` at `at`, and what follows it. A number at the end of all may have had more digits.
fn value_behind(line: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let behind = line[at + b"\"id\"".len()..].trim_ascii_start();
    let value = behind.strip_prefix(b":")?.trim_ascii_start();
    let (value, rest) = value.split_at(scalar_end(value));
    matches!(rest.first(), Some(b',' | b'}' | b' ')).then_some((value, rest))
}

/// The length of the number or string at the beginning of `text`.
fn scalar_end(text: &[u8]) -> usize {
    let text_after = match text.first() {
        Some(b'"') => memchr(b'"', &text[1..]).map(|quote| quote + 2),
        _ => text.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte)),
    };
    text_after.unwrap_or(text.len())
}

/// Finds objects whose beginnings are intact.
fn forwards(line: &[u8]) -> Vec<Glimpse> {
    let mut found = Vec::new();
    let first = line.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    let mut walk = match line.get(first) {
        // The first brace was lost.
        Some(b'"') => Some(JsonMembers::without_brace(line, first)),
        _ => memchr(b'{', line).map(|brace| members(line, brace)),
    };
    while let Some(object) = &mut walk {
        let (mut glimpse, mut before) = (Glimpse::default(), object.end());
        for member in &mut *object {
            if glimpse.jsonrpc && member.name() == b"jsonrpc" {
                // Another one begins in the middle of it.
                found.push(std::mem::take(&mut glimpse));
            }
            let inside = is_inside(&line[before..member.place.start]);
            before = member.place.end;
            if member.name() != b"id" || !inside && !is_cut(line, &member.value) {
                glimpse.take(member.name(), &line[member.value]);
            }
        }
        if glimpse.jsonrpc {
            found.push(glimpse);
        }
        let end = object.end().min(line.len());
        walk = memchr(b'{', &line[end..]).map(|brace| members(line, end + brace));
    }
    found
}

/// A number that nothing follows may have had more digits, and be another call's now.
fn is_cut(line: &[u8], value: &Range<usize>) -> bool {
    !matches!(line.get(value.end), Some(b',' | b'}' | b'"' | b' ' | b'\t' | b'\r'))
}

/// What stands `between` two members shows that the second is in an object of its own, which the walk has entered
/// because the line is broken there.
fn is_inside(between: &[u8]) -> bool {
    between.iter().any(|byte| b"{[]\"".contains(byte))
}

/// Finds an object whose end is intact, whatever stands before it. It counts only if it has its `jsonrpc`
/// here as well, or if its beginning is lost: an object inside a line that was cut is not the message.
fn backwards(line: &[u8]) -> Option<Glimpse> {
    let end = line.iter().rposition(|byte| !byte.is_ascii_whitespace())?;
    let mut walk = Backwards { line, at: if line[end] == b'}' { end } else { end + 1 } };
    let (mut glimpse, mut depth, mut value, mut id_at) =
        (Glimpse::default(), 0_usize, walk.at..walk.at, None);
    let whole = loop {
        let Some(token) = walk.token() else { break false };
        match line[token.start] {
            b'}' | b']' => depth += 1,
            b'{' | b'[' if depth == 0 => break true,
            b'{' | b'[' => depth -= 1,
            b':' if depth == 0 => {
                let Some(name) = walk.token().filter(|name| name.len() > 1) else { break false };
                let text = &line[name.start + 1..name.end - 1];
                if value.end > end && line[end].is_ascii_digit() {
                    // It may have had more digits, and be another call's now.
                    continue;
                }
                glimpse.take(text, line[token.end..value.end].trim_ascii());
                if text == b"id" {
                    id_at = Some(name.start);
                }
                continue;
            }
            b',' if depth == 0 => value = token.start..token.start,
            _ => {}
        }
    };
    (glimpse.jsonrpc || !whole || id_at.is_some_and(|at| is_behind_jsonrpc(&line[..at]))).then_some(glimpse)
}

/// Whether `before` ends with the word `jsonrpc` and nothing but its punctuation.
fn is_behind_jsonrpc(before: &[u8]) -> bool {
    const WORD: &[u8] = b"jsonrpc";
    let word = memmem::rfind(before, WORD).map(|at| at + WORD.len());
    word.is_some_and(|end| before[end..].iter().all(|byte| b"\":,2.0 ".contains(byte)))
}

/// Walks over the tokens of `line`, from its end.
struct Backwards<'a> {
    line: &'a [u8],
    /// Everything from here on was walked over.
    at: usize,
}

impl Backwards<'_> {
    /// The next token to the left: a string, or one byte.
    fn token(&mut self) -> Option<Range<usize>> {
        let end = self.at;
        let last = end.checked_sub(1)?;
        self.at = last;
        if self.line[last] == b'"' {
            self.at = loop {
                let quote = memchr::memrchr(b'"', &self.line[..self.at])?;
                let before = self.line[..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
                if before % 2 == 0 {
                    break quote;
                }
                self.at = quote;
            };
        }
        Some(self.at..end)
    }
}

/// As [`glance`], of a line of which only both ends are left.
pub(super) fn glance_at_ends(head: &[u8], tail: &[u8]) -> Vec<Glimpse> {
    if is_printed(head) {
        return Vec::new();
    }
    let in_head = forwards(head).into_iter().next();
    match (in_head, backwards(tail)) {
        (Some(head), _) if head.method || !head.ids.is_empty() => vec![head],
        // What the head shows of its shape counts also when the tail has no id either.
        (Some(head), Some(tail)) => vec![Glimpse { outcome: head.outcome || tail.outcome, ..tail }],
        (Some(head), None) => vec![head],
        (None, Some(tail)) if tail.jsonrpc => vec![tail],
        (None, _) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(line: &[u8]) -> Vec<String> {
        let found = glance(line).into_iter().filter(|glimpse| !glimpse.method);
        found.flat_map(|glimpse| glimpse.ids).map(|id| id.to_string()).collect()
    }

    #[test]
    fn the_answer_of_a_broken_line_is_found() {
        let lines: &[&[u8]] = &[
            br#"{"jsonrpc":"2.0","id":5,"result":{"a":NaN}}"#,
            b"{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"a\":\"\xff\"}}",
            br#"{"jsonrpc":"2.0","id":5,"result":{"items":[{"id":7}"#,
            br#"{"jsonrpc":"2.0","id":5,"result":{},}"#,
            br#"{{"jsonrpc":"2.0","id":5,"result":{}}"#,
            br#""jsonrpc":"2.0","id":5,"result":{}}"#,
            br#"{"jsonrpc:"2.0","id":5,"result":{"id":7}}"#,
            br#"{"jsonrpc":2.0","id":5,"result":{"id":7}}"#,
            br#"{"jsonrpc":"2.0","id":5"result":{}}"#,
            br#"{"result":{"a":"x},"jsonrpc":"2.0","id":5}"#,
            br#"{"result":{"a":NaN,"id":7},"jsonrpc":"2.0","id":5}"#,
            br#"INFO: {"jsonrpc":"2.0","id":5,"result":{}} end"#,
            br#"{"jsonrpc":"2.0","result":{"content":[{"a":"b"},"c":1},"id":5}"#,
            b"{\"json\xffpc\":\"2.0\",\"result\":{},\"id\":5}",
            br#"{"jsonrpc"w"2.0","result":{},"id":5}"#,
            br#"{"jsonrpc":"2.0","id":5,{"jsonrpc":"2.0","method":"x"}"#,
            br#"{"jsonrpc":"2.0","id":5,"result":"items":{"id":7}}"#,
            br#"{"jsonrpc":"2.0","id":5,"result"{"id":7}}"#,
            br#"{"jsonrpc":"2.0","result"x{"id":7,"a":[]},"id":5}"#,
        ];
        for line in lines {
            assert_eq!(named(line), ["5"], "{}", String::from_utf8_lossy(line));
        }
        let two = br#"{"jsonrpc":"2.0","id":5,"result":{}}{"jsonrpc":"2.0","id":"6","result":{}}"#;
        assert_eq!(named(two), ["5", "\"6\""]);
    }

    #[test]
    fn what_names_nothing_is_not_taken_for_an_answer() {
        let lines: &[&[u8]] = &[
            br#"{"level":30,"id":5,"msg":NaN}"#,
            br#"{"jsonrpc":"2.0","id":5,"method":"ping","params":{NaN}}"#,
            br#"{"level":30,"id":5,"version":"2.0","msg":NaN}"#,
            br#"{"result":{"items":[{"id":7}"#,
            br#"{"json"rpc":"2.0","result":{},"id":5"#,
            br#"{"json"rpc":"2.0","id":5"#,
            br#"{"jsonrpc":"2.0","id":5"#,
            br#"{"jsonrpc":"2.0","id":5{"jsonrpc":"2.0","method":"x"}"#,
            br#"{"json"rpc":"2.0","result":{"a":1,"b":[{"id":5}"#,
            br#"{"result":{"jsonrpc":"no","items":[{"id":7}"#,
            br#"{"jsonrpc":"2.0","id":{"a":1},"result":NaN}"#,
            br#"jsonrpc"#,
            br#"{ sending: '{"jsonrpc":"2.0","id":5,"result":{}}' }"#,
            br#"{ level: 30, msg: {"jsonrpc":"2.0","id":5,"result":{}} }"#,
            br#"[ '{"jsonrpc":"2.0","id":5,"result":{}}' ]"#,
            br#"{worker-1} sending {"jsonrpc":"2.0","id":5,"result":{}}"#,
            b"",
        ];
        for line in lines {
            assert_eq!(named(line), [""; 0], "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn an_object_of_many_ids_costs_little() {
        let ids: String = (0..300_000).map(|id| format!("\"id\":{id},")).collect();
        let found = glance(format!(r#"{{"jsonrpc":"2.0",{ids}"result":NaN}}"#).as_bytes());
        assert_eq!(found.iter().map(|glimpse| glimpse.ids.len()).collect::<Vec<_>>(), [GLANCE_IDS_MAX]);
    }

    #[test]
    fn both_ends_of_a_line_name_its_call() {
        let ends = |head: &str, tail: &str| -> Vec<String> {
            let found = glance_at_ends(head.as_bytes(), tail.as_bytes());
            found
                .into_iter()
                .filter(|glimpse| !glimpse.method)
                .flat_map(|glimpse| glimpse.ids)
                .map(|id| id.to_string())
                .collect()
        };
        assert_eq!(ends(r#"{"jsonrpc":"2.0","id":5,"result":{"a":"xxx"#, r#"xx","id":7}]}}"#), ["5"]);
        assert_eq!(ends(r#"{"result":{"id":7,"a":"xxx"#, r#"xx","id":7}]},"jsonrpc":"2.0","id":5}"#), ["5"]);
        assert_eq!(ends(r#"{"jsonrpc":"2.0","result":{"id":7,"a":"xxx"#, r#"xx","id":7}]},"id":5}"#), ["5"]);
        assert_eq!(
            ends(r#"{"jsonrpc":"2.0","id":5,"method":"a","params":{"a":"xxx"#, r#"xx","id":7}}"#),
            [""; 0]
        );
        assert_eq!(ends("xxxx", "xxxx"), [""; 0]);
    }

    #[test]
    fn a_long_answer_without_an_id_is_an_answer_all_the_same() {
        let is_answer = |head: &str, tail: &str| {
            let found = glance_at_ends(head.as_bytes(), tail.as_bytes());
            found.iter().any(|glimpse| glimpse.outcome && !glimpse.method)
        };
        assert!(is_answer(r#"{"jsonrpc":"2.0","result":{"a":"xxx"#, r#"xxx"}}"#));
        assert!(is_answer(r#"{"jsonrpc":"2.0","id":null,"result":{"a":"xxx"#, r#"xxx"}}"#));
        assert!(!is_answer(r#"{"jsonrpc":"2.0","method":"a","params":{"a":"xxx"#, r#"xxx"}}"#));
        assert!(!is_answer(r#"{ sent: {"jsonrpc":"2.0","result":{"a":"xxx"#, r#"xxx"}}"#));
    }

    proptest! {
        #[test]
        fn prop_any_line_is_looked_at(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'{'), Just(b'}'), Just(b':'), Just(b','), Just(b'\\'), any::<u8>()], 0..80)) {
            let line = [&bytes[..], b"jsonrpc"].concat();
            let _ = (glance(&line), glance_at_ends(&bytes, &line), backwards(&bytes));
        }

        /// One byte lost or doubled, anywhere but in the id's member: the call is found.
        #[test]
        fn prop_a_byte_lost_or_doubled_hides_no_call(at in any::<prop::sample::Index>(), double in any::<bool>(), last in any::<bool>()) {
            let whole = if last {
                r#"{"result":{"content":[{"type":"text","text":"a \"b\" c"}],"n":[{"id":7}]},"jsonrpc":"2.0","id":5}"#
            } else {
                r#"{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"a \"b\" c"}],"n":[{"id":7}]}}"#
            };
            let id = whole.find("\"id\":5").unwrap();
            let at = at.index(whole.len());
            // What follows a number is its end.
            prop_assume!(!(id..=id + 6).contains(&at));
            let mut line = whole.as_bytes().to_vec();
            if double { line.insert(at, line[at]) } else { line.drain(at..=at); }
            let text = String::from_utf8_lossy(&line).into_owned();
            // A line that is good JSON all the same is read by the parser.
            let found = named(&line);
            prop_assert!(found == ["5"], "{:?}: {}", found, text);
        }
    }
}
