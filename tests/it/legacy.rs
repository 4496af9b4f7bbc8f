//! The handshake era as a raw client sees it: each row of `spec.md` section 1 that can be seen from outside.
//!
//! A test's doc names its rows. The child is `tests/child/main.rs`, a real process speaking stdio.

use std::time::{Duration, Instant};

use burdock::limits::STREAM_READERS_MAX;
use serde_json::{Value, json};

use crate::support::*;

const ALL: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];
const LATEST: &str = "2025-11-25";

fn burdock() -> Burdock {
    Burdock::with_child(&[], &[])
}

/// L1, L21: one path for POST and GET; other methods are 405 with Allow.
#[test]
fn one_endpoint_takes_post_get_and_delete() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let get = session.get(None).head();
    assert_eq!((get.status, get.header("content-type")), (200, Some("text/event-stream")));
    for method in ["PUT", "PATCH", "HEAD", "post"] {
        let mut client = burdock.client();
        client.request(method, "/mcp", &session.headers(), "");
        let reply = client.head();
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, POST, DELETE")), "{method}");
    }
    let mut client = burdock.client();
    client.request("POST", "/mcp/nobody", &[BOTH, JSON], &initialize(LATEST));
    assert_eq!(client.response().status, 404);
}

/// L2, L3, S12: a foreign Origin or Host is 403, none is fine, loopback names on any port are fine.
#[test]
fn origin_and_host_are_checked() {
    let burdock = burdock();
    for (header, value, status) in [
        ("Origin", "http://evil.example.com", 403),
        ("Origin", "null", 403),
        ("Origin", "http://localhost:3000", 200),
        ("Host", "evil.example.com", 403),
        ("Host", "localhost:8080", 200),
        ("Host", "[::1]:99", 200),
    ] {
        let mut client = burdock.client();
        client.request("POST", "/mcp", &[BOTH, JSON, (header, value)], &initialize(LATEST));
        let reply = client.response();
        assert_eq!(reply.status, status, "{header}: {value}");
        assert!(status == 200 || reply.text().contains("--allow-"), "{}", reply.text());
    }
}

/// S12: a browser's preflight is answered, and an allowed page may read the session id.
#[test]
fn cors_for_allowed_origins() {
    let burdock = burdock();
    let mut client = burdock.client();
    let origin = ("Origin", "http://localhost:6274");
    client.request("OPTIONS", "/mcp", &[origin, ("Access-Control-Request-Method", "POST")], "");
    let preflight = client.response();
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some(origin.1));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("Mcp-Session-Id"));
    client.request("POST", "/mcp", &[BOTH, JSON, origin], &initialize(LATEST));
    let reply = client.response();
    assert_eq!(reply.header("access-control-allow-origin"), Some(origin.1));
    assert!(reply.header("access-control-expose-headers").unwrap().contains("Mcp-Session-Id"));
}

/// L5, `clients.md` C16: Accept is a set, in any order and case; a body must be JSON.
#[test]
fn media_types() {
    let burdock = burdock();
    for (accept, media, status) in [
        ("application/json, text/event-stream", "application/json", 200),
        ("text/event-stream, application/json", "application/json; charset=utf-8", 200),
        ("*/*", "Application/JSON", 200),
        ("APPLICATION/json;q=0.9", "application/json", 200),
        ("text/event-stream", "application/json", 200),
        ("text/html", "application/json", 406),
        // RFC 9110, 12.4.2: a weight of 0 is "not acceptable".
        ("text/event-stream;q=0", "application/json", 406),
        ("*/*;q=0.0", "application/json", 406),
        ("*/*", "text/plain", 415),
        ("*/*", "application/x-www-form-urlencoded", 415),
    ] {
        let mut client = burdock.client();
        client.request("POST", "/mcp", &[("Accept", accept), ("Content-Type", media)], &initialize(LATEST));
        let reply = client.response();
        assert_eq!(reply.status, status, "{accept} {media}");
        if status == 200 {
            assert_eq!(reply.json()["result"]["protocolVersion"], LATEST, "{accept}");
        }
    }
    let session = burdock.session(LATEST);
    let mut client = burdock.client();
    client.request("GET", "/mcp", &[("Accept", "application/json"), ("Mcp-Session-Id", &session.id)], "");
    assert_eq!(client.response().status, 406);
}

