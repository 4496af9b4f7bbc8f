//! Servers written in Rust: the demo, the conformance server and some that behave badly, from the outside.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clients::{node_dir, tools_are_installed};
use crate::support::{BOTH, Burdock, Client, JSON, SOON, Session, call, example, initialize, wait_for};

const LATEST: &str = "2025-11-25";

/// The server that behaves badly.
fn handlers(threads: &str) -> Burdock {
    Burdock::run(example("test-handlers"), &["127.0.0.1:0", threads], |_| {})
}

fn request(id: i64, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

fn ask(session: &Session, id: i64, method: &str, params: Value) -> Value {
    session.post(&request(id, method, params)).json()
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// L38, L39, L41: what `initialize` answers, and what is declared.
#[test]
fn the_demo_says_what_it_is_and_can() {
    let burdock = Burdock::serve(&[]);
    for (asked, agreed) in
        [("2025-03-26", "2025-03-26"), ("2025-06-18", "2025-06-18"), ("2026-07-28", LATEST), ("x", LATEST)]
    {
        let answer = burdock.session(asked).answer;
        assert_eq!(answer["result"]["protocolVersion"], agreed);
        assert_eq!(answer["result"]["serverInfo"]["name"], "demo");
        assert!(answer["result"]["instructions"].is_string());
        assert_eq!(
            answer["result"]["capabilities"],
            json!({"tools": {"listChanged": true}, "resources": {"listChanged": true, "subscribe": true},
                   "prompts": {"listChanged": true}, "logging": {}})
        );
    }
    let session = burdock.session(LATEST);
    let tools = ask(&session, 1, "tools/list", json!({}));
    let names: Vec<_> =
        tools["result"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["echo", "counter", "slow", "ask", "notify"]);
    let schema = &tools["result"]["tools"][0]["inputSchema"];
    assert_eq!((&schema["type"], &schema["required"]), (&json!("object"), &json!(["text"])));
    assert_eq!(schema["properties"]["text"]["description"], "What to say.");
    assert_eq!(text(&session.call(2, "echo", json!({"text": "a\n\u{1F333}"}))), "a\n\u{1F333}");
    assert_eq!(ask(&session, 3, "ping", json!({}))["result"], json!({}), "L43");
    let prompt = ask(&session, 4, "prompts/get", json!({"name": "greet", "arguments": {"name": "Ada"}}));
    assert!(prompt["result"]["messages"][0]["content"]["text"].as_str().unwrap().contains("Ada"), "{prompt}");
}

/// A handler's refusal of `initialize` is the answer to it, at once.
#[test]
fn an_initialize_that_does_not_fit_is_refused_at_once() {
    let burdock = Burdock::serve(&[]);
    for params in [
        json!({}),
        json!({"protocolVersion": 1}),
        json!({"protocolVersion": LATEST, "clientInfo": {"name": 5}}),
        json!({"protocolVersion": LATEST, "capabilities": {"experimental": {"x": "x".repeat(20_000)}}}),
    ] {
        let request = json!({"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": params});
        let mut client = burdock.client();
        client.request("POST", "/mcp", &[BOTH, JSON], &request.to_string());
        let answer = client.response().json();
        assert!(answer["error"]["code"] == -32602 && answer["id"] == "i", "{params}: {answer}");
    }
}

/// L54: each kind of mistake has its answer, and none ends the session.
#[test]
fn mistakes_are_answered_each_in_its_way() {
    let burdock = Burdock::serve(&[]);
    let (new, old) = (burdock.session(LATEST), burdock.session("2025-06-18"));
    for (method, params, code) in [
        ("tools/call", json!({"name": "nosuch"}), -32602),
        ("tools/call", json!({"arguments": {}}), -32602),
        ("tools/call", json!(5), -32600),
        ("tools/list", json!({"cursor": "nosuch"}), -32602),
        ("prompts/get", json!({"name": "nosuch"}), -32602),
        ("prompts/get", json!({"name": "greet"}), -32602),
        ("resources/read", json!({"uri": "demo://nosuch"}), -32002),
        ("resources/subscribe", json!({"uri": "demo://nosuch"}), -32002),
        ("logging/setLevel", json!({"level": "loud"}), -32602),
        ("completion/complete", json!({}), -32601),
        ("nosuch", json!({}), -32601),
        ("initialize", json!({"protocolVersion": LATEST}), -32600),
    ] {
        let answer = ask(&new, 7, method, params.clone());
        let code_found = &answer["error"]["code"];
        assert!(*code_found == code && (answer["id"] == 7 || code == -32600), "{method} {params}: {answer}");
    }
    let misfit = new.call(8, "echo", json!({"text": 5}));
    assert!(misfit["result"]["isError"] == true && text(&misfit).contains("string"), "{misfit}");
    assert_eq!(old.call(8, "echo", json!({"text": 5}))["error"]["code"], -32602);
    assert_eq!(text(&new.call(9, "echo", json!({"text": "still here"}))), "still here");
}

/// L45: progress only for a token, and only rising.
#[test]
fn progress_rises_and_needs_a_token() {
    let burdock = handlers("2");
    let session = burdock.session(LATEST);
    let events = session.post(&call(1, "falling", json!({}))).events();
    let messages: Vec<Value> =
        events.iter().filter(|event| !event.data.is_empty()).map(|event| event.json()).collect();
    let told: Vec<_> =
        messages.iter().filter(|message| message["method"] == "notifications/progress").collect();
    assert_eq!(
        told.iter().map(|told| told["params"]["progress"].as_f64().unwrap()).collect::<Vec<_>>(),
        [1.0, 3.0, 4.0]
    );
    assert!(told.iter().all(|told| told["params"]["progressToken"] == "token-1"));
    let without = session.post(&request(2, "tools/call", json!({"name": "falling"})));
    assert!(!without.is_stream(), "{}", without.text());
}

/// L47, L48, L50: a form goes out on the call's stream, the answer comes in another POST; who did not declare that it
/// can is not asked.
#[test]
fn a_form_is_answered_by_another_post() {
    let burdock = Burdock::serve(&[]);
    let session = burdock.session(LATEST);
    for (answer, expected) in [
        (json!({"action": "accept", "content": {"answer": "Ada"}}), "They said: Ada"),
        (json!({"action": "decline"}), "They said no."),
        (json!({"action": "cancel"}), "They did not say."),
    ] {
        let mut calling = session.start(&call(1, "ask", json!({"question": "Who?"})));
        assert!(calling.head().is_stream());
        assert_eq!(calling.event().unwrap().data, "");
        let form = calling.event().unwrap().json();
        assert_eq!(
            (&form["method"], &form["params"]["message"]),
            (&json!("elicitation/create"), &json!("Who?"))
        );
        let reply = json!({"jsonrpc": "2.0", "id": form["id"], "result": answer}).to_string();
        assert_eq!(session.post(&reply).status, 202);
        let answer = calling.event().unwrap().json();
        assert_eq!((answer["id"].as_i64(), text(&answer)), (Some(1), expected));
        assert_eq!(calling.event(), None);
    }
    let plain = without_capabilities(&burdock);
    let refused = plain.call(1, "ask", json!({}));
    assert!(refused["result"]["isError"] == true && text(&refused).contains("did not declare"), "{refused}");
}

/// A session of a client that can be asked nothing.
fn without_capabilities(burdock: &Burdock) -> Session {
    let mut initialize: Value = serde_json::from_str(&initialize(LATEST)).unwrap();
    initialize["params"]["capabilities"] = json!({});
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize.to_string());
    let response = client.response();
    let mut session = burdock.session(LATEST);
    session.id = response.header("mcp-session-id").unwrap().to_owned();
    session
}

/// L46: a question nobody answers ends, and the client is told so; L44: so does one whose call was cancelled.
#[test]
fn questions_are_taken_back() {
    let burdock = handlers("2");
    let session = burdock.session(LATEST);
    let mut standalone = session.get(None);
    assert!(standalone.head().is_stream());
    let mut calling = session.start(&call(1, "impatient", json!({})));
    calling.head();
    calling.event();
    let form = calling.event().unwrap().json();
    let cancelled = calling.event().unwrap().json();
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], form["id"]);
    assert!(text(&calling.event().unwrap().json()).contains("in time"));

    let mut calling = session.start(&call(2, "impatient", json!({})));
    calling.head();
    calling.event();
    let form = calling.event().unwrap().json();
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
    assert_eq!(session.post(&cancel.to_string()).status, 202);
    standalone.event();
    let cancelled = standalone.event().unwrap().json();
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], form["id"]);
    assert_eq!(text(&session.call(3, "quick", json!({}))), "quick");
}

