//! A stdio MCP server for the tests: well behaved by default, broken in a named way on request.
//!
//! Blocking, one thread per request, standard library and `serde_json` only. Modes are arguments (see [`Mode`] and
//! [`script::Script`]), tools are listed in [`TOOLS`] and in [`script`].

mod mangle;
mod script;
mod strict;

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Name, description.
const TOOLS: [(&str, &str); 20] = [
    ("echo", "gives back {text}"),
    ("slow", "takes {seconds}, with a progress notification every 100 ms when there is a token"),
    ("ask", "asks the client by elicitation/create and gives back the answer"),
    ("sample", "asks the client by sampling/createMessage and gives back the answer"),
    ("roots", "asks the client by roots/list and gives back the answer"),
    ("log", "sends a notifications/message before the result"),
    ("notify", "sends notifications/tools/list_changed 200 ms after the result"),
    ("env", "gives back environment, open descriptors and the soft descriptor limit"),
    ("crash", "exits with status 3 and no answer"),
    ("hang", "never answers"),
    ("raw", "writes {line} to stdout as it is, then answers"),
    ("big", "answers with {bytes} bytes of text"),
    ("wait", "takes {seconds} in silence"),
    ("endless", "writes a line without end"),
    ("stop_reading", "reads at most one more line, and ignores SIGTERM"),
    ("flood", "sends {count} notifications of {bytes} bytes, then answers"),
    ("pid", "gives back the process id"),
    ("cancelled_ids", "gives back the request ids of all notifications/cancelled so far"),
    (
        "initialized_with",
        "gives back the params of initialize, as they came, and the methods of all notifications",
    ),
    ("sent", "gives back the methods of all notifications so far"),
];

/// How this server misbehaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Echo,
    /// Answers `initialize` with 2024-11-05, whatever was asked.
    Version2024,
    /// Never answers `initialize`.
    Silent,
    /// Goes on after the end of input, deaf to SIGTERM.
    IgnoreEof,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |index: usize| arguments.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    match arguments.first().map_or("echo", String::as_str) {
        "echo" => serve(Mode::Echo),
        "--script" => script::serve(&arguments[1..]),
        "--version-2024" => serve(Mode::Version2024),
        "--silent" => serve(Mode::Silent),
        "--html" => say("<!DOCTYPE html>\n<html><body>Not an MCP server</body></html>"),
        "--html-stay" => {
            say("<!DOCTYPE html>\n<html><body>Not an MCP server</body></html>");
            swallow();
        }
        "--endless" => endless(),
        "--deaf" => deaf_and_for_ever(),
        "--ignore-eof" => {
            be_deaf();
            serve(Mode::IgnoreEof);
            wait_for_ever();
        }
        "--exit" => std::process::exit(value(1) as i32),
        "--slow-start" => {
            pause(Duration::from_secs_f64(value(1)));
            serve(Mode::Echo);
        }
        "--stderr-flood" => {
            std::thread::spawn(|| {
                loop {
                    eprintln!("a line of a flood");
                }
            });
            serve(Mode::Echo);
        }
        unknown => {
            eprintln!("unknown mode {unknown}");
            std::process::exit(64);
        }
    }
}

// --- Ways to be broken ----------------------------------------------------------------------------------------

fn endless() {
    let piece = [b'x'; 64 * 1024];
    while io::stdout().write_all(&piece).is_ok() {}
}

fn deaf_and_for_ever() {
    be_deaf();
    wait_for_ever();
}

/// Ignores SIGTERM. Without unsafe code the handler has to be somebody else's.
fn be_deaf() {
    // Kept for ever: dropping it would end its effect.
    std::mem::forget(async_signal::Signals::new([async_signal::Signal::Term]));
}

fn wait_for_ever() {
    loop {
        std::thread::park();
    }
}

/// Reads stdin to its end and says nothing.
fn swallow() {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
}

/// Waits without a bare sleep: on a channel that nobody sends to.
fn pause(duration: Duration) {
    let (_keep, never) = channel::<()>();
    let _ = never.recv_timeout(duration);
}

// --- The server -----------------------------------------------------------------------------------------------

/// What all requests share.
#[derive(Default)]
struct Shared {
    /// Our requests to the client, by id.
    asked: HashMap<u64, Sender<Value>>,
    next_id: u64,
    cancelled: Vec<Value>,
    notified: Vec<String>,
    /// The params of `initialize`.
    initialize: String,
    /// Read nothing more, and ignore SIGTERM.
    deaf: bool,
    /// The calls of the tool `hold` by the names they gave themselves.
    held: HashMap<String, script::Held>,
    /// Every message that was read, as it came.
    heard: Vec<String>,
}

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);
static SHARED_CHANGED: Condvar = Condvar::new();

