//! What servers write instead of good lines: no line ends a call that it does not name, and none leaves one open
//! that it does.
//!
//! The kinds are those of real servers: errors that say nothing about an id, null members, bytes around the JSON,
//! starts that cannot become an answer, and messages that a strict server would drop in silence.

use std::time::Instant;

use serde_json::{Value, json};

use crate::scripted::*;
use crate::support::*;

// --- Lines that name no call ----------------------------------------------------------------------------------

/// JSON-RPC 5: an error with another code than -32700 and -32600 and no id says nothing of a call (case 3): it is the
/// answer to a notification of a server that answers those, too.
#[test]
fn an_error_without_id_that_is_about_a_notification() {
    let scripted = Scripted::new();
    let mut call = scripted.hold("1", "a");
    for code in ["-32601", "-32602", "-32603", "-32000", "0", "1.5", "\"x\"", "null"] {
        for id in [r#""id":null,"#, ""] {
            scripted
                .say(&format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":{code},"message":"no such"}}}}"#));
        }
    }
    for error in ["{}", "[]", "\"no\"", "7", r#"{"message":"x"}"#] {
        scripted.say(&format!(r#"{{"jsonrpc":"2.0","id":null,"error":{error}}}"#));
    }
    scripted.answer("a");
    answered(&mut call, "1", "a");
}

/// The whole of case 3: `initialized` is answered by such an error, and the call after it is not.
#[test]
fn a_server_that_answers_notifications_with_errors() {
    let scripted = Scripted::new();
    let mut list = scripted.hold("5", "list");
    let _cancelled = scripted.hold("6", "cancelled");
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":6}}"#;
    assert_eq!(scripted.session.post(cancel).status, 202);
    scripted.say(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"Method not found"}}"#);
    scripted.answer("list");
    answered(&mut list, "5", "list");
}

/// JSON-RPC 5.1: -32700 and -32600 without an id are about a request; about the only one, when there is one.
#[test]
fn an_error_without_id_that_is_about_a_request() {
    let scripted = Scripted::new();
    for error in [
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"}}"#,
    ] {
        failed(&mut scripted.ask_for("1", &format!("{error}\n")), "1", error);
        let mut calls = [scripted.hold("1", "a"), scripted.hold("2", "b")];
        scripted.say(error);
        scripted.answer("a");
        scripted.answer("b");
        answered(&mut calls[0], "1", "a");
        answered(&mut calls[1], "2", "b");
    }
}

/// Logs that look like messages, and objects that JavaScript prints: never the end of a call (pino-lines).
#[test]
fn log_lines_that_look_like_messages() {
    let scripted = Scripted::new();
    for several in [false, true] {
        let mut call = scripted.hold("1", "a");
        let other = several.then(|| scripted.hold("2", "b"));
        for line in [
            r#"{"level":30,"time":1790000000000,"id":<a>,"msg":"request"}"#,
            r#"{"id":<a>}"#,
            r#"{"id":<a>,"method":"tools/call"}"#,
            r#"{"level":"info","id":<a>,"message":"result: ok"}"#,
            "{ foo: 1 }",
            "{ id: <a>, foo: 'x' }",
            "{ id: <a> }",
            "{}",
            "[]",
            "[<a>]",
            "[1,2,3]",
            "[{}]",
            r#"[{"id":<a>}]"#,
            "<a>",
            "\"id\":<a>",
            "id=<a> done",
            "null",
            "true",
            "\"jsonrpc\"",
            "{",
            "}",
            "<x00>",
            "<xFF><xFE>",
            "<x1b>[2J",
            "\t \r",
            "Content-Type: application/json",
            // Messages that are quoted in what a program prints.
            r#"{ sending: '{"jsonrpc":"2.0","id":<a>,"result":{}}' }"#,
            r#"{ level: 30, msg: {"jsonrpc":"2.0","id":<a>,"result":{}} }"#,
            r#"{ sending: '{"jsonrpc":"2.0","result":{}}' }"#,
            r#"[ '{"jsonrpc":"2.0","id":<a>,"result":{}}' ]"#,
            r#"[12:30] {"jsonrpc":"2.0","id":<a>,"result":NaN}"#,
            r#"{worker-1} sending {"jsonrpc":"2.0","id":<a>,"result":{}}"#,
        ] {
            scripted.say(line);
        }
        scripted.answer("a");
        answered(&mut call, "1", "a");
        if let Some(mut other) = other {
            scripted.answer("b");
            answered(&mut other, "2", "b");
        }
    }
}

/// A request or notification of the server is never taken for an answer, however it is made.
#[test]
fn messages_of_the_server_that_are_no_answers() {
    let scripted = Scripted::new();
    let mut call = scripted.hold("1", "a");
    for line in [
        r#"{"jsonrpc":"2.0","id":<a>,"method":"x/unknown","params":"text"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"id":<a>,"result":{}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"\"id\":<a>,\"result\":{}"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","id":null}"#,
    ] {
        scripted.say(line);
    }
    scripted.lives();
    // The requests are on the call's stream, whose last message is its answer.
    scripted.answer("a");
    answered(&mut call, "1", "a");
}

/// What might be the end of a call and is none is a warning that says how many wait.
#[test]
fn a_line_that_ends_no_call_is_a_warning() {
    for line in [
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#,
        r#"{"jsonrpc":"2.0","result":{"x":1}}"#,
        r#"{"jsonrpc":"2.0","id":77,"result":{"x":1}}"#,
        r#"{"level":30,"id":<a>}"#,
    ] {
        let scripted = Scripted::new();
        let mut calls = [scripted.hold("1", "a"), scripted.hold("2", "b")];
        scripted.say(line);
        scripted.warned(&["2 requests wait"]);
        for (name, id, call) in [("a", "1", 0), ("b", "2", 1)] {
            scripted.answer(name);
            answered(&mut calls[call], id, name);
        }
    }
}

// --- Answers that cannot be read ------------------------------------------------------------------------------

/// Answers of real servers that are no JSON, and name their call (case 14): it ends, at once, and no other.
#[test]
fn an_unreadable_answer_ends_the_call_that_it_names() {
    let scripted = Scripted::new();
    for line in UNREADABLE {
        let mut calls = [scripted.hold("1", "a"), scripted.hold("2", "b")];
        eprintln!("{line}");
        scripted.say_only(&format!("{line}\n"));
        ended(&mut calls[0], "1", line);
        scripted.answer("b");
        answered(&mut calls[1], "2", "b");
    }
}

/// Each names the call `a`.
const UNREADABLE: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":<a>,"result":{"value":NaN}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{"value":Infinity,"id":1}}"#,
    r#"{"jsonrpc":"2.0","result":{"value":NaN,"id":1},"id":<a>}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{"text":"<xFF>"}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{"text":"<xC3>"}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{"content":[{"type":"te"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{"#,
    r#"{"jsonrpc":"2.0","id":<a>,"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{},}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{"a":[1,]}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{"text":"a<x01>b"}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{"text":"a	b"}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{"text":"\x41"}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":undefined}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{}}}"#,
    r#"{"jsonrpc":"2.0","id":<a>}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{},"error":{"code":1,"message":"both"}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":null,"error":null}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"error":null}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"id":<a>,"result":{}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{},"result":{}}"#,
    r#"{"jsonrpc":"1.0","id":<a>,"result":{}}"#,
    r#"{"jsonrpc":2.0,"id":<a>,"result":{}}"#,
    r#"{"jsonrpc":"2","id":<a>,"result":{}}"#,
    r#"{"JSONRPC":"2.0","id":<a>,"result":{}}"#,
    r#"{ "jsonrpc" : "2.0" , "id" : <a> , "result" : NaN }"#,
    r#"INFO: {"jsonrpc":"2.0","id":<a>,"result":{}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{}} (in 3 ms)"#,
    r#"{"jsonrpc":"2.0","id":<a>,"result":{}}{"jsonrpc":"2.0","method":"notifications/x"}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/x"}{"jsonrpc":"2.0","id":<a>,"result":{}}"#,
    r#"{"jsonrpc":"2.0","id":<a>,"re{"jsonrpc":"2.0","method":"notifications/x"}"#,
    r#"<xEF><xBB><xBF>{"jsonrpc":"2.0",<xEF><xBB><xBF>"id":<a>,"result":{}}"#,
    r#"[{"jsonrpc":"2.0","id":<a>,"result":NaN}]"#,
    r#"[{"jsonrpc":"2.0","id":<a>,"result":{}},]"#,
    r#"data: {"jsonrpc":"2.0","id":<a>,"result":{}}"#,
];

/// L3 wants one message a line; an answer that was printed for people, or broken at one place, is an answer all the
/// same, also with log lines in between.
#[test]
fn an_answer_over_several_lines() {
    let scripted = Scripted::new();
    let long: String =
        (0..100).map(|number| format!("      {{\n        \"n\": {number}\n      }},\n")).collect();
    for text in [
        "{\n  \"jsonrpc\": \"2.0\",\n  \"id\": <a>,\n  \"result\": {\n    \"from\": \"a\"\n  }\n}",
        "{\r\n\t\"result\":\r\n\t{\r\n\t\t\"from\": \"a\"\r\n\t},\r\n\t\"id\": <a>,\r\n\t\"jsonrpc\": \"2.0\"\r\n}",
        "{\"jsonrpc\":\"2.0\",\n\"id\":<a>,\"result\":{\"from\":\"a\"}}",
        "{\"result\":{\"from\":\"a\"},\n\"jsonrpc\":\"2.0\",\"id\":<a>}",
        "{\"result\":{\"from\":\"a\"}\n,\"jsonrpc\":\"2.0\",\"id\":<a>}",
        "{\n  \"level\": 30\n}\n{\n  \"jsonrpc\": \"2.0\",\nINFO: \"id\": <b>\n  \"id\": <a>,\n  \"result\": {\"from\": \"a\"}\n}",
        &format!(
            "{{\n  \"result\": {{\n    \"from\": \"a\",\n    \"list\": [\n{long}      [1, 2],\n      [\n        3\n      ]\n    ]\n  }},\n  \"jsonrpc\": \"2.0\",\n  \"id\": <a>\n}}"
        ),
    ] {
        let mut only = scripted.hold("1", "a");
        scripted.say_only(&format!("{text}\n"));
        assert_eq!(ended(&mut only, "1", text)["result"]["from"], "a", "{text}");
        let mut calls = [scripted.hold("1", "a"), scripted.hold("2", "b")];
        scripted.say_only(&format!("{text}\n"));
        assert_eq!(ended(&mut calls[0], "1", text)["result"]["from"], "a", "{text}");
        scripted.answer("b");
        answered(&mut calls[1], "2", "b");
    }
}

/// Wherever the line break is, but in the id: the call that is named ends, and no other.
#[test]
fn an_answer_that_a_line_break_cuts() {
    let scripted = Scripted::new();
    let mut other = scripted.hold("2", "b");
    for line in [
        r#"{"jsonrpc":"2.0","id":<a>,"result":{"content":[{"type":"text","text":"a \"b\""}],"n":[{"id":7}]}}"#,
        r#"{"result":{"content":[{"type":"text","text":"x"}],"n":[{"id":7}]},"jsonrpc":"2.0","id":<a>}"#,
    ] {
        let id = line.find("<a>").unwrap();
        for at in (1..line.len()).filter(|at| !(id..id + 3).contains(at)) {
            let mut call = scripted.hold("1", "a");
            let (start, end) = line.split_at(at);
            scripted.say_only(&format!("{start}\n{end}\n"));
            ended(&mut call, "1", &format!("{start}\\n{end}"));
        }
    }
    scripted.answer("b");
    answered(&mut other, "2", "b");
}

/// What is printed over several lines and is no answer ends no call, nor does what follows it.
#[test]
fn objects_over_several_lines_that_are_no_answers() {
    let scripted = Scripted::new();
    let mut call = scripted.hold("1", "a");
    for text in [
        "{\n  \"level\": 30,\n  \"id\": <a>,\n  \"result\": \"ok\"\n}",
        "{ level: 30,\n  id: <a>,\n  \"jsonrpc\": \"2.0\", \"result\": 1 }",
        "{\n  level: 30,\n  \"jsonrpc\": \"2.0\",\n  \"id\": <a>,\n  result: {}\n}",
        "{\n  \"message\": {\n    \"jsonrpc\": \"2.0\",\n    \"id\": <a>,\n    \"method\": \"x\"\n  }\n}",
        "{\"jsonrpc\":\"2.0\",\n{\n  \"id\": <a>\n}",
        "{\"jsonrpc\":\"2.0\",\nINFO \"id\": <a>",
        "{\n\n{\n{\n}\n}\n}",
    ] {
        scripted.say(text);
    }
    scripted.answer("a");
    answered(&mut call, "1", "a");
}

/// Two writers that share a line: each call that it names ends, and a third goes on.
#[test]
fn two_answers_on_one_line() {
    let scripted = Scripted::new();
    for between in ["", " ", ",", "\u{1b}[0m", "}", "\""] {
        let mut calls = [scripted.hold("1", "a"), scripted.hold("2", "b"), scripted.hold("3", "c")];
        let answer =
            |name: &str| format!(r#"{{"jsonrpc":"2.0","id":<{name}>,"result":{{"from":"{name}"}}}}"#);
        scripted.say_only(&format!("{}{between}{}\n", answer("a"), answer("b")));
        ended(&mut calls[0], "1", between);
        ended(&mut calls[1], "2", between);
        scripted.answer("c");
        answered(&mut calls[2], "3", "c");
    }
}

/// A response by its shape whose id cannot be read ends the only call in flight; of several it touches none.
#[test]
fn an_answer_without_a_readable_id() {
    let scripted = Scripted::new();
    for line in [
        r#"{"jsonrpc":"2.0","result":{"x":1}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{"x":1}}"#,
        r#"{"jsonrpc":"2.0","id":[1],"result":{"x":1}}"#,
        r#"{"jsonrpc":"2.0","id":{"id":1},"result":{"x":1}}"#,
        r#"{"jsonrpc":"2.0","id":true,"result":{"x":1}}"#,
        r#"{"jsonrpc":"2.0","ID":1,"result":{"x":1}}"#,
        r#"{"jsonrpc":"2.0","id":,"result":{"x":1}}"#,
        r#"{"jsonrpc":"2.0","result":{"x":NaN}}"#,
    ] {
        let mut only = scripted.hold("1", "only");
        scripted.say_only(&format!("{line}\n"));
        failed(&mut only, "1", line);
        let mut calls = [scripted.hold("1", "a"), scripted.hold("2", "b")];
        scripted.say(line);
        scripted.answer("b");
        scripted.answer("a");
        answered(&mut calls[0], "1", "a");
        answered(&mut calls[1], "2", "b");
    }
}

/// L17: a message that is too large fails only the call that it names, wherever the id stands, and says so (case 28).
#[test]
fn a_message_that_is_too_large_fails_only_its_own_call() {
    let scripted = Scripted::new();
    for line in [
        r#"{"jsonrpc":"2.0","id":<a>,"result":{"id":<b>,"text":"<fill:5000000>"}}"#,
        r#"{"jsonrpc":"2.0","result":{"text":"<fill:5000000>"},"id":<a>}"#,
        r#"{"id":<a>,"jsonrpc":"2.0","error":{"code":1,"message":"<fill:5000000>"}}"#,
    ] {
        let mut calls = [scripted.hold("1", "a"), scripted.hold("2", "b")];
        scripted.say_only(&format!("{line}\n"));
        let text = failed(&mut calls[0], "1", line);
        assert!(text.contains("too large") && text.contains('5') && text.contains('4'), "{text}");
        scripted.answer("b");
        answered(&mut calls[1], "2", "b");
    }
}

/// A notification or a log line that is too large is no call's end.
#[test]
fn a_line_that_is_too_large_and_no_answer() {
    let scripted = Scripted::new();
    for line in [
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"id":<a>,"data":"<fill:5000000>"}}"#,
        r#"{"level":30,"id":<a>,"msg":"<fill:5000000>"}"#,
        "<fill:5000000>",
    ] {
        let mut call = scripted.hold("1", "a");
        scripted.say(line);
        scripted.answer("a");
        answered(&mut call, "1", "a");
    }
}