/// L10: a client that reads nothing but JSON gets its response as JSON, however long it takes.
#[test]
fn a_json_only_client_gets_json() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let ask = |accept| {
        let mut client = burdock.client();
        let headers = [("Accept", accept), JSON, ("Mcp-Session-Id", &session.id)];
        client.request("POST", "/mcp", &headers, &call(1, "slow", json!({"seconds": 1.6})));
        client.response()
    };
    for accept in ["application/json", "application/json, text/event-stream;q=0"] {
        let reply = ask(accept);
        assert_eq!(reply.header("content-type"), Some("application/json"), "{accept}");
        assert_eq!(reply.json()["id"], 1);
    }
}

/// Case 1 of the real clients (`@ai-sdk/mcp` 1.0): an event with data says that it is a message, on a call's stream and
/// on the standalone one; the priming event, which nobody dispatches, says nothing (L13).
#[test]
fn events_say_that_they_are_messages() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut standalone = session.get(None);
    assert_eq!(standalone.head().status, 200);
    let kind = |event: &SseEvent| (event.event.clone(), event.data.is_empty());
    let message = (Some("message".to_owned()), false);
    let reply = session.post(&call(1, "slow", json!({"seconds": 1.3})));
    let kinds: Vec<_> = reply.events().iter().map(kind).collect();
    let (priming, others) = kinds.split_first().expect("a stream, for the call takes its time");
    assert_eq!(priming, &(None, true));
    assert!(!others.is_empty() && others.iter().all(|kind| *kind == message), "{}", reply.text());
    let priming = standalone.event().expect("the priming event");
    assert_eq!(kind(&priming), (None, true));
}

/// L6: an array is refused where the revision has no batches.
#[test]
fn no_batches_after_2025_03_26() {
    let burdock = burdock();
    for version in ["2025-06-18", "2025-11-25"] {
        let reply = burdock.session(version).post(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#);
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains("batch"), "{}", reply.text());
    }
}

