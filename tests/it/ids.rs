//! Ids and progress tokens: whatever clients and servers do with them, each answer reaches its own call, under the
//! bytes that the caller gave.
//!
//! Design 9: a server never sees a client's id. Calls are held by the test child and answered in the order and the
//! form that a test wants.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use crate::scripted::*;
use crate::support::*;

fn cancelled(request_id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{request_id},"reason":"test"}}}}"#
    )
}

/// The ids of the requests of this method that the server has read, as JSON.
fn ids_at_server(scripted: &Scripted, method: &str, count: usize) -> Vec<String> {
    scripted.heard(method, count).iter().map(|line| id_bytes(line)).collect()
}

// --- The client's ids and the server's numbers ----------------------------------------------------------------

/// Claude numbers each chat from 1 (case 2): calls with one id at one time have answers of their own.
#[test]
fn two_calls_with_one_id_have_their_own_answers() {
    let scripted = Scripted::new();
    for order in [["a", "b"], ["b", "a"]] {
        let mut calls = [scripted.hold("1", "a"), scripted.hold("1", "b")];
        order.into_iter().for_each(|name| scripted.answer(name));
        answered(&mut calls[0], "1", "a");
        answered(&mut calls[1], "1", "b");
    }
}

/// L44: the answer to a cancelled request is ignored, also when the client has used its id again (case 2b).
#[test]
fn an_id_used_again_after_a_cancel_gets_the_second_answer() {
    let scripted = Scripted::new();
    for late_answer_first in [true, false] {
        let _first = scripted.hold("7", "first");
        assert_eq!(scripted.session.post(&cancelled("7")).status, 202);
        let mut second = scripted.hold("7", "second");
        if late_answer_first {
            scripted.answer("first");
        }
        scripted.answer("second");
        answered(&mut second, "7", "second");
        scripted.answer("first");
        scripted.lives();
    }
}

/// L45: progress reaches the call whose token it is, when two calls chose the same one (case 2c).
#[test]
fn two_calls_with_one_progress_token_have_their_own_progress() {
    let scripted = Scripted::new();
    for token in ["5", r#""t""#] {
        let mut calls =
            [scripted.hold_with_token("1", "a", token), scripted.hold_with_token("2", "b", token)];
        for (name, progress) in [("b", 1), ("a", 2), ("b", 3)] {
            scripted.say(&progress_of(&format!("<{name}:token>"), progress));
        }
        scripted.answer("a");
        scripted.answer("b");
        assert_eq!(progress_events(&mut calls[0], token), [2]);
        assert_eq!(progress_events(&mut calls[1], token), [1, 3]);
    }
}

fn progress_of(token: &str, progress: u32) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{progress}}}}}"#
    )
}

/// What a call's stream had of progress, each event under the token as the client gave it.
#[track_caller]
fn progress_events(client: &mut Client, token: &str) -> Vec<i64> {
    let reply = client.response();
    let events = if reply.is_stream() { reply.events() } else { Vec::new() };
    let progress = events.iter().filter(|event| event.data.contains("notifications/progress"));
    progress
        .map(|event| {
            assert!(event.data.contains(&format!("\"progressToken\":{token}")), "{event:?}");
            event.json()["params"]["progress"].as_i64().unwrap()
        })
        .collect()
}

/// L11: whatever a client takes for an id comes back byte for byte.
#[test]
fn ids_come_back_byte_for_byte() {
    let scripted = Scripted::new();
    let long = format!("\"{}\"", "i".repeat(256));
    for id in [
        "0",
        "-1",
        "-0",
        r#""""#,
        r#""7""#,
        r#""-7""#,
        r#""7.0""#,
        r#""1e3""#,
        r#""\u0061""#,
        r#""\ud83d\ude00 \" \\ \/ \n""#,
        r#""ü\u0000""#,
        r#""null""#,
        "7.0",
        "1e3",
        "1E+3",
        "-0.0",
        "9007199254740993",
        "1790000000000000001",
        "9223372036854775807",
        "-9223372036854775808",
        &long,
    ] {
        let begun = Instant::now();
        let reply = scripted.session.post(&request(id, "ping", "{}"));
        assert_eq!(reply.status, 200, "{id}: {}", reply.text());
        assert!(begun.elapsed() < AT_ONCE, "{id}");
        assert_eq!(id_bytes(&last_message(&reply)), id);
    }
}

