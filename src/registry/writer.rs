//! Writes to Redis: one task, so that what is told of an id arrives in its order.
//!
//! A note says only that something changed; what is written is what is so when it is written. So a lost or repeated
//! pipeline does no harm, and after an outage that was longer than the queue all records are written anew, under a
//! new epoch, which makes whatever else stands there of this process worthless at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use redis::{Cmd, Connection, FromRedisValue, RedisError, RedisResult};
use smol::future::or;

use super::batch::Batch;
use super::link::Link;
use super::operator;
use super::problem;
use super::record::{Heartbeat, Record, SESSION_PREFIX, inbox_key, node_key, session_key, session_of};
use super::redis::Shared;
use super::scan::{Scan, values};
use crate::config;
use crate::limits::{
    CLOSED_KEYS_MAX, CLOSED_SECS, HEARTBEAT_SECS, HEARTBEAT_STEP, INBOX_TAKEN_MAX, MGET_KEYS,
    NOTES_BATCH_MAX, NOTES_WAIT, RECORD_REFRESH, REDIS_DEADLINE, REDIS_RETRY_MAX, REDIS_RETRY_MIN,
};
use crate::metrics::METRICS;
use crate::principal::Principal;
use crate::session::{SessionId, Sessions};

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Note {
    /// A session has begun.
    Begun(SessionId),
    /// A session has ended.
    Ended {
        /// Its id.
        id: SessionId,
        /// Whose it was.
        principal: Option<Principal>,
        /// Whether a record of it may have been written: if not, nothing need be deleted.
        recorded: bool,
    },
    /// Something in the heartbeat has changed.
    Beat,
    /// The node stops: answer when all that was told before is written.
    Flush(Sender<()>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    link: Link,
    notes: Receiver<Note>,
    /// Says when they are too many to wait any longer.
    crowd: Receiver<()>,
    shared: Arc<Shared>,
    sessions: Arc<Sessions>,
    heartbeat: Heartbeat,
    /// The address, for messages.
    settings: config::RedisTarget,
    /// Notes that are not written yet, oldest first: at most `NOTES_BATCH_MAX`.
    waiting: Vec<Note>,
    /// How many epochs this process has had.
    epochs: u64,
    /// Whether all records have to be written anew.
    stale: bool,
    next_beat: Instant,
    /// The heartbeat as Redis last took it.
    left: Option<(String, u64)>,
    /// The heartbeat of another process with this node's name, as it was last seen.
    stranger: Option<(String, u64)>,
    refreshed: Instant,
    tombstones: Tombstones,
    /// After an error: how long until the next attempt.
    retry: Option<Duration>,
}

impl Writer {
    pub(super) fn new(
        link: Link,
        (notes, crowd): (Receiver<Note>, Receiver<()>),
        shared: Arc<Shared>,
        sessions: Arc<Sessions>,
        heartbeat: Heartbeat,
        settings: config::RedisTarget,
    ) -> Writer {
        let mut writer = Writer {
            link,
            notes,
            crowd,
            shared,
            sessions,
            heartbeat,
            settings,
            waiting: Vec::new(),
            epochs: 0,
            stale: false,
            next_beat: Instant::now(),
            left: None,
            stranger: None,
            refreshed: Instant::now(),
            tombstones: Tombstones::new(Instant::now()),
            retry: None,
        };
        writer.new_epoch();
        writer
    }

    /// The first heartbeat, for a node that does not start without Redis.
    ///
    /// # Errors
    /// Why Redis cannot be used, in words for the user.
    pub(super) async fn greet(&mut self) -> Result<(), String> {
        self.write()
            .await
            .map_err(|error| format!("{}: it {}", self.settings.shown, self.describe(&error)))?;
        self.up();
        Ok(())
    }

    fn describe(&self, error: &RedisError) -> String {
        problem::describe(error, REDIS_DEADLINE, &self.settings.by)
    }

    /// Writes for ever, or until the node stops.
    pub(super) async fn run(mut self) {
        loop {
            if let Some(pause) = self.retry {
                Timer::after(pause).await;
            } else {
                self.gather().await;
            }
            match self.write().await {
                Ok(()) => self.up(),
                Err(error) => self.down(&error),
            }
        }
    }

    /// Waits for notes, and a moment for those that can go with them; or for the next heartbeat.
    async fn gather(&mut self) {
        let first = or(async { self.notes.recv().await.ok() }, async {
            Timer::at(self.next_beat).await;
            None
        });
        let Some(first) = first.await else { return };
        self.waiting.push(first);
        let wait = async {
            Timer::after(NOTES_WAIT).await;
        };
        let crowd = async {
            let _ = self.crowd.recv().await;
        };
        or(wait, crowd).await;
        self.take_notes();
    }

    fn take_notes(&mut self) {
        while self.waiting.len() < NOTES_BATCH_MAX
            && let Ok(note) = self.notes.try_recv()
        {
            self.waiting.push(note);
        }
    }

    fn up(&mut self) {
        if self.retry.take().is_some() || METRICS.registry_up.get() == 0 {
            log::info!("Redis at {} answers", self.settings.shown);
        }
        METRICS.registry_up.set(true);
    }

    fn down(&mut self, error: &RedisError) {
        METRICS.registry_errors_total.add_one();
        if self.retry.is_none() {
            log::error!(
                "Redis at {} {} (sessions go on, and it is tried again and again)",
                self.settings.shown,
                self.describe(error)
            );
        }
        METRICS.registry_up.set(false);
        // With jitter: the nodes of a cluster must not come back all at once.
        let next = self.retry.map_or(REDIS_RETRY_MIN, |last| (last * 2).min(REDIS_RETRY_MAX));
        self.retry = Some(next.mul_f64(0.75 + fastrand::f64() / 4.0));
    }

    /// Everything that is due, in this order: the heartbeat, all records if need be, what was noted.
    async fn write(&mut self) -> RedisResult<()> {
        // What was on its way when the last connection ended may be lost, and a Redis that was started again may have
        // come back with an older dump.
        let comes_back = !self.link.is_open() && self.left.is_some();
        self.stale |= comes_back | self.shared.overflowed.swap(false, Ordering::Relaxed);
        if self.stale {
            self.forget_notes();
            self.new_epoch();
        }
        let asked = self.waiting.iter().any(|note| matches!(note, Note::Beat));
        if self.stale || asked || self.left.is_none() || Instant::now() >= self.next_beat {
            self.beat().await?;
            self.waiting.retain(|note| !matches!(note, Note::Beat));
        }
        // A heartbeat on the way may find that it has to be done again. After an error it is done again anyway.
        if std::mem::take(&mut self.stale) {
            self.write_all_anew().await?;
        } else if self.refreshed.elapsed() >= RECORD_REFRESH {
            self.write_living().await?;
        }
        self.write_notes().await
    }

    fn new_epoch(&mut self) {
        self.epochs += 1;
        self.heartbeat.epoch = format!("{}.{}", self.shared.run, self.epochs);
    }

    /// What is so is written anew, so what was told before is of no interest.
    fn forget_notes(&mut self) {
        self.waiting.retain(|note| matches!(note, Note::Flush(_)));
        while let Ok(note) = self.notes.try_recv() {
            if matches!(note, Note::Flush(_)) {
                self.waiting.push(note);
            }
        }
    }

    // --- The heartbeat --------------------------------------------------------------------------------------------

    async fn beat_if_due(&mut self) -> RedisResult<()> {
        if Instant::now() < self.next_beat { Ok(()) } else { self.beat().await }
    }

    async fn beat(&mut self) -> RedisResult<()> {
        self.heartbeat.beat += 1;
        self.heartbeat.sessions = self.sessions.count();
        self.heartbeat.draining = self.shared.draining.load(Ordering::Relaxed);
        let value = serde_json::to_string(&self.heartbeat).unwrap_or_default();
        let (node, inbox) = (node_key(&self.shared.node), inbox_key(&self.shared.node));
        let exchange = self.link.talk(move |connection| {
            let mut set = redis::cmd("SET");
            set.arg(&node).arg(value).arg("EX").arg(HEARTBEAT_SECS).arg("GET");
            let mut take = redis::cmd("LPOP");
            take.arg(&inbox).arg(INBOX_TAKEN_MAX);
            let before: Option<Vec<u8>> = on_own_key(connection, &node, &set)?;
            let closed: Option<Vec<Vec<u8>>> = on_own_key(connection, &inbox, &take)?;
            Ok((before, closed.unwrap_or_default()))
        });
        let (before, closed) = exchange.await?;
        METRICS.registry_writes_total.add_one();
        let before = before.and_then(|text| serde_json::from_slice(&text).ok());
        self.judge(before);
        self.left = Some((self.heartbeat.epoch.clone(), self.heartbeat.beat));
        self.next_beat = Instant::now() + HEARTBEAT_STEP;
        if closed.len() >= INBOX_TAKEN_MAX {
            self.next_beat = Instant::now();
        }
        for id in closed.iter().filter_map(|text| SessionId::parse(str::from_utf8(text).ok()?)) {
            self.sessions.close_as_told(&id);
        }
        Ok(())
    }

    /// What the heartbeat that was there before says: that all is well, that Redis lost data, or that somebody else
    /// has this node's name.
    fn judge(&mut self, before: Option<Heartbeat>) {
        let Some((epoch, beat)) = &self.left else {
            // Nothing is known yet: what is there may be the last run's.
            self.stranger = before.map(|before| (before.epoch, before.beat));
            return;
        };
        match before {
            Some(before) if before.epoch == *epoch && before.beat >= *beat => self.name_is_free(),
            Some(before) if !self.shared.is_own(&before.epoch) => self.meet_stranger(before),
            Some(_) | None => self.stale = true,
        }
    }

    fn name_is_free(&mut self) {
        self.stranger = None;
        self.heartbeat.disputed = false;
        if self.shared.name_is_taken.swap(false, Ordering::Relaxed) {
            METRICS.registry_name_taken.set(false);
            log::info!("no other node has the name {} any more: new sessions are taken", self.shared.node);
        }
    }

    /// Another process wrote this node's heartbeat. Seen twice it lives; seen once it may stand in an old dump.
    fn meet_stranger(&mut self, other: Heartbeat) {
        let seen = (other.epoch, other.beat);
        let lives = self.stranger.as_ref().is_some_and(|(epoch, beat)| *epoch == seen.0 && *beat < seen.1);
        self.stranger = Some(seen);
        if !lives {
            self.stale = true;
            return;
        }
        self.heartbeat.disputed = true;
        let younger = self.heartbeat.started > other.started;
        log::error!(
            "two nodes are named {}: give each a --node of its own; {}",
            self.shared.node,
            if younger { "this one, the younger, takes no new sessions" } else { "the other one is younger" }
        );
        METRICS.registry_name_taken.set(true);
        self.shared.name_is_taken.store(younger, Ordering::Relaxed);
    }

    // --- Records --------------------------------------------------------------------------------------------------

    async fn write_notes(&mut self) -> RedisResult<()> {
        loop {
            let is_full = self.waiting.len() >= NOTES_BATCH_MAX;
            let batch = self.pack();
            self.send(batch).await?;
            for note in std::mem::take(&mut self.waiting) {
                match note {
                    Note::Flush(done) => {
                        self.leave().await?;
                        let _ = done.try_send(());
                    }
                    Note::Beat => self.next_beat = Instant::now(),
                    Note::Begun(_) | Note::Ended { .. } => {}
                }
            }
            // A few that came meanwhile wait for others: otherwise there would be a pipeline for every few while sessions
            // come and go without a pause. Nor may these hold up the heartbeat.
            if !is_full || Instant::now() >= self.next_beat {
                return Ok(());
            }
            self.take_notes();
        }
    }

    /// What the notes that wait come to.
    fn pack(&mut self) -> Batch {
        let mut batch = Batch::default();
        // First, because a session may have been restored since its end: then it has a record again.
        batch.delete(self.waiting.iter().filter_map(|note| match note {
            Note::Ended { id, recorded: true, .. } => Some(id),
            Note::Ended { .. } | Note::Begun(_) | Note::Beat | Note::Flush(_) => None,
        }));
        let now = Instant::now();
        for note in &self.waiting {
            match note {
                // One that has ended since has a note of its own.
                Note::Begun(id) => {
                    if let Some(record) = self.sessions.record(id, &self.heartbeat.epoch) {
                        batch.record(id, &record);
                    }
                }
                Note::Ended { id, principal, .. } => {
                    if self.tombstones.take(now) {
                        batch.closed(id, principal.as_ref().map_or("", Principal::as_str));
                    }
                }
                Note::Beat | Note::Flush(_) => {}
            }
        }
        batch
    }

    async fn send(&mut self, batch: Batch) -> RedisResult<()> {
        if batch.is_empty() {
            return Ok(());
        }
        METRICS.registry_writes_total.add_one();
        self.link.talk(move |connection| batch.send(connection)).await
    }

    /// Writes what lives, then removes what this process wrote under earlier epochs and is no more.
    async fn write_all_anew(&mut self) -> RedisResult<()> {
        METRICS.registry_rewrites_total.add_one();
        log::info!("writing all records to Redis anew (sessions: {})", self.sessions.count());
        self.write_living().await?;
        let mut scan = Scan::new(format!("{SESSION_PREFIX}{}-*", self.shared.node));
        loop {
            let (sessions, shared) = (Arc::clone(&self.sessions), Arc::clone(&self.shared));
            let round = self.link.talk(move |connection| {
                let keys = scan.next(connection)?;
                let is_over = keys.is_none();
                let ghosts = ghosts(connection, &keys.unwrap_or_default(), &sessions, &shared)?;
                Ok((scan, is_over, ghosts))
            });
            let (is_over, ghosts);
            (scan, is_over, ghosts) = round.await?;
            if is_over {
                return Ok(());
            }
            self.close_ghosts(&ghosts).await?;
            // It takes minutes when others have many millions of keys there.
            self.beat_if_due().await?;
        }
    }

    /// Their sessions have ended while Redis was not told.
    async fn close_ghosts(&mut self, ghosts: &[Ghost]) -> RedisResult<()> {
        let mut batch = Batch::default();
        batch.delete(ghosts.iter().map(|ghost| &ghost.id));
        let now = Instant::now();
        for ghost in ghosts {
            if self.tombstones.take(now) {
                batch.closed(&ghost.id, &ghost.owner);
            }
        }
        self.send(batch).await
    }

    async fn write_living(&mut self) -> RedisResult<()> {
        self.refreshed = Instant::now();
        let ids: Vec<SessionId> = self.sessions.all().iter().map(|handle| handle.id.clone()).collect();
        for some in ids.chunks(NOTES_BATCH_MAX) {
            let mut batch = Batch::default();
            for id in some {
                if let Some(record) = self.sessions.record(id, &self.heartbeat.epoch) {
                    batch.record(id, &record);
                }
            }
            self.send(batch).await?;
            self.beat_if_due().await?;
        }
        Ok(())
    }

    /// The node stops: nobody need wait for its heartbeat to expire. That of another process stays.
    async fn leave(&mut self) -> RedisResult<()> {
        let (key, shared) = (node_key(&self.shared.node), Arc::clone(&self.shared));
        self.next_beat = Instant::now() + HEARTBEAT_STEP;
        let words = move |connection: &mut Connection| {
            let left = operator::value(connection, &key)?;
            let left: Option<Heartbeat> = left.and_then(|text| serde_json::from_slice(&text).ok());
            if left.is_some_and(|left| shared.is_own(&left.epoch)) {
                redis::cmd("DEL").arg(&key).exec(connection)?;
            }
            Ok(())
        };
        self.link.talk(words).await
    }
}

/// Says `command` about a key that is this node's alone: when something of another type stands there it is removed.
fn on_own_key<T: FromRedisValue>(connection: &mut Connection, key: &str, command: &Cmd) -> RedisResult<T> {
    match command.query(connection) {
        Err(error) if error.code() == Some("WRONGTYPE") => {
            log::warn!("{key} in Redis is not as burdock writes it: it is removed and written anew");
            redis::cmd("DEL").arg(key).exec(connection)?;
            command.query(connection)
        }
        answer => answer,
    }
}

/// A record that this process wrote and whose session is gone.
#[derive(Debug)]
struct Ghost {
    id: SessionId,
    /// Whose it was, or nothing.
    owner: String,
}

/// The ghosts among these records. What an earlier process left is lost, and its clients are told so.
fn ghosts(
    connection: &mut Connection,
    keys: &[Vec<u8>],
    sessions: &Sessions,
    shared: &Shared,
) -> RedisResult<Vec<Ghost>> {
    let is_gone = |id: &SessionId| sessions.handle(id).is_none();
    let gone: Vec<SessionId> = keys.iter().filter_map(|key| session_of(key)).filter(is_gone).collect();
    let mut ghosts = Vec::new();
    for ids in gone.chunks(MGET_KEYS) {
        let keys: Vec<String> = ids.iter().map(session_key).collect();
        for (id, value) in ids.iter().zip(values(connection, &keys)?) {
            let record: Option<Record> = value.and_then(|value| serde_json::from_slice(&value).ok());
            if let Some(record) = record.filter(|record| shared.is_own(&record.epoch)) {
                ghosts.push(Ghost { id: id.clone(), owner: record.principal.unwrap_or_default() });
            }
        }
    }
    Ok(ghosts)
}

/// How many `mcp:closed:{id}` may still be written: sessions are capped, but not how many begin and end in an hour.
#[derive(Debug)]
struct Tombstones {
    since: Instant,
    left: usize,
}

impl Tombstones {
    fn new(now: Instant) -> Tombstones {
        Tombstones { since: now, left: CLOSED_KEYS_MAX }
    }

    /// Whether there may be another one.
    fn take(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(CLOSED_SECS) {
            *self = Tombstones::new(now);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        if may && self.left == 0 {
            log::warn!(
                "{CLOSED_KEYS_MAX} sessions have ended within an hour: other nodes call those that follow unknown, not \
                 closed"
            );
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_keys_of_an_hour_are_bounded() {
        let begun = Instant::now();
        let mut tombstones = Tombstones::new(begun);
        let taken = (0..2 * CLOSED_KEYS_MAX).filter(|_| tombstones.take(begun)).count();
        assert_eq!(taken, CLOSED_KEYS_MAX);
        assert!(!tombstones.take(begun + Duration::from_secs(CLOSED_SECS - 1)));
        assert!(tombstones.take(begun + Duration::from_secs(CLOSED_SECS)));
    }
}