fn with_shared<T>(change: impl FnOnce(&mut Shared) -> T) -> T {
    let mut guard = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = change(guard.get_or_insert_default());
    SHARED_CHANGED.notify_all();
    changed
}

/// Waits until `look` finds what it looks for.
fn wait_for_shared<T>(mut look: impl FnMut(&mut Shared) -> Option<T>) -> T {
    let mut guard = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(found) = look(guard.get_or_insert_default()) {
            return found;
        }
        guard = SHARED_CHANGED.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Writes one line, in the form that the script wants; a closed stdout ends the process.
fn say(line: &str) {
    script::say_line(line);
}

/// Writes the pieces with a pause between them; nothing comes in between, and a closed stdout ends the process.
fn write_pieces(pieces: &[Vec<u8>]) {
    let mut stdout = io::stdout().lock();
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            pause(Duration::from_millis(20));
        }
        if stdout.write_all(piece).and_then(|()| stdout.flush()).is_err() {
            std::process::exit(1);
        }
    }
}

#[derive(serde::Deserialize)]
struct Incoming {
    id: Option<Box<RawValue>>,
    method: Option<String>,
    params: Option<Box<RawValue>>,
    #[serde(flatten)]
    rest: HashMap<String, Value>,
}

fn serve(mode: Mode) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        if with_shared(|shared| shared.deaf) {
            deaf_and_for_ever();
        }
        // A line may be a batch (2025-03-26).
        let messages: Vec<Box<RawValue>> = match serde_json::from_str(&line) {
            Ok(batch) => batch,
            Err(_) => RawValue::from_string(line).into_iter().collect(),
        };
        for message in messages {
            receive(mode, message.get());
        }
    }
}

fn receive(mode: Mode, text: &str) {
    script::hear(text);
    if !script::understands(text) {
        return;
    }
    let Ok(message) = serde_json::from_str::<Incoming>(text) else {
        return say(
            &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "parse error"}})
                .to_string(),
        );
    };
    match (message.method, message.id) {
        (Some(method), Some(id)) => {
            let raw = message.params.map_or_else(|| "null".into(), |params| params.get().to_owned());
            std::thread::spawn(move || answer(mode, &id, &method, &raw));
        }
        (Some(method), None) if method == script::SAY => script::say(message.params.as_deref()),
        (Some(method), None) => notified(&method, message.params.as_deref()),
        (None, Some(id)) => {
            let waiting =
                id.get().parse().ok().and_then(|id: u64| with_shared(|shared| shared.asked.remove(&id)));
            if let Some(waiting) = waiting {
                let _ = waiting.send(json!(message.rest));
            }
        }
        (None, None) => {}
    }
}

fn notified(method: &str, params: Option<&RawValue>) {
    let params: Value = params.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null);
    with_shared(|shared| {
        shared.notified.push(method.to_owned());
        if method == "notifications/cancelled" {
            shared.cancelled.push(params["requestId"].clone());
        }
    });
}