/// L51, L52: changes are told on the standalone stream, of resources only to who subscribed.
#[test]
fn changes_are_told_to_who_wants_to_know() {
    let burdock = Burdock::serve(&[]);
    let (one, other) = (burdock.session(LATEST), burdock.session(LATEST));
    let mut streams: Vec<Client> = [&one, &other].map(|session| session.get(None)).into();
    for stream in &mut streams {
        assert!(stream.head().is_stream());
        stream.event();
    }
    assert_eq!(ask(&one, 1, "resources/subscribe", json!({"uri": "demo://count"}))["result"], json!({}));
    for session in [&one, &other] {
        assert_eq!(text(&session.call(2, "counter", json!({}))), "1");
        session.call(3, "notify", json!({}));
    }
    let updated = streams[0].event().unwrap().json();
    assert_eq!(updated["method"], "notifications/resources/updated");
    assert_eq!(updated["params"]["uri"], "demo://count");
    for stream in &mut streams {
        assert_eq!(stream.event().unwrap().json()["method"], "notifications/tools/list_changed");
    }
    let read = ask(&one, 4, "resources/read", json!({"uri": "demo://count"}));
    assert_eq!(
        read["result"]["contents"][0],
        json!({"uri": "demo://count", "mimeType": "text/plain", "text": "1"})
    );
    ask(&one, 5, "resources/unsubscribe", json!({"uri": "demo://count"}));
    one.call(6, "counter", json!({}));
    one.call(7, "notify", json!({}));
    assert_eq!(streams[0].event().unwrap().json()["method"], "notifications/tools/list_changed");
}

