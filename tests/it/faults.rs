//! Children that misbehave: each has a clear answer to the client and leaves nothing behind.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;

const LATEST: &str = "2025-11-25";

fn refused(child: &[&str], flags: &[&str]) -> (Response, Burdock) {
    let burdock = Burdock::with_child(flags, child);
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    let reply = client.response();
    assert_eq!(reply.header("mcp-session-id"), None);
    assert_eq!(reply.json()["id"], 0, "{}", reply.text());
    (reply, burdock)
}

fn error_text(reply: &Response) -> String {
    reply.json()["error"]["message"]
        .as_str()
        .unwrap_or_else(|| panic!("no error: {}", reply.text()))
        .to_owned()
}

fn no_children(burdock: &Burdock) {
    let own = burdock.process.id().to_string();
    wait_for("the end of every child", SOON, || {
        let left: Vec<String> = children_of(&own);
        // The watchdog stays.
        (left.len() <= 1).then_some(())
    });
}

fn children_of(pid: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists =
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// A child that exits at once: 502 with its status.
#[test]
fn a_child_that_exits_before_initialize() {
    let (reply, burdock) = refused(&["--exit", "7"], &[]);
    assert_eq!(reply.status, 502);
    assert!(error_text(&reply).contains("exited with status 7"), "{}", reply.text());
    no_children(&burdock);
}

/// A program that prints a web page instead of speaking MCP: 502 that shows what it wrote.
#[test]
fn a_child_that_prints_html() {
    let (reply, burdock) = refused(&["--html"], &[]);
    assert_eq!(reply.status, 502);
    assert!(error_text(&reply).to_lowercase().contains("html"), "{}", reply.text());
    assert!(burdock.log().contains("not JSON-RPC"), "{}", burdock.log());
    no_children(&burdock);
}

/// The config's `startTimeout` bounds a child that never answers initialize: 504.
#[test]
fn a_child_that_never_answers_initialize() {
    let directory = std::env::temp_dir().join(format!("burdock-faults-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("mcp.json");
    let server = |flag: &str| json!({"command": test_child(), "args": [flag], "burdock": {"startTimeout": 1, "stopTimeout": 1}});
    let config = json!({"mcpServers": {"silent": server("--silent"), "html": server("--html-stay")}});
    std::fs::write(&path, config.to_string()).unwrap();
    let burdock = Burdock::serve(&["--config", path.to_str().unwrap()]);
    for (name, text) in [("silent", "within 1 s"), ("html", "began with")] {
        let begun = Instant::now();
        let mut client = burdock.client();
        client.request("POST", &format!("/mcp/{name}"), &[BOTH, JSON], &initialize(LATEST));
        let reply = client.response();
        assert_eq!((reply.status, reply.json()["id"].clone()), (504, json!(0)));
        assert!(error_text(&reply).contains(text), "{}", reply.text());
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    no_children(&burdock);
    std::fs::remove_dir_all(directory).unwrap();
}

/// `clients.md` C12: a crash mid-call answers every caller with its id, on the open stream or as JSON; the GET
/// stream ends gracefully; then the session is 404.
#[test]
fn a_crash_answers_every_caller() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session(LATEST);
    let mut get = session.get(None);
    get.head();
    get.event();
    let mut streaming = session.start(&call(1, "hang", json!({})));
    assert!(streaming.head().header("content-type").unwrap().contains("event-stream"));
    streaming.event();
    let crashed = session.call(2, "crash", json!({}));
    assert!(crashed["error"]["message"].as_str().unwrap().contains("exited with status 3"), "{crashed}");
    assert_eq!(crashed["id"], 2);
    let other = streaming.event().unwrap().json();
    assert_eq!(other["id"], 1);
    assert!(other["error"]["message"].as_str().unwrap().contains("exited with status 3"));
    assert_eq!(streaming.event(), None);
    assert_eq!(get.event(), None);
    let after = session.post(r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#);
    assert_eq!((after.status, after.json()["error"]["data"]["reason"].clone()), (404, json!("closed")));
    no_children(&burdock);
}

/// Garbage between messages is logged and skipped; the session goes on.
#[test]
fn garbage_on_stdout_is_skipped() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session(LATEST);
    for line in [
        "npm WARN deprecated",
        "{not json",
        "[]",
        r#"{"jsonrpc":"1.0"}"#,
        "\u{1b}[31mred",
        r#"{"jsonrpc":"2.0","id":404,"result":{}}"#,
    ] {
        assert_eq!(
            session.call(1, "raw", json!({"line": line}))["result"]["content"][0]["text"],
            "written",
            "{line}"
        );
    }
    wait_for("the line in the log", SOON, || burdock.log().contains("npm WARN deprecated").then_some(()));
    assert!(!burdock.log().contains('\u{1b}'), "a control character in the log");
}

/// A message over the cap: the caller hears of it, the session goes on.
#[test]
fn a_message_that_is_too_large() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session(LATEST);
    let answer = session.call(1, "big", json!({"bytes": 5 * 1024 * 1024}));
    assert!(answer["error"]["message"].as_str().unwrap().contains("too large"), "{answer}");
    let answer = session.call(2, "big", json!({"bytes": 3 * 1024 * 1024}));
    assert_eq!(answer["result"]["content"][0]["text"].as_str().unwrap().len(), 3 * 1024 * 1024);
    let body =
        json!({"jsonrpc": "2.0", "id": 3, "method": "ping", "params": {"x": "y".repeat(5 * 1024 * 1024)}})
            .to_string();
    let mut client = burdock.client();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nMcp-Session-Id: {}\r\nContent-Length: {}\r\n\r\n",
        session.id,
        body.len()
    );
    client.send(head.as_bytes());
    assert_eq!(client.response().status, 413);
}

/// A line without end: the child is killed, the caller answered, the session over.
#[test]
fn a_line_without_end() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session(LATEST);
    let answer = session.call(1, "endless", json!({}));
    assert!(answer["error"]["message"].is_string(), "{answer}");
    // Not by a ping: the child would answer, and so end its line again and again.
    wait_for("the end of the session", SOON, || {
        (session.post(r#"{"jsonrpc":"2.0","method":"notifications/test"}"#).status == 404).then_some(())
    });
    no_children(&burdock);
}

/// A child that stops reading its stdin: new requests get a JSON-RPC error in a 200, nothing blocks, memory stays
/// bounded, and DELETE ends it although it ignores EOF and SIGTERM.
#[test]
fn a_child_that_does_not_read() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session(LATEST);
    session.call(1, "stop_reading", json!({}));
    let filler = "x".repeat(32 * 1024);
    let refused = (2..400).find_map(|id| {
        let mut client = session.start(&call(id, "echo", json!({"text": filler})));
        client.socket.get_ref().set_read_timeout(Some(Duration::from_millis(30))).unwrap();
        let mut first = [0; 12];
        match std::io::Read::read_exact(&mut client.socket, &mut first) {
            Ok(()) => Some((id, first)),
            Err(_) => None,
        }
    });
    let (id, first) = refused.expect("never refused");
    assert_eq!(&first, b"HTTP/1.1 200");
    let answer = session.call(id + 1, "echo", json!({"text": "x"}));
    assert!(answer["error"]["message"].as_str().unwrap().contains("does not read"), "{answer}");
    assert_eq!(
        session
            .post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#)
            .status,
        202
    );
    assert_eq!(session.delete().status, 204);
    no_children(&burdock);
}

/// A call whose child hangs stays open; DELETE answers it.
#[test]
fn a_hanging_call_is_answered_at_the_end() {
    let burdock = Burdock::with_child(&[], &["--ignore-eof"]);
    let session = burdock.session(LATEST);
    let mut client = session.start(&call(1, "hang", json!({})));
    std::thread::park_timeout(Duration::from_millis(300));
    assert_eq!(session.delete().status, 204);
    let answer: Value = client.response().json();
    assert!(answer["error"]["message"].as_str().unwrap().contains("deleted"), "{answer}");
    no_children(&burdock);
}

/// stderr goes to the log with the session's short id.
#[test]
fn stderr_goes_to_the_log() {
    let burdock = Burdock::with_child(&[], &["--stderr-flood"]);
    let session = burdock.session(LATEST);
    let short = &session.id[.."local-".len() + 6];
    wait_for("stderr in the log", SOON, || {
        burdock.log().lines().any(|line| line.contains("child") && line.contains(short)).then_some(())
    });
    assert_eq!(session.call(1, "echo", json!({"text": "x"}))["id"], 1);
}

/// A traceback in one line arrives whole; what is longer than 4,096 bytes is cut, and shows it.
#[test]
fn a_long_line_of_stderr_is_logged_whole() {
    let script =
        r#"for length in 1003 4096 4097; do printf 'E%0*d\n' $((length - 1)) 7 >&2; done; exec "$0""#;
    let burdock = Burdock::serve(&["--", "sh", "-c", script, &test_child()]);
    let _session = burdock.session(LATEST);
    let lengths = || -> Vec<usize> {
        let log = burdock.log();
        let logged = log.lines().filter_map(|line| line.split_once("] E0"));
        logged.map(|(_, text)| "E0".len() + text.chars().count()).collect()
    };
    wait_for("three lines of stderr in the log", SOON, || (lengths().len() == 3).then_some(()));
    assert_eq!(lengths(), [1003, 4096, 4097], "the last of these is an ellipsis");
    assert_eq!(burdock.log().matches('…').count(), 1);
}

/// The child sees the named variables and no descriptor of burdock's, and the original descriptor limit.
#[test]
fn the_childs_surroundings() {
    let program = test_child();
    let burdock = Burdock::serve_with(&["--", &program], |command| {
        command.env("SECRET_OF_BURDOCK", "x").env("LANG", "C.UTF-8");
    });
    let answer = burdock.session(LATEST).call(1, "env", json!({}));
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    let seen: Value = serde_json::from_str(text).unwrap();
    let names: Vec<&str> = seen["env"].as_object().unwrap().keys().map(String::as_str).collect();
    let allowed = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "TMPDIR", "BURDOCK_RUN"];
    assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
    assert!(names.contains(&"LANG"));
    let mut descriptors: Vec<&String> = seen["fds"].as_object().unwrap().keys().collect();
    descriptors.sort();
    assert_eq!(descriptors, ["0", "1", "2"]);
}