/// L7: batches in 2025-03-26: requests with notifications, notifications only, answers only.
#[test]
fn batches_in_2025_03_26() {
    let burdock = burdock();
    let session = burdock.session("2025-03-26");
    let ping = |id: i64| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    let note = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    let reply = session.post(&json!([ping(1), note, ping(2)]).to_string());
    assert_eq!(reply.status, 200);
    let mut ids: Vec<i64> = reply.events().iter().map(|event| event.json()["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    assert_eq!(session.post(&json!([note, note]).to_string()).status, 202);
    assert_eq!(session.post(&json!([{"jsonrpc": "2.0", "id": 7, "result": {}}]).to_string()).status, 202);
    assert_eq!(session.post("[]").status, 400);
    let with_initialize: Value = serde_json::from_str(&initialize("2025-03-26")).unwrap();
    assert_eq!(session.post(&json!([with_initialize]).to_string()).status, 400);
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &json!([with_initialize]).to_string());
    assert_eq!(client.response().status, 400);
}

/// L8, L10: 202 without a body for notifications and answers; one JSON body when the response comes soon.
#[test]
fn notifications_are_202_and_quick_responses_are_json() {
    let burdock = burdock();
    for version in ALL {
        let session = burdock.session(version);
        for message in
            [r#"{"jsonrpc":"2.0","method":"notifications/x"}"#, r#"{"jsonrpc":"2.0","id":99,"result":{}}"#]
        {
            let reply = session.post(message);
            assert_eq!((reply.status, reply.body.len()), (202, 0));
        }
        let reply = session.post(&call(1, "echo", json!({"text": "hi"})));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.json()["result"]["content"][0]["text"], "hi");
    }
}

/// L9, L11, `clients.md` C6: what is no message is 400: with the id where it can be read, never with `id: null`.
#[test]
fn no_message_is_400_and_never_id_null() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    for (body, id) in [
        ("{", None),
        ("", None),
        ("7", None),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, None),
        (r#"{"jsonrpc":"1.0","id":"a","method":"ping"}"#, Some(json!("a"))),
        (r#"{"jsonrpc":"2.0","id":5,"method":"ping","params":1}"#, Some(json!(5))),
    ] {
        let reply = session.post(body);
        assert_eq!(reply.status, 400, "{body}");
        match id {
            Some(id) => assert_eq!(
                (reply.json()["id"].clone(), reply.json()["error"]["code"].clone()),
                (id, json!(-32600))
            ),
            None => assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"), "{body}"),
        }
    }
    assert_eq!(session.call(1, "echo", json!({"text": "still here"}))["id"], 1);
}

/// L11: the id comes back as it was, with its JSON type; also when it names two calls at once, as some clients' do.
#[test]
fn ids_are_unchanged_and_may_name_two_calls_at_once() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    for id in [json!(0), json!(-1), json!(9007199254740993_i64), json!("7"), json!("ü\"\\\n"), json!("")] {
        let reply = session.post(&json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string());
        assert_eq!(reply.json(), json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    }
    let mut slow = session.start(&call(1, "slow", json!({"seconds": 0.5})));
    std::thread::park_timeout(Duration::from_millis(150));
    let twice = session.call(1, "echo", json!({"text": "x"}));
    assert_eq!((&twice["id"], &twice["result"]["content"][0]["text"]), (&json!(1), &json!("x")));
    let slow = slow.response().json();
    assert_eq!((&slow["id"], &slow["result"]["content"][0]["text"]), (&json!(1), &json!("done")));
}

/// L12: an unknown method is the backend's JSON-RPC error in a 200, never 404.
#[test]
fn unknown_method_is_200() {
    let burdock = burdock();
    let reply = burdock.session(LATEST).post(r#"{"jsonrpc":"2.0","id":1,"method":"no/such"}"#);
    assert_eq!((reply.status, reply.json()["error"]["code"].clone()), (200, json!(-32601)));
}

/// L13, L15, trap 17: streams begin with an id and empty data for 2025-11-25, and only there. `retry` is for when
/// burdock is about to end a stream: some clients refuse it before any data (case 10). A silent
/// call becomes a stream after a second, and the response ends it (L16, L17).
#[test]
fn a_silent_call_becomes_a_stream_with_priming_where_the_revision_has_it() {
    let burdock = burdock();
    for version in ALL {
        let session = burdock.session(version);
        let reply = session.post(&call(1, "wait", json!({"seconds": 1.7})));
        assert!(reply.is_stream(), "{version}");
        assert_eq!(reply.header("x-accel-buffering"), Some("no"));
        let events = reply.events();
        if version == LATEST {
            assert_eq!((events[0].data.as_str(), events[0].retry.as_deref()), ("", None));
            assert!(events[0].id.is_some());
            assert_eq!(events.len(), 2);
        } else {
            assert_eq!(events.len(), 1, "{events:?}");
        }
        assert_eq!(events.last().unwrap().json()["id"], 1);
    }
}

/// L18, L45: progress comes on the stream of its own request, also with two in flight.
#[test]
fn progress_goes_to_its_own_request() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut calls: Vec<Client> =
        (1..=2).map(|id| session.start(&call(id, "slow", json!({"seconds": 0.5})))).collect();
    for (id, client) in (1..=2).zip(&mut calls) {
        let reply = client.response();
        let events = reply.events();
        let progress: Vec<Value> = events
            .iter()
            .filter(|event| event.data.contains("notifications/progress"))
            .map(SseEvent::json)
            .collect();
        assert!(progress.len() >= 3, "{events:?}");
        assert!(progress.iter().all(|event| event["params"]["progressToken"] == format!("token-{id}")));
        assert_eq!(events.last().unwrap().json()["id"], id);
    }
}

/// L18, L47, L48, L50: a server request comes on the stream of the call that caused it; the answer, a POST of its
/// own, is 202 and reaches the call.
#[test]
fn elicitation_sampling_and_roots() {
    let burdock = burdock();
    for (version, tool, method, result) in [
        ("2025-06-18", "ask", "elicitation/create", json!({"action": "accept", "content": {"answer": "42"}})),
        (LATEST, "ask", "elicitation/create", json!({"action": "decline"})),
        (
            LATEST,
            "sample",
            "sampling/createMessage",
            json!({"role": "assistant", "content": {"type": "text", "text": "42"}, "model": "m"}),
        ),
        ("2025-03-26", "roots", "roots/list", json!({"roots": []})),
    ] {
        let session = burdock.session(version);
        let mut client = session.start(&call(1, tool, json!({})));
        assert_eq!(client.head().status, 200);
        let asked = loop {
            let event = client.event().unwrap();
            if !event.data.is_empty() {
                break event.json();
            }
        };
        assert_eq!(asked["method"], method);
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
        assert_eq!(session.post(&answer.to_string()).status, 202);
        let response = client.event().unwrap().json();
        let text = response["result"]["content"][0]["text"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap()["result"], result, "{tool}");
        assert_eq!(client.event(), None);
    }
}

/// L50: an answer from another session, or to nothing that was asked, reaches nobody.
#[test]
fn answers_count_only_in_their_own_session() {
    let burdock = burdock();
    let (session, other) = (burdock.session(LATEST), burdock.session(LATEST));
    let mut client = session.start(&call(1, "ask", json!({})));
    client.head();
    let asked = loop {
        let event = client.event().unwrap();
        if !event.data.is_empty() {
            break event.json();
        }
    };
    let answer = |text: &str| {
        json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"answer": text}}}).to_string()
    };
    assert_eq!(other.post(&answer("forged")).status, 202);
    assert_eq!(session.post(r#"{"jsonrpc":"2.0","id":"never-asked","result":{}}"#).status, 202);
    assert_eq!(session.post(&answer("mine")).status, 202);
    assert!(client.event().unwrap().data.contains("mine"));
}

/// L19, `clients.md` fact 9: the end of a session ends its streams gracefully, with the final chunk.
#[test]
fn delete_ends_the_streams_gracefully() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut get = session.get(None);
    get.head();
    assert!(get.event().is_some(), "the priming event");
    assert_eq!(session.delete().status, 204);
    assert_eq!(get.event(), None, "no final chunk");
}

