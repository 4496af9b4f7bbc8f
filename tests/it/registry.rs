//! The registry in a real Redis: what is written, what is asked, and what clients hear on the wrong node (design 5).

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use burdock::limits::HEARTBEAT_SECS;
use redis::Commands as _;
use serde_json::Value;

use crate::redis_server::{RedisServer, redis_server};
use crate::support::{BOTH, Burdock, Client, JSON, SOON, Session, call, example, test_child, wait_for};

const V: &str = "2025-11-25";

/// A node of a cluster, with the demo unless a server is typed.
fn node(name: &str, redis: &RedisServer, more: &[&str]) -> Burdock {
    let url = redis.url();
    Burdock::serve(&[&["--node", name, "--redis", &url], more].concat())
}

fn records(redis: &RedisServer) -> Vec<String> {
    redis.keys("mcp:session:*")
}

fn record(redis: &RedisServer, id: &str) -> Option<Value> {
    let text: Option<String> = redis.connection().get(format!("mcp:session:{id}")).unwrap();
    text.map(|text| serde_json::from_str(&text).unwrap())
}

/// The session on another node.
fn moved(session: &Session, to: &Burdock) -> Session {
    Session {
        address: to.address,
        path: session.path.clone(),
        id: session.id.clone(),
        version: session.version.clone(),
        answer: session.answer.clone(),
        extra: session.extra.clone(),
    }
}

/// The reason in the 404 to a call.
fn reason(session: &Session) -> Value {
    let response = session.post(&call(7, "echo", serde_json::json!({"text": "x"})));
    assert_eq!(response.status, 404, "{}", response.text());
    let error = response.json();
    assert_eq!(error["id"], 7);
    error["error"]["data"].clone()
}

#[test]
fn a_session_has_a_record_while_it_lives_and_none_after() {
    let Some(redis) = redis_server("the registry") else { return };
    let one = node("n1", &redis, &["--advertise", "http://10.0.0.1:8080"]);
    let session = one.session(V);
    let kept = wait_for("the record", SOON, || record(&redis, &session.id));
    assert_eq!(
        (&kept["node"], &kept["server"], &kept["protocol"]),
        (&"n1".into(), &"demo".into(), &V.into())
    );
    assert_eq!((&kept["client"], &kept["state"]), (&"test 1".into(), &"live".into()));
    assert!(kept.get("principal").is_none() && kept.get("initialize").is_none(), "{kept}");
    let ttl: i64 = redis.connection().ttl(format!("mcp:session:{}", session.id)).unwrap();
    assert!((2_591_990..=2_592_000).contains(&ttl), "{ttl}");
    let heartbeat: String = redis.connection().get("mcp:node:n1").unwrap();
    let heartbeat: Value = serde_json::from_str(&heartbeat).unwrap();
    assert_eq!((&heartbeat["epoch"], &heartbeat["url"]), (&kept["epoch"], &"http://10.0.0.1:8080".into()));
    let ttl: i64 = redis.connection().ttl("mcp:node:n1").unwrap();
    assert!((1..=30).contains(&ttl), "{ttl}");
    assert_eq!(session.delete().status, 204);
    wait_for("no record", SOON, || record(&redis, &session.id).is_none().then_some(()));
    let ttl: i64 = redis.connection().ttl(format!("mcp:closed:{}", session.id)).unwrap();
    assert!((3590..=3600).contains(&ttl), "{ttl}");
}

/// L32, design 5: the six answers, each with its reason; the mismatch is logged.
#[test]
fn the_wrong_node_says_why_a_session_is_not_there() {
    let Some(mut redis) = redis_server("the registry") else { return };
    let (one, two) = (node("n1", &redis, &[]), node("n2", &redis, &[]));
    let session = one.session(V);
    wait_for("the record", SOON, || record(&redis, &session.id));
    let there = moved(&session, &two);
    assert_eq!(reason(&there), serde_json::json!({"reason": "elsewhere", "node": "n1"}));
    let log = two.log();
    assert!(log.contains("a request came to n2, but this session lives on n1: a misroute"), "{log}");
    assert!(!log.contains(&session.id), "the whole id is in the log");
    assert_eq!(session.call(1, "echo", serde_json::json!({"text": "x"}))["result"]["isError"], Value::Null);

    let unknown = Session { id: format!("n1-{}", "0".repeat(26)), ..moved(&session, &two) };
    assert_eq!(reason(&unknown), serde_json::json!({"reason": "unknown"}));

    let closed = one.session(V);
    wait_for("the record", SOON, || record(&redis, &closed.id));
    closed.delete();
    wait_for("no record", SOON, || record(&redis, &closed.id).is_none().then_some(()));
    assert_eq!(reason(&closed), serde_json::json!({"reason": "closed"}));
    assert_eq!(reason(&moved(&closed, &two)), serde_json::json!({"reason": "closed"}));

    one.signal("-KILL");
    let again = node("n1", &redis, &[]);
    assert_eq!(reason(&moved(&session, &again)), serde_json::json!({"reason": "lost", "node": "n1"}));
    assert_eq!(reason(&there), serde_json::json!({"reason": "lost", "node": "n1"}), "from another node");
    assert!(again.log().contains("was lost with an earlier process of n1"), "{}", again.log());

    redis.kill();
    assert_eq!(reason(&there), serde_json::json!({"reason": "registry-unreachable"}));
    let text = there.get(None).response();
    assert_eq!(text.status, 404);
    assert!(text.text().contains("registry-unreachable") && text.text().contains("initialize"));
}