/// L53: the client says from which level on it wants log messages.
#[test]
fn logs_are_told_from_the_level_that_was_set() {
    let server = Burdock::run(example("conformance"), &["--listen", "127.0.0.1:0"], |_| {});
    let session = server.session(LATEST);
    let logged = |id| {
        let answer = session.post(&call(id, "test_tool_with_logging", json!({})));
        answer.text().matches("notifications/message").count()
    };
    assert_eq!(logged(1), 3);
    assert_eq!(ask(&session, 2, "logging/setLevel", json!({"level": "warning"}))["result"], json!({}));
    assert_eq!(logged(3), 0);
}

/// A page has as many entries as the server says, and its cursor leads to the next.
#[test]
fn lists_come_in_pages() {
    let burdock = handlers("2");
    let session = burdock.session(LATEST);
    let (mut names, mut cursor) = (Vec::new(), None::<String>);
    for page in 0.. {
        let params = cursor.map_or(json!({}), |cursor| json!({"cursor": cursor}));
        let answer = ask(&session, page, "tools/list", params);
        let tools = answer["result"]["tools"].as_array().unwrap();
        assert!(tools.len() <= 2);
        names.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
        cursor = answer["result"]["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names, ["quick", "block", "cling", "panic", "impatient", "falling"]);
}

/// A call that detaches ends its stream, and its answer waits; without priming events (L13) nothing happens.
#[test]
fn a_detached_call_is_resumed() {
    let server = Burdock::run(example("conformance"), &["--listen", "127.0.0.1:0"], |_| {});
    detach_and_resume(&server);
}

/// The same server over stdio, behind burdock.
#[test]
fn a_detached_call_of_a_child_is_resumed() {
    detach_and_resume(&Burdock::serve(&["--", &example("conformance"), "--stdio"]));
}

fn detach_and_resume(server: &Burdock) {
    let session = server.session(LATEST);
    let mut calling = session.start(&call(1, "test_reconnection", json!({})));
    assert!(calling.head().is_stream());
    let mut last = None;
    while let Some(event) = calling.event() {
        assert_eq!(event.data, "");
        last = event.id.or(last);
    }
    let mut resumed = session.get(last.as_deref());
    assert!(resumed.head().is_stream());
    let answer = std::iter::from_fn(|| resumed.event()).find(|event| !event.data.is_empty()).unwrap().json();
    assert!(answer["id"] == 1 && text(&answer).contains("completed"), "{answer}");
    let old = server.session("2025-06-18").post(&call(1, "test_reconnection", json!({})));
    assert!(!old.is_stream() && text(&old.json()).contains("completed"));
}

/// Invariant 12: a panic ends its session, whose callers are answered, and no other.
#[test]
fn a_panic_ends_one_session() {
    let burdock = handlers("1");
    let (one, other) = (burdock.session(LATEST), burdock.session(LATEST));
    let mut waiting = one.start(&call(1, "block", json!({"seconds": 0.2})));
    let panicked = one.call(2, "panic", json!({}));
    assert!(panicked["error"]["message"].as_str().unwrap().contains("internal error"), "{panicked}");
    assert!(waiting.response().status == 200);
    wait_for("404", SOON, || (one.post(&call(3, "quick", json!({}))).status == 404).then_some(()));
    assert_eq!(text(&other.call(1, "quick", json!({}))), "quick");
}

/// Invariant 12 for destructors: one that blocks and then panics hurts no other session, and whoever waits is answered.
#[test]
fn a_destructor_that_blocks_and_panics_hurts_nobody_else() {
    let burdock = handlers("1");
    let (cancelled, deleted, other) =
        (burdock.session(LATEST), burdock.session(LATEST), burdock.session(LATEST));
    let unhurt = || {
        for id in 0..20 {
            let sent = Instant::now();
            assert_eq!(text(&other.call(id, "quick", json!({}))), "quick");
            assert!(sent.elapsed() < Duration::from_millis(500), "{:?}", sent.elapsed());
        }
    };
    let _calling = cancelled.start(&call(1, "cling", json!({"kept": false})));
    assert_eq!(text(&cancelled.call(2, "quick", json!({}))), "quick");
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(cancelled.post(&cancel.to_string()).status, 202);
    unhurt();
    assert_eq!(text(&deleted.call(1, "cling", json!({"kept": true}))), "kept");
    let mut waiting = deleted.start(&call(2, "impatient", json!({})));
    // It asks its client by now: the DELETE must not overtake it on its way.
    waiting.head();
    deleted.delete();
    unhurt();
    let answer = std::iter::from_fn(|| waiting.event()).last().unwrap().json();
    assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains("deleted")), "{answer}");
    assert_eq!(text(&cancelled.call(3, "quick", json!({}))), "quick");
}

