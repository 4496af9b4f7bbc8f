//! Writes to Redis: one task, so that what is told of an id arrives in its order.
//!
//! A note says only that something changed; the writer then writes the state of that moment. So a lost or
//! repeated pipeline does no harm. After an outage in which more changed than the queue holds, all records
//! are written anew under a new epoch. That makes all older records of this process worthless at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use redis::{Cmd, Connection, FromRedisValue, RedisError, RedisResult};
use smol::future::or;

use super::Living;
use super::batch::WriteBatch;
use super::link::Link;
use super::operator;
use super::problem;
use super::record::{Heartbeat, inbox_key, node_key};
use super::this_run::ThisRun;
use super::tombstones::Tombstones;
use crate::config;
use crate::limits::{
    HEARTBEAT_SECS, HEARTBEAT_STEP, INBOX_TAKEN_MAX, NOTES_BATCH_MAX, NOTES_WAIT, RECORD_REFRESH,
    REDIS_DEADLINE, REDIS_RETRY_MAX, REDIS_RETRY_MIN,
};
use crate::metrics::METRICS;
use crate::principal::Principal;
use crate::session_id::SessionId;

/// What the writer is told.
#[derive(Debug)]
pub(super) enum RedisNote {
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
    pub(super) link: Link,
    notes: Receiver<RedisNote>,
    /// Wakes the writer when so many notes wait that they must be written at once.
    crowd: Receiver<()>,
    pub(super) shared: Arc<ThisRun>,
    pub(super) sessions: Arc<dyn Living>,
    pub(super) heartbeat: Heartbeat,
    /// The address, for messages.
    settings: config::RedisTarget,
    /// Notes that are not written yet, oldest first: at most `NOTES_BATCH_MAX`.
    waiting: Vec<RedisNote>,
    /// How many epochs this process has had.
    epochs: u64,
    /// Whether all records have to be written anew.
    stale: bool,
    next_beat: Instant,
    /// Our heartbeat as Redis last took it: epoch and beat.
    written: Option<(String, u64)>,
    /// The heartbeat of another process with this node's name, as it was last seen.
    stranger: Option<(String, u64)>,
    pub(super) refreshed: Instant,
    pub(super) tombstones: Tombstones,
    /// After an error: how long until the next attempt.
    retry: Option<Duration>,
}