#[test]
fn a_delete_on_the_wrong_node_ends_the_session_on_its_own() {
    let Some(redis) = redis_server("the registry") else { return };
    let (one, two) = (node("n1", &redis, &["--", &test_child()]), node("n2", &redis, &["--", &test_child()]));
    let session = one.session(V);
    wait_for("the record", SOON, || record(&redis, &session.id));
    let there = moved(&session, &two);
    assert_eq!(there.delete().status, 204);
    assert!(record(&redis, &session.id).is_none(), "the record is gone at once");
    assert_eq!(reason(&there), serde_json::json!({"reason": "closed"}));
    assert_eq!(there.delete().status, 404, "a second time there is nothing");
    // Within one heartbeat.
    wait_for("the owner's end of it", Duration::from_secs(12), || {
        one.log()
            .contains("session over: the session was closed through another node or by an operator")
            .then_some(())
    });
    assert_eq!(reason(&session), serde_json::json!({"reason": "closed"}));
    assert_eq!(records(&redis), Vec::<String>::new());
    assert_eq!(redis.keys("mcp:node:n1:inbox"), Vec::<String>::new());
}

/// S3: what belongs to another is unknown, and stays.
#[test]
fn nobody_closes_or_finds_a_session_of_another_principal() {
    let Some(redis) = redis_server("the registry") else { return };
    let file = redis.folder.join("tokens");
    let token = |name: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_burdock"))
            .args(["token", name, "--append", file.to_str().unwrap()])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().find(|word| word.len() > 30).unwrap().to_owned()
    };
    let (ann, bob) = (format!("Bearer {}", token("ann")), format!("Bearer {}", token("bob")));
    let flags = ["--token-file", file.to_str().unwrap()];
    let (one, two) = (node("n1", &redis, &flags), node("n2", &redis, &flags));
    let session = Session::begin(one.address, "/mcp", V, &[("Authorization", &ann)]);
    let kept = wait_for("the record", SOON, || record(&redis, &session.id));
    assert_eq!(kept["principal"], "ann");
    let as_bob = |burdock: &Burdock| Session {
        extra: vec![("Authorization".to_owned(), bob.clone())],
        ..moved(&session, burdock)
    };
    for burdock in [&one, &two] {
        assert_eq!(reason(&as_bob(burdock)), serde_json::json!({"reason": "unknown"}));
        assert_eq!(as_bob(burdock).delete().status, 404);
    }
    assert_eq!(record(&redis, &session.id), Some(kept));
    assert_eq!(redis.keys("mcp:closed:*"), Vec::<String>::new());
    assert_eq!(reason(&moved(&session, &two)), serde_json::json!({"reason": "elsewhere", "node": "n1"}));
    assert_eq!(moved(&session, &two).delete().status, 204);
    assert_eq!(
        reason(&as_bob(&two)),
        serde_json::json!({"reason": "unknown"}),
        "bob must not hear that it was"
    );
}

/// The happy path asks Redis nothing: one write for each session's begin, one group for its end.
#[test]
fn redis_is_not_asked_about_living_sessions() {
    let Some(redis) = redis_server("the registry") else { return };
    let one = node("n1", &redis, &[]);
    const SESSIONS: u64 = 1000;
    const CALLS: u64 = 20;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..SESSIONS / 4).for_each(|_| live_a_life(&one, CALLS)));
        }
    });
    let ends = || u64::try_from(redis.keys("mcp:closed:*").len()).unwrap();
    wait_for("all ends", SOON, || (ends() == SESSIONS).then_some(()));
    assert_eq!(records(&redis), [] as [String; 0]);
    let beats = redis.calls("lpop");
    assert!(beats <= 1 + 60 / 10 * 10, "{beats} heartbeats");
    assert_eq!(redis.calls("get") + redis.calls("mget") + redis.calls("exists") + redis.calls("scan"), 0);
    let sets = redis.calls("set") - beats;
    // One that begins and ends before it was written is never written; that of its end always is.
    assert!((SESSIONS..=2 * SESSIONS).contains(&sets), "{sets} writes");
    let deletions = redis.calls("del");
    assert!(deletions <= sets - SESSIONS, "{deletions} of {} written", sets - SESSIONS);
}

