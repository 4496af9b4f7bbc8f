//! A message that a server wrote over several lines: the lines are put together again.
//!
//! MCP has one message a line (L3), yet programs print JSON for people, or break a line in its middle. What such a
//! line begins is held until its last brace is closed. Linear in the bytes: each is looked at once as it comes, and
//! the joined text is parsed a bounded number of times.

use memchr::memmem;

use super::line::{Line, parse_joined};
use crate::budget::Share;
use crate::limits::{FRAGMENT_BYTES_MAX, FRAGMENT_LINES_MAX, FRAGMENT_LOOKS_MAX};

/// An object that was begun on a line and not closed on it, with the lines that came since.
#[derive(Debug, Default)]
pub struct Fragments {
    /// Boxed: nearly no session ever has one.
    held: Option<Box<Broken>>,
}

impl Fragments {
    /// Takes a line that is no message by itself. The message that is whole with it, or the broken answer that names
    /// its call with it.
    pub fn add(&mut self, line: &[u8]) -> Option<Line> {
        match self.held.as_mut().map(|held| held.add(line)) {
            Some(Added::Kept) => None,
            Some(Added::Whole) => self.look(true),
            Some(Added::Look) => self.look(false),
            Some(Added::NoPart) => {
                let given_up = self.give_up();
                self.held = Broken::begin(line).map(Box::new);
                given_up
            }
            None => {
                self.held = Broken::begin(line).map(Box::new);
                None
            }
        }
    }

    /// No more lines of the object come: a message came. The broken answer, if what there
    /// is of it names its call.
    pub fn give_up(&mut self) -> Option<Line> {
        self.look(true).filter(|line| matches!(line, Line::Bad(_)))
    }

    /// The broken answer, if it names its call: a server that breaks off in the middle writes no more lines.
    pub fn look_again(&mut self) -> Option<Line> {
        self.look(false).filter(|line| matches!(line, Line::Bad(_)))
    }

    /// Whether this line, which begins like an array, may be a part of the object: it is no batch of messages.
    pub fn has_part(&self, array: &[u8]) -> bool {
        self.held.as_ref().is_some_and(|held| held.nesting.may_come(b'['))
            && !(array.trim_ascii_end().ends_with(b"]") && memmem::find(array, b"jsonrpc").is_some())
    }

    fn look(&mut self, last: bool) -> Option<Line> {
        let held = self.held.as_ref()?;
        // A message has its `jsonrpc`: most of what is printed over several lines is no message.
        let found = memmem::find(&held.text, b"jsonrpc").and_then(|_| {
            match parse_joined(held.text.clone(), held.nesting.broken) {
                Line::Bad(bad) if bad.answers.is_empty() && bad.asks.is_none() => None,
                line => Some(line),
            }
        });
        if last || found.is_some() {
            self.held = None;
        }
        found
    }
}

/// What became of a line.
enum Added {
    /// More has to come.
    Kept,
    /// The object is closed.
    Whole,
    /// The text is broken, and may name its call by now.
    Look,
    /// It does not belong to the object.
    NoPart,
}

/// An object whose last brace is not closed yet.
#[derive(Debug)]
struct Broken {
    /// Its lines, with the line breaks between them.
    text: Vec<u8>,
    /// Of the budget, for its text.
    share: Share,
    lines: usize,
    looks: usize,
    nesting: Nesting,
}

impl Broken {
    /// `None` when the line does not begin an object, or closes it, or cannot be JSON.
    fn begin(line: &[u8]) -> Option<Broken> {
        if !line.trim_ascii_start().starts_with(b"{") || line.len() > FRAGMENT_BYTES_MAX {
            return None;
        }
        let mut nesting = Nesting::default();
        let state = nesting.walk(line);
        let share = Share::reserve(line.len())?;
        (state == Walked::Open).then(|| Broken { text: line.to_vec(), share, lines: 1, looks: 0, nesting })
    }

