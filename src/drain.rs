//! Signals and the order in which a node stops: not ready, wait, retire sessions, stop children, exit.
//!
//! There are two ways. A node on its own waits for the calls in flight and ends. A node of a cluster, or
//! behind a load balancer, also gives its clients time to move to another node: see `Way::Handover`.

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
use crate::connections::Connections;
use crate::limits::{
    DRAIN_GRACE, DRAIN_POLL, DRAIN_TELL_STEP, FLUSH_DEADLINE, RETIRE_CALLS_MAX, RETIRE_STEP, STOP_DEADLINE,
};
use crate::mcp::Endpoint;
use crate::metrics::METRICS;
use crate::session::{NodePhase, SessionHandle, Sessions};
use crate::systemd::{self, News};

/// The signals that stop a node.
///
/// # Errors
/// When the system refuses the handlers.
pub fn signals() -> io::Result<Signals> {
    Signals::new([Signal::Term, Signal::Int])
}

/// How a node comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Calls in flight are waited for; then all sessions end at once.
    Finish,
    /// Clients can go to other nodes. Clients that were sent here a moment ago are still served, then
    /// sessions have time to end by themselves, and the rest are ended one after the other.
    Handover,
}

impl Way {
    /// Ctrl-C comes from a person who waits, so the node finishes soon. SIGTERM comes from a deploy, but a
    /// node without others cannot hand over anything.
    fn of(signal: Signal, config: &Config, endpoint: &Endpoint) -> Way {
        match signal {
            Signal::Term if config.redis.is_some() || endpoint.is_balanced() => Way::Handover,
            _ => Way::Finish,
        }
    }
}

/// Waits for SIGTERM or SIGINT, then stops in order. A second signal skips the waiting.
pub async fn until_stopped(
    mut signals: Signals,
    config: &Config,
    endpoint: &Endpoint,
    sessions: &Arc<Sessions>,
    connections: &Connections,
    accepting: Task<()>,
) {
    let way = Way::of(next(&mut signals).await, config, endpoint);
    let _draining = METRICS.draining.enter();
    sessions.enter(NodePhase::Grace);
    sessions.registry().drain();
    log::info!("stopping: {}", left(sessions));
    systemd::tell(News::Stopping, format!("stopping: {}", left(sessions))).await;
    let waiting = async {
        match way {
            Way::Finish => none_left(|| sessions.calls(), config.drain_timeout).await,
            Way::Handover => hand_over(config, sessions).await,
        }
    };
    or(waiting, or(tell_progress(sessions), skip(&mut signals, sessions))).await;
    sessions.stop();
    // No new connections; replies on their way and the ends of streams still go out.
    accepting.cancel().await;
    none_left(|| connections.requests(), FLUSH_DEADLINE).await;
    none_left(|| sessions.children().count(), STOP_DEADLINE).await;
    sessions.registry().flush().await;
    backend::watchdog::stop().await;
    log::info!("stopped");
}

/// The next signal.
async fn next(signals: &mut Signals) -> Signal {
    loop {
        match signals.next().await {
            Some(Ok(signal)) => return signal,
            Some(Err(error)) => log::warn!("a signal could not be read: {error}"),
            None => std::future::pending().await,
        }
    }
}

/// Returns at a second signal.
async fn skip(signals: &mut Signals, sessions: &Sessions) {
    next(signals).await;
    log::warn!("a second signal: not waiting for {}", left(sessions));
}

/// Reports the progress again and again: to the log, and to the service manager, which would kill a process
/// that it hears nothing of.
async fn tell_progress(sessions: &Sessions) {
    loop {
        Timer::after(DRAIN_TELL_STEP).await;
        let status = format!("{}: {}", doing(sessions.phase()), left(sessions));
        log::info!("{status}");
        systemd::tell(News::StillStopping, status).await;
    }
}

fn doing(phase: NodePhase) -> &'static str {
    match phase {
        NodePhase::Serving => "serving",
        NodePhase::Grace => "stopping",
        NodePhase::Waiting => "stopping, no new sessions",
        NodePhase::Retiring => "stopping, retiring sessions",
        NodePhase::Stopped => "stopped",
    }
}

/// What is still there, in words.
fn left(sessions: &Sessions) -> String {
    format!("{}, {} in flight", some(sessions.count(), "session"), some(sessions.calls(), "call"))
}

fn some(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Waits until `count` is zero, or `at_most` has passed.
async fn none_left(count: impl Fn() -> usize, at_most: Duration) {
    let begun = Instant::now();
    while count() > 0 && begun.elapsed() < at_most {
        Timer::after(DRAIN_POLL).await;
    }
}

/// See [`Way::Handover`]. Returns when there are no sessions, or those that are left have had their time.
/// Sessions that outlive the stop are served until then, and only their calls are waited for.
async fn hand_over(config: &Config, sessions: &Sessions) {
    Timer::after(DRAIN_GRACE).await;
    sessions.enter(NodePhase::Waiting);
    log::info!("no new sessions; waiting up to {:?} for {}", config.drain_timeout, left(sessions));
    none_left(|| sessions.count_ending() + sessions.calls(), config.drain_timeout).await;
    sessions.enter(NodePhase::Retiring);
    log::info!("retiring over {:?}: {}", config.retire_window, left(sessions));
    let begun = Instant::now();
    retire(sessions, config.retire_window).await;
    let cap = config.retire_window + RETIRE_CALLS_MAX;
    none_left(|| sessions.calls(), cap.saturating_sub(begun.elapsed())).await;
    log::info!("retired: {}", left(sessions));
}

/// Ends the sessions that do not outlive the stop, in random order and evenly over `window`. One with a call
/// in flight is looked at again, also for a while after the window.
async fn retire(sessions: &Sessions, window: Duration) {
    let begun = Instant::now();
    let ending = || sessions.all().into_iter().filter(|session| !sessions.outlives_stop(session));
    let mut waiting: Vec<Arc<SessionHandle>> = ending().collect();
    fastrand::shuffle(&mut waiting);
    let all = waiting.len();
    let mut due: Vec<Arc<SessionHandle>> = Vec::new();
    while sessions.count_ending() > 0 && begun.elapsed() < window + RETIRE_CALLS_MAX {
        if begun.elapsed() < window {
            let still_waiting = all - due_after(begun.elapsed(), window, all);
            due.extend(waiting.drain(still_waiting.min(waiting.len())..));
            due.retain(|session| !session.is_over());
        } else {
            // Whatever is still there, also what began in the last moment of the grace.
            due = ending().collect();
        }
        due.iter().for_each(|session| session.retire());
        Timer::after(RETIRE_STEP).await;
    }
}

/// How many of `all` sessions are due after `elapsed`: number i, counted from 0, at `window` * i / `all`.
fn due_after(elapsed: Duration, window: Duration, all: usize) -> usize {
    let passed = elapsed.as_millis() * all as u128 / window.as_millis().max(1);
    usize::try_from(passed).map_or(all, |passed| (passed + 1).min(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_due_evenly() {
        let window = Duration::from_secs(30);
        assert_eq!(due_after(Duration::ZERO, window, 0), 0);
        assert_eq!(due_after(Duration::ZERO, window, 300), 1);
        assert_eq!(due_after(Duration::from_secs(30), window, 300), 300);
        let due = |second: u64| due_after(Duration::from_secs(second), window, 300);
        for second in 0..29 {
            assert_eq!(due(second + 1) - due(second), 10, "in second {second}");
        }
    }
}