fn live_a_life(burdock: &Burdock, calls: u64) {
    let session = burdock.session(V);
    let mut client = Client::connect(burdock.address);
    for id in 0..calls {
        let body = call(id.try_into().unwrap(), "echo", serde_json::json!({"text": "x"}));
        client.request("POST", "/mcp", &session.headers(), &body);
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(session.delete().status, 204);
}

/// Bounded, whatever ids are sent: nothing for what is no id, one key each for what could be one, and no key made.
#[test]
fn made_up_ids_cost_little_and_leave_nothing() {
    let Some(redis) = redis_server("the registry") else { return };
    let one = node("n1", &redis, &[]);
    wait_for("the heartbeat", SOON, || (!redis.keys("mcp:node:n1").is_empty()).then_some(()));
    let ask = |client: &mut Client, id: &str| {
        let headers = [BOTH, JSON, ("Mcp-Session-Id", id)];
        client.request("POST", "/mcp", &headers, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        let response = client.response();
        assert_eq!(response.status, 404);
        response.json()["error"]["data"]["reason"].as_str().unwrap().to_owned()
    };
    let mut client = one.client();
    for number in 0..5000 {
        assert_eq!(ask(&mut client, &format!("n1-not-an-id-{number}")), "unknown");
    }
    assert_eq!(redis.calls("mget") + redis.calls("get"), 0);
    for number in 0..5000 {
        assert_eq!(ask(&mut client, &format!("n{}-{number:026}", number % 5)), "unknown");
    }
    assert!(redis.calls("mget") <= 5000, "{}", redis.calls("mget"));
    assert_eq!(redis.keys("*"), ["mcp:node:n1"]);
}

/// A handler's panic leaves no record, and one session less.
#[test]
fn a_panic_leaves_no_record() {
    let Some(redis) = redis_server("the registry") else { return };
    let arguments = ["127.0.0.1:0", "2", "--node", "n1", "--redis", &redis.url()];
    let one = Burdock::run(example("test-handlers"), &arguments, |_| {});
    let (panics, stays) = (one.session(V), one.session(V));
    wait_for("the records", SOON, || (records(&redis).len() == 2).then_some(()));
    let _ = panics.post(&call(1, "panic", serde_json::json!({})));
    wait_for("one record", SOON, || (records(&redis) == [format!("mcp:session:{}", stays.id)]).then_some(()));
}

/// A session that makes room for another at the cap leaves no record. It must have been abandoned for a minute.
#[test]
fn an_evicted_session_leaves_no_record() {
    let Some(redis) = redis_server("the registry") else { return };
    let one = node("n1", &redis, &["--max-sessions", "1"]);
    let evicted = one.session(V);
    wait_for("its record", SOON, || record(&redis, &evicted.id));
    let next = wait_for("room for another", Duration::from_secs(90), || {
        std::thread::park_timeout(Duration::from_secs(1));
        let mut client = one.client();
        client.request("POST", "/mcp", &[BOTH, JSON], &crate::support::initialize(V));
        let reply = client.response();
        (reply.status == 200).then(|| reply.header("mcp-session-id").unwrap().to_owned())
    });
    wait_for("one record", SOON, || (records(&redis) == [format!("mcp:session:{next}")]).then_some(()));
}

/// The other ends (a drain is in cluster/deploy.rs, DELETE above).
#[test]
fn no_end_leaves_a_record() {
    let Some(redis) = redis_server("the registry") else { return };
    let gone = |what: &str| wait_for(what, SOON, || records(&redis).is_empty().then_some(()));
    let there = || wait_for("a record", SOON, || (!records(&redis).is_empty()).then_some(()));
    {
        let idle = node("n1", &redis, &["--idle-timeout", "1s"]);
        idle.session(V);
        there();
        gone("the idle one's record");
    }
    {
        let crash = node("n1", &redis, &["--", &test_child()]);
        let session = crash.session(V);
        there();
        let _ = session.start(&call(1, "crash", serde_json::json!({}))).response();
        gone("the crashed one's record");
    }
    {
        let stopped = node("n1", &redis, &["--drain-timeout", "0", "--retire-window", "0"]);
        stopped.session(V);
        there();
        stopped.signal("-INT");
        gone("the record of one whose node stops");
        wait_for("the heartbeat's end", SOON, || redis.keys("*:n1").is_empty().then_some(()));
    }
}

/// Restore (design 7): after a restart calls just go on, and the child got the same `initialize`.
#[test]
fn a_restored_session_goes_on_after_its_node_was_killed() {
    let Some(redis) = redis_server("the registry") else { return };
    let config = redis.folder.join("mcp.json");
    let entry =
        serde_json::json!({"mcpServers": {"s": {"command": test_child(), "burdock": {"restore": true}}}});
    std::fs::write(&config, entry.to_string()).unwrap();
    let start = || node("n1", &redis, &["--config", config.to_str().unwrap()]);
    let one = start();
    let session = one.session(V);
    let kept = wait_for("the record", SOON, || record(&redis, &session.id));
    assert_eq!(kept["initialize"]["params"]["clientInfo"]["name"], "test");
    let before = session.call(1, "initialized_with", serde_json::json!({}));
    let mut stream = session.get(None);
    assert_eq!(stream.head().status, 200);
    let last = stream.event().unwrap().id;
    one.signal("-KILL");
    drop(one);
    let again = start();
    let session = moved(&session, &again);
    let calls: Vec<Client> =
        (2..6).map(|id| session.start(&call(id, "initialized_with", serde_json::json!({})))).collect();
    for mut client in calls {
        let response = client.response();
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["result"], before["result"], "another initialize");
    }
    assert_eq!(
        again.log().matches("lost with an earlier process, and restored on s").count(),
        1,
        "{}",
        again.log()
    );
    let mut stream = session.get(last.as_deref());
    assert_eq!(stream.head().status, 200, "the standalone stream goes on too");
    let renewed = wait_for("the new epoch", SOON, || {
        record(&redis, &session.id).filter(|now| now["epoch"] != kept["epoch"])
    });
    assert_eq!((&renewed["created"], &renewed["initialize"]), (&kept["created"], &kept["initialize"]));
    assert_eq!(session.delete().status, 204);
    wait_for("no record", SOON, || records(&redis).is_empty().then_some(()));
}

/// A DELETE on the wrong node is supported: one question to Redis ends the session, and it is no misroute in the log.
#[test]
fn a_delete_on_the_wrong_node_is_no_misroute() {
    let Some(redis) = redis_server("the registry") else { return };
    let (one, two) = (node("n1", &redis, &[]), node("n2", &redis, &[]));
    let session = one.session(V);
    wait_for("the record", SOON, || record(&redis, &session.id));
    let before = redis.calls("watch");
    let there = moved(&session, &two);
    assert_eq!(there.delete().status, 204);
    assert_eq!(redis.calls("watch"), before + 1);
    assert!(!two.log().contains("a request came to"), "{}", two.log());
    assert_eq!(reason(&there), serde_json::json!({"reason": "closed"}));
}

/// The review's B9: a heartbeat that could not be taken away was not told.
#[test]
fn a_node_that_stops_says_when_redis_does_not_take_the_rest() {
    let Some(redis) = redis_server("the registry") else { return };
    let mut one = node("n1", &redis, &[]);
    wait_for("the heartbeat", SOON, || (!redis.keys("mcp:node:n1").is_empty()).then_some(()));
    redis::cmd("ACL").arg(&["SETUSER", "default", "-del"]).exec(&mut redis.connection()).unwrap();
    one.signal("-INT");
    assert_eq!(one.wait().code(), Some(0));
    assert!(one.log().contains("Redis did not take what was left to write"), "{}", one.log());
}

/// Attack M1: an event id of a session's former life hides nothing of this one. The log began with the same places, so
/// notifications were lost, and a server's request with the call behind it.
#[test]
fn an_event_id_of_a_former_life_hides_nothing() {
    let Some(redis) = redis_server("the registry") else { return };
    let config = redis.folder.join("mcp.json");
    let entry =
        serde_json::json!({"mcpServers": {"s": {"command": test_child(), "burdock": {"restore": true}}}});
    std::fs::write(&config, entry.to_string()).unwrap();
    let start = || node("n1", &redis, &["--config", config.to_str().unwrap()]);
    let mut one = start();
    let session = one.session(V);
    let mut stream = session.get(None);
    stream.head();
    stream.event();
    let mut seen = None;
    for id in 1..=5 {
        session.call(id, "notify", serde_json::json!({}));
        seen = stream.event().expect("a notification").id;
    }
    wait_for("its record", SOON, || record(&redis, &session.id));
    one.process.kill().unwrap();
    one.process.wait().unwrap();

    let again = start();
    let session = moved(&session, &again);
    session.call(6, "notify", serde_json::json!({}));
    std::thread::park_timeout(Duration::from_millis(600));
    // Beside a call in flight what belongs to none of two goes to the standalone stream.
    let _hangs = session.start(&call(7, "hang", serde_json::json!({})));
    std::thread::park_timeout(Duration::from_millis(500));
    let asks = r#"{"jsonrpc":"2.0","id":"who","method":"roots/list"}"#;
    session.call(8, "raw", serde_json::json!({"line": asks}));
    let mut resumed = session.get(seen.as_deref());
    resumed.head();
    let events: Vec<_> = (0..3).map(|_| resumed.event().expect("an event")).collect();
    assert!(events[0].data.is_empty(), "the priming event");
    assert!(events[1].data.contains("list_changed"), "{events:?}");
    assert!(events[2].data.contains("roots/list"), "{events:?}");
}

/// Restore over a restart by SIGTERM: a session of a restorable server is served to the last, and goes on afterwards;
/// others end as ever.
#[test]
fn a_restorable_session_goes_on_after_its_node_was_restarted() {
    let Some(redis) = redis_server("the registry") else { return };
    let config = redis.folder.join("mcp.json");
    let entry = serde_json::json!({"mcpServers": {
        "s": {"command": test_child(), "burdock": {"restore": true}}, "t": {"command": test_child()}}});
    std::fs::write(&config, entry.to_string()).unwrap();
    let flags = ["--config", config.to_str().unwrap(), "--drain-timeout", "0s", "--retire-window", "0s"];
    let start = || node("n1", &redis, &flags);
    let (mut one, two) = (start(), node("n2", &redis, &flags));
    let stays = Session::begin(one.address, "/mcp/s", V, &[]);
    let [deleted, ends] = ["s", "t"].map(|name| Session::begin(one.address, &format!("/mcp/{name}"), V, &[]));
    let before = stays.call(1, "initialized_with", serde_json::json!({}));
    let pid = stays.call(2, "pid", serde_json::json!({}))["result"]["content"][0]["text"].clone();
    let mut stream = stays.get(None);
    assert_eq!(stream.head().status, 200);
    assert!(stream.event().is_some());
    let mut calling = stays.start(&call(3, "wait", serde_json::json!({"seconds": 7})));
    assert_eq!(calling.head().status, 200);
    one.signal("-TERM");
    wait_for("the end of the one that is not restorable", SOON, || {
        record(&redis, &ends.id).is_none().then_some(())
    });
    // The others are served while a call is in flight, and end as before when their client says so.
    stays.call(4, "echo", serde_json::json!({"text": "x"}));
    assert_eq!(reason(&ends), serde_json::json!({"reason": "closed"}));
    assert_eq!(deleted.delete().status, 204);
    let answer = std::iter::from_fn(|| calling.event()).last().expect("an answer").json();
    assert_eq!(answer["result"]["content"][0]["text"], "waited");
    assert!(stream.event().is_some_and(|event| event.retry.is_some()), "when to come back");
    assert_eq!(stream.event(), None);
    assert_eq!(one.wait().code(), Some(0));
    assert!(!std::path::Path::new(&format!("/proc/{}", pid.as_str().unwrap())).exists(), "a child is left");
    assert_eq!(records(&redis), [format!("mcp:session:{}", stays.id)]);
    assert_eq!(redis.keys("mcp:node:n1"), Vec::<String>::new());
    assert_eq!(redis.keys(&format!("mcp:closed:{}", stays.id)), Vec::<String>::new());
    let lost = serde_json::json!({"reason": "lost", "node": "n1"});
    assert_eq!(reason(&moved(&stays, &two)), lost, "on another node, which does not restore it");

    let again = start();
    let stays = moved(&stays, &again);
    let after = stays.call(5, "initialized_with", serde_json::json!({}));
    assert_eq!(after["result"], before["result"], "another initialize");
    assert_eq!(reason(&moved(&ends, &again)), serde_json::json!({"reason": "closed"}));
    assert_eq!(stays.delete().status, 204);
    wait_for("no record", SOON, || records(&redis).is_empty().then_some(()));
}

/// Sessions that outlive the stop hold nothing up: not SIGTERM's, not Ctrl-C's; and one that has just begun has a record.
#[test]
fn restorable_sessions_do_not_hold_a_node_up() {
    let Some(redis) = redis_server("the registry") else { return };
    let config = redis.folder.join("mcp.json");
    let entry =
        serde_json::json!({"mcpServers": {"s": {"command": test_child(), "burdock": {"restore": true}}}});
    std::fs::write(&config, entry.to_string()).unwrap();
    for (signal, at_most) in [("-TERM", 4 + 8), ("-INT", 8)] {
        let flags =
            ["--config", config.to_str().unwrap(), "--drain-timeout", "60s", "--retire-window", "60s"];
        let mut one = node("n1", &redis, &flags);
        let session = one.session(V);
        let signalled = Instant::now();
        one.signal(signal);
        assert_eq!(one.wait().code(), Some(0));
        assert!(signalled.elapsed() < Duration::from_secs(at_most), "{signal}: {:?}", signalled.elapsed());
        assert!(record(&redis, &session.id).is_some(), "{signal}");
        assert!(one.log().contains("the session goes on when it is back"), "{}", one.log());
    }
}

/// A session's calls while Redis does something, for `time`; returns the 99th percentile.
fn p99_of_calls(session: &Session, time: Duration) -> Duration {
    let mut client = Client::connect(session.address);
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let sent = Instant::now();
        client.request(
            "POST",
            "/mcp",
            &session.headers(),
            &call(1, "echo", serde_json::json!({"text": "x"})),
        );
        let response = client.response();
        assert_eq!(response.status, 200, "{}", response.text());
        took.push(sent.elapsed());
        std::thread::park_timeout(Duration::from_millis(2));
    }
    took.sort();
    took[took.len() * 99 / 100]
}

