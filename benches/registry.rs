//! The registry: what it costs to tell it of a session's begin and end, in memory and in Redis; and to ask Redis.
//!
//! Redis is a real redis-server on this machine, started here and killed at the end. `begun_and_closed` begins
//! sessions of the demo, waits until Redis has the last record, closes them and waits until it knows the last end:
//! the throughput that the one writing task reaches, sessions and a few waits of `NOTES_WAIT` included. A client never
//! waits for it.
//! `cargo bench --bench registry`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench may panic; macros of criterion"
)]
#![allow(unreachable_pub, dead_code, reason = "modules that several programs share")]

mod memory_socket;
mod node;
#[path = "../tests/it/redis_server.rs"]
mod redis_server;
mod support;
#[path = "../tests/it/tools.rs"]
mod tools;

use std::sync::Arc;
use std::time::Instant;

use burdock::budget::Share;
use burdock::message::{self, Message, Parsed};
use burdock::registry::record::{closed_key, session_key};
use burdock::registry::{Found, Registry};
use burdock::session::{Ended, SessionHandle};
use burdock::session_id::SessionId;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use crate::node::{Node, config, is_test, run};
use crate::redis_server::{RedisServer, redis_server};
use crate::support::{SOON, wait_for};

/// Sessions begun at once; fewer than wait for Redis at most, so that no note is dropped.
const SESSIONS: usize = 500;

fn memory(criterion: &mut Criterion) {
    let registry = Registry::memory();
    let node: Arc<str> = "n1".into();
    let mut group = criterion.benchmark_group("registry/memory");
    group.bench_function("begun_and_closed", |bencher| {
        bencher.iter(|| {
            let id = SessionId::new(&node).unwrap();
            registry.begun(&id);
            registry.close(&id, None, false);
        });
    });
    group.bench_function("find_unknown", |bencher| {
        let id = SessionId::new(&node).unwrap();
        bencher.iter(|| async_io::block_on(registry.find(&id, None, "demo")));
    });
    group.finish();
}

fn redis(criterion: &mut Criterion) {
    let Some(server) = redis_server("the bench of the registry in Redis") else { return };
    let node = Node::start(config(&["--node", "n1", "--redis", &server.url(), "--redis-required"]));
    let mut group = criterion.benchmark_group("registry/redis");
    group.bench_function("find_unknown", |bencher| {
        bencher.iter_custom(|iterations| find_unknown(&node, iterations));
    });
    let count = if is_test() { 10 } else { SESSIONS };
    let mut connection = server.connection();
    group.throughput(Throughput::Elements(count as u64)).sample_size(20);
    group.bench_function("begun_and_closed", |bencher| {
        bencher.iter(|| begun_and_closed(&node, &mut connection, count));
    });
    group.finish();
    told(&server);
}

/// Asks for sessions that do not exist, one after the other: a round trip each.
fn find_unknown(node: &Node, iterations: u64) -> std::time::Duration {
    let node = node.clone();
    run(async move {
        let begun = Instant::now();
        for _ in 0..iterations {
            let id = SessionId::new(&"n2".into()).unwrap();
            let found = node.sessions.registry().find(&id, None, "demo").await;
            assert!(matches!(found, Found::Unknown), "{found:?}");
        }
        begun.elapsed()
    })
}

fn initialize() -> Message {
    let text = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
    match message::parse(text.as_bytes().to_vec(), Share::default()) {
        Ok(Parsed::One(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn begun_and_closed(node: &Node, connection: &mut redis::Connection, count: usize) {
    let sessions = Arc::clone(&node.sessions);
    let handles: Vec<Arc<SessionHandle>> = run(async move {
        let mut handles = Vec::new();
        for _ in 0..count {
            let created = sessions.create(0, None, String::new(), initialize(), [127, 0, 0, 1].into()).await;
            handles.push(created.expect("a session").0);
        }
        handles
    });
    let last = handles[handles.len() - 1].id.clone();
    wait_for_key(connection, &session_key(&last));
    for handle in &handles {
        node.sessions.close(handle, Ended::Deleted);
    }
    wait_for_key(connection, &closed_key(&last));
}

/// Notes are written in their order, so what was told before the last one is there when it is.
fn wait_for_key(connection: &mut redis::Connection, key: &str) {
    wait_for("a key in Redis", SOON, || {
        redis::cmd("EXISTS").arg(key).query::<bool>(connection).unwrap().then_some(())
    });
}

/// How many commands went to Redis in how many pipelines is a matter of luck; that no session was forgotten is not.
fn told(server: &RedisServer) {
    assert_eq!(server.keys("mcp:session:*"), [] as [String; 0], "records of sessions that are closed");
}

criterion_group!(benches, memory, redis);
criterion_main!(benches);
