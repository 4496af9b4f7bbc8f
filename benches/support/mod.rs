//! What `tests/it/redis_server.rs` needs of the tests' `support`, with a finer step: here the wait is measured.

use std::time::Duration;

pub use crate::tools::{bound_to_thread, skip};

/// For what should happen at once.
pub const SOON: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_micros(200);

/// Polls `condition` until it gives something, or panics with `what`.
pub fn wait_for<T>(what: &str, at_most: Duration, condition: impl FnMut() -> Option<T>) -> T {
    crate::tools::wait_in_steps(what, at_most, STEP, condition)
}
