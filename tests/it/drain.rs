//! How a node of a cluster stops (design 7): it gives its clients time to find another node, and loses no call.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::sessions::admin_get;
use crate::support::*;
use crate::systemd::Folder;

const LATEST: &str = "2025-11-25";
const PING: &str = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;

fn health(burdock: &Burdock, path: &str) -> Response {
    let mut client = burdock.client();
    client.request("GET", path, &[], "");
    client.response()
}

/// As a load balancer finds it: from now on SIGTERM is a handover.
fn balanced(burdock: Burdock) -> Burdock {
    assert_eq!(health(&burdock, "/health/ready").status, 200);
    burdock
}

fn said(burdock: &Burdock, what: &str) {
    wait_for(what, SOON, || burdock.log().contains(what).then_some(()));
}

fn begin(burdock: &Burdock) -> Response {
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    client.response()
}

fn pid(session: &Session) -> String {
    session.call(1, "pid", json!({}))["result"]["content"][0]["text"].as_str().unwrap().to_owned()
}

fn is_running(pid: &str) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// A stream whose priming event was read.
fn stream(session: &Session) -> Client {
    let mut stream = session.get(None);
    assert_eq!(stream.head().status, 200);
    assert!(stream.event().is_some());
    stream
}

/// Not ready at once, alive all the while; strays are let in during the grace and refused after it; whoever has a
/// session keeps it; and when the last session is gone so is the node.
#[test]
fn a_handover_from_grace_to_exit() {
    let folder = Folder::new("drain");
    let admin = folder.0.join("admin");
    let listen = format!("unix:{}", admin.display());
    let flags = ["--drain-timeout", "60s", "--admin", &listen];
    let mut burdock = balanced(Burdock::with_child(&flags, &[]));
    let session = burdock.session(LATEST);
    let mut idle = burdock.client();
    burdock.signal("-TERM");
    said(&burdock, "stopping: 1 session,");
    let signalled = Instant::now();
    assert_eq!(health(&burdock, "/health/ready").status, 503);
    assert_eq!(health(&burdock, "/health/live").status, 200);
    let stray = burdock.session(LATEST);
    assert_eq!(stray.post(PING).status, 200);
    let metrics = admin_get(&admin, "/metrics");
    assert!(metrics.contains("\nburdock_draining 1\n") && metrics.contains("\nburdock_sessions 2\n"));

    said(&burdock, "no new sessions");
    assert!(signalled.elapsed() > Duration::from_secs(3), "a grace of {:?}", signalled.elapsed());
    let late = begin(&burdock);
    assert_eq!((late.status, late.json()["id"].clone()), (503, json!(0)));
    assert!(late.header("retry-after").is_some() && late.text().contains("stopping"), "{}", late.text());
    assert_eq!(health(&burdock, "/health/live").status, 200);
    // The idle socket was not closed before it could say something; now it is, after its reply.
    idle.request("POST", "/mcp", &session.headers(), PING);
    let reply = idle.response();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert_eq!(session.call(8, "echo", json!({"text": "x"}))["result"]["content"][0]["text"], "x");
    let mut stream = stream(&session);
    assert_eq!((session.delete().status, stray.delete().status), (204, 204));
    assert_eq!(stream.event(), None, "the final chunk, and no retry: its client ended it");
    assert_eq!(burdock.wait().code(), Some(0));
}

/// What was seen of a retired session: when its stream ended and what it said last.
struct Retired {
    place: usize,
    at: Instant,
    retry_ms: u32,
    next: Option<u16>,
}

/// Reads a stream to its end, then asks for the session once more. The last ones, as `left` counts, may find the node
/// gone: they do not ask.
fn until_retired(place: usize, session: &Session, mut stream: Client, left: &AtomicUsize) -> Retired {
    let last = stream.event().expect("a word before the end");
    assert_eq!((last.id, &*last.data), (None, ""));
    assert_eq!(stream.event(), None, "the final chunk");
    let at = Instant::now();
    let next = (left.fetch_sub(1, Ordering::Relaxed) > 10).then(|| session.post(PING).status);
    Retired { place, at, retry_ms: last.retry.expect("when to come back").parse().unwrap(), next }
}