impl Writer {
    pub(super) fn new(
        link: Link,
        (notes, crowd): (Receiver<RedisNote>, Receiver<()>),
        shared: Arc<ThisRun>,
        sessions: Arc<dyn Living>,
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
            written: None,
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

    /// Waits for a note and then a moment for others that can go with it, or until the next heartbeat is due.
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

    /// Writes everything that is due, in this order: the heartbeat, all records anew if need be, the notes.
    async fn write(&mut self) -> RedisResult<()> {
        // What was being written when the last connection broke may be lost, and a Redis that was restarted
        // may have loaded an older dump.
        let comes_back = !self.link.is_open() && self.written.is_some();
        self.stale |= comes_back | self.shared.overflowed.swap(false, Ordering::Relaxed);
        if self.stale {
            self.forget_notes();
            self.new_epoch();
        }
        let asked = self.waiting.iter().any(|note| matches!(note, RedisNote::Beat));
        if self.stale || asked || self.written.is_none() || Instant::now() >= self.next_beat {
            self.beat().await?;
            self.waiting.retain(|note| !matches!(note, RedisNote::Beat));
        }
        // Cleared first, because a heartbeat within may find that all must be written once more. After an
        // error that is done anyway.
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

    /// Everything alive is about to be written anew, so the notes that wait are obsolete; only requests to
    /// flush are kept.
    fn forget_notes(&mut self) {
        self.waiting.retain(|note| matches!(note, RedisNote::Flush(_)));
        while let Ok(note) = self.notes.try_recv() {
            if matches!(note, RedisNote::Flush(_)) {
                self.waiting.push(note);
            }
        }
    }

    // --- The heartbeat -------------------------------------------------------------------------------------

    pub(super) async fn beat_if_due(&mut self) -> RedisResult<()> {
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
        self.compare_with(before);
        self.written = Some((self.heartbeat.epoch.clone(), self.heartbeat.beat));
        self.next_beat = Instant::now() + HEARTBEAT_STEP;
        if closed.len() >= INBOX_TAKEN_MAX {
            self.next_beat = Instant::now();
        }
        for id in closed.iter().filter_map(|text| SessionId::parse(str::from_utf8(text).ok()?)) {
            self.sessions.close_as_told(&id);
        }
        Ok(())
    }

    /// Judges by the heartbeat that Redis had before: all is well, Redis lost data, or another process has
    /// this node's name.
    fn compare_with(&mut self, before: Option<Heartbeat>) {
        let Some((epoch, beat)) = &self.written else {
            // This is our first heartbeat, so what was there may be the last run's.
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

    /// Another process wrote this node's heartbeat. If its number rises from one look to the next, that
    /// process lives. Seen once, it may come from an old dump.
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

    // --- Records -------------------------------------------------------------------------------------------

    async fn write_notes(&mut self) -> RedisResult<()> {
        loop {
            let is_full = self.waiting.len() >= NOTES_BATCH_MAX;
            let batch = self.pack();
            self.send(batch).await?;
            for note in std::mem::take(&mut self.waiting) {
                match note {
                    RedisNote::Flush(done) => match self.leave().await {
                        Ok(()) => drop(done.try_send(())),
                        Err(error) => {
                            // Whoever asked waits for the next attempt, or warns when its time is over.
                            self.waiting.push(RedisNote::Flush(done));
                            return Err(error);
                        }
                    },
                    RedisNote::Beat => self.next_beat = Instant::now(),
                    RedisNote::Begun(_) | RedisNote::Ended { .. } => {}
                }
            }
            // Notes that came meanwhile wait for others, unless they fill a batch: otherwise each few would
            // get a pipeline of their own while sessions come and go without a pause. Nor may they delay the
            // heartbeat.
            if !is_full || Instant::now() >= self.next_beat {
                return Ok(());
            }
            self.take_notes();
        }
    }

    /// The commands for the notes that wait.
    fn pack(&mut self) -> WriteBatch {
        let mut batch = WriteBatch::default();
        // Deletions come first: a session may have been restored since its end, and then its record is
        // written again below.
        batch.delete(self.waiting.iter().filter_map(|note| match note {
            RedisNote::Ended { id, recorded: true, .. } => Some(id),
            RedisNote::Ended { .. } | RedisNote::Begun(_) | RedisNote::Beat | RedisNote::Flush(_) => None,
        }));
        let now = Instant::now();
        for note in &self.waiting {
            match note {
                // A session that has ended since has a note of that, too.
                RedisNote::Begun(id) => {
                    if let Some(record) = self.sessions.record(id, &self.heartbeat.epoch) {
                        batch.record(id, &record);
                    }
                }
                RedisNote::Ended { id, principal, .. } => {
                    if self.tombstones.take(now) {
                        batch.closed(id, principal.as_ref().map_or("", Principal::as_str));
                    }
                }
                RedisNote::Beat | RedisNote::Flush(_) => {}
            }
        }
        batch
    }

    pub(super) async fn send(&mut self, batch: WriteBatch) -> RedisResult<()> {
        if batch.is_empty() {
            return Ok(());
        }
        METRICS.registry_writes_total.add_one();
        self.link.talk(move |connection| batch.send(connection)).await
    }

    /// The node stops: deletes its heartbeat, so that nobody has to wait until it expires. A heartbeat of
    /// another process stays.
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

/// Sends `command` about a key that only this node writes. If a value of another type stands there, it is
/// deleted first.
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::lock::lock;
    use crate::registry::Record;
    use crate::registry::record::RecordState;

    /// Sessions without workers: their ids, and what they were told.
    #[derive(Debug, Default)]
    struct Ids {
        here: Mutex<Vec<SessionId>>,
        closed: Mutex<Vec<SessionId>>,
    }

    impl Living for Ids {
        fn count(&self) -> usize {
            lock(&self.here).len()
        }

        fn ids(&self) -> Vec<SessionId> {
            lock(&self.here).clone()
        }

        fn is_here(&self, id: &SessionId) -> bool {
            lock(&self.here).contains(id)
        }

        fn record(&self, id: &SessionId, epoch: &str) -> Option<Record> {
            self.is_here(id).then(|| Record {
                node: "n1".into(),
                epoch: epoch.into(),
                server: "s".into(),
                protocol: "2025-11-25".into(),
                client: "c".into(),
                principal: None,
                created: 1,
                state: RecordState::Live,
                initialize: None,
            })
        }

        fn close_as_told(&self, id: &SessionId) {
            lock(&self.closed).push(id.clone());
        }
    }

    fn heartbeat(epoch: &str, beat: u64, started: u64) -> Heartbeat {
        Heartbeat {
            epoch: epoch.into(),
            url: None,
            sessions: 0,
            draining: false,
            disputed: false,
            version: "1".into(),
            started,
            beat,
        }
    }

    fn writer(sessions: Arc<Ids>) -> (Writer, Sender<RedisNote>) {
        let settings = config::RedisTarget {
            connection: redis::IntoConnectionInfo::into_connection_info("redis://127.0.0.1:1/").unwrap(),
            shown: "127.0.0.1:1".into(),
            by: "--redis".into(),
            again: String::new(),
            required: false,
        };
        let shared = Arc::new(ThisRun {
            node: "n1".into(),
            run: "00ff".into(),
            overflowed: false.into(),
            name_is_taken: false.into(),
            draining: false.into(),
        });
        let (notes, noted) = async_channel::bounded(16);
        let link = Link::new(&settings, REDIS_DEADLINE).unwrap();
        let crowd = async_channel::bounded(1).1;
        (Writer::new(link, (noted, crowd), shared, sessions, heartbeat("", 0, 5), settings), notes)
    }

    fn id() -> SessionId {
        SessionId::new(&"n1".into()).unwrap()
    }

    fn text(batch: &WriteBatch) -> String {
        String::from_utf8_lossy(batch.bytes()).into_owned()
    }

    /// A note says only that something changed; the writer writes the state of the moment at which it writes.
    #[test]
    fn what_is_written_is_what_is_so() {
        let sessions = Arc::new(Ids::default());
        let (lives, gone) = (id(), id());
        lock(&sessions.here).push(lives.clone());
        let (mut writer, _notes) = writer(sessions);
        writer.waiting = vec![RedisNote::Begun(lives.clone()), RedisNote::Begun(gone.clone())];
        let written = text(&writer.pack());
        assert!(written.contains(&lives.to_string()) && written.contains("00ff.1"), "{written}");
        assert!(!written.contains(&gone.to_string()), "a record of what is not there: {written}");
        writer.waiting = vec![RedisNote::Ended { id: gone.clone(), principal: None, recorded: false }];
        let written = text(&writer.pack());
        assert!(written.contains("mcp:closed:") && !written.contains("DEL"), "{written}");
    }

    /// Two processes of one name: the younger takes no new sessions, and does when the other one has gone.
    #[test]
    fn another_process_of_this_name_is_met_when_it_is_seen_twice() {
        let (mut writer, _notes) = writer(Arc::default());
        let own = |writer: &Writer, beat| Some(heartbeat(&writer.heartbeat.epoch, beat, 5));
        writer.compare_with(None);
        writer.written = Some((writer.heartbeat.epoch.clone(), 1));
        writer.compare_with(Some(heartbeat("aa.1", 7, 4)));
        assert!(writer.stale && !writer.heartbeat.disputed, "it may stand in an old dump");
        writer.stale = false;
        writer.compare_with(Some(heartbeat("aa.1", 8, 4)));
        assert!(writer.heartbeat.disputed && writer.shared.name_is_taken.load(Ordering::Relaxed));
        writer.compare_with(own(&writer, 1));
        assert!(!writer.heartbeat.disputed && !writer.shared.name_is_taken.load(Ordering::Relaxed));
        assert!(!writer.stale);
        writer.compare_with(None);
        assert!(writer.stale, "Redis lost its data");
    }

    /// Before all records are written anew the notes are obsolete, but not a request to flush.
    #[test]
    fn requests_to_flush_outlast_a_rewrite() {
        let (mut writer, notes) = writer(Arc::default());
        let (done, _flushed) = async_channel::bounded(1);
        for note in [RedisNote::Begun(id()), RedisNote::Flush(done), RedisNote::Beat] {
            notes.try_send(note).unwrap();
        }
        writer.waiting = vec![RedisNote::Begun(id())];
        writer.forget_notes();
        assert!(matches!(writer.waiting[..], [RedisNote::Flush(_)]));
    }
}