/// An id that is none, or longer than burdock keeps, is refused at once, and the text says what is wrong with it.
#[test]
fn ids_that_are_refused() {
    let scripted = Scripted::new();
    for id in ["null", "true", "[]", "[1]", "{}", r#"{"id":1}"#] {
        let reply = scripted.session.post(&request(id, "ping", "{}"));
        assert_eq!(reply.status, 400, "{id}: {}", reply.text());
    }
    let reply = scripted.session.post(&request(&format!("\"{}\"", "i".repeat(257)), "ping", "{}"));
    assert_eq!(reply.status, 400);
    assert!(!reply.text().contains("must be a string or an integer"), "it is a string: {}", reply.text());
    // Numbers that no integer is: refused or answered, but not left open.
    for id in ["7.5", "1e400", "-1e-400", "123456789012345678901234567890", "1e18", "18446744073709551615"] {
        let begun = Instant::now();
        let reply = scripted.session.post(&request(id, "ping", "{}"));
        assert!(begun.elapsed() < AT_ONCE, "{id}");
        assert!(reply.status == 400 || id_bytes(&last_message(&reply)) == id, "{id}: {}", reply.text());
    }
    scripted.lives();
}

/// A server sees numbers of burdock's, each once in its life, all of them small enough for JavaScript.
#[test]
fn a_number_is_never_given_twice() {
    let scripted = Scripted::new();
    for round in 0..5 {
        let mut calls: Vec<Client> =
            (0..4).map(|call| scripted.hold("1790000000000000001", &format!("{round}-{call}"))).collect();
        assert_eq!(scripted.session.post(&cancelled("1790000000000000001")).status, 202);
        for (call, client) in calls.iter_mut().enumerate() {
            let name = format!("{round}-{call}");
            scripted.answer(&name);
            answered(client, "1790000000000000001", &name);
        }
    }
    let ids = ids_at_server(&scripted, "\"id\":", 20);
    let numbers: BTreeSet<u64> = ids.iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(numbers.len(), ids.len(), "given twice: {ids:?}");
    assert!(numbers.iter().all(|number| *number < 1 << 53), "{numbers:?}");
}

/// Several clients of one session that use the same ids and tokens, with answers in any order.
#[test]
fn interleaved_clients() {
    let scripted = Scripted::new();
    let name = |client: usize, call: usize| format!("c{client}-{call}");
    let mut calls = Vec::new();
    for call in 0..8 {
        for client in 0..3 {
            let id = call.to_string();
            calls.push((
                client,
                call,
                scripted.hold_with_token(&id, &name(client, call), &(call % 2).to_string()),
            ));
        }
    }
    // 7 and 24 have no common divisor: every call once, in another order than they came.
    for turn in 0..calls.len() {
        let (client, call, _) = calls[turn * 7 % calls.len()];
        scripted.answer(&name(client, call));
    }
    for (client, call, reply) in &mut calls {
        answered(reply, &call.to_string(), &name(*client, *call));
    }
}

