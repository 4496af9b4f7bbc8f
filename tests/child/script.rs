//! What a test has the server say, byte for byte, and what the server has heard.
//!
//! A test holds calls open with the tool `hold`, which gives each a name, says the text `then` if there is one, and
//! never answers. Then the test has any bytes written by the notification [`SAY`]: `<NAME>` in its text stands for the id of a held call, `<NAME:token>` for its
//! progress token (both as they came), `<xHH>` for a byte, `<fill:N>` for N letters, `<times:N:TEXT>` for that text
//! N times, `<pause>` for a moment in which what stands before it is read alone. The bytes are written before the next
//! message is read, so whatever is answered after the notification is answered after these bytes.
//!
//! The tool `say` says its `text` in the same way and never answers: nothing is written to the server after this call.
//! The tool `held` is answered, once, when the call of that name is there; `heard` gives back the messages that contain
//! `part`, as they came, once there are `count` of them; `mangle` answers with what [`mangle`] makes of a good answer and
//! is held under its seed.

use std::io::{self, BufRead};
use std::sync::OnceLock;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Mode, mangle, strict};

/// The notification that has the server say its `text`.
pub(crate) const SAY: &str = "notifications/test/say";

/// Messages that are kept, and of each so many bytes.
const HEARD_MAX: usize = 4096;

/// A call of `hold`: its id and its progress token, as they came.
pub(crate) struct Held {
    id: String,
    token: String,
    /// Nobody has heard of it: the name may have been another call's before.
    new: bool,
}

/// How the server differs from a good one, as its arguments say.
#[derive(Default)]
pub(crate) struct Script {
    /// `--before TEXT`: said before anything is read.
    before: String,
    /// `--opening TEXT`: said to the first message, in place of an answer. `<id>` is its id, `<message>` itself,
    /// `<result>` a good result of `initialize`.
    opening: Option<String>,
    /// `--ids TEXT`: the id in answers; `<id>` is the one that came.
    ids: Option<String>,
    /// `--each TEXT`: every line that is said, its end included; `<line>` is the good one.
    each: Option<String>,
    /// `--strict`: drops what MCP's schema does not allow, without a word.
    strict: bool,
    /// `--then-exit`: exits with status 0 after the opening.
    then_exit: bool,
}

static SCRIPT: OnceLock<Script> = OnceLock::new();

fn script() -> &'static Script {
    SCRIPT.get_or_init(Script::default)
}

pub(crate) fn serve(arguments: &[String]) {
    let mut made = Script::default();
    let mut arguments = arguments.iter().cloned();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--before" => made.before = arguments.next().unwrap_or_default(),
            "--opening" => made.opening = arguments.next(),
            "--ids" => made.ids = arguments.next(),
            "--each" => made.each = arguments.next(),
            "--strict" => made.strict = true,
            "--then-exit" => made.then_exit = true,
            unknown => panic!("unknown argument {unknown}"),
        }
    }
    let made = SCRIPT.get_or_init(|| made);
    super::write_pieces(&filled(&made.before, |_| None));
    if let Some(opening) = &made.opening {
        open(opening);
    }
    if !made.then_exit {
        super::serve(Mode::Echo);
    }
}

fn open(opening: &str) {
    let mut message = String::new();
    let _ = io::stdin().lock().read_line(&mut message);
    let message = message.trim_end_matches('\n');
    hear(message);
    let id = serde_json::from_str::<Opening<'_>>(message).map_or("null", |opening| opening.id.get());
    let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": "test-child", "version": "1"}})
    .to_string();
    super::write_pieces(&filled(opening, |name| match name {
        "id" => Some(id.to_owned()),
        "message" => Some(message.to_owned()),
        "result" => Some(result.clone()),
        _ => None,
    }));
}

#[derive(serde::Deserialize)]
struct Opening<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// The bytes of `text` in pieces between its pauses; `name` knows what else can stand in it.
fn filled(text: &str, name: impl Fn(&str) -> Option<String>) -> Vec<Vec<u8>> {
    let (mut pieces, mut piece, mut rest) = (Vec::new(), Vec::new(), text);
    while let Some((plain, place)) = rest.split_once('<') {
        piece.extend(plain.as_bytes());
        let inner = place.split('>').next().unwrap_or_default();
        rest = place.get(inner.len() + 1..).unwrap_or_default();
        if inner == "pause" {
            pieces.push(std::mem::take(&mut piece));
        } else if let Some(bytes) = place_filled(inner).or_else(|| name(inner).map(String::into_bytes)) {
            piece.extend(bytes);
        } else {
            // It is no place: text that has such a sign in it.
            piece.push(b'<');
            rest = place;
        }
    }
    piece.extend(rest.as_bytes());
    pieces.push(piece);
    pieces
}

