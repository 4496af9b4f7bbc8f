//! What `tests/it/redis_server.rs` needs of the tests' `support`, with a finer step: here the wait is measured.

use std::time::{Duration, Instant};

pub use crate::tools::{bound_to_thread, skip};

/// For what should happen at once.
pub const SOON: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_micros(200);

/// Polls `condition` until it gives something, or panics with `what`.
pub fn wait_for<T>(what: &str, at_most: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < at_most, "{what}: not within {at_most:?}");
        std::thread::park_timeout(STEP);
    }
}