/// L20, L27: a lost connection cancels nothing; GET with Last-Event-ID brings the rest of a POST's stream and ends.
#[test]
fn a_post_stream_is_resumed() {
    let burdock = burdock();
    for version in ALL {
        let session = burdock.session(version);
        let mut client = session.start(&call(1, "slow", json!({"seconds": 1.0})));
        client.head();
        let seen = loop {
            let event = client.event().unwrap();
            if event.data.contains("notifications/progress") {
                break event;
            }
        };
        drop(client);
        let mut resumed = session.get(seen.id.as_deref());
        assert_eq!(resumed.head().status, 200);
        let mut events = Vec::new();
        while let Some(event) = resumed.event() {
            events.push(event);
        }
        assert_eq!(events.last().unwrap().json()["id"], 1, "{events:?}");
        assert!(
            events.iter().filter(|event| !event.data.is_empty()).all(|event| event.data != seen.data),
            "twice"
        );
        // Also after the response came while nobody was connected, and more than once.
        let again = session.get(seen.id.as_deref()).response();
        assert_eq!(again.json()["id"], 1);
    }
}

/// L20: after a silent call's socket is lost its response waits for the reader who saw the priming event.
#[test]
fn the_priming_event_is_enough_to_resume() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut client = session.start(&call(1, "wait", json!({"seconds": 1.8})));
    client.head();
    let priming = client.event().unwrap();
    drop(client);
    let resumed = session.get(priming.id.as_deref()).response();
    assert_eq!(resumed.json()["id"], 1);
}

