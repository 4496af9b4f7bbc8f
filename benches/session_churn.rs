//! A session's whole life (initialize, initialized, one call, DELETE) while others are there: what one costs must not
//! depend on how many there are.
//!
//! Everything is real but the sockets, which are in memory: endpoint, session, handler, sweep and reaper. Node and
//! client share one thread, so that the time is work.
//!
//! `cargo bench --bench session_churn` measures with criterion; `cargo bench --bench session_churn -- growth` draws the
//! two plots beside this file (`benches/growth/mod.rs`).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench may panic; macros of criterion"
)]
#![allow(unreachable_pub, reason = "modules that several benches share")]

mod growth;
mod memory_socket;
#[allow(dead_code, reason = "shared with other benches")]
mod node;
mod plot;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group};

use crate::node::{Node, config, is_test, run};

fn present() -> [usize; 3] {
    if is_test() { [0, 10, 100] } else { [0, 10_000, 100_000] }
}

/// Begins sessions until there are as many, all through one connection.
fn fill(node: &Node, present: usize) {
    let more = present.saturating_sub(node.sessions.count());
    let mut client = node.connect();
    run(async move {
        for _ in 0..more {
            client.begin().await;
        }
    });
}

fn churn(node: &Node, iterations: u64) -> Duration {
    let mut client = node.connect();
    run(async move {
        client.churn().await;
        let begun = Instant::now();
        for _ in 0..iterations {
            client.churn().await;
        }
        begun.elapsed()
    })
}

fn session_churn(criterion: &mut Criterion) {
    let node = Node::start(config(&[]));
    let mut group = criterion.benchmark_group("session_churn");
    for present in present() {
        group.bench_function(BenchmarkId::new("present", present), |bencher| {
            // Here, so that a filter that leaves it out leaves out the sessions as well.
            fill(&node, present);
            bencher.iter_custom(|iterations| churn(&node, iterations));
            assert_eq!(node.sessions.count(), present, "sessions that are not closed");
        });
    }
    group.finish();
}

criterion_group!(benches, session_churn);

fn main() {
    if !growth::run_if_asked() {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
}
