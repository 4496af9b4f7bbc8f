//! Reading the envelope of a JSON-RPC message, whose params stay the bytes they are: what a message costs by its size.
//!
//! `text` is one long string, `members` are many small values: the parser has to step over each.
//! `cargo bench --bench message`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench may panic; macros of criterion"
)]

use burdock::budget::Share;
use burdock::message;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [(&str, usize); 3] = [("200B", 200), ("20kB", 20_000), ("2MB", 2_000_000)];

/// A call of exactly `bytes`.
fn with_text(bytes: usize) -> Vec<u8> {
    framed(bytes, |room| "x".repeat(room))
}

/// The same with as many members as there is room for.
fn with_members(bytes: usize) -> Vec<u8> {
    framed(bytes, |room| {
        let members = r#"","k":[1,true,"v"],"l":""#.repeat(room / 24);
        format!("{}{members}", "x".repeat(room - members.len()))
    })
}

fn framed(bytes: usize, fill: impl FnOnce(usize) -> String) -> Vec<u8> {
    let before =
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":""#;
    let after = r#""}}}"#;
    let message = format!("{before}{}{after}", fill(bytes - before.len() - after.len()));
    assert_eq!(message.len(), bytes);
    message.into_bytes()
}

fn envelope(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    for (name, size) in SIZES {
        for (form, bytes) in [("text", with_text(size)), ("members", with_members(size))] {
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(form, name), |bencher| {
                // The copy that `parse` takes is made outside the clock, and what it returns is dropped there.
                bencher.iter_batched(
                    || (bytes.clone(), Share::reserve(size).unwrap()),
                    |(bytes, share)| message::parse(bytes, share).unwrap(),
                    if size > 100_000 { BatchSize::PerIteration } else { BatchSize::SmallInput },
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, envelope);
criterion_main!(benches);
