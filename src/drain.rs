//! Signals and the order in which a node stops: not ready, wait for calls in flight, end sessions, stop children.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::Timer;
use async_signal::{Signal, Signals};
use smol::Task;
use smol::future::or;
use smol::stream::StreamExt as _;

use crate::backend;
use crate::config::Config;
use crate::limits::{DRAIN_POLL, FLUSH_DEADLINE, STOP_DEADLINE};
use crate::mcp::Endpoint;
use crate::metrics::METRICS;
use crate::session::Sessions;

/// The signals that stop a node.
///
/// # Errors
/// When the system refuses the handlers.
pub fn signals() -> io::Result<Signals> {
    Signals::new([Signal::Term, Signal::Int])
}

/// Waits for SIGTERM or SIGINT, then stops in order. A second signal skips the waiting.
pub async fn until_stopped(
    mut signals: Signals,
    config: &Config,
    endpoint: &Endpoint,
    sessions: &Arc<Sessions>,
    accepting: Task<()>,
) {
    signals.next().await;
    log::info!("stopping: {} sessions, {} calls in flight", sessions.count(), METRICS.calls.get());
    endpoint.drain();
    sessions.registry().drain();
    or(none_left(|| METRICS.calls.get(), config.drain_timeout), async {
        signals.next().await;
        log::warn!("a second signal: not waiting for {} calls", METRICS.calls.get());
    })
    .await;
    sessions.stop();
    // No new connections; replies on their way and the ends of streams still go out.
    accepting.cancel().await;
    none_left(|| METRICS.requests.get(), FLUSH_DEADLINE).await;
    none_left(|| METRICS.children.get(), STOP_DEADLINE).await;
    sessions.registry().flush().await;
    backend::watchdog::stop().await;
    log::info!("stopped");
}

/// Waits until `count` is zero, or `at_most` has passed.
async fn none_left(count: impl Fn() -> i64, at_most: Duration) {
    let begun = Instant::now();
    while count() > 0 && begun.elapsed() < at_most {
        Timer::after(DRAIN_POLL).await;
    }
}
