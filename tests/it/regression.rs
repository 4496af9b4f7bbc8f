//! What fuzzing and reviews found, one test each.

use std::sync::{Arc, Once};
use std::time::Duration;

use burdock::backend::Backend;
use burdock::backend::child;
use burdock::backend::command::Command;
use burdock::budget::Share;
use burdock::http::{Event, Room};
use burdock::limits::{INBOX_MAX, READER_EVENTS_MAX};
use burdock::message::{self, Parsed};
use burdock::queue::{self, Receiver, Sender};
use burdock::session::worker::{Setup, Worker};
use burdock::session::{Activity, Attach, CallCensus, Ended, Form, Input, Post, ReturnAddress};
use burdock::{runtime, sweep};

use serde_json::json;

use crate::scripted::Scripted;
use crate::support::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A worker whose child has already exited, and its inbox.
fn worker_of_an_exited_child() -> (Worker, Sender<Input>) {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        runtime::start(2).unwrap();
        runtime::spawn(sweep::run()).detach();
    });
    let command = Command {
        program: "true".into(),
        args: Vec::new(),
        env: Vec::new(),
        cwd: None,
        term_grace: Duration::from_millis(300),
    };
    let child = child::start(Arc::new(command), "test".into(), Arc::default());
    wait_for("the child's exit", PATIENCE, || (!child.outputs().is_empty()).then_some(()));
    let (inbox, inputs) = queue::bounded(INBOX_MAX);
    let worker = Worker::new(Setup {
        label: "test".into(),
        activity: Arc::new(Activity::new()),
        inbox: inputs,
        backend: Backend::Child(child),
        start_deadline: PATIENCE,
        idle_timeout: PATIENCE,
        idle_timeout_no_stream: PATIENCE,
        keep_alive_comment: PATIENCE,
        room: Room::default(),
    });
    (worker, inbox)
}

/// A POST of one call, on its way to a worker; and where its response must come.
fn post(stream: u32) -> (Input, Receiver<Event>) {
    let bytes = format!("{{\"jsonrpc\":\"2.0\",\"id\":{stream},\"method\":\"tools/call\"}}").into_bytes();
    let Ok(Parsed::One(call)) = message::parse(bytes, Share::default()) else { panic!("not a message") };
    let (events, reader) = queue::bounded(READER_EVENTS_MAX);
    let address = ReturnAddress {
        stream,
        events,
        form: Form::Either,
        since: burdock::moment::Moment::now(),
        census: CallCensus::default(),
    };
    (Input::Post(Box::new(Post { messages: Parsed::One(call), reply: Some(address) })), reader)
}

/// async-channel keeps what is queued when the receiver goes, as long as a sender lives. A session's handle has one,
/// and a GET that waits for its reader holds the handle: it waited for ever, and so did every POST beside it.
#[test]
fn who_waits_in_the_inbox_of_a_session_that_ends_is_answered() {
    let (mut worker, inbox) = worker_of_an_exited_child();
    let (mut posts, mut gets) = (Vec::new(), Vec::new());
    for stream in 1..=INBOX_MAX as u32 / 2 {
        let (input, reader) = post(stream);
        inbox.try_send(input).unwrap();
        posts.push(reader);
        let (answer, reader) = queue::bounded(1);
        inbox.try_send(Input::Attach(Box::new(Attach { after: None, answer }))).unwrap();
        gets.push(reader);
    }
    let ended = async_io::block_on(worker.run());
    assert!(matches!(ended, Ended::Exited(_)), "{ended:?}");
    assert!(!inbox.is_empty(), "nothing was left in the inbox: the test shows nothing");
    worker.finish(&ended);
    drop(worker);
    for reader in posts {
        assert!(reader.try_recv().is_ok_and(|event| event.last), "a call has no response");
    }
    for reader in gets {
        assert!(!reader.is_empty() || reader.is_closed(), "a GET waits for ever");
    }
}

const LATEST: &str = "2025-11-25";

/// A reader that reads gets every event and the response, however fast the child writes.
#[test]
fn a_burst_does_not_cost_a_reader_its_stream() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session(LATEST);
    for (id, count) in [(1, 30), (2, 300), (3, 3000), (4, 300), (5, 3000)] {
        let reply = session.post(&call(id, "flood", json!({"count": count, "bytes": 40})));
        let events = reply.events();
        let notifications =
            events.iter().filter(|event| event.data.contains("notifications/message")).count();
        assert_eq!((notifications, reply.json()["id"].clone()), (count, json!(id)));
    }
}

