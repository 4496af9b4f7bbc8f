//! Asks Redis about ids that are not here. Questions that wait together go into one command.

use std::sync::Arc;
use std::time::Instant;

use async_channel::{Receiver, Sender};
use redis::RedisResult;
use serde::de::DeserializeOwned;

use super::link::Link;
use super::operator;
use super::record::{Heartbeat, Record, closed_key, node_key, session_key};
use crate::foreign::Foreign;
use crate::limits::{QUESTION_PAUSE, QUESTIONS_MAX};
use crate::metrics::METRICS;
use crate::principal::Principal;
use crate::session_id::SessionId;

/// A question to Redis. The asker drops `answer` when Redis is out of reach.
#[derive(Debug)]
pub(super) enum Question {
    /// What is kept of an id?
    Find {
        /// The id.
        id: SessionId,
        /// Gets the answer.
        answer: Sender<Box<Kept>>,
    },
    /// Close a session of another node, or of a run that is gone.
    Close {
        /// Its id.
        id: SessionId,
        /// Who asks.
        principal: Option<Principal>,
        /// At which server.
        server: Arc<str>,
        /// Gets whether there was such a session of this principal and server.
        answer: Sender<bool>,
    },
}

/// What is kept of an id.
#[derive(Debug)]
pub(super) struct Kept {
    /// Its record.
    pub(super) record: Option<Record>,
    /// If it was closed: the principal it belonged to, or an empty string.
    pub(super) closed: Option<String>,
    /// The heartbeat of the node in its name.
    pub(super) heartbeat: Option<Heartbeat>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Asker {
    link: Link,
    questions: Receiver<Question>,
    failed: Option<Instant>,
}

impl Asker {
    pub(super) fn new(link: Link, questions: Receiver<Question>) -> Asker {
        Asker { link, questions, failed: None }
    }

    /// Answers questions for ever.
    pub(super) async fn run(mut self) {
        while let Ok(first) = self.questions.recv().await {
            let mut finds = Vec::new();
            let mut closes = Vec::new();
            let more = std::iter::from_fn(|| self.questions.try_recv().ok());
            for question in std::iter::once(first).chain(more.take(QUESTIONS_MAX)) {
                match question {
                    Question::Find { id, answer } => finds.push((id, answer)),
                    Question::Close { id, principal, server, answer } => {
                        closes.push((id, principal, server, answer));
                    }
                }
            }
            // Redis has just failed, and no request should wait for it: dropping the questions answers them.
            if self.failed.is_some_and(|failed| failed.elapsed() < QUESTION_PAUSE) {
                continue;
            }
            let mut result = self.find(finds).await;
            for (id, principal, server, answer) in closes {
                if result.is_ok() {
                    result = self.close(id, principal, server, answer).await;
                }
            }
            self.note(result);
        }
    }

    fn note(&mut self, result: RedisResult<()>) {
        self.failed = result.as_ref().err().map(|_| Instant::now());
        if let Err(error) = result {
            METRICS.registry_errors_total.add_one();
            log::debug!("Redis did not answer a question: {}", Foreign(error.to_string().as_bytes()));
        }
    }

    async fn find(&mut self, finds: Vec<(SessionId, Sender<Box<Kept>>)>) -> RedisResult<()> {
        if finds.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> =
            finds.iter().flat_map(|(id, _)| [session_key(id), closed_key(id), node_key(id.node())]).collect();
        let values: Vec<Option<Vec<u8>>> =
            self.link.talk(move |connection| redis::cmd("MGET").arg(keys).query(connection)).await?;
        for ((_, answer), values) in finds.into_iter().zip(values.chunks(3)) {
            let [record, closed, heartbeat] = values else { continue };
            let kept = Kept {
                record: parse(record),
                closed: closed.as_ref().map(|owner| String::from_utf8_lossy(owner).into_owned()),
                heartbeat: parse(heartbeat),
            };
            let _ = answer.try_send(Box::new(kept));
        }
        Ok(())
    }

    async fn close(
        &mut self,
        id: SessionId,
        principal: Option<Principal>,
        server: Arc<str>,
        answer: Sender<bool>,
    ) -> RedisResult<()> {
        let closed = self
            .link
            .talk(move |connection| {
                operator::close_from_afar(connection, &id, |record| {
                    record.principal.as_deref() == principal.as_ref().map(Principal::as_str)
                        && record.server == *server
                        && record.node == id.node()
                })
            })
            .await?;
        let _ = answer.try_send(closed.is_some());
        Ok(())
    }
}

/// A value that is not of the right form counts as absent.
fn parse<T: DeserializeOwned>(value: &Option<Vec<u8>>) -> Option<T> {
    serde_json::from_slice(value.as_deref()?).ok()
}
