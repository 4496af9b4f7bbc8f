//! Which sessions exist, and where: told of every begin and end, asked only about ids that are not here.
//!
//! Nothing on the way from a client to its living session waits for this room. [`Registry::Memory`] knows
//! this process only, so an id of another node is unknown to it. [`Registry::Redis`] is shared by the nodes
//! of a cluster: what stands there is in [`record`]; one task writes (`writer.rs`), one asks (`asker.rs`),
//! each with a connection and a bounded queue of its own (`redis.rs`).

mod anew;
mod asker;
mod batch;
mod closed;
mod link;
mod living;
pub mod operator;
pub mod problem;
pub mod record;
mod redis;
mod scan;
mod this_run;
mod tombstones;
mod writer;

use std::sync::Arc;

pub use self::closed::Closed;
pub use self::living::Living;
pub use self::record::Record;
pub use self::redis::{Redis, Service};
use crate::config::Config;
use crate::principal::Principal;
use crate::session_id::SessionId;

/// What the registry says of an id that is not in the local table.
#[derive(Debug)]
pub enum Found {
    /// Its record names another node, which lives or not.
    Elsewhere {
        /// Whether that node's heartbeat is there.
        alive: bool,
    },
    /// Its record is of an earlier run of its node.
    Lost(Box<Record>),
    /// It was closed not long ago.
    Closed,
    /// Nobody knows it, or it belongs to somebody else (S3).
    Unknown,
    /// The registry could not be asked.
    Down,
}

/// See the module.
#[derive(Debug)]
pub enum Registry {
    /// For one node.
    Memory(Closed),
    /// For a cluster.
    Redis(Redis),
}

impl Registry {
    /// A registry that knows only this process.
    pub fn memory() -> Registry {
        Registry::Memory(Closed::default())
    }

    /// The registry that `config` names, and with Redis what has to be begun once there are sessions.
    ///
    /// # Errors
    /// When the system's CSPRNG cannot be read, or the address of Redis cannot be used.
    pub fn new(config: &Config) -> Result<(Registry, Option<Service>), String> {
        match &config.redis {
            None => Ok((Registry::memory(), None)),
            Some(settings) => {
                let (redis, service) = redis::open(settings, config)?;
                Ok((Registry::Redis(redis), Some(service)))
            }
        }
    }

    /// A session has begun. Never waits.
    pub fn begun(&self, id: &SessionId) {
        match self {
            // The local table is the record.
            Registry::Memory(_) => {}
            Registry::Redis(redis) => redis.begun(id),
        }
    }

    /// The session of this id and `principal` has ended, for whatever reason. `recorded` says whether there
    /// may be a record of it. Never waits.
    pub fn close(&self, id: &SessionId, principal: Option<&Principal>, recorded: bool) {
        match self {
            Registry::Memory(closed) => closed.add(id, principal),
            Registry::Redis(redis) => redis.close(id, principal, recorded),
        }
    }

    /// Asks about an id that is not in the local table, for `principal` at `server`. A session of another
    /// principal or server is reported as unknown (S3). Waits for at most `QUESTION_DEADLINE`.
    pub async fn find(&self, id: &SessionId, principal: Option<&Principal>, server: &str) -> Found {
        let closed = match self {
            Registry::Memory(closed) => closed,
            Registry::Redis(redis) => redis.closed(),
        };
        match (closed.knows(id, principal), self) {
            (Some(true), _) => Found::Closed,
            (Some(false), _) | (None, Registry::Memory(_)) => Found::Unknown,
            (None, Registry::Redis(redis)) => redis.find(id, principal, server).await,
        }
    }

    /// Closes a session that is not here: deletes its record, if it belongs to `principal` and `server`, and
    /// tells the node that has it. Returns whether there was one. Waits for at most `FAR_CLOSE_DEADLINE`.
    pub async fn close_from_afar(
        &self,
        id: &SessionId,
        principal: Option<&Principal>,
        server: &Arc<str>,
    ) -> bool {
        match self {
            Registry::Memory(_) => false,
            // It ended here not long ago: there is nothing to close.
            Registry::Redis(redis) if redis.closed().knows(id, principal).is_some() => false,
            Registry::Redis(redis) => redis.close_from_afar(id, principal, server).await,
        }
    }

    /// Why this node must not take new sessions; `None` when it may.
    pub fn refuses(&self) -> Option<&'static str> {
        match self {
            Registry::Redis(redis) if redis.name_is_taken() => {
                Some("another node of the cluster has this node's name: give each a --node of its own")
            }
            Registry::Memory(_) | Registry::Redis(_) => None,
        }
    }

    /// Whether other nodes share it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Registry::Redis(_))
    }

    /// This node takes no new sessions from now on: others hear it at once.
    pub fn drain(&self) {
        if let Registry::Redis(redis) = self {
            redis.drain();
        }
    }

    /// Writes the notes that still wait and deletes this node's heartbeat. Waits for at most
    /// `REGISTRY_FLUSH`.
    pub async fn flush(&self) {
        if let Registry::Redis(redis) = self {
            redis.flush().await;
        }
    }
}