/// Blocking code delays the thread it runs on, and nobody else for long.
#[test]
fn blocking_handlers_do_not_stall_other_sessions() {
    let burdock = handlers("1");
    let (blocked, other) = (burdock.session(LATEST), burdock.session(LATEST));
    let begun = Instant::now();
    let mut blocking: Vec<Client> =
        (1..=2).map(|id| blocked.start(&call(id, "block", json!({"seconds": 2.0})))).collect();
    let mut slowest = Duration::ZERO;
    for id in 0..20 {
        let sent = Instant::now();
        assert_eq!(text(&other.call(id, "quick", json!({}))), "quick");
        slowest = slowest.max(sent.elapsed());
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "the calls were to run beside the blocked ones");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    for blocking in &mut blocking {
        assert_eq!(text(&blocking.response().json()), "unblocked");
    }
    assert!(begun.elapsed() < Duration::from_millis(3500), "{:?}", begun.elapsed());
}

/// L44: a cancelled call gets no response, and its handler is dropped.
#[test]
fn a_cancelled_call_is_dropped() {
    let burdock = Burdock::serve(&[]);
    let session = burdock.session(LATEST);
    let mut calling = session.start(&call(1, "slow", json!({"seconds": 600})));
    calling.head();
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(session.post(&cancel.to_string()).status, 202);
    while let Some(event) = calling.event() {
        assert!(event.data.is_empty() || event.json()["method"] == "notifications/progress", "{event:?}");
    }
    // Its id may be used again, because nothing of it runs any more.
    assert_eq!(text(&session.call(1, "echo", json!({"text": "again"}))), "again");
}