/// What must hold while Redis misbehaves, and one heartbeat after it is well again. Returns a session that ended
/// meanwhile.
fn holds_while(
    one: &Burdock,
    redis: &mut RedisServer,
    fail: impl FnOnce(&mut RedisServer),
    heal: impl FnOnce(&mut RedisServer),
) -> Session {
    let old = one.session(V);
    let ends = one.session(V);
    wait_for("the records", SOON, || record(redis, &ends.id).and(record(redis, &old.id)));
    let memory = one.memory();
    fail(redis);
    let p99 = p99_of_calls(&old, Duration::from_secs(2));
    assert!(p99 <= Duration::from_millis(20), "p99 {p99:?}");
    assert_eq!(ends.delete().status, 204);
    let begun = Instant::now();
    let new = one.session(V);
    assert!(begun.elapsed() < Duration::from_secs(1), "a new session took {:?}", begun.elapsed());
    assert!(one.memory() <= memory + 2 * 1024 * 1024, "{} -> {}", memory, one.memory());
    heal(redis);
    wait_for(
        "one heartbeat after its return the records are the living sessions",
        Duration::from_secs(11),
        || {
            let mut living = [format!("mcp:session:{}", old.id), format!("mcp:session:{}", new.id)];
            living.sort();
            (records(redis) == living).then_some(())
        },
    );
    assert_eq!((old.delete().status, new.delete().status), (204, 204));
    wait_for("no records", SOON, || records(redis).is_empty().then_some(()));
    ends
}