/// L22, L23, L51: what belongs to no request comes on the GET stream; responses never do.
#[test]
fn unrelated_notifications_come_on_the_get_stream() {
    let burdock = burdock();
    for version in ALL {
        let session = burdock.session(version);
        let mut get = session.get(None);
        get.head();
        let reply = session.post(&call(1, "notify", json!({})));
        assert!(!reply.is_stream(), "the notification came with the response");
        let event = loop {
            let event = get.event().unwrap();
            if !event.data.is_empty() {
                break event;
            }
        };
        assert_eq!(event.json()["method"], "notifications/tools/list_changed");
    }
}

/// L22: a notification that comes before the client opens its GET stream waits for it.
#[test]
fn an_early_notification_waits_for_the_get_stream() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    session.call(1, "notify", json!({}));
    std::thread::park_timeout(Duration::from_millis(500));
    let mut get = session.get(None);
    get.head();
    let events = [get.event().unwrap(), get.event().unwrap()];
    assert_eq!(events[1].json()["method"], "notifications/tools/list_changed");
}

/// L25, L28: several GETs of one session: each message on exactly one of them, the newest that lives. An older one
/// stays open and silent, and goes on where the newest stopped when that one goes. 409 for the second would lock out a
/// client whose first connection is half dead; ending the first made two readers throw each other out for ever.
#[test]
fn the_newest_get_gets_the_messages_and_an_older_one_takes_over() {
    let burdock = Burdock::with_child(&["--keep-alive-comment", "200ms"], &[]);
    let session = burdock.session(LATEST);
    let open = || {
        let mut get = session.get(None);
        assert_eq!(get.head().status, 200);
        get.event();
        get
    };
    let (mut first, mut second) = (open(), open());
    session.call(1, "notify", json!({}));
    let told = second.event().unwrap();
    assert_eq!(told.json()["method"], "notifications/tools/list_changed");
    for _ in 0..3 {
        assert_eq!(first.chunk().unwrap(), b": keep-alive\n\n", "the older one is not open and silent");
    }
    drop(second);
    // Its end is noticed while it is idle; what is said after that goes to the older one, and only that.
    std::thread::park_timeout(Duration::from_millis(200));
    session.call(2, "notify", json!({}));
    let next = first.event().unwrap();
    assert_eq!(next.json()["method"], "notifications/tools/list_changed");
    let place =
        |id: &Option<String>| id.as_deref().unwrap().split_once('-').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(place(&next.id), place(&told.id) + 1);
}

/// Case 11: of more than four GETs the one that waited longest ends gracefully, with a word on when to come back.
#[test]
fn a_fifth_get_ends_the_oldest() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut gets: Vec<Client> = Vec::new();
    for _ in 0..STREAM_READERS_MAX + 1 {
        let mut get = session.get(None);
        get.head();
        get.event();
        gets.push(get);
    }
    let word = gets[0].event().expect("a word on when to come back");
    assert!(word.retry.is_some() && word.id.is_none() && word.data.is_empty(), "{word:?}");
    assert_eq!(gets[0].event(), None);
    session.call(1, "notify", json!({}));
    assert!(gets.pop().unwrap().event().unwrap().data.contains("list_changed"));
    // The next in turn, and so on: all four others are alive.
    for get in gets.iter_mut().skip(1).rev() {
        std::thread::park_timeout(Duration::from_millis(200));
        session.call(2, "notify", json!({}));
        assert!(get.event().unwrap().data.contains("list_changed"));
        get.socket.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
    }
}