    fn add(&mut self, line: &[u8]) -> Added {
        self.lines += 1;
        let bytes = self.text.len() + 1 + line.len();
        if self.lines > FRAGMENT_LINES_MAX || bytes > FRAGMENT_BYTES_MAX || !self.share.grow_to(bytes) {
            return Added::NoPart;
        }
        let in_string = self.nesting.in_string;
        match self.nesting.walk(line) {
            Walked::Misfit if self.nesting.has_members => return Added::Kept,
            Walked::Misfit | Walked::Another => return Added::NoPart,
            Walked::Open | Walked::Closed => {}
        }
        // A name that was cut is whole again.
        if !in_string {
            self.text.push(b'\n');
        }
        self.text.extend_from_slice(line);
        if self.nesting.open.is_empty() {
            return Added::Whole;
        }
        let matters = line.trim_ascii_end().ends_with(b"}")
            || [&b"\"id\""[..], b"jsonrpc"].iter().any(|part| memmem::find(line, part).is_some());
        if self.nesting.broken && matters && self.looks < FRAGMENT_LOOKS_MAX {
            self.looks += 1;
            return Added::Look;
        }
        Added::Kept
    }
}

/// What a line did to the nesting.
#[derive(Debug, PartialEq, Eq)]
enum Walked {
    /// The object is still open.
    Open,
    /// The object is closed.
    Closed,
    /// Its first byte cannot stand here: it is a line of somebody else. It was not walked over.
    Misfit,
    /// The same, and it begins an object of its own.
    Another,
}

/// Where in a JSON text a line ends.
#[derive(Debug, Default)]
struct Nesting {
    /// The brackets and braces that are open.
    open: Vec<u8>,
    /// The line ended within a string.
    in_string: bool,
    /// The line ended behind a backslash in it.
    escaped: bool,
    /// The last byte that is no white space; a quote for each string.
    last: u8,
    /// A string has a line break, so the lines are no JSON.
    broken: bool,
    /// The object has a first name.
    has_members: bool,
}