/// Attack M2: a line of a million members costs neither memory nor the time of others.
#[test]
fn a_line_of_a_million_members() {
    let scripted = Scripted::with("2025-03-26", &[]);
    let mut call = scripted.hold("1", "a");
    let other = scripted.burdock.session(LATEST);
    let before = peak_memory(&scripted.burdock);
    for member in ["1,", "{},", "[],", r#"{"id":1},"#] {
        scripted.say_only(&format!("[<times:{}:{member}>1]\n", 1_000_000 / member.len()));
        for _ in 0..20 {
            let begun = Instant::now();
            other.call(1, "echo", json!({"text": "x"}));
            assert!(begun.elapsed() < AT_ONCE, "{member}");
        }
        scripted.say("");
    }
    scripted.answer("a");
    answered(&mut call, "1", "a");
    let grown = peak_memory(&scripted.burdock) - before;
    assert!(grown < 48 << 20, "{grown} bytes for lines of 1 MB");
}

/// The most that was resident at any time, in bytes.
fn peak_memory(burdock: &Burdock) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", burdock.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

// --- Null members ---------------------------------------------------------------------------------------------

/// Members that are null, which JSON-RPC has no use for, are left out of what the client gets (case 13).
#[test]
fn null_members_of_a_server() {
    let scripted = Scripted::new();
    for (line, want) in [
        (r#"{"jsonrpc":"2.0","id":<a>,"result":{"x":null},"error":null}"#, json!({"result": {"x": null}})),
        (r#"{"jsonrpc":"2.0","id":<a>,"error":null,"result":{}}"#, json!({"result": {}})),
        (r#"{"error":null,"jsonrpc":"2.0","id":<a>,"result":{}}"#, json!({"result": {}})),
        (r#"{"jsonrpc":"2.0","method":null,"id":<a>,"result":{}}"#, json!({"result": {}})),
        (
            r#"{"jsonrpc":"2.0","id":<a>,"params":null,"method":null,"result":{},"error":null}"#,
            json!({"result": {}}),
        ),
        (
            r#"{"jsonrpc":"2.0","id":<a>,"result":null,"error":{"code":-5,"message":"m","data":null}}"#,
            json!({"error": {"code": -5, "message": "m", "data": null}}),
        ),
        (r#"{"jsonrpc":"2.0","id":<a>,"result":{},"meta":{"id":1},"took":3}"#, json!({"result": {}})),
        (r#"{"jsonrpc":"2.0","id":<a>,"result":null}"#, json!({"result": null})),
    ] {
        let mut call = scripted.hold("\"x\"", "a");
        scripted.say_only(&format!("{line}\n"));
        let mut want = want;
        want["jsonrpc"] = json!("2.0");
        want["id"] = json!("x");
        assert_eq!(ended(&mut call, "\"x\"", line), want, "{line}");
    }
}

/// The same for what a server says by itself.
#[test]
fn null_members_of_a_servers_notifications_and_requests() {
    let scripted = Scripted::new();
    for line in [
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":null}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"notifications/tools/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","result":null,"error":null,"id":null}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":[],"extra":1}"#,
    ] {
        let events = scripted.say(line);
        assert_eq!(events.len(), 1, "{line}: {events:?}");
        let message = events[0].json();
        let members: Vec<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
        let bare = members == ["jsonrpc", "method"];
        assert!(
            bare || (members == ["jsonrpc", "method", "params"] && message["params"] == json!({})),
            "{message}"
        );
    }
    for line in [
        r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":[],"extra":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"_meta":null,"message":"?"},"result":null}"#,
    ] {
        let events = scripted.say(line);
        assert_eq!(events.len(), 1, "{line}: {events:?}");
        let message = events[0].json();
        assert!(
            message.get("result").is_none() && !message["params"].is_null()
                || message.get("params").is_none()
        );
        let answer =
            json!({"jsonrpc": "2.0", "id": message["id"], "result": {"action": "cancel"}, "error": null});
        assert_eq!(scripted.session.post(&answer.to_string()).status, 202);
        let heard = scripted.heard("\"action\":\"cancel\"", 1).pop().unwrap();
        assert!(!heard.contains("null"), "{heard}");
    }
}

/// Members that are null, in what clients send: nothing of it reaches the server.
#[test]
fn null_members_of_a_client() {
    let scripted = Scripted::with(LATEST, &["--strict"]);
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","error":null}"#,
        r#"{"jsonrpc":"2.0","result":null,"id":1,"method":"tools/list","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":null}}"#,
    ] {
        let begun = Instant::now();
        let reply = scripted.session.post(body);
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
        assert!(reply.json()["result"]["tools"].is_array(), "{body}: {}", reply.text());
        assert!(begun.elapsed() < AT_ONCE, "{body}");
    }
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed","params":null}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed","id":null}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed","result":null,"error":null}"#,
    ] {
        let reply = scripted.session.post(body);
        // A request with a null id is none (L11); a notification has no id.
        assert!(
            reply.status == 202 || (reply.status == 400 && body.contains("\"id\"")),
            "{body}: {}",
            reply.text()
        );
    }
    let sent = scripted.session.call(2, "sent", json!({}));
    let count = sent.to_string().matches("roots/list_changed").count();
    assert!(count >= 2, "dropped by the server: {sent}");
    assert!(scripted.heard("null", 0).is_empty());
    let reply = scripted.session.post(r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#);
    assert_eq!(reply.status, 400, "an id that is null stays an error (L11)");
}

/// An `initialize` and an `initialized` are mended as all others are.
#[test]
fn null_members_of_a_start() {
    let burdock = Burdock::with_child(&[], &["--script", "--strict"]);
    for (body, id) in [
        (
            initialize(LATEST)
                .replace("\"id\":0", "\"id\":0,\"result\":null,\"error\":null,\"extra\":{\"a\":1}"),
            "0",
        ),
        (initialize(LATEST).replace("\"params\":{", "\"params\":{\"_meta\":null,"), "0"),
        (initialize(LATEST).replace("\"id\":0", "\"id\":1790000000000000001"), "1790000000000000001"),
        (initialize(LATEST).replace("\"params\":{", "\"params\":{\"_meta\":{\"progressToken\":0},"), "0"),
    ] {
        let mut client = burdock.client();
        client.request("POST", "/mcp", &[BOTH, JSON], &body);
        let reply = answer_within(&mut client, AT_ONCE).unwrap_or_else(|| panic!("{body}: no answer"));
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
        assert_eq!(id_bytes(&last_message(&reply)), id);
        let session = reply.header("mcp-session-id").unwrap().to_owned();
        let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":null,"id":null}"#;
        client.request("POST", "/mcp", &[BOTH, JSON, ("Mcp-Session-Id", &session)], note);
        assert_eq!(client.response().status, 202);
        let sent = request("1", "tools/call", r#"{"name":"sent"}"#);
        client.request("POST", "/mcp", &[BOTH, JSON, ("Mcp-Session-Id", &session)], &sent);
        let reply = client.response().text();
        assert!(reply.contains("notifications/initialized"), "{body}: {reply}");
    }
}

/// The same in batches (L7), both ways: each member is mended by itself, and a bad one spoils no other of a server's.
#[test]
fn null_members_in_batches() {
    let scripted = Scripted::with("2025-03-26", &["--strict"]);
    let reply = scripted.session.post(
        r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null},
            {"jsonrpc":"2.0","id":2,"method":"tools/list","params":[],"extra":1,"error":null},
            {"jsonrpc":"2.0","method":"notifications/roots/list_changed","params":null}]"#,
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut ids: Vec<String> = reply.events().iter().map(|event| id_bytes(&event.data)).collect();
    ids.sort();
    assert_eq!(ids, ["1", "2"]);
    let mut calls = [scripted.hold("1", "a"), scripted.hold("2", "b"), scripted.hold("3", "c")];
    scripted.say_only(
        &[
            r#"[{"jsonrpc":"2.0","id":<a>,"result":{},"error":null},null,7,{"id":<c>},"#,
            r#"{"jsonrpc":"2.0","id":<b>,"result":7,"error":{"code":1,"message":"both"}},"#,
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":null}]"#,
            "\n",
        ]
        .concat(),
    );
    assert_eq!(ended(&mut calls[0], "1", "the first"), json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    ended(&mut calls[1], "2", "the second");
    let events = scripted.say("");
    assert_eq!(events.len(), 1, "{events:?}");
    scripted.answer("c");
    answered(&mut calls[2], "3", "c");
}

// --- Bytes around the JSON ------------------------------------------------------------------------------------

/// What servers write around each of their lines (case 18 and its kind), the answer to initialize included.
#[test]
fn bytes_around_the_lines_of_a_server() {
    for each in [
        "<xEF><xBB><xBF><line>\n",
        "<x00><line>\n",
        "<line><x00>\n",
        "<x00><x00><line><x00><x00>\n",
        "<x1e><line>\n",
        "<x1b>[32m<line><x1b>[0m\n",
        "<x1b>[0;1;38;5;200m<x1b>[K<line><x1b>[39;49m\n",
        "<line>\r\n",
        " \t<line> \t\n",
        "\n\r\n<line>\n\n",
        "<x1b>[2K\r<line>\n",
        "<xEF><xBB><xBF><x1e><x1b>[1m<line><x1b>[m\r<x00>\n",
        "[<line>]\n",
    ] {
        let burdock = Burdock::with_child(&[], &["--script", "--each", each]);
        let mut client = burdock.client();
        client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
        assert!(answer_within(&mut client, AT_ONCE).is_some(), "{each:?}: no answer to initialize");
        let begun = Instant::now();
        let session = burdock.session(LATEST);
        let answer = session.call(1, "echo", json!({"text": "ü"}));
        assert_eq!(answer["result"]["content"][0]["text"], "ü", "{each:?}");
        let reply = session.post(&call(2, "log", json!({})));
        assert!(
            reply.events().iter().any(|event| event.data.contains("a log line")),
            "{each:?}: {}",
            reply.text()
        );
        for event in reply.events().iter().filter(|event| !event.data.is_empty()) {
            assert!(
                event.data.trim().starts_with('{') && event.data.trim().ends_with('}'),
                "{each:?}: {:?}",
                event.data
            );
        }
        assert!(begun.elapsed() < AT_ONCE, "{each:?}");
    }
}

/// What stands before a message on its line: the call ends or is answered, at once (`INFO: {json}`).
#[test]
fn a_prefix_on_the_lines_of_a_server() {
    for opening in [
        r#"INFO: {"jsonrpc":"2.0","id":<id>,"result":<result>}"#,
        r#"{"jsonrpc":"2.0","id":<id>,"result":<result>}{"jsonrpc":"2.0","method":"notifications/x"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/x"}{"jsonrpc":"2.0","id":<id>,"result":<result>}"#,
        r#"{"jsonrpc":"2.0","id":<id>,"id":<id>,"result":<result>}"#,
    ] {
        let reply = opened(&format!("{opening}\n"), "\"protocolVersion\"");
        assert!(matches!(reply.status, 200 | 502), "{opening}: {} {}", reply.status, reply.text());
    }
}

/// RFC 8259 8.1: a BOM before a body is ignored (case 18).
#[test]
fn a_bom_before_a_body() {
    let burdock = Burdock::with_child(&[], &[]);
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &format!("\u{feff}{}", initialize(LATEST)));
    assert_eq!(client.response().status, 200);
    let session = burdock.session(LATEST);
    let reply = session.post("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}");
    assert_eq!(reply.json(), json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    let reply = session.post("{\u{feff}\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}");
    assert_eq!(reply.status, 400, "in the middle it is no white space");
    let old = burdock.session("2025-03-26");
    assert_eq!(old.post("\u{feff}[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]").status, 200);
}

// --- Starts ---------------------------------------------------------------------------------------------------

/// Initializes a server that says `opening` to it; the answer must come at once, and quote `quoted` when it is 502.
#[track_caller]
fn opened(opening: &str, quoted: &str) -> Response {
    let burdock = Burdock::with_child(&[], &["--script", "--opening", opening]);
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    let reply = answer_within(&mut client, AT_ONCE).unwrap_or_else(|| panic!("{opening:?}: no answer"));
    if reply.status == 502 {
        assert_eq!(reply.json()["id"], 0, "{opening:?}");
        let text = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(text.contains(quoted), "{opening:?}: {text}");
    }
    reply
}

/// What was plainly meant as the answer to initialize and is none ends it at once, with that line.
#[test]
fn hopeless_starts() {
    for (opening, quoted) in [
        (
            "Content-Length: 170\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>}",
            "Content-Length: 170",
        ),
        ("content-length: 2\r\nContent-Type: x\r\n\r\n{}", "content-length"),
        (
            "Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}",
            "Content-",
        ),
        ("{\n  \"jsonrpc\": \"2.0\",\n  \"id\": <id>,\n  \"result\": <result>\n}\n", "{"),
        ("{\r\n\t\"id\": <id>,\r\n\t\"jsonrpc\": \"2.0\",\r\n\t\"result\": <result>\r\n}\r\n", "{"),
        ("{ \"jsonrpc\": \"2.0\",\n  \"id\": <id>,\n  \"result\": <result>\n}\n", "{ \"jsonrpc\": \"2.0\","),
        ("{\n \"result\": {\n  \"protocolVersion\": \"2025-11-25\"\n }, \"id\": <id>,\n", "protocolVersion"),
        ("{'jsonrpc': '2.0', 'id': <id>, 'result': {'protocolVersion': '2025-11-25'}}\n", "'jsonrpc'"),
        ("\"{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"id\\\":<id>,\\\"result\\\":{}}\"\n", "jsonrpc"),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32601,\"message\":\"x\"}}\n", "-32601"),
        ("{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32000,\"message\":\"x\"}}\n", "-32000"),
        ("{\"id\":<id>,\"result\":<result>}\n", "protocolVersion"),
        ("{\"jsonrpc\":\"1.0\",\"id\":<id>,\"result\":<result>}\n", "1.0"),
        ("{\"jsonrpc\":2.0,\"id\":<id>,\"result\":<result>}\n", "2.0"),
        ("<message>\n", "initialize"),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":{\"protocolVersion\":\"2025-11-25\",\"x\":NaN}}\n",
            "NaN",
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":{\"protocolVersion\":\"2025-11-25\",}}\n",
            "protocolVersion",
        ),
        ("{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":{\"x\":\"<xFF>\"}}\n", "jsonrpc"),
        ("{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":{\"protocolVersion\n", "protocolVersion"),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":<result>}\n", ""),
        ("{\"jsonrpc\":\"2.0\",\"result\":<result>}\n", ""),
        ("{\"jsonrpc\":\"2.0\",\"id\":<id>}\n", ""),
        ("{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":{},\"error\":{}}\n", ""),
        ("{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":null}\n", ""),
        ("{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":[]}\n", ""),
        ("{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":{\"protocolVersion\":null}}\n", "protocolVersion"),
        ("{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":{\"protocolVersion\":20251125}}\n", "protocolVersion"),
    ] {
        let reply = opened(opening, quoted);
        assert_eq!(reply.status, 502, "{opening:?}: {}", reply.text());
    }
}

/// The same where an answer might be made of it: it is taken or refused, but not waited for.
#[test]
fn starts_that_can_be_mended() {
    for opening in [
        // A carriage return is the only end of a line.
        "{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>}\r",
        "{\"JSONRPC\":\"2.0\",\"id\":<id>,\"result\":<result>}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>} done\n",
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"Parse error\"}}\n",
    ] {
        let reply = opened(opening, "");
        assert!(matches!(reply.status, 200 | 502), "{opening:?}: {}", reply.text());
    }
}

/// `cat` gives our own request back.
#[test]
fn cat_is_no_server() {
    let burdock = Burdock::serve(&["--", "cat"]);
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    let begun = Instant::now();
    let reply = client.response();
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert!(begun.elapsed() < AT_ONCE);
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("initialize"), "{}", reply.text());
}

/// A revision that is none is named as it came, blanks included (`"2025-11-25 "`).
#[test]
fn a_revision_with_a_blank() {
    for version in ["2025-11-25 ", " 2025-11-25", "2025-11-25\\n"] {
        let opening = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":{{\"protocolVersion\":\"{version}\",\"capabilities\":{{}}}}}}\n"
        );
        let reply = opened(&opening, "2025-11-25");
        if reply.status == 502 {
            assert!(!reply.text().contains("has no initialize"), "misleading: {}", reply.text());
        }
    }
}

/// The answer to initialize is taken from an array, in each revision (B10).
#[test]
fn the_answer_to_initialize_in_an_array() {
    for opening in [
        "[{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>}]\n",
        "[{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"},{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>}]\n",
        "[{\"bad\":1},{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>}]\n",
    ] {
        let reply = opened(opening, "");
        assert_eq!(reply.status, 200, "{opening:?}: {}", reply.text());
        assert_eq!(reply.json()["result"]["serverInfo"]["name"], "test-child", "{opening:?}");
    }
}

/// What good servers write before their answer is no answer: they are waited for.
#[test]
fn what_comes_before_the_answer() {
    for before in [
        "Starting server...\n",
        "{\"level\":30,\"msg\":\"listening\",\"id\":<id>}\n",
        "{ port: 3000 }\n",
        "[1,2,3]\n{}\n[]\n",
        "{\"id\":<id>,\"name\":\"banner\"}\n",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":1}}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":\"early\",\"method\":\"ping\"}\n",
        "{\"level\":30,\"jsonrpc\":\"2.0\",\"msg\":\"transport ready\"}\n",
        "{\n  \"error\": \"no config, using defaults\"\n}\n",
        "{\n  \"id\": 7,\n  \"msg\": \"x\"\n}\n",
        "{ sending: '{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>}' }\n",
        "\n \n\r\n\t\n",
        "<x1b>[1mBanner<x1b>[0m\n",
        "> server@1.0.0 start\n> node server.js\n\n",
        "INFO: ready\n2026-11-27 [info] {\"a\":1}\n",
    ] {
        for pause in ["", "<pause>"] {
            let opening = format!("{before}{pause}{{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>}}\n");
            let reply = opened(&opening, "");
            assert_eq!(reply.status, 200, "{opening:?}: {}", reply.text());
        }
    }
}

/// Good answers in forms that are seldom: all at once or byte by byte, with odd white space, twice, the last words.
#[test]
fn answers_in_seldom_forms() {
    let good = "{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>}";
    for opening in [
        format!("{good}\r\n"),
        format!("  \t{good} \t\n"),
        format!("{good}\n{good}\n"),
        "{ \"result\" : <result> , \"id\" : <id> , \"jsonrpc\" : \"2.0\" }\n".to_owned(),
        "{\"jsonrpc\":\"2.0\",<pause>\"id\":<pause><id>,\"result\":<pause><result>}<pause>\n".to_owned(),
        "{\"json\\u0072pc\":\"2.0\",\"\\u0069d\":<id>,\"resul\\u0074\":<result>}\n".to_owned(),
        format!("<xEF><xBB><xBF>{good}\n"),
    ] {
        let reply = opened(&opening, "");
        assert_eq!(reply.status, 200, "{opening:?}: {}", reply.text());
        assert!(reply.header("mcp-session-id").is_some());
    }
}

/// A server that answers initialize and exits: the answer arrives, and then the session is over.
#[test]
fn a_server_that_exits_after_its_answer() {
    let opening = "{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>}\n";
    let burdock = Burdock::with_child(&[], &["--script", "--opening", opening, "--then-exit"]);
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    let reply = client.response();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let id = reply.header("mcp-session-id").unwrap().to_owned();
    wait_for("the session's end", SOON, || {
        client.request("POST", "/mcp", &[BOTH, JSON, ("Mcp-Session-Id", &id)], &request("1", "ping", "{}"));
        (client.response().status == 404).then_some(())
    });
}

// --- Servers that drop in silence what they do not like -------------------------------------------------------

/// A message that MCP's schema does not allow is mended or refused by burdock (case 22): a server made with zod would
/// drop it without a word, and the call would wait for ever.
#[test]
fn messages_that_a_strict_server_drops() {
    let scripted = Scripted::with(LATEST, &["--strict"]);
    for body in [
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":null}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":{"_meta":null}}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":{"_meta":[]}}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":{"_meta":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":{"_meta":{"progressToken":null}}}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":{"_meta":{"progressToken":true}}}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":{"_meta":{"progressToken":1.5}}}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":[1]}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":7}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","params":{},"extra":1}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/list","_meta":{"a":1},"auth":"x","result":null}"#,
        r#"{"Jsonrpc":"2.0","jsonrpc":"2.0","id":4,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1790000000000000001,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":4.0,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":4}"#,
    ] {
        let begun = Instant::now();
        let reply = scripted.session.post(body);
        assert!(begun.elapsed() < AT_ONCE, "{body}");
        let answer: Value =
            if reply.header("content-type") == Some("application/json") { reply.json() } else { Value::Null };
        let code = answer["error"]["code"].as_i64();
        let refused = matches!(code, Some(-32602..=-32600));
        let served = answer["result"]["tools"].is_array();
        assert!(refused || served || reply.status == 400, "{body}: {} {}", reply.status, reply.text());
        // What means the same as good messages do is served.
        let mended = body.contains("params\":[]") || body.contains(":null") || body.contains("extra");
        assert!(!mended || served || body.contains("Token"), "{body}: {}", reply.text());
    }
    scripted.lives();
    assert!(
        !scripted.burdock.log().contains("dropped {"),
        "the server dropped a message: {}",
        scripted.burdock.log()
    );
}