/// L26: event ids are unique over the streams of a session.
#[test]
fn event_ids_are_unique() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut get = session.get(None);
    get.head();
    let mut ids = vec![get.event().unwrap().id.unwrap()];
    for id in 1..=3 {
        let reply = session.post(&call(id, "slow", json!({"seconds": 0.3})));
        ids.extend(reply.events().into_iter().filter_map(|event| event.id));
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
    assert!(count > 6);
}

/// L27: the standalone stream is resumed after the last event seen. An id that is not ours begins a fresh stream
/// (the spec leaves it open): on a 400 some clients never ask again, and others give the session up.
#[test]
fn the_get_stream_is_resumed() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut get = session.get(None);
    get.head();
    let priming = get.event().unwrap();
    drop(get);
    session.call(1, "notify", json!({}));
    std::thread::park_timeout(Duration::from_millis(400));
    let mut resumed = session.get(priming.id.as_deref());
    resumed.head();
    resumed.event();
    assert!(resumed.event().unwrap().data.contains("list_changed"));
    for foreign in ["9-1", "3-17", "abc", "99-1", "x", "0-1-2", "4294967296-1", "-", "+1-1"] {
        let mut fresh = session.get(Some(foreign));
        assert_eq!(fresh.head().status, 200, "{foreign}");
        assert_eq!(fresh.event().unwrap().data, "", "{foreign} gets what another has seen");
        session.call(2, "notify", json!({}));
        assert!(fresh.event().unwrap().data.contains("list_changed"), "{foreign}");
    }
}

/// L29, L30: the id comes with the answer to initialize and only there; 128 bits after the node's name.
#[test]
fn session_ids() {
    let burdock = Burdock::with_child(&["--node", "n7"], &[]);
    let (one, two) = (burdock.session(LATEST), burdock.session(LATEST));
    assert_ne!(one.id, two.id);
    assert!(one.id.starts_with("n7-") && one.id.len() == 3 + 26, "{}", one.id);
    assert!(one.id.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
    assert_eq!(one.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).header("mcp-session-id"), None);
    assert!(!burdock.log().contains(&one.id), "the whole id is in the log");
}

/// L31, `clients.md` C9: without a session 400; a GET without one a quick 405; neither begins a session.
#[test]
fn without_a_session() {
    let burdock = burdock();
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#);
    let reply = client.response();
    assert_eq!(
        (reply.status, reply.json()["id"].clone(), reply.json()["error"]["code"].clone()),
        (400, json!(3), json!(-32600))
    );
    client.request(
        "POST",
        "/mcp",
        &[BOTH, JSON],
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    );
    assert_eq!(client.response().status, 400);
    client.request("GET", "/mcp", &[("Accept", "text/event-stream")], "");
    let reply = client.response();
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    client.request("DELETE", "/mcp", &[], "");
    assert_eq!(client.response().status, 400);
    for path in ["/.well-known/oauth-protected-resource/mcp", "/mcp/.well-known/openid-configuration", "/"] {
        client.request("GET", path, &[], "");
        assert_eq!(client.response().status, 404, "{path}");
    }
}

