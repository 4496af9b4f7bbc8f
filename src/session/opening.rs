//! The wait for the answer to `initialize`, sans-io: finds the answer among the first things that a server
//! writes, and what was meant to be the answer but is none. The latter ends the wait at once, for nothing
//! better will come.

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
    /// The last line was a brace and nothing else.
    brace: bool,
}

impl Handshake {
    pub(super) fn new(number: u64) -> Handshake {
        Handshake { number, garbage: None, brace: false }
    }

    /// A message, before its ids are changed.
    pub(super) fn hear(&mut self, message: &Message) -> Heard {
        self.brace = false;
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
            Kind::Request { method, .. } if method == "initialize" => {
                Heard::Hopeless(quoting("wrote the request back instead of an answer", line))
            }
            _ => Heard::Other,
        }
    }

    /// A line that begins like a message and is none: why it shows that no answer will come, if it does.
    pub(super) fn hear_bad_line(&mut self, bad: &BadLine) -> Option<String> {
        let brace = std::mem::replace(&mut self.brace, bad.head.trim_ascii() == b"{");
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
        self.hear_after_brace(brace, &bad.head)
    }

    /// The same for a line that is nothing like a message.
    pub(super) fn hear_garbage(&mut self, line: &[u8]) -> Option<String> {
        let brace = std::mem::take(&mut self.brace);
        if is_content_length(line) {
            return Some(quoting("speaks in Content-Length headers; MCP has one message a line", line));
        }
        self.garbage.get_or_insert_with(|| line[..line.len().min(FOREIGN_TEXT_BYTES_MAX)].to_vec());
        self.hear_after_brace(brace, line)
    }

    /// Some programs print an object over several lines, indented for people.
    fn hear_after_brace(&self, brace: bool, line: &[u8]) -> Option<String> {
        let begins = |name: &str| {
            let rest = line.trim_ascii_start().strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b":"))
        };
        let is_envelope = ["\"jsonrpc\"", "\"id\"", "\"result\"", "\"error\""].into_iter().any(begins);
        (brace && is_envelope).then(|| {
            quoting("wrote JSON over several lines; MCP has one message a line", &[b"{ ", line].concat())
        })
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
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
        ] {
            let answer = r#"{"jsonrpc":"2.0","id":0.0,"result":{"protocolVersion":"2025-11-25"}}"#;
            assert_eq!(hear(&[line, answer]).as_deref(), Some("answer"), "{line}");
        }
        // An object that is printed over several lines and is no message.
        assert_eq!(hear(&["{", "  port: 3000,", "}", "\"id\": 1"]), None);
    }
}