/// 40 sessions with streams over 4 s: one every 100 ms, in no order of their own, each told another time to come back.
#[test]
fn sessions_are_retired_evenly() {
    let mut burdock = balanced(Burdock::serve(&["--drain-timeout", "0s", "--retire-window", "4s"]));
    let sessions: Vec<Session> = (0..40).map(|_| burdock.session(LATEST)).collect();
    let streams: Vec<Client> = sessions.iter().map(stream).collect();
    burdock.signal("-TERM");
    let left = &AtomicUsize::new(sessions.len());
    let mut retired: Vec<Retired> = std::thread::scope(|scope| {
        let readers: Vec<_> = sessions
            .iter()
            .zip(streams)
            .enumerate()
            .map(|(place, (session, stream))| {
                scope.spawn(move || until_retired(place, session, stream, left))
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    retired.sort_by_key(|retired| retired.at);
    let first = retired[0].at;
    let after = |retired: &Retired| retired.at.duration_since(first).as_millis();
    let times: Vec<u128> = retired.iter().map(after).collect();
    assert!((3_000..6_000).contains(&times[39]), "{times:?}");
    // Any 400 ms: 4 are due, twice that is a burst.
    for from in &times {
        let within = times.iter().filter(|at| (*from..from + 400).contains(*at)).count();
        assert!(within <= 8, "{within} from {from} ms on: {times:?}");
    }
    let order: Vec<usize> = retired.iter().map(|retired| retired.place).collect();
    assert!(!order.is_sorted(), "in the order in which they began");
    let retries: BTreeSet<u32> = retired.iter().map(|retired| retired.retry_ms).collect();
    assert!(retries.len() > 20 && retries.iter().all(|retry| (500..=5000).contains(retry)), "{retries:?}");
    let asked: Vec<u16> = retired.iter().filter_map(|retired| retired.next).collect();
    assert_eq!(asked, [404; 30], "the next request of a retired session");
    assert_eq!(burdock.wait().code(), Some(0));
    assert!(burdock.log().contains("retired: 0 sessions"), "{}", burdock.log());
}

/// A session with a call in flight is left alone until the call is answered; an idle one is not. No child is left.
#[test]
fn a_call_in_flight_is_answered_before_its_session_ends() {
    let folder = Folder::new("drain");
    let admin = folder.0.join("admin");
    let listen = format!("unix:{}", admin.display());
    let flags = ["--drain-timeout", "0s", "--retire-window", "200ms", "--admin", &listen];
    let mut burdock = balanced(Burdock::with_child(&flags, &[]));
    let (busy, idle) = (burdock.session(LATEST), burdock.session(LATEST));
    let (mut busy_stream, mut idle_stream) = (stream(&busy), stream(&idle));
    let pids = [pid(&busy), pid(&idle)];
    let mut calling = busy.start(&call(2, "wait", json!({"seconds": 7})));
    // Its stream begins after a second of silence: the call is with the child.
    assert_eq!(calling.head().status, 200);
    burdock.signal("-TERM");
    said(&burdock, "stopping: 2 sessions, 1 call ");
    assert!(idle_stream.event().is_some_and(|event| event.retry.is_some()));
    assert_eq!(idle_stream.event(), None);
    assert_eq!(idle.post(PING).status, 404);
    let metrics = admin_get(&admin, "/metrics");
    assert!(metrics.contains("\nburdock_sessions_retired_total 1\n"), "{metrics}");
    // The other one is served as before.
    assert_eq!(busy.post(PING).status, 200);
    let answer = std::iter::from_fn(|| calling.event()).last().expect("an answer").json();
    assert_eq!(answer["result"]["content"][0]["text"], "waited");
    assert!(busy_stream.event().is_some_and(|event| event.retry.is_some()));
    assert_eq!(busy_stream.event(), None);
    assert_eq!(burdock.wait().code(), Some(0));
    assert!(!pids.iter().any(|pid| is_running(pid)), "a child is left");
}

/// A call that is never answered holds up the exit for `RETIRE_CALLS_MAX` and no longer, and is told why.
#[test]
fn a_call_without_end_is_cut_at_the_cap() {
    if std::env::var_os("BURDOCK_LONG").is_none() {
        return;
    }
    let mut burdock = balanced(Burdock::with_child(&["--drain-timeout", "0s", "--retire-window", "0s"], &[]));
    let session = burdock.session(LATEST);
    let mut calling = session.start(&call(2, "hang", json!({})));
    assert_eq!(calling.head().status, 200);
    calling.socket.get_ref().set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    let signalled = Instant::now();
    burdock.signal("-TERM");
    let answer = std::iter::from_fn(|| calling.event()).find(|event| !event.data.is_empty()).unwrap().json();
    assert!(answer["error"]["message"].as_str().unwrap().contains("stopping"), "{answer}");
    assert!((62..75).contains(&signalled.elapsed().as_secs()), "{:?}", signalled.elapsed());
    assert_eq!(burdock.wait().code(), Some(0));
}

/// A second signal skips the grace, the waiting and the window.
#[test]
fn a_second_signal_ends_a_handover() {
    let flags = ["--drain-timeout", "60s", "--retire-window", "60s"];
    let mut burdock = balanced(Burdock::with_child(&flags, &[]));
    let session = burdock.session(LATEST);
    let pid = pid(&session);
    let mut stream = stream(&session);
    let signalled = Instant::now();
    burdock.signal("-TERM");
    said(&burdock, "stopping: 1 session,");
    burdock.signal("-TERM");
    assert!(stream.event().is_some_and(|event| event.retry.is_some()));
    assert_eq!(stream.event(), None, "the final chunk");
    assert_eq!(burdock.wait().code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(4), "{:?}", signalled.elapsed());
    assert!(!is_running(&pid), "the child is left");
}

/// A session whose server is still starting is asked to retire again and again, and hears the second signal all the
/// same.
#[test]
fn a_second_signal_during_a_slow_start() {
    let flags = ["--drain-timeout", "0s", "--retire-window", "0s"];
    let mut burdock = balanced(Burdock::with_child(&flags, &["--slow-start", "60"]));
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    wait_for("the child", SOON, || burdock.log().contains("started").then_some(()));
    burdock.signal("-TERM");
    said(&burdock, "retiring over");
    // More often than its inbox has places, every 50 ms: there is nothing to see of it.
    std::thread::park_timeout(Duration::from_millis(3_500));
    let signalled = Instant::now();
    burdock.signal("-TERM");
    let reply = client.response();
    assert_eq!((reply.status, reply.json()["id"].clone()), (503, json!(0)), "{}", reply.text());
    assert_eq!(burdock.wait().code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(6), "{:?}", signalled.elapsed());
}

/// Ctrl-C is a person who waits, also behind a load balancer.
#[test]
fn sigint_hands_nothing_over() {
    let mut burdock = balanced(Burdock::with_child(&["--drain-timeout", "60s"], &[]));
    let _session = burdock.session(LATEST);
    let signalled = Instant::now();
    burdock.signal("-INT");
    assert_eq!(burdock.wait().code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(4), "{:?}", signalled.elapsed());
}

/// Two servers in one process: the one without calls does not wait for the other's. Counts of the process decided it.
#[test]
fn two_servers_of_a_process_do_not_wait_for_each_other() {
    let mut process = crate::tools::bound_to_thread(example("test-handlers"))
        .arg("two")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let (say, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.for_each(|line| drop(say.send(line))));
    let mut address = None;
    for _ in 0..2 {
        let line = said.recv_timeout(SOON).unwrap();
        if let Some(url) = line.strip_prefix("one http://") {
            address = Some(url.strip_suffix("/mcp").unwrap().parse().unwrap());
        }
    }
    let session = Session::begin(address.unwrap(), "/mcp", "2025-11-25", &[]);
    // Never answered; it has been taken when it has become a stream.
    let mut waits = session.start(&call(1, "cling", json!({"kept": false})));
    assert_eq!(waits.head().status, 200);
    let status = Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
    assert!(status.success());
    let first = said.recv_timeout(Duration::from_secs(5));
    let _ = process.kill();
    process.wait().unwrap();
    assert_eq!(first.as_deref(), Ok("two stopped"));
}