/// L11 forbids a client to use one id twice at once, and two chats of one client do it all the same (case 2). Each
/// call has its own answer and its own progress, and a `cancelled` that fits both ends neither.
#[test]
fn two_calls_with_one_id_are_two_calls() {
    let burdock = Burdock::serve(&[]);
    let session = burdock.session(LATEST);
    let calls: Vec<(Client, &str)> = [(json!(1.5), "took 1.5 s"), (json!(1), "took 1 s")]
        .map(|(seconds, told)| (session.start(&call(1, "slow", json!({"seconds": seconds}))), told))
        .into();
    assert_eq!(text(&session.call(1, "echo", json!({"text": "quick"}))), "quick");
    let again = ask(&session, 1, "initialize", json!({"protocolVersion": LATEST}));
    assert_eq!((&again["error"]["code"], &again["id"]), (&json!(-32600), &json!(1)), "{again}");
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(session.post(&cancel.to_string()).status, 202);
    for (mut calling, told) in calls {
        assert!(calling.head().is_stream());
        let events = std::iter::from_fn(|| calling.event()).filter(|event| !event.data.is_empty());
        let messages: Vec<Value> = events.map(|event| event.json()).collect();
        let (answer, progress) = messages.split_last().unwrap();
        assert!(answer["id"] == 1 && text(answer) == told, "{messages:?}");
        let steps = if told == "took 1 s" { 2 } else { 3 };
        assert_eq!(progress.len(), steps, "{messages:?}");
        assert!(progress.iter().all(|told| told["params"]["progressToken"] == "token-1"), "{messages:?}");
    }
    let warned = || burdock.log().contains("notifications/cancelled").then_some(());
    wait_for("the ambiguous cancel is logged", SOON, warned);
}

/// L44: the answer to a cancelled call is never sent. A new call may have its id at once, and gets its own answer (case
/// 2b), whether the cancelled one was still running or just being answered.
#[test]
fn a_call_with_the_id_of_a_cancelled_one_gets_its_own_answer() {
    let burdock = Burdock::serve(&[]);
    let session = burdock.session(LATEST);
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    for (tool, arguments, rounds) in
        [("slow", json!({"seconds": 0.2}), 5), ("echo", json!({"text": "cancelled"}), 50)]
    {
        for round in 0..rounds {
            let cancelled = session.start(&call(7, tool, arguments.clone()));
            assert_eq!(session.post(&cancel.to_string()).status, 202);
            let own = format!("own {round}");
            let answer = session.call(7, "echo", json!({"text": own}));
            assert_eq!(text(&answer), own, "{tool}: {answer}");
            drop(cancelled);
        }
    }
}

