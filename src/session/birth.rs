//! How a session begins: a place under the caps, a worker and a backend, `initialize` and its answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::table::Present;
use super::{Activity, Ended, NodePhase, Opened, Owner, SessionHandle, Sessions, life, restore, worker};
use crate::backend::children::Children;
use crate::backend::{Backend, child, handler};
use crate::budget::Payload;
use crate::config::{Launch, ServerConfig};
use crate::foreign::Foreign;
use crate::http::Room;
use crate::limits::{CLIENT_NAME_BYTES_MAX, INBOX_MAX};
use crate::message::Message;
use crate::metrics::METRICS;
use crate::principal::Principal;
use crate::queue;
use crate::runtime;
use crate::session_id::SessionId;

/// Why there is no new session.
#[derive(Debug)]
pub enum CreateError {
    /// A cap is reached (which one, in words) and no session can be evicted, or this node stops. Later, or on
    /// another node, it may work.
    AtCap(&'static str),
    /// The backend refused `initialize`: its error response.
    Refused(Payload),
    /// An HTTP status and the reason.
    Failed(u16, String),
}

impl Sessions {
    /// Begins a session of the client of this name: starts a worker and its backend, gives it `initialize`
    /// and waits for the answer.
    ///
    /// # Errors
    /// [`CreateError`]; then nothing of the session is left.
    pub async fn create(
        self: &Arc<Self>,
        server: usize,
        principal: Option<Principal>,
        client: String,
        initialize: Message,
        address: IpAddr,
    ) -> Result<(Arc<SessionHandle>, Payload), CreateError> {
        let settings =
            Arc::clone(self.servers.get(server).ok_or(CreateError::Failed(500, "no such server".into()))?);
        if let Some(why) = self.refuses() {
            return Err(CreateError::Failed(503, why.to_owned()));
        }
        let id = SessionId::new(&self.node)
            .map_err(|error| CreateError::Failed(500, format!("no random bits for a session id: {error}")))?;
        self.make_room(server, &settings, principal.as_ref()).map_err(|cap| {
            METRICS.sessions_refused_total.add_one();
            CreateError::AtCap(cap)
        })?;
        let owner = Owner { server, principal, client, created: unix_now() };
        let (handle, opened) = self.start(id, owner, &settings, initialize);
        let unclaimed = Unclaimed { sessions: self, handle: &handle };
        let opened = opened.recv().await;
        // `initialize` is answered: from here on the session's worker decides about its end.
        std::mem::forget(unclaimed);
        match opened {
            Some(Opened::Ready(answer)) => {
                self.begun(&handle, &settings.name, address);
                Ok((handle, answer))
            }
            Some(Opened::Refused(answer)) => Err(CreateError::Refused(answer)),
            Some(Opened::Failed(status, text)) => Err(not_begun(&handle, &settings.name, status, text)),
            None => Err(CreateError::Failed(500, "an internal error ended the session".into())),
        }
    }

    /// A session lives: for the log, the metrics and the registry.
    fn begun(&self, handle: &SessionHandle, server: &str, address: IpAddr) {
        let version = handle.activity.version();
        let (id, shown, version) = (&handle.label, Foreign(handle.client.as_bytes()), version.as_str());
        match &handle.principal {
            Some(whose) => {
                log::info!("[{id}] session of {shown} at {address} for {whose} on {server}, {version}");
            }
            None => log::info!("[{id}] session of {shown} at {address} on {server}, {version}"),
        }
        METRICS.sessions_created_total.add_one();
        handle.activity.begin();
        self.registry.begun(&handle.id);
    }

    /// Starts backend and worker, and enters the session in the table.
    pub(super) fn start(
        self: &Arc<Self>,
        id: SessionId,
        owner: Owner,
        settings: &ServerConfig,
        initialize: Message,
    ) -> (Arc<SessionHandle>, queue::Receiver<Opened>) {
        let (handle, worker) = self.prepare(id, owner, settings, &initialize, Activity::new());
        self.table.shard(&handle.id).insert(handle.id.key(), Present::new(&handle));
        let opening = self.run(Arc::clone(&handle), worker, initialize);
        (handle, opening)
    }

