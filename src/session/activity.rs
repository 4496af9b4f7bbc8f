//! What others can see of a session without asking its worker: a few atomics.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::Ended;
use crate::sweep;
use crate::version::Version;

/// Written by the worker and by whoever hands it inputs; times are seconds since the process started
/// ([`sweep`]).
#[derive(Debug)]
pub struct Activity {
    last_seen: AtomicU32,
    busy: AtomicBool,
    had_stream: AtomicBool,
    next_stream: AtomicU32,
    begun: AtomicBool,
    recorded: AtomicBool,
    version: OnceLock<Version>,
    ended: OnceLock<Ended>,
}

impl Activity {
    /// The activity of a session that begins now.
    #[allow(clippy::new_without_default, reason = "begins now: not a plain value")]
    pub fn new() -> Activity {
        Activity {
            last_seen: AtomicU32::new(sweep::now_secs()),
            // Busy from the start, so that it is not evicted before `initialize` is answered.
            busy: AtomicBool::new(true),
            had_stream: AtomicBool::new(false),
            next_stream: AtomicU32::new(1),
            begun: AtomicBool::new(false),
            recorded: AtomicBool::new(false),
            version: OnceLock::new(),
            ended: OnceLock::new(),
        }
    }

    /// The activity of a session that is restored, at the version that its client knows. The numbers of its
    /// streams begin at a random place, so that no `Last-Event-ID` of its former life names one of them.
    pub fn restored(version: Version) -> Activity {
        let activity = Activity::new();
        activity.set_version(version);
        activity.begin();
        activity.record();
        activity.next_stream.store(fastrand::u32(1 << 16..u32::MAX / 2), Ordering::Relaxed);
        activity
    }

    /// The client gets the session's id now, so the registry must know the session from here on.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// Whether [`Activity::begin`] was called.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// From now on the registry may have a record of it. Called under the lock of the session's table.
    pub fn record(&self) {
        self.recorded.store(true, Ordering::Relaxed);
    }

    /// Whether a record may exist. Final once the session has left the table, because [`Activity::record`] is
    /// called under the table's lock.
    pub fn may_have_record(&self) -> bool {
        self.recorded.load(Ordering::Relaxed)
    }

    /// The client was heard of just now.
    pub fn touch(&self) {
        self.last_seen.store(sweep::swept_secs(), Ordering::Relaxed);
    }

    /// Seconds since the client was last heard of.
    pub fn idle_secs(&self, now: u32) -> u32 {
        now.saturating_sub(self.last_seen.load(Ordering::Relaxed))
    }

    /// A stream was attached.
    pub fn attached(&self) {
        self.had_stream.store(true, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Whether a stream was ever attached.
    pub fn had_stream(&self) -> bool {
        self.had_stream.load(Ordering::Relaxed)
    }

    /// The worker tells what it found at its last look: whether a stream is read, and how many calls are in
    /// flight.
    pub fn note(&self, reading: bool, calls: usize) {
        self.busy.store(reading || calls > 0, Ordering::Relaxed);
    }

    /// Whether it may be evicted: no stream, no call, and untouched for `after`.
    pub fn abandoned(&self, now: u32, after: Duration) -> bool {
        !self.busy.load(Ordering::Relaxed) && u64::from(self.idle_secs(now)) >= after.as_secs()
    }

    /// A number for a new stream. After four billion POSTs the numbers repeat, but 0 is always the standalone
    /// stream.
    pub fn new_stream(&self) -> u32 {
        match self.next_stream.fetch_add(1, Ordering::Relaxed) {
            0 => self.new_stream(),
            number => number,
        }
    }

    /// The version was negotiated. The first one stands.
    pub fn set_version(&self, version: Version) {
        let _ = self.version.set(version);
    }

    /// The negotiated version.
    pub fn version(&self) -> Version {
        self.version.get().cloned().unwrap_or_default()
    }

    /// Sets why the session ends. Sets why the session ends. The first reason stands.
    pub fn set_ended(&self, ended: Ended) {
        let _ = self.ended.set(ended);
    }

    /// Why the session ended.
    pub fn ended(&self) -> Ended {
        self.ended.get().cloned().unwrap_or(Ended::Drained)
    }
}
