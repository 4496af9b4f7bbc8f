//! The wait for the answer to `initialize`, sans-io: finds the answer among the first things that a server
//! writes, and what was meant to be the answer but is none. The latter ends the wait at once, for nothing
//! better will come.

use memchr::{memchr2, memmem};

use crate::backend::Exit;
use crate::budget::Payload;
use crate::foreign::Foreign;
use crate::limits::FOREIGN_TEXT_BYTES_MAX;
use crate::message::{self, BadLine, Kind, Message};
use crate::version::{self, Version};

/// What became of `initialize`.
#[derive(Debug)]
pub enum Opened {
    /// The session lives; the backend's answer.
    Ready(Payload),
    /// The backend refused; its error.
    Refused(Payload),
    /// There is no backend: an HTTP status and the reason.
    Failed(u16, String),
}

/// How a server answered `initialize`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    /// With this version.
    Agreed(Version),
    /// With an error of its own.
    Refused,
}

/// What a message means for a session that begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is the answer. An error says why no session can begin with it.
    Answer(Result<Welcome, String>),
    /// It was meant to be the answer, or shows that none will come. The text says why.
    Hopeless(String),
    /// Servers may say this before they answer.
    Other,
}

/// The wait for the answer to `initialize`.
#[derive(Debug)]
pub(super) struct Handshake {
    /// The id it went out with.
    number: u64,
    /// The first line that was no message.
    garbage: Option<Vec<u8>>,
    /// An object that was begun on a line and not closed on it.
    block: Option<PrintedBlock>,
}

impl Handshake {
    pub(super) fn new(number: u64) -> Handshake {
        Handshake { number, garbage: None, block: None }
    }

    /// A message, before its ids are changed.
    pub(super) fn hear(&mut self, message: &Message) -> Heard {
        self.block = None;
        let line = message.payload.bytes();
        match &message.kind {
            Kind::Response { id: Some(id), error } if id.value() == Some(self.number) => {
                Heard::Answer(if *error { Ok(Welcome::Refused) } else { agreed(message) })
            }
            Kind::Response { id: Some(id), error: false }
                if message::negotiated_version(message).is_some() =>
            {
                let id = Foreign(id.to_string().as_bytes()).to_string();
                Heard::Hopeless(quoting(
                    &format!("answered initialize with the id {id}, not {}", self.number),
                    line,
                ))
            }
            // Nothing else was written to the server yet that it could mean.
            Kind::Response { id: None, error: true } => Heard::Hopeless(could_not_read(line)),
            Kind::Request { method, .. } if method == "initialize" => {
                Heard::Hopeless(quoting("wrote the request back instead of an answer", line))
            }
            _ => Heard::Other,
        }
    }

    /// A line that begins like a message and is none: why it shows that no answer will come, if it does.
    pub(super) fn hear_bad_line(&mut self, bad: &BadLine) -> Option<String> {
        // A log line may have an `id` as well, but neither an outcome nor a version.
        let named =
            bad.answers.iter().flatten().chain(&bad.unmarked).any(|id| id.value() == Some(self.number));
        if named && bad.too_long {
            return Some(format!("the server's answer to initialize is too large: {}", bad.why));
        }
        if named || bad.nameless || bad.has_version {
            return Some(quoting(
                &format!("wrote an answer that is not valid JSON-RPC ({})", bad.why),
                &bad.head,
            ));
        }
        if is_python_answer(&bad.head) {
            return Some(quoting("wrote an answer that is not JSON but a Python dict", &bad.head));
        }
        let is_whole = bad.head.len() < FOREIGN_TEXT_BYTES_MAX;
        let is_message_of_its_own = memmem::find(&bad.head, b"\"method\"").is_some();
        if self.block.is_none() && is_whole && !is_message_of_its_own && bad.head.starts_with(b"{") {
            self.block = Some(PrintedBlock::default());
        }
        self.hear_in_block(&bad.head)
    }

    /// The same for a line that is nothing like a message.
    pub(super) fn hear_garbage(&mut self, line: &[u8]) -> Option<String> {
        if is_content_length(line) {
            return Some(quoting("speaks in Content-Length headers; MCP has one message a line", line));
        }
        self.garbage.get_or_insert_with(|| line[..line.len().min(FOREIGN_TEXT_BYTES_MAX)].to_vec());
        if is_json_in_a_string(line) {
            return Some(quoting("wrote an answer that is not a JSON object but a string with one", line));
        }
        self.hear_in_block(line)
    }

