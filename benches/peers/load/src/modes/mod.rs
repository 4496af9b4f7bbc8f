//! What is measured, a file for each mode.

pub mod calls;
pub mod churn;
pub mod fan_out;
pub mod idle;
pub mod size;
pub mod stdio;
pub mod storm;

use std::time::{Duration, Instant};

use crate::Failure;

/// Microseconds.
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// How long something takes, in microseconds, and what it gives.
///
/// # Errors
/// Its own.
pub fn timed<T>(what: impl FnOnce() -> Result<T, Failure>) -> Result<(f64, T), Failure> {
    let begun = Instant::now();
    let value = what()?;
    Ok((micros(begun.elapsed()), value))
}
