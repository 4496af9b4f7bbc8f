//! JSON as people write it in config files (comments, trailing commas), where every value knows its line and
//! key.
//!
//! Sans-io. The text is checked as a whole first; after that a [`JsonValue`] is a slice of it, taken apart on
//! demand, one level at a time: deep nesting costs no stack.
//!
//! Why not the crate `jsonc-parser`: it takes line breaks and tabs inside strings and Unicode blanks between
//! tokens, with no option against it, so a missing quote is told where a later token does not fit; a missing
//! comma is told on the line before the one where it is seen; and its messages would have to be replaced one
//! by one to name what was expected.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::Error;
use crate::foreign::Foreign;

/// The text of a config file, under the name it has in messages.
#[derive(Debug)]
pub struct Document {
    name: String,
    text: String,
}

/// One value in a [`Document`].
#[derive(Clone)]
pub struct JsonValue<'a> {
    document: &'a Document,
    /// The value itself, a slice of the document's text.
    raw: &'a str,
    /// The place that errors name: the byte offset of its key, or of the value itself when it has no key.
    offset: usize,
    key: String,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonType {
    /// `{...}`
    Object,
    /// `[...]`
    Array,
    /// `"..."`
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

impl fmt::Display for JsonType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JsonType::Object => "an object",
            JsonType::Array => "an array",
            JsonType::String => "a string",
            JsonType::Number => "a number",
            JsonType::Bool => "true or false",
            JsonType::Null => "null",
        })
    }
}

impl Document {
    /// Takes comments and trailing commas out of `text`; `name` is what messages call the file.
    pub fn new(name: impl Into<String>, text: &str) -> Document {
        Document { name: name.into(), text: blank(text) }
    }

    /// The outermost value.
    ///
    /// # Errors
    /// What is not JSON, with its line.
    pub fn root(&self) -> Result<JsonValue<'_>, Error> {
        let raw: &RawValue = serde_json::from_str(&self.text).map_err(|error| self.syntax(&error))?;
        Ok(JsonValue { document: self, raw: raw.get(), offset: self.offset(raw), key: String::new() })
    }

    fn syntax(&self, error: &serde_json::Error) -> Error {
        let text = error.to_string();
        let problem = text.split(" at line ").next().unwrap_or_default();
        let (line, column) = (error.line().max(1), error.column());
        let ends_there = self.text.lines().nth(line - 1).is_some_and(|text| text.len() <= column);
        let problem = match problem.starts_with("control character") && ends_there {
            true => "a string does not end on its line: is there a quote missing?",
            false => problem,
        };
        Error::Place {
            file: self.name.clone(),
            line,
            key: String::new(),
            problem: format!("not JSON: {problem} (column {column})"),
        }
    }

    /// Where `part`, which borrows from this document, begins.
    fn offset(&self, part: &RawValue) -> usize {
        (part.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }
}

impl<'a> JsonValue<'a> {
    /// The path of keys that leads here: `mcpServers.git.args[1]`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it is.
    pub fn kind(&self) -> JsonType {
        match self.raw.as_bytes().first() {
            Some(b'{') => JsonType::Object,
            Some(b'[') => JsonType::Array,
            Some(b'"') => JsonType::String,
            Some(b't' | b'f') => JsonType::Bool,
            Some(b'n') | None => JsonType::Null,
            Some(_) => JsonType::Number,
        }
    }

    /// An error about this place.
    pub fn error(&self, problem: impl fmt::Display) -> Error {
        let before = self.document.text.get(..self.offset).unwrap_or_default();
        Error::Place {
            file: self.document.name.clone(),
            line: 1 + before.matches('\n').count(),
            key: self.key.clone(),
            problem: problem.to_string(),
        }
    }

