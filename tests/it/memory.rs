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