#[test]
fn a_killed_redis_that_comes_back_empty_is_filled_again() {
    let Some(mut redis) = redis_server("the registry") else { return };
    let one = node("n1", &redis, &[]);
    holds_while(&one, &mut redis, RedisServer::kill, RedisServer::restart);
}

#[test]
fn a_hung_redis_holds_up_nobody() {
    let Some(mut redis) = redis_server("the registry") else { return };
    let one = node("n1", &redis, &[]);
    let ended = holds_while(&one, &mut redis, |redis| redis.signal("-STOP"), |redis| redis.signal("-CONT"));
    is_closed_elsewhere(&redis, &ended);
}

/// That it has ended while Redis was away is known to other nodes, too, where its record was left.
fn is_closed_elsewhere(redis: &RedisServer, ended: &Session) {
    let two = node("n2", redis, &[]);
    assert_eq!(reason(&moved(ended, &two)), serde_json::json!({"reason": "closed"}));
}

#[test]
fn a_redis_with_an_older_dump_has_no_ghosts() {
    let Some(mut redis) = redis_server("the registry") else { return };
    let one = node("n1", &redis, &[]);
    let ended = holds_while(
        &one,
        &mut redis,
        |redis| {
            // The dump has both sessions; one of them ends while Redis is down.
            redis::cmd("SAVE").exec(&mut redis.connection()).unwrap();
            redis.kill();
        },
        RedisServer::restart,
    );
    is_closed_elsewhere(&redis, &ended);
}

