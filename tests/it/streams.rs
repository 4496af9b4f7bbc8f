//! Event streams as the clients of the field need them: what an event says, several readers of one session, ids of
//! events that are not ours, and what `Accept` refuses.

use std::io::BufRead as _;
use std::time::Duration;

use serde_json::json;

use crate::scripted::*;
use crate::support::*;

const ALL: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

/// Long enough that a stream that is to be silent would have said something.
const A_WHILE: Duration = Duration::from_millis(150);

fn burdock() -> Burdock {
    Burdock::with_child(&FLAGS, &["--script"])
}

/// Has the server tell something that belongs to no call.
fn tell(session: &Session, text: &str) {
    let line = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{text}"}}}}"#
    );
    let say = json!({"jsonrpc": "2.0", "method": "notifications/test/say", "params": {"text": line + "\n"}});
    assert_eq!(session.post(&say.to_string()).status, 202);
}

/// A GET whose head was read: a stream.
#[track_caller]
fn reader(session: &Session, last_event_id: Option<&str>) -> Client {
    let mut get = session.get(last_event_id);
    let head = get.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    get
}

/// A reader of the standalone stream that has its priming event.
fn primed(session: &Session) -> Client {
    let mut get = reader(session, None);
    assert_eq!(get.event().expect("the priming event").data, "");
    get
}

#[track_caller]
fn uri(client: &mut Client) -> String {
    next_message(client).json()["params"]["uri"].as_str().unwrap().to_owned()
}

/// Whether anything comes within this time, the end included.
fn something_comes(client: &mut Client, within: Duration) -> bool {
    client.socket.get_ref().set_read_timeout(Some(within)).unwrap();
    let came = client.socket.fill_buf().is_ok();
    client.socket.get_ref().set_read_timeout(Some(SOON)).unwrap();
    came
}

/// Waits until burdock has seen that this reader is gone: what is told then comes on `instead`.
fn left_to(session: &Session, gone: Client, instead: &mut Client) {
    drop(gone);
    let mut turn = 0;
    wait_for("the older reader's turn", SOON, || {
        turn += 1;
        tell(session, &format!("turn {turn}"));
        something_comes(instead, Duration::from_millis(50)).then_some(())
    });
    tell(session, "taken over");
    while uri(instead) != "taken over" {}
}

// --- What an event says ---------------------------------------------------------------------------------------

/// `@ai-sdk/mcp` drops events that do not say `event: message` (case 1): each with data does, on every kind of
/// stream, and the priming event, which has none, does not.
#[test]
fn every_event_with_data_is_a_message() {
    let burdock = burdock();
    for version in ALL {
        let session = burdock.session(version);
        let mut get = reader(&session, None);
        tell(&session, "one");
        let standalone = next_message(&mut get);
        let reply = session.post(&call(1, "slow", json!({"seconds": 0.3})));
        assert!(reply.is_stream());
        let posted = reply.events();
        let first = posted.iter().find(|event| !event.data.is_empty()).unwrap();
        let resumed = session.get(first.id.as_deref()).response().events();
        let all = [standalone].into_iter().chain(posted).chain(resumed);
        let (with_data, without): (Vec<_>, Vec<_>) = all.partition(|event| !event.data.is_empty());
        assert!(with_data.len() >= 6, "{with_data:?}");
        assert!(with_data.iter().all(|event| event.event.as_deref() == Some("message")), "{with_data:?}");
        assert!(without.iter().all(|event| event.event.is_none()), "{without:?}");
        assert_eq!(without.is_empty(), version != LATEST, "{without:?}");
    }
}

/// L13, L15: a stream begins with an id and empty data, in the revision that has it, and without `retry:`, which the
/// Java client takes for an error (case 10).
#[test]
fn no_stream_begins_with_retry() {
    let burdock = burdock();
    for version in ALL {
        let session = burdock.session(version);
        let mut get = reader(&session, None);
        tell(&session, "one");
        let first = get.event().unwrap();
        let reply = session.post(&call(1, "slow", json!({"seconds": 0.2})));
        let resumed = session.get(reply.events()[0].id.as_deref()).response();
        for event in [first].into_iter().chain(reply.events()).chain(resumed.events()) {
            assert_eq!(event.retry, None, "{version}: {event:?}");
            assert!(event.id.is_some(), "{version}: {event:?}");
        }
        assert!(!reply.text().contains("retry") && !resumed.text().contains("retry"), "{version}");
    }
}

// --- Several readers of one session ---------------------------------------------------------------------------