    /// Some programs print an object over several lines, indented for people: log lines, or their messages.
    fn hear_in_block(&mut self, line: &[u8]) -> Option<String> {
        let block = self.block.as_mut()?;
        let is_first = block.depth == 0;
        if block.is_answer(line) {
            let quoted = if is_first { line.to_vec() } else { [b"{ ", line].concat() };
            return Some(quoting("wrote JSON over several lines; MCP has one message a line", &quoted));
        }
        if block.depth == 0 {
            self.block = None;
        }
        None
    }

    /// It ended before it answered.
    pub(super) fn too_early(&self, exit: &Exit) -> String {
        match exit {
            Exit::NotStarted(_) => exit.describe(),
            ran => format!("{} before it answered initialize{}", ran.describe(), self.wrote()),
        }
    }

    /// It has not answered within `secs`.
    pub(super) fn too_late(&self, secs: u64) -> Opened {
        Opened::Failed(504, format!("the server did not answer initialize within {secs} s{}", self.wrote()))
    }

    fn wrote(&self) -> String {
        let began = |line: &Vec<u8>| format!("; its stdout began with: {}", Foreign(line));
        self.garbage.as_ref().map(began).unwrap_or_default() + "; its stderr is in burdock's log"
    }
}

/// An object that is printed over several lines, as far as it came.
#[derive(Debug, Default)]
struct PrintedBlock {
    /// How many braces and brackets are open.
    depth: usize,
    /// The last member of the object itself is `result`.
    in_result: bool,
}

impl PrintedBlock {
    /// Takes the next line. Whether the object is a JSON-RPC message by now: it has a `jsonrpc` of its own, or a
    /// result with a `protocolVersion`.
    fn is_answer(&mut self, line: &[u8]) -> bool {
        let (was_open, mut found, mut at) = (self.depth > 0, false, 0);
        while let Some(byte) = line.get(at) {
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b'"' => {
                    let end = text_end(line, at + 1);
                    let is_name = line[end..].trim_ascii_start().starts_with(b":");
                    match &line[at..end] {
                        br#""jsonrpc""# if is_name && self.depth == 1 => found = true,
                        br#""protocolVersion""# if is_name && self.depth == 2 && self.in_result => {
                            found = true
                        }
                        name if is_name && self.depth == 1 => self.in_result = name == br#""result""#,
                        _ => {}
                    }
                    at = end;
                    continue;
                }
                _ => {}
            }
            if self.depth == 0 {
                break;
            }
            at += 1;
        }
        // An object that is closed on the line that begins it is judged as a line.
        found && (was_open || self.depth > 0)
    }
}