#[test]
fn data_that_vanish_from_a_living_redis_are_written_again() {
    let Some(mut redis) = redis_server("the registry") else { return };
    let one = node("n1", &redis, &[]);
    holds_while(
        &one,
        &mut redis,
        |redis| redis::cmd("FLUSHALL").exec(&mut redis.connection()).unwrap(),
        |_| {},
    );
}

/// Between a node and Redis: each answer comes later by as much as is said.
struct SlowWay {
    address: std::net::SocketAddr,
    delay: Arc<AtomicU64>,
}

impl SlowWay {
    fn to(redis: &RedisServer) -> SlowWay {
        let (listener, delay) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(AtomicU64::new(0)));
        let way = SlowWay { address: listener.local_addr().unwrap(), delay: Arc::clone(&delay) };
        let port = redis.port;
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || carry(near, far, None));
                let delay = Arc::clone(&delay);
                std::thread::spawn(move || carry(far_too, near_too, Some(delay)));
            }
        });
        way
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Option<Arc<AtomicU64>>) {
    let mut bytes = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let delay = delay.as_ref().map_or(0, |delay| delay.load(Ordering::Relaxed));
        if delay > 0 {
            std::thread::park_timeout(Duration::from_millis(delay));
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_slow_redis_holds_up_nobody_and_still_answers() {
    let Some(mut redis) = redis_server("the registry") else { return };
    let way = SlowWay::to(&redis);
    let url = format!("redis://{}/", way.address);
    let one = Burdock::serve(&["--node", "n1", "--redis", &url]);
    let two = node("n2", &redis, &[]);
    let far = two.session(V);
    wait_for("the record", SOON, || record(&redis, &far.id));
    assert_eq!(reason(&moved(&far, &one)), serde_json::json!({"reason": "elsewhere", "node": "n2"}));
    way.delay.store(200, Ordering::Relaxed);
    assert_eq!(reason(&moved(&far, &one)), serde_json::json!({"reason": "elsewhere", "node": "n2"}));
    assert_eq!(far.delete().status, 204);
    wait_for("no records", SOON, || records(&redis).is_empty().then_some(()));
    holds_while(&one, &mut redis, |_| {}, |_| {});
}

/// Whatever others put where burdock looks: the node goes on, and puts right what is its own.
#[test]
fn keys_that_burdock_did_not_write_stop_nothing() {
    let Some(redis) = redis_server("the registry") else { return };
    let one = node("n1", &redis, &[]);
    let (stays, ends) = (one.session(V), one.session(V));
    wait_for("the records", SOON, || record(&redis, &stays.id).and(record(&redis, &ends.id)));
    let mut connection = redis.connection();
    let mut say = |words: &[&[u8]]| {
        redis::cmd("EVAL")
            .arg("return redis.call(unpack(ARGV))")
            .arg(0)
            .arg(words)
            .exec(&mut connection)
            .unwrap();
    };
    say(&[b"FLUSHALL"]);
    say(&[b"SET", b"mcp:session:n1-\xff\xfe", b"x"]);
    say(&[b"HSET", b"mcp:node:n1", b"a", b"b"]);
    say(&[b"SET", b"mcp:node:n1:inbox", b"x"]);
    wait_for("the records after a heartbeat", Duration::from_secs(12), || {
        record(&redis, &stays.id).and(record(&redis, &ends.id))
    });
    // The test may read the log a moment after it has seen Redis.
    wait_for("the rewrite in the log", SOON, || one.log().contains("writing all records").then_some(()));
    let log = one.log();
    for key in ["mcp:node:n1 in Redis is not as", "mcp:node:n1:inbox in Redis is not as"] {
        assert_eq!(log.matches(key).count(), 1, "{log}");
    }
    assert!(!log.contains("sessions go on"), "{log}");
    // A close beside what is no id is heard all the same.
    say(&[b"RPUSH", b"mcp:node:n1:inbox", b"\xff\xfe", ends.id.as_bytes(), b""]);
    wait_for("the end of the closed one", Duration::from_secs(12), || {
        one.log()
            .contains("session over: the session was closed through another node or by an operator")
            .then_some(())
    });
    assert_eq!(reason(&ends), serde_json::json!({"reason": "closed"}));
    assert!(!one.log().contains("sessions go on"), "{}", one.log());
    // And through another node, into whatever stands where the inbox should be.
    say(&[b"SET", b"mcp:node:n1:inbox", b"x"]);
    let two = node("n2", &redis, &[]);
    assert_eq!(moved(&stays, &two).delete().status, 204);
    assert_eq!(reason(&moved(&stays, &two)), serde_json::json!({"reason": "closed"}));
    let inbox: Vec<String> = connection.lrange("mcp:node:n1:inbox", 0, -1).unwrap();
    assert!(inbox.is_empty() || inbox == [stays.id.as_str()], "{inbox:?}");
    wait_for("its end, too", Duration::from_secs(12), || {
        (one.log().matches("session over: the session was closed through another node").count() == 2)
            .then_some(())
    });
}

/// Sessions that come and go without a pause do not hold up the heartbeat, without which their node counts as gone; nor
/// the word that it drains.
#[test]
fn a_busy_node_is_heard_of() {
    let Some(redis) = redis_server("the registry") else { return };
    let way = SlowWay::to(&redis);
    way.delay.store(20, Ordering::Relaxed);
    let one = Burdock::serve(&["--node", "n1", "--redis", &format!("redis://{}/", way.address)]);
    let heartbeat = || -> Option<Value> {
        let text: Option<String> = redis.connection().get("mcp:node:n1").unwrap();
        serde_json::from_str(&text?).unwrap()
    };
    let first = wait_for("the heartbeat", SOON, heartbeat)["beat"].as_u64();
    let begun = Instant::now();
    let hears = |at_most: Duration, what: &dyn Fn(&Value) -> bool| {
        while begun.elapsed() < at_most {
            if heartbeat().is_some_and(|heartbeat| what(&heartbeat)) {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        false
    };
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (beats, drains) = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    live_a_life(&one, 0);
                }
            });
        }
        let beats = hears(Duration::from_secs(13), &|now| now["beat"].as_u64() > first);
        one.signal("-TERM");
        // Within its grace, in which sessions still begin.
        let drains = hears(begun.elapsed() + Duration::from_secs(2), &|now| now["draining"] == true);
        is_over.store(true, Ordering::Relaxed);
        (beats, drains)
    });
    assert!(beats, "no heartbeat while sessions come and go");
    assert!(drains, "no word of the drain while sessions come and go");
}