/// L7: in a batch, too, an id may stand twice, and an answer may come in an array, under another form of its id.
#[test]
fn a_batch_with_an_id_twice() {
    let scripted = Scripted::with("2025-03-26", &[]);
    let hold = |name: &str| {
        request("1", "tools/call", &format!(r#"{{"name":"hold","arguments":{{"as":"{name}"}}}}"#))
    };
    let mut batch = scripted.session.start(&format!("[{},{}]", hold("a"), hold("b")));
    for name in ["a", "b"] {
        scripted.session.call(2, "held", json!({"as": name}));
    }
    let answer =
        |name: &str, id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"from":"{name}"}}}}"#);
    scripted.say(&format!(r#"[{},{},{{"id":<a>}},7]"#, answer("b", "<b>.0"), answer("a", "\"<a>\"")));
    let mut from: Vec<String> = batch
        .response()
        .events()
        .iter()
        .filter(|event| !event.data.is_empty())
        .map(|event| {
            assert_eq!(id_bytes(&event.data), "1");
            event.json()["result"]["from"].as_str().unwrap().to_owned()
        })
        .collect();
    from.sort();
    assert_eq!(from, ["a", "b"]);
}

// --- Answers under another form of their id -------------------------------------------------------------------

/// Servers that keep ids as floats or texts (case 12): the answer is found by the value of its id.
#[test]
fn answers_whose_id_has_another_form() {
    for ids in ["<id>.0", "\"<id>\"", "<id>e0", "<id>.000", " <id> ", "\"<id>.0\""] {
        let burdock = Burdock::with_child(&[], &["--script", "--ids", ids]);
        let begun = Instant::now();
        let session = burdock.session(LATEST);
        for id in [json!(0), json!("0"), json!(5), json!("x")] {
            let reply = session.post(&request(&id.to_string(), "ping", "{}"));
            assert_eq!(reply.json(), json!({"jsonrpc": "2.0", "id": id, "result": {}}), "{ids}");
        }
        assert!(begun.elapsed() < SOON, "{ids}");
    }
}

/// The initialize of a client is answered under its own bytes, also when the server changes the form.
#[test]
fn the_id_of_initialize() {
    for form in ["<id>", "<id>.0", "\"<id>\""] {
        let opening = format!("{{\"jsonrpc\":\"2.0\",\"id\":{form},\"result\":<result>}}\n");
        let burdock = Burdock::with_child(&[], &["--script", "--opening", &opening]);
        for id in ["0", r#""0""#, r#""\u0061""#, "0.0", "-5", "1790000000000000001"] {
            let message = initialize(LATEST).replace("\"id\":0", &format!("\"id\":{id}"));
            let mut client = burdock.client();
            client.request("POST", "/mcp", &[BOTH, JSON], &message);
            let begun = Instant::now();
            let reply = client.response();
            assert_eq!(reply.status, 200, "{form} {id}: {}", reply.text());
            assert!(begun.elapsed() < AT_ONCE, "{form} {id}");
            assert_eq!(id_bytes(&last_message(&reply)), id, "{form}");
        }
    }
}

/// An answer to nothing is a warning with its id and the number of calls that wait, and touches none of them.
#[test]
fn answers_to_nothing() {
    let scripted = Scripted::new();
    let mut calls = [scripted.hold("1", "a"), scripted.hold("2", "b")];
    for id in ["77", "-1", r#""""#, "1.5", r#""abc""#, "77.0", "1e300", "1e999", r#""77""#, r#""<a>x""#] {
        scripted.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"from":"nobody"}}}}"#));
        scripted.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"nobody"}}}}"#));
    }
    scripted.answer("b");
    answered(&mut calls[1], "2", "b");
    scripted.answer("a");
    answered(&mut calls[0], "1", "a");
    scripted.warned(&["answered 77,", "2 requests wait"]);
}

/// The second of two answers to one call is dropped, and so is the answer to a call that was cancelled.
#[test]
fn answers_that_come_twice_or_too_late() {
    let scripted = Scripted::new();
    let mut other = scripted.hold("9", "other");
    for _ in 0..3 {
        let mut call = scripted.hold("9", "twice");
        scripted.answer("twice");
        answered(&mut call, "9", "twice");
        scripted.answer("twice");
        let _gone = scripted.hold("9", "gone");
        // It fits two calls: neither ends. The server may answer both.
        assert_eq!(scripted.session.post(&cancelled("9")).status, 202);
        scripted.answer("gone");
        scripted.answer("gone");
    }
    scripted.answer("other");
    answered(&mut other, "9", "other");
}

