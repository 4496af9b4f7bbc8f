//! A session whose server says what the test dictates: see `tests/child/script.rs`.

use std::cell::RefCell;
use std::io::{BufRead as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::sessions::admin_get;
use crate::support::*;

/// What "at once" may take on a machine that does other things as well; far below every timeout.
pub const AT_ONCE: Duration = Duration::from_secs(2);

/// The newest revision of the handshake era.
pub const LATEST: &str = "2025-11-25";

/// No comments: a call that is left open is a test that fails, not one that waits for ever.
pub const FLAGS: [&str; 2] = ["--keep-alive-comment", "60s"];

/// A session of the test child, whose stdout the test writes.
pub struct Scripted {
    pub burdock: Burdock,
    pub session: Session,
    /// The standalone stream, and how many marks were asked for on it.
    get: RefCell<(Client, u32)>,
    admin: PathBuf,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.admin);
    }
}

impl Scripted {
    pub fn new() -> Scripted {
        Scripted::with(LATEST, &[])
    }

    /// With a revision and arguments of `--script`.
    pub fn with(version: &str, script: &[&str]) -> Scripted {
        let child = [&["--script"], script].concat();
        let admin = std::env::temp_dir().join(format!("burdock-scripted-{:016x}", fastrand::u64(..)));
        let listen = format!("unix:{}", admin.display());
        let burdock = Burdock::with_child(&[&FLAGS[..], &["--admin", &listen]].concat(), &child);
        let session = burdock.session(version);
        let mut get = session.get(None);
        assert_eq!(get.head().status, 200);
        Scripted { burdock, session, get: RefCell::new((get, 0)), admin }
    }

    pub fn metrics(&self) -> String {
        admin_get(&self.admin, "/metrics")
    }

    /// A call that stays in flight under `name`; its id is given as JSON. Returns when the server has it.
    pub fn hold(&self, id: &str, name: &str) -> Client {
        self.hold_with(id, name, "")
    }