    /// The keys and values of an object, in the order of the file.
    ///
    /// # Errors
    /// When it is no object, or has a key twice.
    pub fn entries(&self) -> Result<Vec<(String, JsonValue<'a>)>, Error> {
        self.expect(JsonType::Object)?;
        let Members(pairs) = self.parse()?;
        let mut seen = HashSet::new();
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let (offset, raw) = (self.document.offset(key), value.get());
            let key: String = serde_json::from_str(key.get()).map_err(|error| self.error(error))?;
            let shown = Foreign(key.as_bytes());
            let path = if self.key.is_empty() { shown.to_string() } else { format!("{}.{shown}", self.key) };
            let node = JsonValue { document: self.document, raw, offset, key: path };
            if !seen.insert(key.clone()) {
                return Err(node.error("given twice"));
            }
            entries.push((key, node));
        }
        Ok(entries)
    }

    /// The values of an array.
    ///
    /// # Errors
    /// When it is no array.
    pub fn items(&self) -> Result<Vec<JsonValue<'a>>, Error> {
        self.expect(JsonType::Array)?;
        let items: Vec<&'a RawValue> = self.parse()?;
        let node = |(index, item): (usize, &'a RawValue)| JsonValue {
            document: self.document,
            raw: item.get(),
            offset: self.document.offset(item),
            key: format!("{}[{index}]", self.key),
        };
        Ok(items.into_iter().enumerate().map(node).collect())
    }

    /// A string's text.
    ///
    /// # Errors
    /// When it is no string. For a number or a boolean the error says to put it in quotes.
    pub fn string(&self) -> Result<String, Error> {
        match self.kind() {
            JsonType::Number | JsonType::Bool => {
                let quoted = Foreign(self.raw.as_bytes());
                Err(self.error(format_args!("must be a string: put it in quotes, \"{quoted}\"")))
            }
            JsonType::String | JsonType::Object | JsonType::Array | JsonType::Null => {
                self.expect(JsonType::String)?;
                self.parse()
            }
        }
    }

    /// True or false.
    ///
    /// # Errors
    /// When it is something else.
    pub fn boolean(&self) -> Result<bool, Error> {
        self.expect(JsonType::Bool)?;
        self.parse()
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// When it is something else.
    pub fn whole_number(&self) -> Result<u64, Error> {
        serde_json::from_str(self.raw).map_err(|_| self.error("must be a whole number"))
    }

    fn expect(&self, kind: JsonType) -> Result<(), Error> {
        if self.kind() == kind {
            return Ok(());
        }
        Err(self.error(format_args!("must be {kind}, not {}", self.kind())))
    }

    fn parse<T: Deserialize<'a>>(&self) -> Result<T, Error> {
        serde_json::from_str(self.raw).map_err(|error| self.error(error))
    }
}

impl fmt::Debug for JsonValue<'_> {
    /// The place only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonValue({}: {})", self.key, self.kind())
    }
}

/// An object's keys and values as slices of the text. A map would lose their order, their places and repeated
/// keys.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Members(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Replaces comments, trailing commas and a byte order mark by spaces, so that lines and columns stay what
/// they were.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut blanked = String::with_capacity(text.len());
    let mut comma = TrailingComma::default();
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        let token = &text[at..end];
        if is_comment(token) || token == "\u{feff}" {
            blanked.extend(token.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        } else {
            if let Some(comma) = comma.before_closing(token, at) {
                blanked.replace_range(comma..=comma, " ");
            }
            blanked.push_str(token);
        }
        at = end;
    }
    blanked
}

fn is_comment(token: &str) -> bool {
    token.starts_with("//") || token.starts_with("/*")
}

/// Where the token that begins at `at` ends: a string, a comment, or one character.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let length = match rest {
        [b'"', ..] => string_length(rest),
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', inside @ ..] => {
            inside.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |end| end + 4)
        }
        // A whole character: its first byte and the continuation bytes behind it.
        _ => 1 + rest[1..].iter().take_while(|byte| **byte & 0xC0 == 0x80).count(),
    };
    at + length
}