/// Behind the quote that ends the text at `at`, or the line's end.
fn text_end(line: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr2(b'"', b'\\', &line[at.min(line.len())..]) {
        at += found + 1;
        if line[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    line.len()
}

/// JavaScript prints objects with bare names: such a line is no message, whatever it quotes.
pub(super) fn is_printed_object(line: &[u8]) -> bool {
    let name = line.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    name.and_then(<[u8]>::first).is_some_and(|first| first.is_ascii_alphabetic() || b"_$".contains(first))
}

/// An answer that was printed instead of dumped.
fn is_python_answer(line: &[u8]) -> bool {
    line.starts_with(b"{'jsonrpc'")
        && memmem::find(line, b"'result'").is_some()
        && memmem::find(line, b"'method'").is_none()
}

/// An answer that was dumped twice.
fn is_json_in_a_string(line: &[u8]) -> bool {
    line.starts_with(b"\"{")
        && memmem::find(line, br#"\"jsonrpc\""#).is_some()
        && memmem::find(line, br#"\"method\""#).is_none()
}

fn quoting(what: &str, line: &[u8]) -> String {
    format!("the server {what}: {}", Foreign(line))
}

/// What the language server protocol begins each message with.
fn is_content_length(line: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    let value = line.get(NAME.len()..).unwrap_or_default().trim_ascii_start();
    line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME))
        && value.first().is_some_and(u8::is_ascii_digit)
}

fn agreed(message: &Message) -> Result<Welcome, String> {
    let Some(named) = message::negotiated_version(message) else {
        return Err("the server's answer to initialize has no protocolVersion".into());
    };
    let shown = Foreign(named.as_bytes()).to_string();
    if !version::is_revision(&named) {
        return Err(format!(
            "the server answered initialize with the protocolVersion \"{shown}\", which is no revision of MCP"
        ));
    }
    if version::is_stateless(&named) {
        return Err(format!("the server answered initialize with {shown}, which has no initialize"));
    }
    Ok(Welcome::Agreed(Version::new(&named)))
}

/// Why a session did not begin, when the server sent an error without an id.
pub(super) fn could_not_read(error: &[u8]) -> String {
    quoting("could not read initialize", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Line, parse_line};

    /// What the handshake makes of lines, one after the other: why there is no hope, or `answer`, or nothing.
    fn hear(lines: &[&str]) -> Option<String> {
        let mut handshake = Handshake::new(0);
        lines.iter().find_map(|line| {
            if !line.starts_with('{') {
                return handshake.hear_garbage(line.as_bytes());
            }
            match parse_line(Payload::made_here(line.as_bytes().to_vec())) {
                Line::One(message) => match handshake.hear(&message) {
                    Heard::Answer(answer) => Some(answer.map_or_else(|why| why, |_| "answer".to_owned())),
                    Heard::Hopeless(why) => Some(why),
                    Heard::Other => None,
                },
                Line::Bad(bad) => handshake.hear_bad_line(&bad),
                Line::Batch(_) => None,
            }
        })
    }

    /// Kind 5 of the cases: what was plainly meant as the answer and is none ends the wait, and is quoted.
    #[test]
    fn a_hopeless_start_ends_at_once() {
        for (lines, part) in [
            (&["Content-Length: 170"][..], "Content-Length"),
            (&["content-length:170"], "Content-Length"),
            (&["{", r#"  "jsonrpc": "2.0","#], "several lines"),
            (&[r#"{ "jsonrpc": "2.0","#], r#"lines; MCP has one message a line: { "jsonrpc": "2.0","#),
            (&["{", r#" "result":"#, "{", r#" "protocolVersion": "2025-11-25","#], "several lines"),
            (&[r#"{ "result": { "protocolVersion": "2025-11-25","#], "several lines"),
            (&[r#"{'jsonrpc': '2.0', 'id': 0, 'result': {'protocolVersion': '2025-11-25'}}"#], "Python dict"),
            (&[r#""{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}""#], "but a string"),
            (&[r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no"}}"#], "could not read"),
            (&[r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#], "wrote the request back"),
            (&[r#"{"id":0,"result":{}}"#], "not valid JSON-RPC"),
            (&[r#"{"jsonrpc":"1.0","id":0,"result":{}}"#], "not valid JSON-RPC"),
            (&[r#"{"id":5,"result":{"protocolVersion":"2025-11-25"},"x":1}"#], "not valid JSON-RPC"),
            (&[r#"{"jsonrpc":"2.0","id":0,"result":{NaN}}"#], "not valid JSON-RPC"),
            (&[r#"{"jsonrpc":"2.0","result":{}}"#], "not valid JSON-RPC"),
            (&[r#"{"jsonrpc":"2.0","id":5,"result":{"protocolVersion":"2025-11-25"}}"#], "with the id 5"),
            (&[r#"{"jsonrpc":"2.0","id":0,"result":{}}"#], "no protocolVersion"),
            (
                &[r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25 "}}"#],
                "no revision of MCP",
            ),
            (&[r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2026-07-28"}}"#], "has no initialize"),
        ] {
            let why = hear(lines).unwrap_or_else(|| panic!("{lines:?}: still waiting"));
            assert!(why.contains(part), "{lines:?}: {why}");
        }
    }

    #[test]
    fn banners_and_log_lines_may_come_before_the_answer() {
        for line in [
            "Starting server on stdio",
            r#"{"level":30,"id":0,"msg":"initialize"}"#,
            r#"{"id":0,"error":"boom"}"#,
            r#"{"level":30,"jsonrpc":"2.0","msg":"transport ready"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
        ] {
            let answer = r#"{"jsonrpc":"2.0","id":0.0,"result":{"protocolVersion":"2025-11-25"}}"#;
            assert_eq!(hear(&[line, answer]).as_deref(), Some("answer"), "{line}");
        }
        // Objects that are printed over several lines and are no messages.
        assert_eq!(hear(&["{", "  port: 3000,", "}", "\"jsonrpc\": 1"]), None);
        assert_eq!(hear(&["{", r#"  "error": "no config, using defaults""#, "}"]), None);
        assert_eq!(
            hear(&["{", r#"  "id": 7,"#, r#"  "msg": "{ \"jsonrpc\": 1""#, "}", r#""jsonrpc": 1"#]),
            None
        );
        let request = [
            r#"  "in": {"#,
            r#"    "jsonrpc": "2.0","#,
            r#"    "params": {"#,
            r#"      "protocolVersion": 1"#,
        ];
        assert_eq!(hear(&[&["{"], &request[..]].concat()), None);
    }
}