/// What a reader that went away had in its queue is given back at once.
#[test]
fn a_lost_readers_queue_is_given_back() {
    let burdock = Burdock::with_child(&["--admin", "127.0.0.1:0"], &[]);
    let session = burdock.session(LATEST);
    let mut get = session.get(None);
    get.head();
    drop(session.start(&call(1, "hang", json!({}))));
    let mut flood = session.start(&call(2, "flood", json!({"count": 18, "bytes": 4_000_000})));
    flood.head();
    drop((get, flood));
    let other = burdock.session(LATEST);
    wait_for("the flood's end", PATIENCE, || {
        let answer = session.call(3, "echo", json!({"text": "x"}));
        answer["result"].is_object().then_some(())
    });
    assert_eq!(other.call(1, "echo", json!({"text": "served"}))["result"]["content"][0]["text"], "served");
    wait_for("the memory's return", PATIENCE, || (burdock.memory() < 64 << 20).then_some(()));
}

/// A child that closes its stdin and lives on: its callers hear of it, and the session ends.
#[test]
fn a_child_that_closes_its_stdin() {
    let script = r#"read x; echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"}}'; read y; exec 0<&-; exec sleep 1000"#;
    let burdock = Burdock::serve(&["--", "sh", "-c", script]);
    let session = burdock.session(LATEST);
    let asked = std::time::Instant::now();
    let answer = session.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).json();
    let text = answer["error"]["message"].as_str().unwrap();
    // The second when its end was noticed before the call came.
    assert!(text.contains("stdin") || text.contains("is ending"), "{answer}");
    assert!(asked.elapsed() < Duration::from_secs(9));
}

/// A call whose client went away without `cancelled` does not take the server's requests to the one that is there.
#[test]
fn a_dead_post_does_not_take_a_server_request() {
    let burdock = Burdock::with_child(&["--keep-alive-comment", "1s"], &[]);
    for version in ["2025-06-18", LATEST] {
        let session = burdock.session(version);
        let mut lost = session.start(&call(1, "hang", json!({})));
        lost.head();
        drop(lost);
        // Its close is noticed when the socket is read; the call itself goes on.
        std::thread::park_timeout(Duration::from_millis(300));
        let mut asking = session.start(&call(2, "ask", json!({})));
        asking.head();
        let asked = loop {
            let event = asking.event().expect("the elicitation");
            if !event.data.is_empty() {
                break event.json();
            }
        };
        assert_eq!(asked["method"], "elicitation/create");
    }
}

/// L10: a batch is never answered with a bare object, not even a batch of one.
#[test]
fn a_batch_of_one_is_a_batch() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session("2025-03-26");
    let reply = session.post(r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#);
    assert!(reply.is_stream());
    assert_eq!(reply.json()["id"], 7);
    let mut client = burdock.client();
    let headers = [("Accept", "application/json"), JSON, ("Mcp-Session-Id", &*session.id)];
    client.request("POST", "/mcp", &headers, r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#);
    assert_eq!(client.response().status, 202);
}

/// A bad member of a child's batch spoils no other.
#[test]
fn a_childs_batch_with_a_bad_member() {
    let scripted = Scripted::new();
    let mut waiting = scripted.hold("\"lost\"", "lost");
    // The child knows the call by burdock's own id, which stands for the name of the call here.
    scripted.say(r#"[{"bad":1},{"jsonrpc":"2.0","id":<lost>,"result":{"found":true}}]"#);
    let answer = waiting.response().json();
    assert_eq!((&answer["id"], &answer["result"]["found"]), (&json!("lost"), &json!(true)));
}

/// Sessions that come and go do not pile up processes beyond the cap.
#[test]
fn the_cap_bounds_processes_too() {
    let burdock = Burdock::with_child(&["--max-sessions", "2"], &["--ignore-eof"]);
    let mut refused = None;
    for _ in 0..60 {
        let mut client = burdock.client();
        client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
        let reply = client.response();
        if reply.status == 503 {
            refused = Some(reply);
            break;
        }
        let id = reply.header("mcp-session-id").unwrap().to_owned();
        client.request("DELETE", "/mcp", &[("Mcp-Session-Id", &id)], "");
        assert_eq!(client.response().status, 204);
    }
    assert!(refused.expect("60 processes for 2 sessions").text().contains("still stopping"));
}