/// `clients.md` C8, B4: `server/discover` gets 400 with -32601 and its id, and starts nothing.
#[test]
fn discover_makes_clients_fall_back() {
    let burdock = burdock();
    let mut client = burdock.client();
    let probe = r#"{"jsonrpc":"2.0","id":"server-discover-probe-1","method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    client.request(
        "POST",
        "/mcp",
        &[BOTH, JSON, ("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "server/discover")],
        probe,
    );
    let reply = client.response();
    assert_eq!((reply.status, reply.json()["error"]["code"].clone()), (400, json!(-32601)));
    assert_eq!(reply.json()["id"], "server-discover-probe-1");
    assert!(!burdock.log().contains("session of"));
}

/// L32, L33: DELETE is 204, and from then on every request is 404 with the id and the reason.
#[test]
fn after_delete_comes_404() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    assert_eq!(session.delete().status, 204);
    let reply = session.post(r#"{"jsonrpc":"2.0","id":"x","method":"ping"}"#);
    assert_eq!((reply.status, reply.json()["id"].clone()), (404, json!("x")));
    assert_eq!(reply.json()["error"]["data"]["reason"], "closed");
    assert_eq!(session.get(None).response().status, 404);
    assert_eq!(session.delete().status, 404);
    assert_eq!(session.post(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).status, 404);
}

/// L32: an id that was never issued is 404 `unknown`, whatever it looks like.
#[test]
fn unknown_ids_are_404() {
    let burdock = burdock();
    let mut session = burdock.session(LATEST);
    let real = session.id.clone();
    for id in [
        "local-00000000000000000000000000",
        "n9-00000000000000000000000000",
        "x",
        &real[1..],
        "../../etc",
        &"a".repeat(3000),
    ] {
        session.id = id.to_owned();
        let reply = session.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        assert_eq!(
            (reply.status, reply.json()["error"]["data"]["reason"].clone()),
            (404, json!("unknown")),
            "{id}"
        );
    }
}

/// L34, `clients.md` C3: initialize with a dead id begins anew; with a living one it is 400.
#[test]
fn initialize_with_an_id() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let reply = session.post(&initialize(LATEST));
    assert_eq!((reply.status, reply.json()["id"].clone()), (400, json!(0)));
    session.delete();
    let reply = session.post(&initialize(LATEST));
    assert_eq!(reply.status, 200);
    assert_ne!(reply.header("mcp-session-id").unwrap(), session.id);
}

/// L35, L36, L37: no version header is fine, another supported one too; an unsupported one is 400.
#[test]
fn version_header() {
    let burdock = burdock();
    let session = burdock.session("2025-06-18");
    for (version, status) in [
        (None, 200),
        (Some("2025-03-26"), 200),
        (Some("2025-11-25"), 200),
        (Some("2026-07-28"), 400),
        (Some("1.0"), 400),
        (Some(""), 400),
    ] {
        let mut headers = vec![BOTH, JSON, ("Mcp-Session-Id", session.id.as_str())];
        headers.extend(version.map(|version| ("MCP-Protocol-Version", version)));
        let mut client = burdock.client();
        client.request("POST", "/mcp", &headers, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        let reply = client.response();
        assert_eq!((reply.status, reply.json()["id"].clone()), (status, json!(1)), "{version:?}");
    }
}

/// L38, L39, `clients.md` C7: a supported version is echoed, any other answered with 2025-11-25.
#[test]
fn version_negotiation() {
    let burdock = burdock();
    for (asked, answered) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        (LATEST, LATEST),
        ("2026-07-28", LATEST),
        ("1999-01-01", LATEST),
    ] {
        let session = burdock.session(asked);
        assert_eq!(session.version, answered);
        assert!(session.answer["result"]["serverInfo"]["name"].is_string());
    }
}

