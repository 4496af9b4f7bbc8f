//! Sessions among each other: principals, caps, idle expiry; the listeners around them: health, metrics, stop.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;

const LATEST: &str = "2025-11-25";

fn scratch(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("burdock-sessions-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn token(name: &str, file: &std::path::Path) -> String {
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_burdock"))
        .args(["token", name, "--append", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// S1, S3, S7, L50, invariants 14 and 15: a token is needed and named in the challenge; a session belongs to its principal,
/// and to another its id is as unknown as any.
#[test]
fn sessions_belong_to_their_principal() {
    let directory = scratch("tokens");
    let file = directory.join("tokens");
    let (ann, bob) = (token("ann", &file), token("bob", &file));
    let ann_again = token("ann", &file);
    let burdock = Burdock::with_child(&["--token-file", file.to_str().unwrap()], &[]);
    for header in [None, Some("Bearer wrong".to_owned()), Some(format!("Basic {ann}"))] {
        let mut client = burdock.client();
        let mut headers = vec![BOTH, JSON];
        headers.extend(header.as_deref().map(|value| ("Authorization", value)));
        client.request("POST", "/mcp", &headers, &initialize(LATEST));
        let reply = client.response();
        assert_eq!(reply.status, 401, "{header:?}");
        assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer "), "{reply:?}");
    }
    let bearer = |token: &str| ("Authorization".to_owned(), format!("Bearer {token}"));
    let mut session = Session::begin(burdock.address, "/mcp", LATEST, &[("Authorization", &bearer(&ann).1)]);
    let mut get = session.get(None);
    assert_eq!(get.head().status, 200);
    // The principal's other token is as good.
    session.extra = vec![bearer(&ann_again)];
    assert_eq!(session.call(1, "echo", json!({"text": "mine"}))["id"], 1);
    session.extra = vec![bearer(&bob)];
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let (foreign, mut unknown) = (session.post(ping), session.post(ping));
    let real = std::mem::replace(&mut session.id, "local-00000000000000000000000000".into());
    unknown.body = session.post(ping).body;
    session.id = real;
    assert_eq!(
        (foreign.status, foreign.body),
        (404, unknown.body),
        "a stranger can tell that the id is real"
    );
    assert_eq!(session.get(None).response().status, 404);
    assert_eq!(session.delete().status, 404);
    session.extra = vec![bearer(&ann)];
    assert_eq!(session.delete().status, 204);
    let log = burdock.log();
    assert!(!log.contains(&ann) && !log.contains(&bob) && !log.contains(&session.id));
    std::fs::remove_dir_all(directory).unwrap();
}

/// Design 5: at the cap 503 with Retry-After, the id and the reason; a closed session gives its place back.
#[test]
fn at_the_cap_initialize_is_503() {
    let burdock = Burdock::with_child(&["--max-sessions", "2"], &[]);
    let (one, _two) = (burdock.session(LATEST), burdock.session(LATEST));
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    let reply = client.response();
    assert_eq!((reply.status, reply.json()["id"].clone()), (503, json!(0)));
    assert!(reply.header("retry-after").is_some());
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("--max-sessions"));
    one.delete();
    burdock.session(LATEST);
}

/// The cap of a principal is its own: another still gets in.
#[test]
fn a_principal_cannot_take_every_place() {
    let directory = scratch("caps");
    let file = directory.join("tokens");
    let tokens = [token("ann", &file), token("bob", &file)].map(|token| format!("Bearer {token}"));
    let burdock = Burdock::with_child(&["--token-file", file.to_str().unwrap(), "--max-sessions", "4"], &[]);
    let begin =
        |index: usize| Session::begin(burdock.address, "/mcp", LATEST, &[("Authorization", &tokens[index])]);
    let _held = [begin(0), begin(0)];
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON, ("Authorization", &tokens[0])], &initialize(LATEST));
    let reply = client.response();
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("principal"), "{}", reply.text());
    begin(1);
    std::fs::remove_dir_all(directory).unwrap();
}

/// `clients.md` C14: a session nobody touches is closed; one with an open stream is not; its child ends with it.
#[test]
fn idle_sessions_expire() {
    let burdock = Burdock::with_child(&["--idle-timeout", "2s"], &[]);
    let (idle, streaming) = (burdock.session(LATEST), burdock.session(LATEST));
    let mut get = streaming.get(None);
    get.head();
    get.event();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let begun = Instant::now();
    wait_for("the end of the idle session", SOON, || {
        burdock.log().contains("idle for too long").then_some(())
    });
    assert!(begun.elapsed() >= Duration::from_millis(900), "too early");
    let reply = idle.post(ping);
    assert_eq!((reply.status, reply.json()["error"]["data"]["reason"].clone()), (404, json!("closed")));
    assert_eq!(streaming.post(ping).status, 200);
    drop(get);
    wait_for("the end of the other", SOON, || {
        (burdock.log().matches("idle for too long").count() == 2).then_some(())
    });
}