impl Nesting {
    fn walk(&mut self, line: &[u8]) -> Walked {
        if !self.in_string
            && let Some(first) = line.trim_ascii_start().first()
            && !self.may_come(*first)
        {
            return if *first == b'{' { Walked::Another } else { Walked::Misfit };
        }
        let mut bytes = line[usize::from(std::mem::take(&mut self.escaped)).min(line.len())..].iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => self.in_string = !self.in_string,
                b'\\' if self.in_string => {
                    self.escaped = bytes.next().is_none();
                }
                _ if self.in_string => {}
                b'{' | b'[' => self.open.push(*byte),
                b'}' | b']' => {
                    self.open.pop();
                    if self.open.is_empty() {
                        return Walked::Closed;
                    }
                }
                byte if byte.is_ascii_whitespace() => continue,
                _ => {}
            }
            self.last = *byte;
            if !self.has_members && self.last != b'{' {
                self.has_members = true;
                // JavaScript and Python print objects with names that are no JSON.
                if self.last != b'"' {
                    return Walked::Misfit;
                }
            }
        }
        self.broken |= self.in_string;
        Walked::Open
    }

    /// Whether a line may begin with `first` where the last one ended.
    fn may_come(&self, first: u8) -> bool {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte);
        let in_array = self.open.last() == Some(&b'[');
        match self.last {
            0 => first == b'{',
            b'{' => matches!(first, b'"' | b'}'),
            b',' if !in_array => first == b'"',
            b':' | b'[' | b',' => matches!(first, b'{' | b'[' | b'"' | b']') || is_word(first),
            last if is_word(last) && is_word(first) => true,
            _ => matches!(first, b',' | b':' | b'}' | b']'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Id, Kind};

    /// What comes of lines that are no messages, one after the other.
    fn add(lines: &str) -> Vec<String> {
        let mut fragments = Fragments::default();
        let mut found: Vec<Line> = lines.lines().filter_map(|line| fragments.add(line.as_bytes())).collect();
        found.extend(fragments.give_up());
        found.into_iter().map(|line| shown(&line)).collect()
    }

    fn shown(line: &Line) -> String {
        match line {
            Line::One(message) => match &message.kind {
                Kind::Response { id, .. } => {
                    assert!(!message.payload.bytes().contains(&b'\n'));
                    format!("answer to {}", id.as_ref().map(Id::to_string).unwrap_or_default())
                }
                other => format!("{other:?}"),
            },
            Line::Bad(bad) => format!("broken {:?}", bad.answers),
            Line::Batch(_) => "batch".to_owned(),
        }
    }

    #[test]
    fn a_message_over_several_lines_is_put_together() {
        for text in [
            "{\n  \"jsonrpc\": \"2.0\",\n  \"id\": 5,\n  \"result\": {\n    \"a\": [\n      {},\n      [1, 2]\n    ]\n  }\n}",
            "{\"jsonrpc\":\"2.0\",\n\"id\":5,\"result\":{}}",
            "{\"result\":{}\n,\"jsonrpc\":\"2.0\",\"id\":5}",
            "{\"result\":{},\"jsonrpc\":\"2.0\"\n,\"id\"\n:\n5\n}",
            "{\n\"result\":\n{\n\"}\": \"{\\\"\"\n},\n\"id\": 5,\n\"jsonrpc\": \"2.0\"\n}",
        ] {
            assert_eq!(add(text), ["answer to 5"], "{text}");
        }
    }

    #[test]
    fn lines_of_others_in_between_do_no_harm() {
        assert_eq!(
            add("{\n\"jsonrpc\": \"2.0\",\nINFO: {\"id\": 7}\n\"id\": 5,\n\"result\": {}\n}"),
            ["answer to 5"]
        );
        assert_eq!(
            add("{ \"level\": 30,\n{\n\"jsonrpc\": \"2.0\",\n\"id\": 5,\n\"result\": {}}"),
            ["answer to 5"]
        );
        assert_eq!(add("{ level: 30,\n  id: 5,\n  \"jsonrpc\": 1 }"), [""; 0]);
        assert_eq!(add("{\n  level: 30,\n  \"id\": 5, \"jsonrpc\": 1 }"), [""; 0]);
        assert_eq!(add("{'jsonrpc': '2.0',\n \"id\": 5}"), [""; 0]);
        assert_eq!(add("{\n\"level\": 30,\n\"id\": 5,\n\"result\": {}\n}"), [""; 0]);
    }

    /// A number that was cut names nobody's call.
    #[test]
    fn a_broken_message_ends_the_call_that_it_names_and_no_other() {
        let cases = [
            ("{\"result\":{\"text\":\"a\nb\"},\"jsonrpc\":\"2.0\",\"id\":5}", "broken [[Id(5)]]"),
            ("{\n\"jsonrpc\": \"2.0\",\n\"id\": 5,\n\"result\": {\n\"a\": NaN\n}\n}", "broken"),
            ("{\n\"jsonrpc\": \"2.0\",\n\"id\": 5,\n\"result\": {", "broken"),
        ];
        for (text, start) in cases {
            let found = add(text);
            assert!(
                found.len() == 1 && found[0].starts_with(&start[..6]) && found[0].contains('5'),
                "{text}: {found:?}"
            );
        }
        for text in [
            "{\"jsonrpc\":\"2.0\",\"id\":5\n1,\"result\":{}}",
            "{\"result\":{},\"jsonrpc\":\"2.0\",\"id\":5\n1}",
        ] {
            assert_eq!(add(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut fragments = Fragments::default();
        assert!(fragments.add(b"{").is_none() && fragments.held.is_some());
        for number in 0..FRAGMENT_LINES_MAX {
            fragments.add(format!("\"a{number}\": 1,").as_bytes());
        }
        assert!(fragments.held.is_none());
        assert!(fragments.add(b"{").is_none() && fragments.held.is_some());
        fragments.add(&[&b"\""[..], &[b'x'; FRAGMENT_BYTES_MAX]].concat());
        assert!(fragments.held.is_none());
    }
}