/// L25, L28: two clients of one session keep their streams (case 11): the newer one has the messages, each once, and
/// the older one stays open and silent.
#[test]
fn a_second_reader_silences_the_first() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut older = primed(&session);
    tell(&session, "to the older");
    assert_eq!(uri(&mut older), "to the older");
    let mut newer = primed(&session);
    for text in ["one", "two", "three"] {
        tell(&session, text);
        assert_eq!(uri(&mut newer), text);
    }
    assert!(!something_comes(&mut older, A_WHILE), "the older stream has messages, too, or ends");
    left_to(&session, newer, &mut older);
    // And once more: a third one comes and goes.
    let mut third = primed(&session);
    tell(&session, "to the third");
    assert_eq!(uri(&mut third), "to the third");
    assert!(!something_comes(&mut older, A_WHILE));
    left_to(&session, third, &mut older);
}

/// Of five readers the oldest one's stream ends, gracefully; the four stay, and each takes over from the next newer.
#[test]
fn four_readers_at_most() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut readers: Vec<Client> = (0..5).map(|_| primed(&session)).collect();
    let mut oldest = readers.remove(0);
    let last_words = std::iter::from_fn(|| oldest.event()).collect::<Vec<_>>();
    assert!(last_words.iter().all(|event| event.data.is_empty()), "{last_words:?}");
    // Not at once, or five clients would throw each other out for ever.
    assert!(last_words.iter().any(|event| event.retry.is_some()), "{last_words:?}");
    for reader in &mut readers[..3] {
        assert!(!something_comes(reader, A_WHILE), "an older stream ends or has messages");
    }
    while let Some(newest) = readers.pop() {
        let Some(next) = readers.last_mut() else { break };
        left_to(&session, newest, next);
        for older in readers.iter_mut().rev().skip(1) {
            assert!(!something_comes(older, A_WHILE));
        }
    }
}

/// An older reader that goes away takes nothing with it.
#[test]
fn an_older_reader_that_leaves() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut readers: Vec<Client> = (0..4).map(|_| primed(&session)).collect();
    drop(readers.remove(1));
    drop(readers.remove(0));
    for turn in 0..50 {
        tell(&session, &turn.to_string());
        assert_eq!(uri(&mut readers[1]), turn.to_string());
    }
    let newest = readers.pop().unwrap();
    left_to(&session, newest, &mut readers[0]);
    // Those that left have given their places back.
    let mut more: Vec<Client> = (0..3).map(|_| primed(&session)).collect();
    assert!(!something_comes(&mut readers[0], A_WHILE));
    tell(&session, "last");
    assert_eq!(uri(&mut more[2]), "last");
}

/// What is told while nobody is there waits for the next reader, also when there were several.
#[test]
fn nothing_is_lost_when_all_readers_leave() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut readers: Vec<Client> = (0..2).map(|_| primed(&session)).collect();
    tell(&session, "read");
    let seen = next_message(&mut readers[1]);
    drop(readers);
    for turn in 0..10 {
        tell(&session, &turn.to_string());
    }
    let mut again = reader(&session, seen.id.as_deref());
    for turn in 0..10 {
        assert_eq!(uri(&mut again), turn.to_string());
    }
}

/// A server's requests go to the newest reader, and to the next older one's stream when it leaves without an answer.
#[test]
fn a_request_of_the_server_with_several_readers() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut older = primed(&session);
    let mut newer = primed(&session);
    let ask = r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#;
    let say =
        json!({"jsonrpc": "2.0", "method": "notifications/test/say", "params": {"text": format!("{ask}\n")}});
    assert_eq!(session.post(&say.to_string()).status, 202);
    let asked = next_message(&mut newer).json();
    assert_eq!(asked["method"], "roots/list");
    assert!(!something_comes(&mut older, A_WHILE), "asked twice");
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}});
    assert_eq!(session.post(&answer.to_string()).status, 202);
    let heard = session.call(1, "heard", json!({"part": "\"roots\":[]", "count": 1}));
    assert!(heard.to_string().contains("result"), "{heard}");
}

/// L19, L33: DELETE ends every reader's stream gracefully.
#[test]
fn delete_ends_all_readers() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut readers: Vec<Client> = (0..4).map(|_| primed(&session)).collect();
    assert_eq!(session.delete().status, 204);
    for reader in &mut readers {
        assert_eq!(reader.event(), None);
    }
}

/// A call's stream that is resumed twice: the response reaches who came last.
#[test]
fn a_posts_stream_is_resumed_twice() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut post = session.start(&call(1, "slow", json!({"seconds": 1.0})));
    post.head();
    let seen = post.event().unwrap().id;
    drop(post);
    let _first = reader(&session, seen.as_deref());
    let second = session.get(seen.as_deref()).response();
    assert_eq!(second.json()["id"], 1);
}

