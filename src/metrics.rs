//! Named counters, gauges and histograms of the process, and their Prometheus text.
//!
//! Labels never hold what a client sent. Names and units follow Prometheus: `_total`, `_bytes`, `_seconds`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A number that only rises.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// One more.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug)]
pub struct Gauge(AtomicI64);

impl Gauge {
    const fn new() -> Gauge {
        Gauge(AtomicI64::new(0))
    }

    /// Counts one thing more, until the returned guard is dropped.
    pub fn enter(&'static self) -> Entered {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(self)
    }

    /// Its value.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Makes the gauge 1 (true) or 0: for a state that holds or does not.
    pub fn set(&self, so: bool) {
        self.0.store(so.into(), Ordering::Relaxed);
    }
}

/// One thing counted by a [`Gauge`] while it lives.
#[derive(Debug)]
pub struct Entered(&'static Gauge);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Upper bounds of the latency buckets, in microseconds.
const BUCKETS_MICROS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// A histogram of durations.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_MICROS.len()],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

impl Histogram {
    const fn new() -> Histogram {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; BUCKETS_MICROS.len()],
            count: AtomicU64::new(0),
            sum_micros: AtomicU64::new(0),
        }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        if let Some(bucket) = BUCKETS_MICROS.iter().position(|bound| micros <= *bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

macro_rules! metrics {
    ($($kind:ident $name:ident : $help:literal,)*) => {
        /// Every metric of the process.
        #[derive(Debug)]
        pub struct Metrics { $(#[doc = $help] pub $name: $kind,)* }

        /// The metrics of this process.
        pub static METRICS: Metrics = Metrics { $($name: $kind::new(),)* };

        /// All metrics in Prometheus' text format 0.0.4.
        pub fn text() -> String {
            let mut out = String::with_capacity(8 * 1024);
            $(METRICS.$name.write(&mut out, concat!("burdock_", stringify!($name)), $help);)*
            write_value(&mut out, "burdock_held_bytes", "gauge", "Bytes of messages held.", crate::budget::held_bytes());
            out
        }
    };
}

metrics! {
    Gauge connections: "Client sockets open.",
    Counter connections_total: "Client sockets accepted.",
    Counter connections_refused_total: "Sockets closed at once: too many from one address.",
    Counter accept_errors_total: "Failed accepts, mostly for want of descriptors.",
    Counter received_bytes_total: "Bytes read from clients.",
    Counter sent_bytes_total: "Bytes written to clients.",
    Counter wire_refusals_total: "Requests refused for their HTTP (framing, limits, deadlines).",
    Counter slow_readers_total: "Connections dropped because their reader was too slow.",
    Counter requests_ok_total: "HTTP requests answered 2xx.",
    Counter requests_client_error_total: "HTTP requests answered 4xx.",
    Counter requests_server_error_total: "HTTP requests answered 5xx.",
    Counter unauthorized_total: "Requests without a valid token.",
    Counter forbidden_total: "Requests refused for their Host or Origin.",
    Gauge requests: "HTTP requests being served, event streams included.",
    Gauge sessions: "Sessions alive.",
    Counter sessions_created_total: "Sessions begun.",
    Counter sessions_refused_total: "initialize refused at a cap, or by a node that stops.",
    Counter sessions_deleted_total: "Sessions ended by DELETE.",
    Counter sessions_idle_total: "Sessions ended by the idle timeout.",
    Counter sessions_evicted_total: "Sessions ended to make room.",
    Counter sessions_exited_total: "Sessions ended because their backend ended.",
    Counter sessions_not_started_total: "Sessions whose backend could not be started.",
    Gauge draining: "1 while this node stops.",
    Counter sessions_retired_total: "Sessions ended one after the other by a node that stops.",
    Counter sessions_drained_total: "Sessions ended by the stop of this node.",
    Counter session_panics_total: "Sessions ended by a panic: a bug in burdock or in a handler.",
    Counter lookups_unknown_total: "Requests with a session id nobody knows.",
    Counter lookups_closed_total: "Requests with the id of a closed session.",
    Counter lookups_elsewhere_total: "Requests with the id of another node's session.",
    Counter lookups_lost_total: "Requests with the id of a session whose process is gone.",
    Counter lookups_registry_down_total: "Requests with an id that is not here while the registry was out of reach.",
    Counter sessions_restored_total: "Lost sessions begun again under their id.",
    Gauge registry_up: "Whether Redis answered last (1), or there is none or it did not (0).",
    Counter registry_writes_total: "Pipelines written to Redis.",
    Counter registry_errors_total: "Failed attempts to talk to Redis.",
    Counter registry_overflows_total: "Times that more notes waited for Redis than may.",
    Counter registry_rewrites_total: "Times that all records were written anew.",
    Gauge registry_name_taken: "Whether another living node has this node's name (1).",
    Gauge streams: "Event streams attached to a reader.",
    Counter streams_resumed_total: "Streams resumed by Last-Event-ID.",
    Counter events_shed_total: "Notifications dropped from a replay log that was full.",
    Gauge calls: "Client requests in flight.",
    Counter calls_total: "Client requests begun.",
    Counter calls_refused_total: "Client requests answered with an error because a queue or the budget was full.",
    Counter messages_to_backend_total: "Messages given to backends.",
    Counter messages_from_backend_total: "Messages from backends.",
    Counter messages_mended_to_backend_total: "Messages to backends without members that are null or that JSON-RPC does not have.",
    Counter messages_mended_from_backend_total: "The same of messages from backends.",
    Counter garbage_lines_total: "Lines of children's stdout that are not JSON-RPC.",
    Gauge children: "Child processes alive.",
    Counter children_started_total: "Child processes started.",
    Counter children_failed_total: "Child processes that could not be started.",
    Counter children_killed_total: "Child processes that had to be killed.",
    Histogram call_seconds: "From a client's request to its response.",
    Histogram initialize_seconds: "From initialize to its response, the backend's start included.",
}

fn write_value(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

impl Counter {
    fn write(&self, out: &mut String, name: &str, help: &str) {
        write_value(out, name, "counter", help, self.get());
    }
}

impl Gauge {
    fn write(&self, out: &mut String, name: &str, help: &str) {
        write_value(out, name, "gauge", help, self.get());
    }
}

impl Histogram {
    fn write(&self, out: &mut String, name: &str, help: &str) {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} histogram\n");
        let mut below = 0;
        for (bound, bucket) in BUCKETS_MICROS.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", *bound as f64 / 1e6);
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = write!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n");
    }
}
