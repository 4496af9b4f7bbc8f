//! The members of an object, found without a parser: exactly those of valid JSON, and in broken JSON as many
//! as can be seen.
//!
//! One pass over the bytes, no recursion, no memory but the answer.

use std::ops::Range;

use memchr::memchr2;

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonMember<'a> {
    /// Its name as it is written, without the quotes.
    name: &'a [u8],
    /// From the quote before its name to the end of its value.
    pub(super) place: Range<usize>,
    /// Where its value stands.
    pub(super) value: Range<usize>,
}

impl<'a> JsonMember<'a> {
    /// Its name as it is written, without the quotes.
    pub(super) fn name(&self) -> &'a [u8] {
        self.name
    }

    /// Whether this is its name, in whatever spelling.
    pub(super) fn is(&self, name: &str) -> bool {
        if !self.name.contains(&b'\\') {
            return self.name == name.as_bytes();
        }
        let quoted = [b"\"", self.name, b"\""].concat();
        serde_json::from_slice::<String>(&quoted).is_ok_and(|own| own == name)
    }
}

/// Walks over the members of the object that `bytes` has at `at`, behind its brace.
pub(super) struct JsonMembers<'a> {
    bytes: &'a [u8],
    at: usize,
    /// A member was found.
    any: bool,
}

/// The members of the object whose `{` is at `brace`.
pub(super) fn members(bytes: &[u8], brace: usize) -> JsonMembers<'_> {
    JsonMembers { bytes, at: brace + 1, any: false }
}

impl<'a> JsonMembers<'a> {
    /// As [`members`], for an object whose brace is missing.
    pub(super) fn without_brace(bytes: &'a [u8], at: usize) -> JsonMembers<'a> {
        JsonMembers { bytes, at, any: false }
    }

    /// Behind the object when all members were walked over.
    pub(super) fn end(&self) -> usize {
        self.at
    }

    fn skip_blanks(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }
}

impl<'a> Iterator for JsonMembers<'a> {
    type Item = JsonMember<'a>;

    fn next(&mut self) -> Option<JsonMember<'a>> {
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {}
                b'}' => {
                    self.bytes = &self.bytes[..self.at];
                    self.at += 1;
                    return None;
                }
                // The object was cut, and another one begins.
                b'{' if self.any => {
                    self.bytes = &self.bytes[..self.at];
                    return None;
                }
                // A comma or a blank. Anything else does not belong here and is passed over.
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            let start = self.at;
            self.at = string_end(self.bytes, start);
            let name = start + 1..(self.at - 1).max(start + 1);
            self.skip_blanks();
            if self.bytes.get(self.at) != Some(&b':') {
                continue;
            }
            self.at += 1;
            self.skip_blanks();
            let value = self.at..value_end(self.bytes, self.at);
            self.at = value.end;
            self.any = true;
            return Some(JsonMember { name: &self.bytes[name], place: start..value.end, value });
        }
    }
}

/// The place behind the string whose opening quote is at `at`; the end of `bytes` when it has no closing one.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// Behind the value that begins at `at`.
fn value_end(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(b'"') => string_end(bytes, at),
        Some(b'{' | b'[') => container_end(bytes, at),
        _ => {
            let ends = |byte: &u8| byte.is_ascii_whitespace() || b",:{}[]\"".contains(byte);
            let rest = bytes.get(at..).unwrap_or_default();
            rest.iter().position(ends).map_or(bytes.len(), |end| at + end)
        }
    }
}

/// Behind the object or array that begins at `at`. A bracket that was lost inside it is taken as closed by what closes
/// around it.
fn container_end(bytes: &[u8], mut at: usize) -> usize {
    // What is open, and how many of it are objects.
    let (mut open, mut objects) = (Vec::new(), 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let opener = match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' => {
                objects += usize::from(byte == b'{');
                open.push(byte);
                None
            }
            b'}' if objects > 0 => Some(b'{'),
            b']' if open.len() > objects => Some(b'['),
            _ => None,
        };
        at += 1;
        while let Some(closed) = open.pop_if(|_| opener.is_some()) {
            objects -= usize::from(closed == b'{');
            if Some(closed) == opener {
                break;
            }
        }
        if open.is_empty() {
            return at;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(text: &str) -> Vec<(&str, &str)> {
        let start = text.find('{').unwrap();
        let text_of = |bytes| std::str::from_utf8(bytes).unwrap();
        members(text.as_bytes(), start)
            .map(|member| (text_of(member.name), text_of(&text.as_bytes()[member.value])))
            .collect()
    }

    #[test]
    fn members_of_good_json_are_found_with_their_values() {
        let text = r#" {"a":1, "b" : {"c":[1,"}"]},"d":"x\"y" ,"e":null}  {"f":1}"#;
        assert_eq!(texts(text), [("a", "1"), ("b", r#"{"c":[1,"}"]}"#), ("d", r#""x\"y""#), ("e", "null")]);
        let escaped = members(br#"{"_met\u0061":1}"#, 0).next().unwrap();
        assert!(escaped.is("_meta") && !escaped.is("meta"));
    }

    #[test]
    fn what_is_broken_is_passed_over() {
        assert_eq!(texts(r#"{"a":NaN,"b":2,}"#), [("a", "NaN"), ("b", "2")]);
        assert_eq!(texts(r#"{"a":1"b":2"#), [("a", "1"), ("b", "2")]);
        assert_eq!(texts(r#"{{"a":1,,"b":[1,{"c":2}"#), [("a", "1"), ("b", r#"[1,{"c":2}"#)]);
        assert_eq!(texts(r#"{"a":"#), [("a", "")]);
        assert_eq!(texts(r#"{"a"#), []);
        assert_eq!(texts(r#"{"a\"#), []);
    }

    proptest! {
        #[test]
        fn prop_any_bytes_are_walked_to_their_end(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'{'), Just(b'}'), Just(b':'), Just(b'\\'), any::<u8>()], 0..80)) {
            let mut from = 0;
            let mut walk = JsonMembers::without_brace(&bytes, 0);
            for member in &mut walk {
                prop_assert!(member.place.start >= from && member.value.end == member.place.end);
                prop_assert!(member.place.end <= bytes.len());
                from = member.place.end;
            }
            prop_assert!(walk.end() <= bytes.len());
        }
    }
}