/// More ends of sessions than are remembered while Redis hangs: afterwards all records are written anew.
#[test]
fn an_overflowing_queue_to_redis_loses_nothing_in_the_end() {
    let Some(redis) = redis_server("the registry") else { return };
    let one = node("n1", &redis, &[]);
    let stays: Vec<Session> = (0..20).map(|_| one.session(V)).collect();
    let ends: Vec<Session> = (0..20).map(|_| one.session(V)).collect();
    wait_for("the records", SOON, || (records(&redis).len() == 40).then_some(()));
    for session in [0, 1].into_iter().flat_map(|_| (0..50).map(|_| one.session(V))) {
        session.delete();
    }
    let memory = one.memory();
    redis.signal("-STOP");
    ends.iter().for_each(|session| assert_eq!(session.delete().status, 204));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..700).for_each(|_| assert_eq!(one.session(V).delete().status, 204)));
        }
    });
    wait_for("a word about it", SOON, || one.log().contains("too much waits for Redis").then_some(()));
    assert!(p99_of_calls(&stays[0], Duration::from_secs(1)) <= Duration::from_millis(20));
    assert!(one.memory() <= memory + 2 * 1024 * 1024, "{memory} -> {}", one.memory());
    redis.signal("-CONT");
    let mut living: Vec<String> = stays.iter().map(|session| format!("mcp:session:{}", session.id)).collect();
    living.sort();
    wait_for("the living and no ghosts", Duration::from_secs(11), || {
        (records(&redis) == living).then_some(())
    });
    let restarted = moved(&ends[0], &one);
    assert_eq!(reason(&restarted), serde_json::json!({"reason": "closed"}));
}

