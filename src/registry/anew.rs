//! Writes all records anew, after an outage in which Redis was not told of every begin and end, or lost data.

use std::sync::Arc;
use std::time::Instant;

use redis::{Connection, RedisResult};

use super::Living;
use super::batch::WriteBatch;
use super::record::{Record, SESSION_PREFIX, session_key, session_of};
use super::scan::{KeyScan, values};
use super::this_run::ThisRun;
use super::writer::Writer;
use crate::limits::{MGET_KEYS, NOTES_BATCH_MAX};
use crate::metrics::METRICS;
use crate::session_id::SessionId;

impl Writer {
    /// Writes the records of all living sessions, then closes those that this process recorded under earlier
    /// epochs and that are gone.
    pub(super) async fn write_all_anew(&mut self) -> RedisResult<()> {
        METRICS.registry_rewrites_total.add_one();
        log::info!("writing all records to Redis anew (sessions: {})", self.sessions.count());
        self.write_living().await?;
        let mut scan = KeyScan::new(format!("{SESSION_PREFIX}{}-*", self.shared.node));
        loop {
            let (sessions, shared) = (Arc::clone(&self.sessions), Arc::clone(&self.shared));
            let round = self.link.talk(move |connection| {
                let keys = scan.next(connection)?;
                let is_over = keys.is_none();
                let ghosts = ghosts(connection, &keys.unwrap_or_default(), &*sessions, &shared)?;
                Ok((scan, is_over, ghosts))
            });
            let (is_over, ghosts);
            (scan, is_over, ghosts) = round.await?;
            if is_over {
                return Ok(());
            }
            self.close_ghosts(&ghosts).await?;
            // The scan takes minutes where Redis has many millions of other keys.
            self.beat_if_due().await?;
        }
    }

    /// Closes these sessions in Redis: they ended while Redis could not be told.
    async fn close_ghosts(&mut self, ghosts: &[Ghost]) -> RedisResult<()> {
        let mut batch = WriteBatch::default();
        batch.delete(ghosts.iter().map(|ghost| &ghost.id));
        let now = Instant::now();
        for ghost in ghosts {
            if self.tombstones.take(now) {
                batch.closed(&ghost.id, &ghost.owner);
            }
        }
        self.send(batch).await
    }

    pub(super) async fn write_living(&mut self) -> RedisResult<()> {
        self.refreshed = Instant::now();
        for some in self.sessions.ids().chunks(NOTES_BATCH_MAX) {
            let mut batch = WriteBatch::default();
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
}

/// A record that this process wrote and whose session is gone.
#[derive(Debug)]
struct Ghost {
    id: SessionId,
    /// Whose it was, or nothing.
    owner: String,
}

/// The ghosts among these records. Records of an earlier process are no ghosts: those sessions are lost, and
/// their clients are told so.
fn ghosts(
    connection: &mut Connection,
    keys: &[Vec<u8>],
    sessions: &dyn Living,
    shared: &ThisRun,
) -> RedisResult<Vec<Ghost>> {
    let is_gone = |id: &SessionId| !sessions.is_here(id);
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