/// Many sessions, each with a counter of its own and an open stream. 10,000 with BURDOCK_LONG=1.
#[test]
fn many_sessions_count_each_for_itself() {
    let long = std::env::var_os("BURDOCK_LONG").is_some_and(|value| value == "1");
    let count = if long { 10_000 } else { 500 };
    burdock::backend::descriptors::raise_limit();
    let burdock = Burdock::serve_with(&[], |command| {
        command.env("BURDOCK_LOG", "warn");
    });
    let before = resident_kb(&burdock);
    let mut sessions: Vec<(Session, Client)> = (0..count)
        .map(|_| {
            let session = burdock.session(LATEST);
            ask(&session, 0, "resources/subscribe", json!({"uri": "demo://count"}));
            let mut stream = session.get(None);
            assert!(stream.head().is_stream());
            stream.event();
            (session, stream)
        })
        .collect();
    let calls = |index: usize| index as u64 % 3 + 1;
    for (index, (session, _)) in sessions.iter().enumerate() {
        for count in 1..=calls(index) {
            assert_eq!(text(&session.call(count as i64, "counter", json!({}))), count.to_string());
        }
    }
    for (index, (session, stream)) in sessions.iter_mut().enumerate() {
        for _ in 0..calls(index) {
            assert_eq!(stream.event().unwrap().json()["method"], "notifications/resources/updated");
        }
        session.call(9, "notify", json!({}));
        assert_eq!(
            stream.event().unwrap().json()["method"],
            "notifications/tools/list_changed",
            "one more than its own"
        );
    }
    let grown = resident_kb(&burdock).saturating_sub(before);
    println!(
        "{count} sessions with open streams: RssAnon grew by {grown} kB, {} kB each",
        grown / count as u64
    );
    assert!(grown / (count as u64) < 128, "{grown} kB");
}

fn resident_kb(burdock: &Burdock) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", burdock.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The same server on stdin and stdout: answers end with the input, and what is no message gets no `id: null`.
#[test]
fn a_server_speaks_over_stdio() {
    let input = [
        request(0, "tools/list", json!({})),
        initialize(LATEST),
        "not a message".to_owned(),
        call(1, "test_tool_with_progress", json!({})),
        request(2, "ping", json!({})),
    ];
    let lines = over_stdio(&input);
    let answer = |id| lines.iter().find(|line| line["id"] == id && line.get("method").is_none()).unwrap();
    assert!(answer(0)["error"]["code"] == -32600 || answer(0)["result"].is_object());
    assert_eq!(answer(2)["result"], json!({}));
    assert!(text(answer(1)).contains("successfully"));
    assert_eq!(lines.iter().filter(|line| line["method"] == "notifications/progress").count(), 3);
    assert!(lines.iter().all(|line| line.get("id").is_none_or(|id| !id.is_null())));
}

/// L11: also over stdin and stdout two calls may have one id, and each is answered.
#[test]
fn two_calls_with_one_id_are_two_calls_over_stdio() {
    let lines = over_stdio(&[
        initialize(LATEST),
        call(7, "test_tool_with_progress", json!({})),
        call(7, "test_simple_text", json!({})),
    ]);
    let answers: Vec<&str> =
        lines.iter().filter(|line| line["id"] == 7 && line["result"].is_object()).map(text).collect();
    assert_eq!(answers.len(), 2, "{lines:?}");
    assert_ne!(answers[0], answers[1], "{lines:?}");
}

/// What the conformance server writes when it reads these lines.
fn over_stdio(input: &[String]) -> Vec<Value> {
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, (input.join("\n") + "\n").as_bytes()).unwrap();
    drop(writer);
    let output =
        std::process::Command::new(example("conformance")).arg("--stdio").stdin(reader).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// What README says to paste works as pasted, against the server of its first command.
#[test]
fn the_snippets_of_readme_work_as_pasted() {
    if !tools_are_installed("snippets of README") {
        return;
    }
    let burdock = Burdock::serve(&[]);
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let snippet = |language: &str| {
        let begin = format!("```{language}\n");
        let block = readme.split(&begin).nth(1).unwrap().split("```").next().unwrap();
        assert!(block.contains("127.0.0.1:8080"));
        block.replace("127.0.0.1:8080", &burdock.address.to_string())
    };
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = std::process::Command::new(root.join(".tools/py1/bin/python"));
    python.args(["-c", &snippet("python")]);
    let mut node = std::process::Command::new(node_dir().join("node"));
    node.args(["--input-type=module", "-e", &snippet("js")]).current_dir(root.join("tests/clients"));
    for mut client in [python, node] {
        let output = client.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("hello"), "{output:?}");
    }
}