/// The length of the string that `rest` begins with, quotes included; all of `rest` when it has no end.
fn string_length(rest: &[u8]) -> usize {
    let mut escaped = false;
    for (index, byte) in rest.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Finds trailing commas by the last two tokens: a comma behind at least one value and before a closing
/// bracket.
#[derive(Default)]
struct TrailingComma {
    /// The last token's offset and first byte, white space and comments not counted.
    last: Option<(usize, u8)>,
    /// The first byte of the token before it.
    before: Option<u8>,
}

impl TrailingComma {
    /// Takes the next token. Returns the offset of the comma before it when that is a trailing one.
    fn before_closing(&mut self, token: &str, at: usize) -> Option<usize> {
        let first = *token.as_bytes().first()?;
        if first.is_ascii_whitespace() {
            return None;
        }
        let trailing = match (self.before, self.last) {
            (Some(b'{' | b'[' | b','), _) | (None, _) => None,
            (Some(_), Some((comma, b','))) => Some(comma),
            (Some(_), _) => None,
        };
        self.before = self.last.map(|(_, byte)| byte);
        self.last = Some((at, first));
        trailing.filter(|_| matches!(first, b'}' | b']'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::FILE_BYTES_MAX;

    fn line_of(error: &Error) -> usize {
        match error {
            Error::Place { line, .. } => *line,
            other => panic!("no place: {other}"),
        }
    }

    #[test]
    fn comments_and_trailing_commas_become_spaces() {
        for (text, expected) in [
            ("{} // end", "{}       "),
            ("/* a\nb */{}", "    \n    {}"),
            ("[1, 2,]", "[1, 2 ]"),
            ("[1, 2, /* x */ ]", "[1, 2          ]"),
            ("{\"a\": 1,\n}", "{\"a\": 1 \n}"),
            ("[\"// no\", \"/* no */\", \",]\"]", "[\"// no\", \"/* no */\", \",]\"]"),
            ("[\"\\\"//\"]", "[\"\\\"//\"]"),
            ("\u{feff}{}", "   {}"),
            ("// \u{e4}\n{}", "     \n{}"),
            ("[\"\u{e4},\",]", "[\"\u{e4},\" ]"),
            // There is no value before the comma: these stay wrong.
            ("[,]", "[,]"),
            ("[1,,]", "[1,,]"),
            ("{,}", "{,}"),
            (",]", ",]"),
            ("/", "/"),
            ("\"open", "\"open"),
            ("{} /* open", "{}        "),
            ("/*/{}", "     "),
        ] {
            assert_eq!(blank(text), expected, "{text}");
        }
    }

    #[test]
    fn places_are_those_of_the_file() {
        let document = Document::new(
            "mcp.json",
            "// first\n{\n  \"a\": 1,\n  \"b\": { /* two\n lines */ \"c\":\n [true,\n 7,\n] },\n}\n",
        );
        let root = document.root().unwrap();
        let entries = root.entries().unwrap();
        assert_eq!(line_of(&entries[0].1.error("x")), 3);
        let (_, c) = entries[1].1.entries().unwrap().remove(0);
        assert_eq!((c.key(), line_of(&c.error("x"))), ("b.c", 5));
        let items = c.items().unwrap();
        assert_eq!((items[1].key(), line_of(&items[1].error("x"))), ("b.c[1]", 7));
        assert_eq!(items[1].whole_number().unwrap(), 7);
        assert!(items[0].boolean().unwrap());
        assert_eq!(items[1].error("is bad").to_string(), "mcp.json:7: b.c[1]: is bad");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, expected) in [
            ("", "f:1: not JSON: EOF while parsing a value (column 0)"),
            ("{\n \"a\" 1\n}", "f:2: not JSON: expected `:` (column 6)"),
            ("{\n \"a\": 1\n \"b\": 2}", "f:3: not JSON: expected `,` or `}` (column 2)"),
            ("{} {}", "f:1: not JSON: trailing characters (column 4)"),
            (
                "{\n \"a\": \"x,\n \"b\": 1}",
                "f:2: not JSON: a string does not end on its line: is there a quote missing? (column 9)",
            ),
        ] {
            let document = Document::new("f", text);
            assert_eq!(document.root().unwrap_err().to_string(), expected, "{text}");
        }
        let document = Document::new("f", "{\n\"a\": 5,\n\"a\": 6}");
        assert_eq!(document.root().unwrap().entries().unwrap_err().to_string(), "f:3: a: given twice");
        let document = Document::new("f", "[5]");
        assert_eq!(
            document.root().unwrap().entries().unwrap_err().to_string(),
            "f:1: must be an object, not an array"
        );
        let five = document.root().unwrap().items().unwrap().remove(0);
        assert_eq!(
            five.string().unwrap_err().to_string(),
            "f:1: [0]: must be a string: put it in quotes, \"5\""
        );
    }

    /// A file of the largest size that is read, nested as deeply as that allows.
    #[test]
    fn deep_nesting_needs_no_stack() {
        let half = FILE_BYTES_MAX as usize / 2;
        let deep = Document::new("f", &("[".repeat(half) + &"]".repeat(half)));
        let mut value = deep.root().unwrap();
        for _ in 0..3 {
            value = value.items().unwrap().remove(0);
        }
        assert_eq!(value.key(), "[0][0][0]");
        let open = Document::new("f", &"{\"a\":".repeat(half / 3));
        assert!(open.root().unwrap_err().to_string().contains("not JSON: EOF"));
    }

    proptest! {
        #[test]
        fn blanking_keeps_length_and_lines(text in "[\\[\\]{},:/*\"\\\\a\u{e4}\n ]{0,60}") {
            let blanked = blank(&text);
            prop_assert_eq!(blanked.len(), text.len());
            let feeds = |text: &str| text.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
            prop_assert_eq!(feeds(&blanked), feeds(&text));
        }

        #[test]
        fn plain_json_stays_what_it_is(texts in prop::collection::vec(any::<String>(), 0..5)) {
            let json = serde_json::to_string_pretty(&serde_json::json!({ "list": texts })).unwrap();
            prop_assert_eq!(blank(&json), json);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let document = Document::new("f", &text);
            if let Ok(root) = document.root() {
                let _ = (root.entries(), root.items(), root.string());
            }
        }
    }
}