// --- Ids of events that are not ours --------------------------------------------------------------------------

/// L27: an event id of another server or another life opens a fresh stream (stale-last-event-id): clients that get
/// 400 give up their session or never ask again.
#[test]
fn an_event_id_that_is_not_ours_opens_a_fresh_stream() {
    let burdock = burdock();
    for id in [
        "3-17",
        "abc",
        "99-1",
        "0-5",
        "0-4000000000",
        "-",
        "+1-1",
        "0-1-2",
        "4294967296-1",
        "0-18446744073709551616",
        "x",
        "1",
        "6f1d1f0e-5f7a-4f0e-9b3a-000000000000_1700000000000_abc",
        &"9".repeat(1000),
    ] {
        let session = burdock.session(LATEST);
        let mut get = reader(&session, Some(id));
        tell(&session, "fresh");
        assert_eq!(uri(&mut get), "fresh", "{id}");
    }
}

/// The same for the id of a stream that was there and is forgotten, and for another session's.
#[test]
fn an_event_id_of_another_session() {
    let burdock = burdock();
    let (session, other) = (burdock.session(LATEST), burdock.session(LATEST));
    let reply = other.post(&call(1, "slow", json!({"seconds": 0.2})));
    let foreign = reply.events()[0].id.clone();
    tell(&other, "of the other");
    let mut get = reader(&session, foreign.as_deref());
    tell(&session, "mine");
    assert_eq!(uri(&mut get), "mine", "never another's events");
}

/// A place that the stream never reached has been seen by nobody: what comes next is not swallowed (attack M1).
#[test]
fn an_event_id_from_the_future_swallows_nothing() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut get = primed(&session);
    tell(&session, "one");
    let seen = next_message(&mut get).id.unwrap();
    let (stream, place) = seen.rsplit_once('-').unwrap();
    drop(get);
    let future = format!("{stream}-{}", place.parse::<u64>().unwrap() + 10);
    let mut get = reader(&session, Some(&future));
    for turn in 0..20 {
        tell(&session, &turn.to_string());
    }
    let mut last = 0;
    while last != 19 {
        let text = uri(&mut get);
        if text == "one" {
            continue;
        }
        let turn: i32 = text.parse().unwrap();
        assert!(turn == last + 1 || turn == 0, "{turn} after {last}");
        last = turn;
    }
}

// --- Accept ---------------------------------------------------------------------------------------------------

/// RFC 9110 12.4.2: a weight of 0 is "not acceptable": no stream for who refuses streams, no JSON for who refuses it.
#[test]
fn a_weight_of_zero_is_no() {
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let replies = [
        ("application/json, text/event-stream;q=0", 200, "application/json"),
        ("text/event-stream; q=0.000, */*", 200, "application/json"),
        ("text/event-stream;Q=0,application/json;q=0.1", 200, "application/json"),
        ("application/json;q=0, text/event-stream", 200, "text/event-stream"),
        ("application/json;q=0.001, text/event-stream;q=0", 200, "application/json"),
        ("text/event-stream;q=0", 406, "text/plain"),
        ("application/json;q=0", 406, "text/plain"),
        ("application/json;q=0, text/event-stream;q=0", 406, "text/plain"),
        ("*/*;q=0", 406, "text/plain"),
        ("*/*;q=0, application/json", 200, "application/json"),
        ("text/*;q=0, */*", 200, "application/json"),
    ];
    // All at once: each call is silent for so long that it would become a stream.
    let calls: Vec<Client> = (1..)
        .zip(replies)
        .map(|(id, (accept, _, _))| {
            let mut client = Client::connect(burdock.address);
            let headers = [("Accept", accept), JSON, ("Mcp-Session-Id", &*session.id)];
            client.request("POST", "/mcp", &headers, &call(id, "wait", json!({"seconds": 1.2})));
            client
        })
        .collect();
    for ((accept, status, media), mut client) in replies.into_iter().zip(calls) {
        let reply = client.response();
        assert_eq!(reply.status, status, "{accept}: {}", reply.text());
        let got = reply.header("content-type").unwrap();
        assert!(status == 406 || got.starts_with(media), "{accept}: {got}");
    }
    for (accept, status) in [
        ("text/event-stream;q=0", 406),
        ("*/*, text/event-stream;q=0", 406),
        ("text/event-stream;q=0.1", 200),
    ] {
        let mut client = Client::connect(burdock.address);
        client.request("GET", "/mcp", &[("Accept", accept), ("Mcp-Session-Id", &*session.id)], "");
        assert_eq!(client.head().status, status, "{accept}");
    }
}