/// An error whose id is null or empty names no call (case 3's neighbours).
#[test]
fn an_error_with_an_empty_id() {
    let scripted = Scripted::new();
    let mut call = scripted.hold("1", "a");
    scripted.say(r#"{"jsonrpc":"2.0","id":"","error":{"code":-32700,"message":"empty"}}"#);
    scripted.answer("a");
    answered(&mut call, "1", "a");
}

// --- cancelled ------------------------------------------------------------------------------------------------

/// A client that cancels by another form of its id means the same call (case 12n); the server hears its own number.
#[test]
fn cancelled_by_value() {
    let scripted = Scripted::new();
    for (id, form) in
        [("1", "1.0"), ("2", r#""2""#), (r#""3""#, "3"), ("4", "4e0"), (r#""\u0061""#, r#""a""#)]
    {
        let mut call = scripted.hold(id, "a");
        let heard = scripted.heard("notifications/cancelled", 0).len();
        let begun = Instant::now();
        assert_eq!(scripted.session.post(&cancelled(form)).status, 202);
        let told = scripted.heard("notifications/cancelled", heard + 1).pop().unwrap();
        let hold = scripted.heard(r#""name":"hold""#, 1).pop().unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["params"]["requestId"].to_string(), id_bytes(&hold), "{form}");
        assert_eq!(told["params"]["reason"], "test");
        // The call ends without a response (L44).
        let reply = call.response();
        assert!(begun.elapsed() < AT_ONCE, "{form}");
        assert!(!String::from_utf8(reply.body).unwrap().contains("result"), "{form}");
    }
}

/// A `cancelled` that fits several calls, or none, or is no JSON-RPC, touches no call.
#[test]
fn a_cancelled_that_names_no_single_call() {
    let scripted = Scripted::new();
    let mut calls = [
        scripted.hold("1", "a"),
        scripted.hold("1", "b"),
        scripted.hold(r#""2""#, "c"),
        scripted.hold("2.0", "d"),
    ];
    for id in
        ["1", "1.0", r#""1""#, "2", "3", "null", "true", "{}", "[]", "[1]", r#"{"id":1}"#, "1.5", r#""""#]
    {
        assert_eq!(scripted.session.post(&cancelled(id)).status, 202, "{id}");
    }
    for params in ["{}", "[]", "null"] {
        let note = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#);
        assert_eq!(scripted.session.post(&note).status, 202, "{params}");
    }
    assert_eq!(scripted.session.post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#).status, 202);
    for ((name, id), call) in
        [("a", "1"), ("b", "1"), ("c", r#""2""#), ("d", "2.0")].into_iter().zip(&mut calls)
    {
        scripted.answer(name);
        answered(call, id, name);
    }
    scripted.warned(&["notifications/cancelled", "fits several requests"]);
}

/// The exact id comes before its value: `"2"` is cancelled, 2 goes on.
#[test]
fn cancelled_by_the_exact_id_first() {
    let scripted = Scripted::new();
    let mut calls = [scripted.hold("2", "number"), scripted.hold(r#""2""#, "text")];
    assert_eq!(scripted.session.post(&cancelled(r#""2""#)).status, 202);
    let reply = calls[1].response();
    assert!(!String::from_utf8(reply.body).unwrap().contains("result"));
    scripted.answer("text");
    scripted.answer("number");
    answered(&mut calls[0], "2", "number");
}

// --- Progress tokens ------------------------------------------------------------------------------------------

/// L45: the client hears its own token, byte for byte, whatever form the server gives it (case 12n).
#[test]
fn tokens_come_back_byte_for_byte() {
    let scripted = Scripted::new();
    for token in
        ["0", r#""""#, "5", "5.0", r#""5""#, "-1", r#""\u0061""#, "1790000000000000001", r#""ü \" ""#]
    {
        let mut call = scripted.hold_with_token("1", "a", token);
        for (progress, form) in (1..).zip(["<a:token>", "<a:token>.0", "\"<a:token>\""]) {
            scripted.say(&progress_of(form, progress));
        }
        scripted.answer("a");
        assert_eq!(progress_events(&mut call, token), [1, 2, 3], "{token}");
    }
}

/// A token of a call that is over, or of none, is on no other call's stream (L45).
#[test]
fn tokens_of_no_call() {
    let scripted = Scripted::new();
    let mut over = scripted.hold_with_token("1", "over", "5");
    scripted.answer("over");
    answered(&mut over, "1", "over");
    let mut call = scripted.hold_with_token("2", "a", "6");
    for token in ["<over:token>", "77", "6", "\"\""] {
        scripted.say(&progress_of(token, 1));
    }
    scripted.say(&progress_of("<a:token>", 2));
    scripted.answer("a");
    assert_eq!(progress_events(&mut call, "6"), [2]);
}

/// A token that is none does not cost the call anything.
#[test]
fn tokens_that_are_none() {
    let scripted = Scripted::new();
    for token in ["null", "true", "[]", "{}", r#"{"progressToken":1}"#, "2.5", "1e999"] {
        let params =
            format!(r#"{{"name":"echo","arguments":{{"text":"x"}},"_meta":{{"progressToken":{token}}}}}"#);
        let begun = Instant::now();
        let reply = scripted.session.post(&request("1", "tools/call", &params));
        assert!(begun.elapsed() < AT_ONCE, "{token}");
        let refused = reply.status == 400 || reply.json()["error"]["code"] == -32602;
        assert!(refused || reply.json()["result"].is_object(), "{token}: {}", reply.text());
    }
    scripted.lives();
}

/// A task's id and what else stands in `_meta` passes as it is (T5), beside the token and where it looks like one.
#[test]
fn what_stands_beside_the_token_is_unchanged() {
    let scripted = Scripted::new();
    let before = r#"{"name":"heard","x":{"progressToken":9},"arguments":{"progressToken":"mine","requestId":4},"_meta":{ "io.modelcontextprotocol/related-task":{"taskId":"1"}, "progressToken" : 7.00 , "z":null}}"#;
    let reply = scripted.session.post(&request("1", "test/params", before)).json();
    let seen = reply["result"]["params"].as_str().unwrap();
    let (head, tail) = before.split_once("7.00").unwrap();
    assert!(seen.starts_with(head) && seen.ends_with(tail), "{seen}");
}

// --- Requests of the server -----------------------------------------------------------------------------------

fn ask(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{"message":"?"}}}}"#)
}

fn answer(id: &str, text: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept","content":{{"x":"{text}"}}}}}}"#)
}

/// The id under which the server heard an answer that contains `text`.
fn answered_to_server(scripted: &Scripted, text: &str) -> String {
    id_bytes(&scripted.heard(text, 1)[0])
}

/// A request of the server with this id, as the client gets it on the standalone stream: its id there.
fn asked(scripted: &Scripted, id: &str) -> String {
    let events = scripted.say(&ask(id));
    let event = events.iter().find(|event| event.data.contains("elicitation/create"));
    id_bytes(&event.unwrap_or_else(|| panic!("not asked: {id}")).data)
}

/// L50: a server's id comes back to it byte for byte.
#[test]
fn a_server_gets_its_own_ids_back() {
    let scripted = Scripted::new();
    for (index, id) in
        ["0", "1", r#""1""#, "1.0", "1e2", r#""\u0061""#, r#""""#, "-7", "1790000000000000001", r#""ü \" ""#]
            .into_iter()
            .enumerate()
    {
        let seen = asked(&scripted, id);
        assert_eq!(scripted.session.post(&answer(&seen, &format!("given {index}!"))).status, 202);
        assert_eq!(answered_to_server(&scripted, &format!("given {index}!")), id);
    }
}

/// L50: a client's answer under another form of the id reaches the server that asked, under the server's bytes (12n).
#[test]
fn clients_that_answer_under_another_form() {
    let scripted = Scripted::new();
    for (index, (id, forms)) in
        [("3", ["3.0", r#""3""#, "3e0"]), (r#""4""#, ["4", "4.0", r#""\u0034""#])].into_iter().enumerate()
    {
        for (form_index, form) in forms.into_iter().enumerate() {
            let seen = asked(&scripted, id);
            // What the client saw, in the same other form.
            let form = if seen == id { form.to_owned() } else { format!("{seen}.0") };
            let text = format!("{index}/{form_index}.");
            assert_eq!(scripted.session.post(&answer(&form, &text)).status, 202, "{form}");
            assert_eq!(answered_to_server(&scripted, &text), id, "{form}");
        }
    }
}

/// L45: progress of the client on a request of the server comes under the server's token, whatever form the client
/// gives it.
#[test]
fn progress_of_a_client() {
    let scripted = Scripted::new();
    for (index, (token, form)) in
        [("5", "5"), ("6", "6.0"), ("7", r#""7""#), (r#""8""#, "8"), (r#""t""#, r#""\u0074""#)]
            .into_iter()
            .enumerate()
    {
        let ask = format!(
            r#"{{"jsonrpc":"2.0","id":"ask {index}","method":"roots/list","params":{{"_meta":{{"progressToken":{token}}}}}}}"#
        );
        let events = scripted.say(&ask);
        let seen = &events[0].data;
        // Kept as it is, or one of ours: then the client gives that back.
        let form = if seen.contains(&format!("\"progressToken\":{token}}}")) {
            form.to_owned()
        } else {
            events[0].json()["params"]["_meta"]["progressToken"].to_string()
        };
        assert_eq!(scripted.session.post(&progress_of(&form, 40 + index as u32)).status, 202);
        let heard = scripted.heard(&format!("\"progress\":4{index}"), 1).pop().unwrap();
        assert!(heard.contains(&format!("\"progressToken\":{token},")), "{form}: {heard}");
    }
}

/// Asks 1 and "1" are two; an answer that fits both by value only is nobody's.
#[test]
fn asks_whose_ids_have_one_value() {
    let scripted = Scripted::new();
    let (number, text) = (asked(&scripted, "1"), asked(&scripted, r#""1""#));
    assert_ne!(number, text);
    if (number.as_str(), text.as_str()) == ("1", r#""1""#) {
        assert_eq!(scripted.session.post(&answer("1.0", "for both")).status, 202);
    }
    assert_eq!(scripted.session.post(&answer(&text, "for the text")).status, 202);
    assert_eq!(answered_to_server(&scripted, "for the text"), r#""1""#);
    assert_eq!(scripted.session.post(&answer(&number, "for the number")).status, 202);
    assert_eq!(answered_to_server(&scripted, "for the number"), "1");
    assert_eq!(scripted.heard("for both", 0), Vec::<String>::new());
}

/// A server's request and a client's with the same number have nothing to do with each other (13, `ask-null-params`).
#[test]
fn a_request_of_the_server_with_the_number_of_a_call() {
    let scripted = Scripted::new();
    let mut call = scripted.hold("1", "a");
    let mut events = scripted.say(&ask("<a>"));
    if events.is_empty() {
        call.head();
        events.push(next_message(&mut call));
        let seen = id_bytes(&events[0].data);
        assert_eq!(scripted.session.post(&answer(&seen, "to the ask")).status, 202);
        assert_eq!(scripted.heard("to the ask", 1).len(), 1);
        scripted.answer("a");
        assert_eq!(next_message(&mut call).json()["result"]["from"], "a");
    } else {
        let seen = id_bytes(&events[0].data);
        assert_eq!(scripted.session.post(&answer(&seen, "to the ask")).status, 202);
        assert_eq!(scripted.heard("to the ask", 1).len(), 1);
        scripted.answer("a");
        answered(&mut call, "1", "a");
    }
}

/// L44: a server that cancels its request names it as the client saw it.
#[test]
fn a_server_cancels_its_request() {
    let scripted = Scripted::new();
    for (id, form) in [("5", "5"), (r#""q""#, r#""q""#), ("6", "6.0"), ("7", r#""7""#)] {
        let seen = asked(&scripted, id);
        let events = scripted.say(&cancelled(form));
        assert_eq!(events.len(), 1, "{form}: {events:?}");
        assert_eq!(events[0].json()["params"]["requestId"].to_string(), seen.replace(".0", ""), "{form}");
        // The answer comes too late: nobody waits for it.
        assert_eq!(scripted.session.post(&answer(&seen, "too late")).status, 202);
    }
    scripted.lives();
}