#[test]
fn two_nodes_with_one_name_are_noticed_and_the_younger_gives_way() {
    let Some(redis) = redis_server("the registry") else { return };
    let older = node("n1", &redis, &[]);
    wait_for("the heartbeat", SOON, || (!redis.keys("mcp:node:n1").is_empty()).then_some(()));
    let younger = node("n1", &redis, &[]);
    let told = |burdock: &Burdock| burdock.log().contains("two nodes are named n1");
    wait_for("the younger's refusal", Duration::from_secs(45), || {
        let mut client = younger.client();
        client.request("GET", "/health/ready", &[], "");
        (client.response().status == 503).then_some(())
    });
    let mut client = younger.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &crate::support::initialize(V));
    let refused = client.response();
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("--node"), "{}", refused.text());
    assert!(told(&younger));
    older.session(V);
    wait_for("word of it for operators", Duration::from_secs(25), || {
        let text: Option<String> = redis.connection().get("mcp:node:n1").unwrap();
        serde_json::from_str::<Value>(&text?).unwrap()["disputed"].as_bool()
    });
    drop(older);
    wait_for("the younger's recovery", Duration::from_secs(25), || {
        let mut client = younger.client();
        client.request("GET", "/health/ready", &[], "");
        (client.response().status == 200).then_some(())
    });
    younger.session(V);
}

/// A node that is replaced while it drains: the heartbeat of the new one stays when the old one goes.
#[test]
fn a_node_that_leaves_takes_only_its_own_heartbeat_away() {
    let Some(redis) = redis_server("the registry") else { return };
    let epoch = || -> Option<String> {
        let text: Option<String> = redis.connection().get("mcp:node:n1").unwrap();
        serde_json::from_str::<Value>(&text?).unwrap()["epoch"].as_str().map(str::to_owned)
    };
    let mut old = node("n1", &redis, &["--drain-timeout", "60s", "--retire-window", "0"]);
    let of_old = wait_for("the old one's heartbeat", SOON, epoch);
    let holds = old.session(V);
    old.signal("-TERM");
    wait_for("its drain", SOON, || old.log().contains("stopping").then_some(()));
    // Between two heartbeats of the old one, or it would have the last word each time.
    let age = || HEARTBEAT_SECS - redis.connection().ttl::<_, i64>("mcp:node:n1").unwrap() as u64;
    wait_for("some seconds after its heartbeat", SOON, || (3..6).contains(&age()).then_some(()));
    let _new = node("n1", &redis, &[]);
    let run = |epoch: &str| epoch.split('.').next().unwrap().to_owned();
    let is_new = || epoch().map(|epoch| run(&epoch)).filter(|now| *now != run(&of_old));
    let of_new = wait_for("the new one's heartbeat", SOON, is_new);
    assert_eq!(holds.delete().status, 204);
    assert!(old.wait().success());
    assert_eq!(is_new(), Some(of_new));
}

#[test]
fn without_redis_a_node_serves_unless_it_is_required() {
    let Some(mut redis) = redis_server("the registry") else { return };
    redis.kill();
    let one = node("n1", &redis, &[]);
    one.session(V);
    wait_for("a word about it", SOON, || one.log().contains("sessions go on").then_some(()));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_burdock"))
        .args(["serve", "--listen", "127.0.0.1:0", "--redis", &redis.url(), "--redis-required"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot use Redis at redis://127.0.0.1:"), "{said}");
    redis.restart();
    wait_for("its return", SOON, || (records(&redis).len() == 1).then_some(()));
}

#[test]
fn a_password_a_user_and_a_unix_socket_work() {
    let Some(redis) = redis_server("the registry") else { return };
    redis::cmd("ACL")
        .arg(&[
            "SETUSER",
            "burdock",
            "on",
            ">s3cret",
            "~mcp:*",
            "+@read",
            "+@write",
            "+@transaction",
            "+@connection",
        ])
        .exec(&mut redis.connection())
        .unwrap();
    let socket = redis.folder.join("redis.sock");
    for url in [
        format!("redis://burdock:s3cret@127.0.0.1:{}/", redis.port),
        format!("unix://{}?user=burdock&pass=s3cret", socket.display()),
    ] {
        let file = redis.folder.join("url");
        std::fs::write(&file, &url).unwrap();
        let mode = if url.starts_with("redis:") { 0o644 } else { 0o600 };
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let one =
            Burdock::serve(&["--node", "n1", "--redis-file", file.to_str().unwrap(), "--redis-required"]);
        let session = one.session(V);
        wait_for("the record", SOON, || record(&redis, &session.id));
        assert_eq!(session.delete().status, 204);
        wait_for("no record", SOON, || records(&redis).is_empty().then_some(()));
        assert!(!one.log().contains("s3cret"), "{}", one.log());
        let warns = one.log().contains("every user of this machine can read there");
        assert_eq!(warns, url.starts_with("redis:"), "{}", one.log());
    }
    let wrong = format!("redis://burdock:wr0ng@127.0.0.1:{}/", redis.port);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_burdock"))
        .args(["serve", "--listen", "127.0.0.1:0", "--redis", &wrong, "--redis-required"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && !said.contains("wr0ng"), "{said}");
}