// --- What servers ask by themselves ---------------------------------------------------------------------------

/// L43: the server's ping is answered by the client that reads, and by burdock when nobody does.
#[test]
fn a_ping_of_the_server() {
    const IDS: [&str; 4] = ["1", r#""p""#, "2.0", r#""\u0061""#];
    // Right behind the answer: no call is in flight whose stream could have it.
    let pings: String = IDS.iter().map(|id| format!("{}\n", request(id, "ping", "{}"))).collect();
    let opening = format!("{{\"jsonrpc\":\"2.0\",\"id\":<id>,\"result\":<result>}}\n{pings}");
    let admin = std::env::temp_dir().join(format!("burdock-pings-{:016x}", fastrand::u64(..)));
    let listen = format!("unix:{}", admin.display());
    let burdock = Burdock::with_child(
        &[&FLAGS[..], &["--admin", &listen]].concat(),
        &["--script", "--opening", &opening],
    );
    let session = burdock.session(LATEST);
    // A call that is in flight before burdock has read the pings would have them on its stream.
    let given = format!("burdock_messages_to_backend_total {}\n", 1 + IDS.len());
    wait_for("`initialized` and the answers to the pings", SOON, || {
        crate::sessions::admin_get(&admin, "/metrics").contains(&given).then_some(())
    });
    let answers = |count: usize| {
        let heard = session.call(1, "heard", json!({"part": "\"result\"", "count": count}));
        let text = heard["result"]["content"][0]["text"].as_str().unwrap();
        serde_json::from_str::<Vec<String>>(text).unwrap()
    };
    for (answer, id) in answers(IDS.len()).iter().zip(IDS) {
        assert_eq!((id_bytes(answer).as_str(), answer.contains(r#""result":{}"#)), (id, true), "{answer}");
    }
    let mut get = primed(&session);
    let line = format!("{}\n", request("\"to the client\"", "ping", "{}"));
    let say = json!({"jsonrpc": "2.0", "method": "notifications/test/say", "params": {"text": line}});
    assert_eq!(session.post(&say.to_string()).status, 202);
    let asked = next_message(&mut get);
    assert_eq!(asked.json()["method"], "ping");
    let answer = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": {"by": "the client"}});
    assert_eq!(session.post(&answer.to_string()).status, 202);
    let answer = answers(IDS.len() + 1).pop().unwrap();
    assert!(answer.contains("by") && id_bytes(&answer) == "\"to the client\"", "{answer}");
    let _ = std::fs::remove_file(admin);
}

/// L47: a server that asks without end is refused beyond a bound, with its ids, and those that were taken still count.
#[test]
fn a_server_that_asks_too_much() {
    const TAKEN: usize = burdock::limits::CALLS_MAX;
    const MORE: usize = 40;
    let burdock = burdock();
    let session = burdock.session(LATEST);
    let mut get = primed(&session);
    let mut lines = String::new();
    for id in 0..TAKEN + MORE {
        lines += &format!("{}\n", request(&format!("\"ask {id}\""), "roots/list", "{}"));
    }
    let say = json!({"jsonrpc": "2.0", "method": "notifications/test/say", "params": {"text": lines}});
    assert_eq!(session.post(&say.to_string()).status, 202);
    let heard = |part: &str, count: usize| {
        let heard = session.call(1, "heard", json!({"part": part, "count": count}));
        let text = heard["result"]["content"][0]["text"].as_str().unwrap();
        serde_json::from_str::<Vec<String>>(text).unwrap()
    };
    let asked: Vec<String> = (0..TAKEN).map(|_| id_bytes(&next_message(&mut get).data)).collect();
    let refused = heard("\"error\"", MORE);
    assert_eq!(refused.len(), MORE);
    assert!(refused.iter().any(|line| id_bytes(line) == format!("\"ask {}\"", TAKEN + MORE - 1)));
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"roots":[]}}}}"#, asked[7]);
    assert_eq!(session.post(&answer).status, 202);
    assert_eq!(id_bytes(&heard("\"roots\":[]", 1)[0]), "\"ask 7\"");
    // One place is free again.
    let say = json!({"jsonrpc": "2.0", "method": "notifications/test/say",
        "params": {"text": format!("{}\n", request("\"again\"", "roots/list", "{}"))}});
    assert_eq!(session.post(&say.to_string()).status, 202);
    assert_eq!(next_message(&mut get).json()["method"], "roots/list");
    assert_eq!(heard("\"error\"", MORE).len(), MORE);
}