    /// Makes a session that is in no table yet and has no task.
    pub(super) fn prepare(
        &self,
        id: SessionId,
        owner: Owner,
        settings: &ServerConfig,
        initialize: &Message,
        activity: Activity,
    ) -> (Arc<SessionHandle>, Box<worker::Worker>) {
        let (inbox, inputs) = queue::bounded(INBOX_MAX);
        let (activity, room, label) = (Arc::new(activity), Room::default(), Arc::<str>::from(id.short()));
        let handle = Arc::new(SessionHandle {
            id: id.clone(),
            server: owner.server,
            principal: owner.principal,
            label: Arc::clone(&label),
            client: cut(owner.client, CLIENT_NAME_BYTES_MAX).into(),
            created: owner.created,
            initialize: settings.restore.then(|| restore::kept(&id, initialize)).flatten(),
            activity: Arc::clone(&activity),
            keep_alive_comment: self.keep_alive_comment,
            room: room.clone(),
            calls: self.calls.clone(),
            inbox,
            _counted: METRICS.sessions.enter(),
        });
        let idle_timeout = settings.idle_timeout.unwrap_or(self.limits.idle_timeout);
        let setup = worker::Setup {
            backend: start_backend(&settings.launch, &label, &self.children),
            label,
            activity,
            inbox: inputs,
            start_deadline: settings.start_deadline,
            idle_timeout,
            idle_timeout_no_stream: idle_timeout.min(self.limits.idle_timeout_no_stream),
            keep_alive_comment: self.keep_alive_comment,
            room,
        };
        // Boxed: its task's future would have room for it several times.
        (handle, Box::new(worker::Worker::new(setup)))
    }

    /// Gives the worker of a session in the table a task, at whose end the session is closed.
    pub(super) fn run(
        self: &Arc<Self>,
        handle: Arc<SessionHandle>,
        worker: Box<worker::Worker>,
        initialize: Message,
    ) -> queue::Receiver<Opened> {
        let (opened, opening) = queue::bounded(1);
        // Boxed: it is freed when it is answered, but room for it in the future would stay.
        let initialize = Box::new(initialize);
        let (sessions, entered) = (Arc::clone(self), Arc::clone(&handle));
        let task = runtime::spawn(async move {
            let ended = life::live(worker, initialize, opened).await;
            sessions.close(&handle, ended);
        });
        self.table.keep_task(&entered, task);
        // If the node stops at this moment, either this line sees it, or `stop` sees the new session.
        if self.phase() == NodePhase::Stopped {
            self.close(&entered, self.stop_of(&entered));
        }
        opening
    }
}

fn start_backend(launch: &Launch, label: &Arc<str>, children: &Arc<Children>) -> Backend {
    match launch {
        Launch::Child(command) => {
            Backend::Child(child::start(Arc::clone(command), label.to_string(), Arc::clone(children)))
        }
        Launch::Handler(server) => Backend::Handler(handler::start(Arc::clone(server), Arc::clone(label))),
    }
}

fn not_begun(handle: &SessionHandle, server: &str, status: u16, text: String) -> CreateError {
    // A node that stops, or a client that left, is no error.
    let level = if status == 503 { log::Level::Info } else { log::Level::Error };
    log::log!(level, "[{}] no session on {server}: {text}", handle.label);
    CreateError::Failed(status, text)
}

/// A session whose `initialize` is not answered yet. It is dropped, and the session closed, when the client
/// that asked goes away.
struct Unclaimed<'a> {
    sessions: &'a Sessions,
    handle: &'a SessionHandle,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        self.sessions.close(self.handle, Ended::Abandoned);
    }
}

fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