/// Sends a notification.
fn notify(method: &str, params: Value) {
    say(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
}

/// Sends a request to the client and waits for its answer: `{result}` or `{error}`.
fn ask(method: &str, params: Value) -> Value {
    let (sender, answer): (Sender<Value>, Receiver<Value>) = channel();
    let id = with_shared(|shared| {
        shared.next_id += 1;
        shared.asked.insert(shared.next_id, sender);
        shared.next_id
    });
    say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
    answer.recv().unwrap_or(Value::Null)
}

fn answer(mode: Mode, id: &RawValue, method: &str, raw: &str) {
    let params: Value = serde_json::from_str(raw).unwrap_or(Value::Null);
    let body = match method {
        "initialize" if mode == Mode::Silent => return,
        "initialize" => {
            with_shared(|shared| shared.initialize = raw.to_owned());
            result(initialized(mode, &params))
        }
        "ping" => result(json!({})),
        "tools/list" => result(json!({"tools": TOOLS.map(|(name, description)|
            json!({"name": name, "description": description, "inputSchema": {"type": "object"}}))})),
        "logging/setLevel" => result(json!({})),
        "tools/call" => match script::call(id, raw, &params).unwrap_or_else(|| call(&params)) {
            Some(value) => result(value),
            None => return,
        },
        "test/params" => result(json!({"params": raw})),
        "test/result" => format!(r#""result":{}"#, params["raw"].as_str().unwrap_or("{}")),
        _ => format!(r#""error":{}"#, json!({"code": -32601, "message": "method not found", "data": method})),
    };
    say(&format!(r#"{{"jsonrpc":"2.0","id":{},{body}}}"#, script::id_in_answers(id.get())));
}

fn result(value: Value) -> String {
    format!(r#""result":{value}"#)
}

fn initialized(mode: Mode, params: &Value) -> Value {
    let version = match mode {
        Mode::Version2024 => json!("2024-11-05"),
        Mode::Echo | Mode::Silent | Mode::IgnoreEof => params["protocolVersion"].clone(),
    };
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {"listChanged": true}, "logging": {}},
        "serverInfo": {"name": "test-child", "version": "1"},
    })
}

fn text(text: impl Into<String>) -> Option<Value> {
    Some(json!({"content": [{"type": "text", "text": text.into()}]}))
}

/// The result of a tool; `None` when there will be no answer.
fn call(params: &Value) -> Option<Value> {
    let arguments = &params["arguments"];
    match params["name"].as_str().unwrap_or_default() {
        "echo" => text(arguments["text"].as_str().unwrap_or_default()),
        "slow" => {
            take_time(arguments["seconds"].as_f64().unwrap_or(1.0), &params["_meta"]["progressToken"]);
            text("done")
        }
        "wait" => {
            pause(Duration::from_secs_f64(arguments["seconds"].as_f64().unwrap_or(1.0)));
            text("waited")
        }
        "endless" => {
            endless();
            None
        }
        "stop_reading" => {
            with_shared(|shared| shared.deaf = true);
            text("deaf from now on")
        }
        "ask" => text(
            ask(
                "elicitation/create",
                json!({"message": "your name?", "requestedSchema": {"type": "object",
                "properties": {"name": {"type": "string"}}}}),
            )
            .to_string(),
        ),
        "sample" => text(
            ask(
                "sampling/createMessage",
                json!({"maxTokens": 10, "messages": [{"role": "user",
                "content": {"type": "text", "text": "hello"}}]}),
            )
            .to_string(),
        ),
        "roots" => text(ask("roots/list", json!({})).to_string()),
        "log" => {
            notify("notifications/message", json!({"level": "info", "data": "a log line"}));
            text("logged")
        }
        "notify" => {
            std::thread::spawn(|| {
                pause(Duration::from_millis(200));
                say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
            });
            text("notified")
        }
        "env" => text(surroundings().to_string()),
        "crash" => std::process::exit(3),
        "hang" => None,
        "raw" => {
            say(arguments["line"].as_str().unwrap_or_default());
            text("written")
        }
        "big" => text("x".repeat(arguments["bytes"].as_u64().unwrap_or(0) as usize)),
        "flood" => {
            let data = "x".repeat(arguments["bytes"].as_u64().unwrap_or(0) as usize);
            for _ in 0..arguments["count"].as_u64().unwrap_or(0) {
                notify("notifications/message", json!({"level": "info", "data": data}));
            }
            text("flooded")
        }
        "pid" => text(std::process::id().to_string()),
        "cancelled_ids" => text(with_shared(|shared| json!(shared.cancelled).to_string())),
        "sent" => text(with_shared(|shared| json!(shared.notified).to_string())),
        "initialized_with" => {
            text(with_shared(|shared| json!([shared.initialize, shared.notified]).to_string()))
        }
        unknown => Some(
            json!({"isError": true, "content": [{"type": "text", "text": format!("no tool {unknown}")}]}),
        ),
    }
}

fn take_time(seconds: f64, token: &Value) {
    let step = Duration::from_millis(100);
    let steps = (seconds / step.as_secs_f64()).round() as u64;
    for done in 1..=steps {
        pause(step);
        if !token.is_null() {
            notify(
                "notifications/progress",
                json!({"progressToken": token, "progress": done, "total": steps}),
            );
        }
    }
}

/// Environment, descriptors with what they point to, and the soft descriptor limit.
fn surroundings() -> Value {
    let environment: HashMap<String, String> = std::env::vars().collect();
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    // The listing's own descriptor is gone by the time its target is read, and so drops out.
    let descriptors: HashMap<String, String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(|name| {
            let target = std::fs::read_link(format!("/proc/self/fd/{name}")).ok()?;
            Some((name, target.to_string_lossy().into_owned()))
        })
        .collect();
    let mut limits = String::new();
    let _ = std::fs::File::open("/proc/self/limits").and_then(|mut file| file.read_to_string(&mut limits));
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    json!({"env": environment, "fds": descriptors, "nofile": soft})
}