fn place_filled(place: &str) -> Option<Vec<u8>> {
    if let Some(count) = place.strip_prefix("fill:") {
        return Some(vec![b'x'; count.parse().ok()?]);
    }
    if let Some((count, text)) = place.strip_prefix("times:").and_then(|times| times.split_once(':')) {
        return Some(text.repeat(count.parse().ok()?).into_bytes());
    }
    let digits = place.strip_prefix('x').filter(|digits| digits.len() == 2)?;
    Some(vec![u8::from_str_radix(digits, 16).ok()?])
}

/// Writes one line in the form of `--each`.
pub(crate) fn say_line(line: &str) {
    let each = script().each.as_deref();
    let Some(each) = each else { return super::write_pieces(&[format!("{line}\n").into_bytes()]) };
    super::write_pieces(&filled(each, |name| (name == "line").then(|| line.to_owned())));
}

pub(crate) fn id_in_answers(id: &str) -> String {
    match &script().ids {
        Some(ids) => ids.replace("<id>", id),
        None => id.to_owned(),
    }
}

/// Whether the server takes such a message at all.
pub(crate) fn understands(message: &str) -> bool {
    !script().strict || strict::allows(message)
}

pub(crate) fn hear(message: &str) {
    super::with_shared(|shared| {
        if shared.heard.len() < HEARD_MAX {
            shared.heard.push(message.chars().take(HEARD_MAX).collect());
        }
    });
}

/// See [`SAY`].
pub(crate) fn say(params: Option<&RawValue>) {
    let params: Value = params.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    say_text(params["text"].as_str().unwrap_or_default());
}

fn say_text(text: &str) {
    let name = |name: &str| {
        super::with_shared(|shared| match name.strip_suffix(":token") {
            Some(name) => shared.held.get(name).map(|held| held.token.clone()),
            None => shared.held.get(name).map(|held| held.id.clone()),
        })
    };
    super::write_pieces(&filled(text, name));
}

#[derive(Default, serde::Deserialize)]
struct Params<'a> {
    #[serde(borrow, default, rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Default, serde::Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
}

/// The result of a tool of this file (`Some(None)`: there is no answer); `None` when the tool is another's.
pub(crate) fn call(id: &RawValue, raw: &str, params: &Value) -> Option<Option<Value>> {
    let arguments = &params["arguments"];
    let name = arguments["as"].as_str().unwrap_or_default().to_owned();
    match params["name"].as_str()? {
        "hold" => {
            let token = serde_json::from_str::<Params<'_>>(raw).unwrap_or_default().meta.progress_token;
            let token = token.map_or("null", RawValue::get).to_owned();
            let held = Held { id: id.get().to_owned(), token, new: true };
            super::with_shared(|shared| shared.held.insert(name, held));
            say_text(arguments["then"].as_str().unwrap_or_default());
            Some(None)
        }
        "say" => {
            say_text(arguments["text"].as_str().unwrap_or_default());
            Some(None)
        }
        "held" => {
            super::wait_for_shared(|shared| {
                let held = shared.held.get_mut(&name).filter(|held| held.new)?;
                held.new = false;
                Some(())
            });
            Some(super::text("held"))
        }
        "heard" => {
            let part = arguments["part"].as_str().unwrap_or_default();
            let count = arguments["count"].as_u64().unwrap_or_default() as usize;
            let lines = super::wait_for_shared(|shared| {
                // What asks for it has the part in it, too.
                let lines = shared.heard.iter().filter(|line| !line.contains(r#""name":"heard""#));
                let lines: Vec<String> = lines.filter(|line| line.contains(part)).cloned().collect();
                (lines.len() >= count).then_some(lines)
            });
            Some(super::text(json!(lines).to_string()))
        }
        "mangle" => {
            let seed = arguments["seed"].as_u64().unwrap_or_default();
            super::write_pieces(&[mangle::mangled(seed, id.get()).bytes]);
            let held = Held { id: id.get().to_owned(), token: String::new(), new: true };
            super::with_shared(|shared| shared.held.insert(seed.to_string(), held));
            Some(None)
        }
        _ => None,
    }
}
