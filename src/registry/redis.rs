//! The registry in Redis as the rest of burdock sees it. What it is told goes into a bounded queue; what it
//! is asked has a deadline. A living session never waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use smol::future::or;

use super::asker::{Asker, Kept, Question};
use super::link::Link;
use super::record::Heartbeat;
use super::this_run::ThisRun;
use super::writer::{RedisNote, Writer};
use super::{Closed, Found, Living};
use crate::config::{self, Config};
use crate::limits::{
    FAR_CLOSE_DEADLINE, NOTES_CROWD, NOTES_MAX, QUESTION_DEADLINE, QUESTIONS_MAX, REDIS_DEADLINE,
    REGISTRY_FLUSH,
};
use crate::metrics::METRICS;
use crate::principal::Principal;
use crate::runtime;
use crate::session_id::SessionId;

/// See the module.
#[derive(Debug)]
pub struct Redis {
    closed: Closed,
    notes: Sender<RedisNote>,
    /// Wakes the writer when many notes wait.
    crowd: Sender<()>,
    questions: Sender<Question>,
    shared: Arc<ThisRun>,
}

/// The tasks of the registry, not started yet.
#[derive(Debug)]
pub struct Service {
    link: Link,
    asker: Asker,
    notes: (Receiver<RedisNote>, Receiver<()>),
    shared: Arc<ThisRun>,
    settings: config::RedisTarget,
    heartbeat: Heartbeat,
}

/// What `config` names, not connected yet.
///
/// # Errors
/// When the system's CSPRNG cannot be read, or the address cannot be used.
pub(super) fn open(settings: &config::RedisTarget, config: &Config) -> Result<(Redis, Service), String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| format!("no random bits for an epoch: {error}"))?;
    let shared = Arc::new(ThisRun {
        node: config.node.clone(),
        run: format!("{:016x}", u64::from_be_bytes(random)),
        overflowed: AtomicBool::new(false),
        name_is_taken: AtomicBool::new(false),
        draining: AtomicBool::new(false),
    });
    let (notes, noted) = async_channel::bounded(NOTES_MAX);
    let (crowd, crowded) = async_channel::bounded(1);
    let (questions, asked) = async_channel::bounded(QUESTIONS_MAX);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let service = Service {
        link: Link::new(settings, REDIS_DEADLINE)?,
        asker: Asker::new(Link::new(settings, QUESTION_DEADLINE)?, asked),
        notes: (noted, crowded),
        shared: Arc::clone(&shared),
        settings: settings.clone(),
        heartbeat: Heartbeat {
            epoch: String::new(),
            url: config.advertise.clone(),
            sessions: 0,
            draining: false,
            disputed: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
            beat: 0,
        },
    };
    Ok((Redis { closed: Closed::default(), notes, crowd, questions, shared }, service))
}

impl Service {
    /// Starts the tasks. With `--redis-required` it first waits until Redis answers.
    ///
    /// # Errors
    /// Why Redis cannot be used, in words for the user.
    pub async fn begin(self, sessions: Arc<impl Living + 'static>) -> Result<(), String> {
        let required = self.settings.required;
        let mut writer =
            Writer::new(self.link, self.notes, self.shared, sessions, self.heartbeat, self.settings);
        if required {
            writer.greet().await?;
        }
        runtime::spawn(writer.run()).detach();
        runtime::spawn(self.asker.run()).detach();
        Ok(())
    }
}

impl Redis {
    pub(super) fn closed(&self) -> &Closed {
        &self.closed
    }

    pub(super) fn begun(&self, id: &SessionId) {
        self.note(RedisNote::Begun(id.clone()));
    }

    pub(super) fn close(&self, id: &SessionId, principal: Option<&Principal>, recorded: bool) {
        self.closed.add(id, principal);
        self.note(RedisNote::Ended { id: id.clone(), principal: principal.cloned(), recorded });
    }

    fn note(&self, note: RedisNote) {
        if self.notes.len() >= NOTES_CROWD {
            let _ = self.crowd.try_send(());
        }
        if self.notes.try_send(note).is_err() && !self.shared.overflowed.swap(true, Ordering::Relaxed) {
            METRICS.registry_overflows_total.add_one();
            log::warn!("too much waits for Redis: when it answers, all records are written anew");
        }
    }

    pub(super) async fn find(&self, id: &SessionId, principal: Option<&Principal>, server: &str) -> Found {
        let (answer, answered) = async_channel::bounded(1);
        if self.questions.try_send(Question::Find { id: id.clone(), answer }).is_err() {
            return Found::Down;
        }
        match within(QUESTION_DEADLINE, answered.recv()).await {
            Some(Ok(kept)) => what_is_found(&self.shared, id, *kept, principal, server),
            Some(Err(_)) | None => Found::Down,
        }
    }

    pub(super) async fn close_from_afar(
        &self,
        id: &SessionId,
        principal: Option<&Principal>,
        server: &Arc<str>,
    ) -> bool {
        let (answer, answered) = async_channel::bounded(1);
        let question = Question::Close {
            id: id.clone(),
            principal: principal.cloned(),
            server: Arc::clone(server),
            answer,
        };
        if self.questions.try_send(question).is_err() {
            return false;
        }
        matches!(within(FAR_CLOSE_DEADLINE, answered.recv()).await, Some(Ok(true)))
    }

