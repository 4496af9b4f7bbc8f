//! The caps on sessions: in all, per server, per principal, and on processes that are still ending.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Ended, SessionHandle, Sessions};
use crate::config::ServerConfig;
use crate::limits::{ABANDONED_AFTER, ENDING_CHILDREN_MAX};
use crate::lock::lock;
use crate::principal::Principal;
use crate::sweep;

/// The sessions that have a place.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) all: usize,
    /// By their index.
    pub(super) by_server: Vec<usize>,
    pub(super) by_principal: HashMap<Principal, usize>,
}

/// A cap on sessions.
#[derive(Clone, Copy, Debug)]
enum Cap {
    All,
    Server,
    Principal,
    Ending,
    Stopping,
}

impl Cap {
    fn describe(self) -> &'static str {
        match self {
            Cap::All => "this node has as many sessions as it may (--max-sessions)",
            Cap::Server => "this server has as many sessions as it may (maxSessions)",
            Cap::Stopping => "this node is stopping and begins no more sessions",
            Cap::Ending => "too many servers of ended sessions are still stopping",
            Cap::Principal => "you have as many sessions as one principal may",
        }
    }
}

impl Sessions {
    /// Takes a place under every cap. At a cap it first evicts an abandoned session, if there is one; else
    /// the error says which cap is reached.
    pub(super) fn make_room(
        &self,
        server: usize,
        settings: &ServerConfig,
        principal: Option<&Principal>,
    ) -> Result<(), &'static str> {
        let Err(cap) = self.take_place(server, settings, principal) else { return Ok(()) };
        let candidate = self.longest_abandoned(|handle| match cap {
            Cap::Ending | Cap::Stopping => false,
            Cap::All => true,
            Cap::Server => handle.server == server,
            Cap::Principal => handle.principal.as_ref() == principal,
        });
        if let Some(handle) = candidate {
            self.close(&handle, Ended::Evicted);
        }
        self.take_place(server, settings, principal).map_err(Cap::describe)
    }

    fn take_place(
        &self,
        server: usize,
        settings: &ServerConfig,
        principal: Option<&Principal>,
    ) -> Result<(), Cap> {
        if !self.phase().begins_sessions() {
            return Err(Cap::Stopping);
        }
        let mut counts = lock(&self.counts);
        if counts.all >= self.limits.max {
            return Err(Cap::All);
        }
        // A child lives on after its session while it is being stopped. Sessions that come and go must not
        // pile up such processes.
        if self.children.count() >= self.limits.max + ENDING_CHILDREN_MAX {
            return Err(Cap::Ending);
        }
        let of_server = counts.by_server.get(server).copied().unwrap_or(0);
        if settings.max_sessions.is_some_and(|max| of_server >= max) {
            return Err(Cap::Server);
        }
        if let Some(principal) = principal {
            let of_principal = counts.by_principal.entry(principal.clone()).or_default();
            if *of_principal >= self.limits.max_per_principal {
                return Err(Cap::Principal);
            }
            *of_principal += 1;
        }
        counts.all += 1;
        if let Some(count) = counts.by_server.get_mut(server) {
            *count += 1;
        }
        Ok(())
    }

    pub(super) fn give_back(&self, server: usize, principal: Option<&Principal>) {
        let mut counts = lock(&self.counts);
        counts.all = counts.all.saturating_sub(1);
        if let Some(count) = counts.by_server.get_mut(server) {
            *count = count.saturating_sub(1);
        }
        let Some(principal) = principal else { return };
        if let Some(count) = counts.by_principal.get_mut(principal) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.by_principal.remove(principal);
            }
        }
    }

    fn longest_abandoned(&self, may: impl Fn(&SessionHandle) -> bool) -> Option<Arc<SessionHandle>> {
        let now = sweep::now_secs();
        self.all()
            .into_iter()
            .filter(|handle| may(handle) && handle.activity.abandoned(now, ABANDONED_AFTER))
            .max_by_key(|handle| handle.activity.idle_secs(now))
    }
}