/// `params` and `result` stay the bytes they were, whatever the envelope is mended of.
#[test]
fn what_is_mended_is_only_the_envelope() {
    let scripted = Scripted::new();
    for params in [
        r#"{"name":"echo","arguments":[],"x":null}"#,
        r#"{"name":"echo","arguments":null}"#,
        r#"{ "a" : 1.0 , "a" : 1e3, "id":null, "jsonrpc":null, "ü":"\u00fc" }"#,
    ] {
        let body = format!(
            r#"{{"error":null,"id":"i","extra":[{{"params":1}}],"params":{params},"jsonrpc":"2.0","method":"test/params"}}"#
        );
        let reply = scripted.session.post(&body);
        assert_eq!(reply.json()["result"]["params"], params, "{}", reply.text());
    }
    let result = r#"{ "a" : 1.0 , "a" : 1e3, "id":null, "error":null, "ü":"\u00fc" }"#;
    let mut call = scripted.hold("1", "a");
    scripted.say_only(&format!(r#"{{"error":null,"x":1,"result":{result},"id":<a>,"jsonrpc":"2.0"}}"#));
    scripted.say_only("\n");
    let message = last_message(&call.response());
    assert!(message.contains(result), "{message}");
    assert!(!message.contains("\"x\""), "{message}");
}
