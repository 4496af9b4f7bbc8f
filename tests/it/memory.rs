//! Memory stays bounded whatever clients and children do; what was held is given back.

use std::time::{Duration, Instant};

use burdock::limits::{FINISHED_BYTES_MAX, FREED_BYTES_PER_GIVING_BACK};
use serde_json::json;

use crate::support::*;

const LATEST: &str = "2025-11-25";
const MIB: u64 = 1024 * 1024;

/// Waits until there is about as much as `before`: what is freed last may stay until there is enough of it.
fn memory_returns(burdock: &Burdock, before: u64) {
    let kept = FREED_BYTES_PER_GIVING_BACK as u64 + 8 * MIB;
    wait_for("the memory's return", SOON, || (burdock.memory().saturating_sub(before) < kept).then_some(()));
}

/// A child that floods a session nobody reads: the log is bounded, and the session still serves.
#[test]
fn notifications_that_nobody_reads() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session(LATEST);
    session.call(1, "echo", json!({"text": "warm"}));
    let before = burdock.memory();
    // Dropped at once: nobody reads the stream of this call.
    drop(session.start(&call(2, "flood", json!({"count": 20_000, "bytes": 4096}))));
    wait_for("the flood's end", SOON, || {
        let answer = session.call(3, "flood", json!({"count": 0, "bytes": 0}));
        (answer["id"] == 3).then_some(())
    });
    let grown = burdock.memory().saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown} bytes for 80 MB of notifications");
}

/// A reader that does not read loses its connection, not the session: neither memory nor calls suffer.
#[test]
fn a_reader_that_does_not_read() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session(LATEST);
    let mut get = session.get(None);
    get.head();
    let before = burdock.memory();
    let mut flood = session.start(&call(2, "flood", json!({"count": 20_000, "bytes": 4096})));
    flood.head();
    let quick = session.call(3, "echo", json!({"text": "meanwhile"}));
    assert_eq!(quick["id"], 3);
    wait_for("the flood's end", SOON, || {
        let cancelled = session.call(4, "sent", json!({}));
        (cancelled["id"] == 4).then_some(())
    });
    let grown = burdock.memory().saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown} bytes");
}

/// Responses whose readers are gone are kept within a bound.
#[test]
fn responses_that_nobody_fetches() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session(LATEST);
    session.call(1, "big", json!({"bytes": 1000}));
    let before = burdock.memory();
    for id in 2..60 {
        drop(session.start(&call(id, "big", json!({"bytes": 3 * MIB}))));
    }
    wait_for("the last response", SOON, || {
        let answer = session.call(100, "echo", json!({"text": "x"}));
        answer["result"].is_object().then_some(())
    });
    // The last of them wait for their readers.
    memory_returns(&burdock, before + FINISHED_BYTES_MAX as u64);
}

/// A crowd that leaves a node with nothing else to do: what it held goes back within three seconds of quiet, although a
/// few who stay keep the allocator from doing so by itself. A fourth second is for burdock to notice that they left.
#[test]
fn what_a_crowd_held_goes_back_soon() {
    let burdock = Burdock::with_child(&[], &[]);
    let before = burdock.memory();
    let piece = vec![b' '; 60_000];
    let begin = |_| {
        let mut client = burdock.client();
        let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 65000\r\n\r\n";
        client.send(&[head.as_bytes(), &piece].concat());
        client
    };
    let mut crowd: Vec<_> = (0..900).map(begin).collect();
    wait_for("the crowd's bodies", SOON, || (burdock.memory() > before + 45 * MIB).then_some(()));
    let mut number = 0;
    crowd.retain(|_| {
        number += 1;
        number % 20 == 0
    });
    let left = Instant::now();
    memory_returns(&burdock, before);
    assert!(left.elapsed() < Duration::from_secs(4), "after {:?}", left.elapsed());
}

/// Bodies that are announced and never end: bounded by the budget, and given back when their senders go.
#[test]
fn bodies_that_never_end() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session(LATEST);
    let before = burdock.memory();
    let piece = vec![b' '; 3 * MIB as usize];
    let mut held = Vec::new();
    for _ in 0..110 {
        let mut client = burdock.client();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nMcp-Session-Id: {}\r\nContent-Length: {}\r\n\r\n",
            session.id,
            4 * MIB
        );
        client.send(head.as_bytes());
        // Over the budget burdock answers 503 and reads no more.
        let _ = std::io::Write::write_all(client.socket.get_mut(), &piece);
        held.push(client);
    }
    let grown = burdock.memory().saturating_sub(before);
    assert!(grown < 128 * MIB, "{grown} bytes");
    // They have a budget of their own: everyday calls go on.
    assert_eq!(
        session.call(1, "echo", json!({"text": "meanwhile"}))["result"]["content"][0]["text"],
        "meanwhile"
    );
    drop(held);
    memory_returns(&burdock, before);
    assert_eq!(session.call(1, "echo", json!({"text": "x"}))["id"], 1);
}

/// L43, and the review's B1: a server that pings its client for ever leaves nothing behind, and what it says afterwards
/// can still be replayed.
#[test]
fn pings_that_are_answered() {
    let directory = std::env::temp_dir().join(format!("burdock-pings-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let socket = directory.join("admin.sock");
    let admin = format!("unix:{}", socket.to_str().unwrap());
    let burdock = Burdock::with_child(&["--admin", &admin], &[]);
    // This version has batches, so forty answers go in one POST. More might find the child's stdin full.
    let session = burdock.session("2025-03-26");
    let mut get = session.get(None);
    get.head();
    // Beside another call in flight, a message of the server belongs to none of them but to the GET stream.
    let _hangs = session.start(&call(1, "hang", json!({})));
    wait_for("the call that hangs", SOON, || {
        crate::sessions::admin_get(&socket, "/metrics").contains("\nburdock_calls 1\n").then_some(())
    });
    for round in 0..250 {
        let ids: Vec<String> = (0..40).map(|ping| format!("{round}-{ping}")).collect();
        let ping = |id: &String| json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string();
        let line = ids.iter().map(ping).collect::<Vec<_>>().join("\n");
        let written = session.call(2, "raw", json!({"line": line}));
        assert!(written["result"].is_object(), "{written}");
        let asked: Vec<_> = ids.iter().map(|_| get.event().unwrap().json()["id"].clone()).collect();
        let answers = asked.iter().map(|id| json!({"jsonrpc": "2.0", "id": id, "result": {}}));
        assert_eq!(session.post(&json!(answers.collect::<Vec<_>>()).to_string()).status, 202);
    }
    session.call(3, "notify", json!({}));
    let last = get.event().unwrap();
    assert!(last.data.contains("list_changed"), "{last:?}");
    let metrics = crate::sessions::admin_get(&socket, "/metrics");
    let held = metrics.lines().find_map(|line| line.strip_prefix("burdock_held_bytes ")).unwrap();
    assert!(held.parse::<usize>().unwrap() < 64 * 1024, "{held} bytes are held after 10,000 pings");
    drop(get);
    let (stream, place) = last.id.as_deref().unwrap().split_once('-').unwrap();
    let before = format!("{stream}-{}", place.parse::<u64>().unwrap() - 1);
    let mut again = session.get(Some(&before));
    again.head();
    assert_eq!(again.event().unwrap().data, last.data, "the newest notification cannot be replayed");
    std::fs::remove_dir_all(directory).unwrap();
}
