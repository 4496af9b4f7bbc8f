//! Tries all interleavings, up to three preemptions each, of the pieces of burdock that threads share without a task to
//! own them: the queue, the word that it has room, and a descriptor's readiness. They are burdock's own sources, with loom's locks and atomics.
//!
//!     cargo run --release --manifest-path tests/models/Cargo.toml [NAME]
//!
//! A lost wake-up is a deadlock, which loom finds; a lost item is an assertion or a leak, which it finds too.

#[allow(dead_code, reason = "what the models do not call")]
#[path = "../../../src/reactor/direction.rs"]
mod direction;
mod direction_models;
mod lock;
mod loomed;
#[allow(dead_code, reason = "what the models do not call")]
#[path = "../../../src/queue.rs"]
mod queue;
mod queue_models;
#[allow(dead_code, reason = "what the models do not call")]
#[path = "../../../src/http/room.rs"]
mod room;

use std::time::Instant;

/// Threads may be stopped this many times where they would go on; more find nothing else and take hours.
const PREEMPTIONS: usize = 3;

type Model = (&'static str, fn());

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    let models = queue_models::ALL.iter().chain(direction_models::ALL);
    let mut ran = 0;
    for (name, model) in models.filter(|(name, _)| name.contains(&only)) {
        let begun = Instant::now();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(PREEMPTIONS);
        builder.check(*model);
        println!("{name}: {:.1?}", begun.elapsed());
        ran += 1;
    }
    assert!(ran > 0, "no model has {only} in its name");
    println!("{ran} models");
}