    pub(super) fn name_is_taken(&self) -> bool {
        self.shared.name_is_taken.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.note(RedisNote::Beat);
    }

    pub(super) async fn flush(&self) {
        let (done, flushed) = async_channel::bounded(1);
        let flushing = async {
            let _ = self.notes.send(RedisNote::Flush(done)).await;
            flushed.recv().await.is_ok()
        };
        if within(REGISTRY_FLUSH, flushing).await != Some(true) {
            log::warn!("Redis did not take what was left to write: records of sessions stay that are gone");
        }
    }
}

/// `None` when the time is over first.
async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    or(async { Some(future.await) }, async {
        Timer::after(time).await;
        None
    })
    .await
}

/// What `principal` at `server` is told about an id, from what Redis keeps of it.
fn what_is_found(
    shared: &ThisRun,
    id: &SessionId,
    kept: Kept,
    principal: Option<&Principal>,
    server: &str,
) -> Found {
    let name = principal.map_or("", Principal::as_str);
    if let Some(owner) = &kept.closed {
        return if owner == name { Found::Closed } else { Found::Unknown };
    }
    let Some(record) = kept.record else { return Found::Unknown };
    let is_owner = record.principal.as_deref().unwrap_or_default() == name && record.server == server;
    // The id names the node, too. A record that names another one was not written by burdock.
    if !is_owner || record.node != id.node() {
        return Found::Unknown;
    }
    if shared.is_own(&record.epoch) {
        // It ended here a moment ago, and Redis is about to be told.
        return Found::Closed;
    }
    match kept.heartbeat {
        _ if record.node == shared.node => Found::Lost(Box::new(record)),
        Some(heartbeat) if heartbeat.epoch == record.epoch => Found::Elsewhere { alive: true },
        Some(_) => Found::Lost(Box::new(record)),
        None => Found::Elsewhere { alive: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::record::{Record, RecordState};

    fn shared() -> ThisRun {
        ThisRun {
            node: "n1".into(),
            run: "00ff".into(),
            overflowed: false.into(),
            name_is_taken: false.into(),
            draining: false.into(),
        }
    }

    fn record(node: &str, epoch: &str, principal: Option<&str>) -> Record {
        Record {
            node: node.into(),
            epoch: epoch.into(),
            server: "s".into(),
            protocol: "2025-11-25".into(),
            client: "c".into(),
            principal: principal.map(Into::into),
            created: 1,
            state: RecordState::Live,
            initialize: None,
        }
    }

    fn heartbeat(epoch: &str) -> Heartbeat {
        Heartbeat {
            epoch: epoch.into(),
            url: None,
            sessions: 1,
            draining: false,
            disputed: false,
            version: "1".into(),
            started: 1,
            beat: 1,
        }
    }

    /// Each of the answers that need Redis, once.
    #[test]
    fn each_state_of_the_keys_has_its_answer() {
        let shared = shared();
        let id = |node: &str| SessionId::new(&node.into()).unwrap();
        let ask = |id: &SessionId, record: Option<Record>, epoch: Option<&str>| {
            let kept = Kept { record, closed: None, heartbeat: epoch.map(heartbeat) };
            format!("{:?}", what_is_found(&shared, id, kept, None, "s"))
        };
        let (one, two) = (id("n1"), id("n2"));
        assert_eq!(ask(&two, Some(record("n2", "aa.1", None)), Some("aa.1")), "Elsewhere { alive: true }");
        assert_eq!(ask(&two, Some(record("n2", "aa.1", None)), None), "Elsewhere { alive: false }");
        assert!(ask(&two, Some(record("n2", "aa.1", None)), Some("bb.1")).starts_with("Lost"));
        assert!(ask(&one, Some(record("n1", "aa.1", None)), None).starts_with("Lost"));
        assert_eq!(ask(&one, Some(record("n1", "00ff.1", None)), None), "Closed");
        assert_eq!(ask(&two, None, Some("aa.1")), "Unknown");
        assert_eq!(ask(&one, Some(record("n2", "aa.1", None)), Some("aa.1")), "Unknown", "a forged record");
        assert_eq!(
            ask(&two, Some(Record { server: "t".into(), ..record("n2", "aa.1", None) }), None),
            "Unknown"
        );
    }

    #[test]
    fn what_belongs_to_another_is_unknown() {
        let shared = shared();
        let id = SessionId::new(&"n2".into()).unwrap();
        let (ann, bob) = (Principal::new("ann").unwrap(), Principal::new("bob").unwrap());
        let of_ann = || Kept {
            record: Some(record("n2", "aa.1", Some("ann"))),
            closed: None,
            heartbeat: Some(heartbeat("aa.1")),
        };
        let closed = || Kept { record: None, closed: Some("ann".into()), heartbeat: None };
        assert!(matches!(what_is_found(&shared, &id, of_ann(), Some(&ann), "s"), Found::Elsewhere { .. }));
        assert!(matches!(what_is_found(&shared, &id, of_ann(), Some(&bob), "s"), Found::Unknown));
        assert!(matches!(what_is_found(&shared, &id, of_ann(), None, "s"), Found::Unknown));
        assert!(matches!(what_is_found(&shared, &id, closed(), Some(&ann), "s"), Found::Closed));
        assert!(matches!(what_is_found(&shared, &id, closed(), Some(&bob), "s"), Found::Unknown));
    }
}
