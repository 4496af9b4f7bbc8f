//! Restores sessions that were lost with an earlier process of this node: they begin again under their id,
//! where their server wants that (`restore`), because most clients never recover from a 404.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::table::Present;
use super::{Activity, Lookup, Opened, Owner, SessionHandle, Sessions, worker};
use crate::budget;
use crate::config::ServerConfig;
use crate::foreign::Foreign;
use crate::limits::RESTORE_BYTES_MAX;
use crate::message::{self, Kind, Message, Parsed};
use crate::metrics::METRICS;
use crate::principal::Principal;
use crate::queue::Receiver;
use crate::registry::Record;
use crate::runtime;
use crate::session_id::SessionId;
use crate::version::Version;

impl Sessions {
    /// As [`Sessions::lookup`]. A session that was lost with an earlier process of this node begins again
    /// under its id, if its server wants that.
    pub async fn lookup_or_restore(
        self: &Arc<Self>,
        text: &str,
        server: usize,
        principal: Option<&Principal>,
    ) -> Lookup {
        match self.lookup(text, server, principal).await {
            Lookup::Lost { node, record } => match self.restore(text, server, principal, &record) {
                Some(handle) => Lookup::Here(handle),
                None => Lookup::Lost { node, record },
            },
            found => found,
        }
    }

    /// Begins a lost session again: with its id, a new backend and the `initialize` that it had. `None` when
    /// its server does not want that, or there is no room.
    fn restore(
        self: &Arc<Self>,
        text: &str,
        server: usize,
        principal: Option<&Principal>,
        record: &Record,
    ) -> Option<Arc<SessionHandle>> {
        let id = SessionId::parse(text).filter(|id| id.node() == &*self.node)?;
        let settings = Arc::clone(self.servers.get(server).filter(|server| server.restore)?);
        let initialize = again(record.initialize.as_deref()?)?;
        if !self.phase().begins_sessions() || self.refuses().is_some() {
            return None;
        }
        if let Err(cap) = self.make_room(server, &settings, principal) {
            METRICS.sessions_refused_total.add_one();
            log::warn!("[{}] lost and not restored: {cap}", id.short());
            return None;
        }
        let owner = Owner {
            server,
            principal: principal.cloned(),
            client: record.client.clone(),
            created: record.created,
        };
        let (handle, worker) = match self.admit(id, owner, &settings, &initialize, &record.protocol) {
            Ok(entered) => entered,
            // Another request has restored it meanwhile.
            Err(there) => {
                self.give_back(server, principal);
                return (there.principal.as_ref() == principal && there.server == server).then_some(there);
            }
        };
        METRICS.sessions_restored_total.add_one();
        log::warn!("[{}] lost with an earlier process, and restored on {}", handle.label, settings.name);
        self.registry.begun(&handle.id);
        let opened = self.run(Arc::clone(&handle), worker.restored(), initialize);
        runtime::spawn(told(opened, Arc::clone(&handle.label))).detach();
        Some(handle)
    }

    /// Enters a restored session in the table; the error is the one that is there already.
    fn admit(
        &self,
        id: SessionId,
        owner: Owner,
        settings: &ServerConfig,
        initialize: &Message,
        protocol: &str,
    ) -> Result<(Arc<SessionHandle>, Box<worker::Worker>), Arc<SessionHandle>> {
        let mut shard = self.table.shard(&id);
        if let Some(there) = shard.get(&id.key()) {
            return Err(Arc::clone(&there.handle));
        }
        let activity = Activity::restored(Version::new(protocol));
        let (handle, worker) = self.prepare(id, owner, settings, initialize, activity);
        shard.insert(handle.id.key(), Present::new(&handle));
        Ok((handle, worker))
    }
}

/// The recorded `initialize` as a message; `None` when [`kept`] would not have kept it.
fn again(initialize: &RawValue) -> Option<Message> {
    if initialize.get().len() > RESTORE_BYTES_MAX {
        return None;
    }
    let bytes = initialize.get().as_bytes().to_vec();
    let share = budget::Share::overdraw(bytes.len());
    match message::parse(bytes, share) {
        Ok(Parsed::One(message)) if is_initialize(&message) => Some(message),
        Ok(_) | Err(_) => None,
    }
}

fn is_initialize(message: &Message) -> bool {
    matches!(&message.kind, Kind::Request { method, .. } if &**method == "initialize")
}

/// Logs what became of a restored session. Its requests wait in its inbox until then, and are answered by the
/// outcome.
async fn told(opened: Receiver<Opened>, label: Arc<str>) {
    match opened.recv().await {
        Some(Opened::Ready(_)) | None => {}
        Some(Opened::Refused(answer)) => log::error!("[{label}] not restored: {}", Foreign(answer.bytes())),
        Some(Opened::Failed(_, text)) => log::error!("[{label}] not restored: {text}"),
    }
}

/// The `initialize` that is kept for a restart, when it is small enough.
pub(super) fn kept(id: &SessionId, initialize: &Message) -> Option<Box<RawValue>> {
    if initialize.payload.len() > RESTORE_BYTES_MAX {
        log::warn!("[{}] cannot be restored after a restart: its initialize is too large", id.short());
        return None;
    }
    RawValue::from_string(String::from_utf8(initialize.payload.to_vec()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Anybody may have written what stands in Redis.
    #[test]
    fn only_an_initialize_that_burdock_would_have_kept_begins_a_session_again() {
        let again = |text: String| again(&RawValue::from_string(text).unwrap()).is_some();
        let with = |more: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"more":"{more}"}}}}"#)
        };
        assert!(again(with("")));
        assert!(!again(with("").replace("initialize", "tools/call")));
        assert!(!again(with("").replace(r#""id":1,"#, "")));
        assert!(!again(with(&"x".repeat(RESTORE_BYTES_MAX))));
        assert!(!again("[]".to_owned()));
    }
}