    /// The same with a progress token, as JSON.
    pub fn hold_with_token(&self, id: &str, name: &str, token: &str) -> Client {
        self.hold_with(id, name, &format!(r#","_meta":{{"progressToken":{token}}}"#))
    }

    fn hold_with(&self, id: &str, name: &str, more: &str) -> Client {
        let params = format!(r#"{{"name":"hold","arguments":{{"as":"{name}"}}{more}}}"#);
        let client = self.session.start(&request(id, "tools/call", &params));
        let held = self.session.call(900_001, "held", json!({"as": name}));
        assert_eq!(held["result"]["content"][0]["text"], "held", "{name}: {held}");
        client
    }

    /// A call to which the server says this: the last that it has read by then.
    pub fn ask_for(&self, id: &str, text: &str) -> Client {
        let params = json!({"name": "hold", "arguments": {"as": "this", "then": text}});
        self.session.start(&request(id, "tools/call", &params.to_string()))
    }

    /// Has the server write this; returns when burdock has taken it, with what came on the standalone stream. No call
    /// is in flight for it.
    pub fn say(&self, text: &str) -> Vec<SseEvent> {
        let (get, marks) = &mut *self.get.borrow_mut();
        *marks += 1;
        let mark = format!("mark {marks}");
        let line =
            json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": mark}});
        self.say_only(&format!("{text}\n{line}\n"));
        let mut before = Vec::new();
        loop {
            let event = next_message(get);
            if event.data.contains(&mark) {
                return before;
            }
            before.push(event);
        }
    }

    /// The same without waiting for anything.
    pub fn say_only(&self, text: &str) {
        let say = json!({"jsonrpc": "2.0", "method": "notifications/test/say", "params": {"text": text}});
        assert_eq!(self.session.post(&say.to_string()).status, 202);
    }

    /// Has the server answer the call held under `name` with `{"from": name}`.
    pub fn answer(&self, name: &str) {
        self.say(&format!("{{\"jsonrpc\":\"2.0\",\"id\":<{name}>,\"result\":{{\"from\":\"{name}\"}}}}"));
    }

    /// A call is answered as ever.
    pub fn lives(&self) {
        let answer = self.session.call(900_002, "echo", json!({"text": "lives"}));
        assert_eq!(answer["result"]["content"][0]["text"], "lives", "{answer}");
    }

    /// The messages that the server has read and that contain `part`, once there are so many.
    pub fn heard(&self, part: &str, count: usize) -> Vec<String> {
        let answer = self.session.call(900_003, "heard", json!({"part": part, "count": count}));
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
        serde_json::from_str(text).unwrap()
    }

    /// Waits for a warning with all these words.
    pub fn warned(&self, words: &[&str]) {
        wait_for(&format!("a warning with {words:?}"), SOON, || {
            let log = self.burdock.log();
            let found = log
                .lines()
                .filter(|line| line.contains("WARN"))
                .any(|line| words.iter().all(|word| line.contains(word)));
            found.then_some(())
        });
    }
}

/// A request with its id and params as JSON.
pub fn request(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// The bytes of the last message of a reply, a JSON body or the last event that has data.
pub fn last_message(reply: &Response) -> String {
    if !reply.is_stream() {
        return reply.text();
    }
    let mut events = reply.events();
    events.retain(|event| !event.data.is_empty());
    events.pop().unwrap_or_else(|| panic!("no event with data: {}", reply.text())).data
}

/// The bytes of a message's member `id`, which stands at its begin or its end.
pub fn id_bytes(message: &str) -> String {
    let raw: Envelope<'_> =
        serde_json::from_str(message).unwrap_or_else(|error| panic!("{error}: {message}"));
    raw.id.unwrap_or_else(|| panic!("no id: {message}")).get().to_owned()
}

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a serde_json::value::RawValue>,
}

/// The whole reply if it comes, each part of it within this time.
pub fn answer_within(call: &mut Client, time: Duration) -> Option<Response> {
    call.socket.get_ref().set_read_timeout(Some(time)).unwrap();
    let reply = parts_of(call);
    call.socket.get_ref().set_read_timeout(Some(SOON)).unwrap();
    reply
}

fn parts_of(call: &mut Client) -> Option<Response> {
    let mut reply = came(call).then(|| call.head())?;
    if reply.header("transfer-encoding") == Some("chunked") {
        while let Some(chunk) = came(call).then(|| call.chunk())? {
            reply.body.extend(chunk);
        }
    } else if let Some(length) = reply.header("content-length") {
        reply.body = vec![0; length.parse().unwrap()];
        call.socket.read_exact(&mut reply.body).ok()?;
    }
    Some(reply)
}

fn came(call: &mut Client) -> bool {
    call.socket.fill_buf().is_ok_and(|bytes| !bytes.is_empty())
}

/// The call is answered with `{"from": name}`, under the id it was made with, byte for byte.
#[track_caller]
pub fn answered(client: &mut Client, id: &str, name: &str) {
    let reply = answer_within(client, SOON).unwrap_or_else(|| panic!("{name} is not answered"));
    let message = last_message(&reply);
    let value: Value = serde_json::from_str(&message).unwrap();
    assert_eq!(value["result"]["from"], name, "{message}");
    assert_eq!(id_bytes(&message), id, "{message}");
}

/// The call ends with an error under its id, at once, because of `what`; gives the error's text.
#[track_caller]
pub fn failed(client: &mut Client, id: &str, what: &str) -> String {
    let value = ended(client, id, what);
    value["error"]["message"].as_str().unwrap_or_else(|| panic!("{what}: no error: {value}")).to_owned()
}

/// The call ends at once because of `what`, with its answer or an error, under its id.
#[track_caller]
pub fn ended(client: &mut Client, id: &str, what: &str) -> Value {
    let reply = answer_within(client, AT_ONCE).unwrap_or_else(|| panic!("{what}: the call is left open"));
    let message = last_message(&reply);
    assert_eq!(id_bytes(&message), id, "{what}: {message}");
    serde_json::from_str(&message).unwrap()
}

/// The next event with data of a stream whose head was read.
#[track_caller]
pub fn next_message(client: &mut Client) -> SseEvent {
    loop {
        let event = client.event().expect("an event with data before the stream's end");
        if !event.data.is_empty() {
            return event;
        }
    }
}
