//! Server-sent events: the encoding of one, and a notification on its way to 1,000 open streams.
//!
//! The fan-out is the whole way: a handler's context, the session's worker, its log, the connection's writer, the
//! socket (in memory) and the client's read. Each stream belongs to a session of its own, as MCP wants it.
//! `cargo bench --bench sse`; the time of a fan-out is for all streams, the throughput is in notifications.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench may panic; macros of criterion"
)]
#![allow(unreachable_pub, dead_code, reason = "modules that several benches share")]

mod memory_socket;
mod node;

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use burdock::budget::Payload;
use burdock::config::Config;
use burdock::handler::{Context, NoArguments, Server};
use burdock::http::{Event, EventId};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use crate::node::{Client, Node, is_test, run, unlimited};

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sse/encode");
    for (name, size) in [("200B", 200), ("20kB", 20_000)] {
        let event = Event {
            id: Some(EventId { stream: 7, place: 42 }),
            retry_ms: None,
            data: Some(Payload::made_here(vec![b'x'; size])),
            last: false,
        };
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |bencher| {
            let mut out = Vec::new();
            bencher.iter(|| {
                out.clear();
                black_box(&event).encode_into(&mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

/// A context of each session, which outlives the call it was made for.
type Contexts = Arc<Mutex<Vec<Context>>>;

fn server(contexts: &Contexts) -> Server {
    let contexts = Arc::clone(contexts);
    Server::new("fan-out", "1").tool("join", "Keeps the context.", move |context: Context, _: NoArguments| {
        contexts.lock().unwrap().push(context);
        async { Ok("joined") }
    })
}

/// Clients that read the stream of a session of theirs.
async fn open_streams(node: Node, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = node.connect();
        let session = client.begin().await;
        client.call(&session, "join", "{}").await;
        client.listen(&session).await;
        clients.push(client);
    }
    clients
}

/// Tells every client, and lets every client read.
async fn tell_all(contexts: &[Context], clients: &mut [Client]) {
    for context in contexts {
        context.notify_tools_changed().await;
    }
    for client in clients {
        let event = client.event().await;
        assert!(event.contains("list_changed"), "{event}");
    }
}

fn fan_out(criterion: &mut Criterion) {
    let count = if is_test() { 10 } else { 1000 };
    let mut group = criterion.benchmark_group("sse/fan-out");
    group.throughput(Throughput::Elements(count as u64));
    let mut prepared = None;
    group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
        let streams = prepared.get_or_insert_with(|| {
            let contexts = Contexts::default();
            let config = Config::of_handler(server(&contexts), ([127, 0, 0, 1], 0).into()).unwrap();
            let clients = run(open_streams(Node::start(unlimited(config)), count));
            let contexts = std::mem::take(&mut *contexts.lock().unwrap());
            Arc::new(smol::lock::Mutex::new((contexts, clients)))
        });
        bencher.iter_custom(|iterations| {
            let streams = Arc::clone(streams);
            run(async move {
                let (contexts, clients) = &mut *streams.lock().await;
                let begun = Instant::now();
                for _ in 0..iterations {
                    tell_all(contexts, clients).await;
                }
                begun.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, encode, fan_out);
criterion_main!(benches);