/// L39, design 5: a child of an old SDK answers 2024-11-05; its answer stands and works, batches included.
#[test]
fn a_child_of_2024_11_05() {
    let burdock = Burdock::with_child(&[], &["--version-2024"]);
    let session = burdock.session(LATEST);
    assert_eq!(session.version, "2024-11-05");
    assert_eq!(session.call(1, "echo", json!({"text": "old"}))["result"]["content"][0]["text"], "old");
    assert_eq!(session.post(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#).status, 200);
    let mut get = session.get(None);
    get.head();
    session.call(2, "notify", json!({}));
    assert!(get.event().unwrap().data.contains("list_changed"), "a priming event for an old client");
}

/// L40: requests before `notifications/initialized` are the backend's to judge.
#[test]
fn ping_before_initialized() {
    let burdock = burdock();
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    let id = client.response().header("mcp-session-id").unwrap().to_owned();
    client.request(
        "POST",
        "/mcp",
        &[BOTH, JSON, ("Mcp-Session-Id", &id)],
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
    );
    assert_eq!(client.response().json()["result"], json!({}));
}

/// L42: DELETE ends the child.
#[test]
fn delete_ends_the_child() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let answer = session.call(1, "pid", json!({}));
    let pid = answer["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    let alive = || std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(alive());
    session.delete();
    wait_for("the child's end", SOON, || (!alive()).then_some(()));
}

/// L43: a client's ping; `streams.rs` has the server's.
#[test]
fn ping() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let reply = session.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    assert_eq!(reply.json(), json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
}

/// L44: no response after `cancelled`; the stream ends at once, also one that was still silent; others go on.
#[test]
fn cancelled_calls_end_without_a_response() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut other = session.start(&call(9, "slow", json!({"seconds": 1.0})));
    // Its progress has begun: it is the first call.
    assert_eq!(other.head().status, 200);
    for (id, silent) in [(1, Duration::from_millis(200)), (2, Duration::from_millis(1600))] {
        let mut client = session.start(&call(id, "hang", json!({})));
        std::thread::park_timeout(silent);
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": "test"}});
        assert_eq!(session.post(&cancel.to_string()).status, 202);
        let begun = Instant::now();
        let reply = client.response();
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert!(reply.events().iter().all(|event| event.data.is_empty()), "{reply:?}");
        // Whoever insists hears why, and is not left to ask for ever.
        if let Some(priming) = reply.events().first() {
            assert!(
                session.get(priming.id.as_deref()).response().json()["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("cancelled")
            );
        }
    }
    assert_eq!(std::iter::from_fn(|| other.event()).last().unwrap().json()["id"], 9);
    let seen = session.call(10, "cancelled_ids", json!({}));
    // In burdock's numbers: 0 was `initialize`, 1 the call with id 9.
    assert_eq!(seen["result"]["content"][0]["text"], "[2,3]");
    assert_eq!(
        session
            .post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#)
            .status,
        202
    );
    assert_eq!(session.post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#).status, 202);
}

/// L52-L55, T1-T9: what burdock has no part in passes as it is: params, results and errors, byte for byte.
#[test]
fn everything_else_passes_through() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let params = r#"{ "task" : {"ttl":60000}, "z":1.50,"a":[1e3, "\u00e4 \n"], "_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}} }"#;
    let reply =
        session.post(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"test/params","params":{params}}}"#));
    assert_eq!(reply.json()["result"]["params"], params);
    let raw = r#"{"task":{"taskId":"t1","status":"working","ttl":null,"n":1.50},"x":"\u00e4"}"#;
    let request = json!({"jsonrpc": "2.0", "id": 2, "method": "test/result", "params": {"raw": raw}});
    let text = session.post(&request.to_string()).text();
    assert!(text.contains(&format!("\"result\":{raw}")), "{text}");
}

/// Keep-alive comments, configurable (`clients.md` C13), and the far end's close noticed while idle.
#[test]
fn idle_streams_have_comments_and_notice_the_end() {
    let burdock = Burdock::with_child(&["--keep-alive-comment", "1s", "--admin", "127.0.0.1:0"], &[]);
    let session = burdock.session(LATEST);
    let mut get = session.get(None);
    get.head();
    get.event();
    assert_eq!(get.chunk().unwrap(), b": keep-alive\n\n");
    drop(get);
    session.call(1, "notify", json!({}));
    std::thread::park_timeout(Duration::from_millis(500));
    // The stream noticed: the notification waits for the next reader instead of being lost on the old one.
    let mut get = session.get(None);
    get.head();
    get.event();
    assert!(get.event().unwrap().data.contains("list_changed"));
}