/// Several servers of a config: each under its name, none at `/mcp` without a default; an id works on its own path.
#[test]
fn several_servers() {
    let directory = scratch("several");
    let path = directory.join("mcp.json");
    let server = json!({"command": test_child()});
    std::fs::write(&path, json!({"mcpServers": {"a": server, "b": server}}).to_string()).unwrap();
    let burdock = Burdock::serve(&["--config", path.to_str().unwrap()]);
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    let reply = client.response();
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("/mcp/a, /mcp/b"), "{}", reply.text());
    let mut session = Session::begin(burdock.address, "/mcp/a", LATEST, &[]);
    assert_eq!(session.call(1, "echo", json!({"text": "x"}))["id"], 1);
    session.path = "/mcp/b".into();
    assert_eq!(session.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).status, 404);
    std::fs::remove_dir_all(directory).unwrap();
}

/// Health is for load balancers, which ask by address; metrics are on the admin listener only.
#[test]
fn health_and_metrics() {
    let directory = scratch("admin");
    let socket = directory.join("admin.sock");
    let burdock = Burdock::with_child(&["--admin", &format!("unix:{}", socket.display())], &[]);
    let session = burdock.session(LATEST);
    let mut get = session.get(None);
    get.head();
    session.call(1, "echo", json!({"text": "x"}));
    let mut client = burdock.client();
    for (path, host, status) in [
        ("/health/live", "10.1.2.3:80", 200),
        ("/health/ready", "10.1.2.3", 200),
        ("/metrics", "localhost", 404),
    ] {
        client.request("GET", path, &[("Host", host)], "");
        assert_eq!(client.response().status, status, "{path}");
    }
    let text = admin_get(&socket, "/metrics");
    for line in [
        "burdock_sessions 1",
        "burdock_children 1",
        "burdock_streams 1",
        "burdock_calls_total 1",
        "burdock_sessions_created_total 1",
        "burdock_call_seconds_count 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    drop(get);
    session.delete();
    wait_for("the gauges' return to zero", SOON, || {
        let text = admin_get(&socket, "/metrics");
        [
            "burdock_sessions 0",
            "burdock_children 0",
            "burdock_streams 0",
            "burdock_calls 0",
            "burdock_held_bytes 0",
        ]
        .iter()
        .all(|line| {
            text.lines().any(|found| found == *line)
                || line.contains("held") && text.contains("burdock_held_bytes ")
        })
        .then_some(())
    });
    std::fs::remove_dir_all(directory).unwrap();
}

/// A node whose main and admin listener are bound to these addresses, and the admin listener's port. The name that is
/// allowed stands in the banner, where the node's address is read.
fn with_admin(main: &str, admin: &str) -> (Burdock, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (program, admin) = (env!("CARGO_BIN_EXE_burdock"), format!("{admin}:{port}"));
    let flags = ["serve", "--listen", main, "--admin", &admin, "--insecure-public", "--allow-host=127.0.0.1"];
    (Burdock::run(program, &flags, |_| {}), port)
}

/// Each listener has the names of its own bind: loopback names where it is on loopback, all addresses elsewhere.
#[test]
fn the_admin_listener_has_names_of_its_own() {
    for (main, admin, main_statuses, admin_statuses) in [
        (
            "0.0.0.0:0",
            "127.0.0.1",
            [("localhost", 403), ("10.1.2.3", 405)],
            [("localhost", 200), ("10.1.2.3", 403)],
        ),
        (
            "127.0.0.1:0",
            "0.0.0.0",
            [("localhost", 405), ("10.1.2.3", 403)],
            [("localhost", 403), ("10.1.2.3", 200)],
        ),
    ] {
        let (burdock, port) = with_admin(main, admin);
        let listeners = [("/mcp", burdock.address.port(), main_statuses), ("/metrics", port, admin_statuses)];
        for (path, port, statuses) in listeners {
            for (host, status) in statuses {
                let mut client = Client::connect(([127, 0, 0, 1], port).into());
                client.request(
                    "GET",
                    path,
                    &[("Host", &format!("{host}:{port}")), ("Accept", "text/event-stream")],
                    "",
                );
                let reply = client.response();
                assert_eq!(reply.status, status, "{path} as {host}, admin on {admin}: {}", reply.text());
            }
        }
    }
}

/// RFC 9110, section 7.2, and RFC 3986, section 3.2.3: the port in `Host` may be empty.
#[test]
fn a_host_may_have_an_empty_port() {
    let burdock = Burdock::with_child(&[], &[]);
    for host in ["localhost:", "127.0.0.1:", "[::1]:"] {
        let mut client = burdock.client();
        client.request("POST", "/mcp", &[("Host", host), BOTH, JSON], &initialize(LATEST));
        assert_eq!(client.response().status, 200, "{host}");
    }
}

pub fn admin_get(socket: &std::path::Path, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Design 7: SIGTERM lets a call in flight finish, ends streams with the final chunk, leaves no child, exits 0.
#[test]
fn sigterm_stops_in_order() {
    let mut burdock = Burdock::with_child(&[], &["--ignore-eof"]);
    let session = burdock.session(LATEST);
    let pid = session.call(1, "pid", json!({}))["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    let mut get = session.get(None);
    get.head();
    get.event();
    let mut calling = session.start(&call(2, "wait", json!({"seconds": 1.5})));
    std::thread::park_timeout(Duration::from_millis(200));
    burdock.signal("-TERM");
    let ready = || {
        let mut client = burdock.client();
        client.request("GET", "/health/ready", &[], "");
        client.response().status
    };
    wait_for("not ready", SOON, || (ready() == 503).then_some(()));
    let answer: Value = calling.response().json();
    assert_eq!(answer["result"]["content"][0]["text"], "waited");
    let last = get.event().expect("when to come back");
    assert!(last.retry.is_some() && last.data.is_empty(), "{last:?}");
    assert_eq!(get.event(), None, "the stream's final chunk");
    assert_eq!(burdock.wait().code(), Some(0));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the child is left");
}

/// A second signal does not wait for calls in flight.
#[test]
fn a_second_signal_skips_the_waiting() {
    let mut burdock = Burdock::with_child(&["--drain-timeout", "60s"], &[]);
    let session = burdock.session(LATEST);
    let mut calling = session.start(&call(2, "hang", json!({})));
    std::thread::park_timeout(Duration::from_millis(300));
    burdock.signal("-TERM");
    wait_for("the drain", SOON, || burdock.log().contains("stopping").then_some(()));
    let begun = Instant::now();
    burdock.signal("-INT");
    let answer = calling.response().json();
    assert!(answer["error"]["message"].as_str().unwrap().contains("stopping"), "{answer}");
    assert_eq!(burdock.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// A taken port: status 1 and what to do.
#[test]
fn a_port_in_use() {
    let burdock = Burdock::with_child(&[], &[]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_burdock"))
        .args(["serve", "--listen", &burdock.address.to_string(), "--", &test_child()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("in use") && text.contains("--listen"), "{text}");
}

/// A node that ends its sessions begins no more: an `initialize` that comes then is 503, and the exit is not delayed.
#[test]
fn no_new_session_while_stopping() {
    let mut burdock = Burdock::with_child(&[], &["--ignore-eof"]);
    let _session = burdock.session(LATEST);
    let mut client = burdock.client();
    client.request("GET", "/health/live", &[], "");
    client.response();
    burdock.signal("-TERM");
    wait_for("the end of the session", SOON, || burdock.log().contains("session over").then_some(()));
    let begun = Instant::now();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    let reply = client.response();
    assert_eq!((reply.status, reply.json()["id"].clone()), (503, json!(0)));
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(burdock.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(9));
}

/// A client that goes away while its child starts leaves neither a session nor the child.
#[test]
fn a_client_that_leaves_during_initialize() {
    let burdock = Burdock::with_child(&[], &["--slow-start", "30"]);
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    wait_for("the child", SOON, || burdock.log().contains("started").then_some(()));
    let pid = pid_in_log(&burdock);
    assert!(is_running(&pid), "the child has ended by itself");
    drop(client);
    wait_for("the end of the session", SOON, || {
        burdock.log().contains("went away during initialize").then_some(())
    });
    wait_for("the end of the child", SOON, || (!is_running(&pid)).then_some(()));
}

/// The process of the only child that was started.
fn pid_in_log(burdock: &Burdock) -> String {
    let log = burdock.log();
    let line = log.lines().find(|line| line.contains("started") && line.contains(", process ")).unwrap();
    line.rsplit(' ').next().unwrap().to_owned()
}

fn is_running(pid: &str) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// A node that stops does not wait for a server that is still starting: its client hears why, and no child is left.
#[test]
fn a_stop_during_a_slow_start() {
    let mut burdock = Burdock::with_child(&[], &["--slow-start", "30"]);
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    wait_for("the child", SOON, || burdock.log().contains("started").then_some(()));
    let pid = pid_in_log(&burdock);
    let begun = Instant::now();
    burdock.signal("-TERM");
    let reply = client.response();
    assert_eq!((reply.status, reply.json()["id"].clone()), (503, json!(0)), "{}", reply.text());
    assert!(reply.text().contains("stopping"), "{}", reply.text());
    assert_eq!(burdock.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert!(!is_running(&pid), "the child is left");
}

/// What a child answers to `initialize` is checked: an error is the client's to see, nonsense is 502.
#[test]
fn answers_to_initialize() {
    for (answer, status, part) in [
        (
            r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"no such client"}}"#,
            200,
            "no such client",
        ),
        (r#"{"jsonrpc":"2.0","id":0,"result":{}}"#, 502, "no protocolVersion"),
        (r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2026-07-28"}}"#, 502, "2026-07-28"),
    ] {
        let script = format!("read x; echo '{answer}'; cat >/dev/null");
        let burdock = Burdock::serve(&["--", "sh", "-c", &script]);
        let mut client = burdock.client();
        client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
        let reply = client.response();
        assert_eq!((reply.status, reply.header("mcp-session-id")), (status, None), "{}", reply.text());
        assert!(reply.json()["error"]["message"].as_str().unwrap().contains(part), "{}", reply.text());
    }
}
