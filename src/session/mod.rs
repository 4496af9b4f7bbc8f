//! Sessions: one client's handshake-era state, held by a worker; the table of them; their caps and their end.
//!
//! [`Sessions`] is the only door. A lookup asks the local table first and the registry only for ids that are not
//! here; every end of a session goes through one [`Sessions::close`].

mod activity;
mod id;
mod misroutes;
mod phase;
mod restore;
pub mod stream;
pub mod streams;
pub mod worker;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;

pub use self::activity::Activity;
pub(crate) use self::id::TEXT_BYTES_MAX as ID_TEXT_BYTES_MAX;
pub use self::id::{SessionId, is_node_name};
use self::misroutes::Misroutes;
pub use self::phase::Phase;
pub use self::streams::{Form, ReturnAddress};
pub use self::worker::{Attach, Input, Opened, Post};
use crate::backend::children::Children;
use crate::backend::{Backend, Exit, child, handler};
use crate::budget::{self, Payload};
use crate::config::{Config, Launch, ServerConfig, SessionLimits};
use crate::foreign::Foreign;
use crate::http::Room;
use crate::limits::{
    ABANDONED_AFTER, CLIENT_NAME_BYTES_MAX, ENDING_CHILDREN_MAX, INBOX_MAX, INBOX_WAIT, REAP_STEP_MAX,
    TABLE_SHARDS,
};
use crate::lock::lock;
use crate::memory;
use crate::message::Message;
use crate::metrics::{Entered, METRICS};
use crate::principal::Principal;
use crate::queue::{self, Refused, Sender};
use crate::registry::record::State;
use crate::registry::{Found, Record, Registry};
use crate::runtime;
use crate::sweep;

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its client said DELETE.
    Deleted,
    /// Nothing was heard of its client for too long.
    Idle,
    /// It made room for another at a cap.
    Evicted,
    /// Its backend ended.
    Exited(Exit),
    /// Its backend could not be started.
    NotStarted,
    /// Its client went away before it had the id.
    Abandoned,
    /// Somebody closed it through another node, or an operator did (`burdock sessions close`).
    ClosedElsewhere,
    /// This node stops.
    Drained,
    /// This node stops, and its next process begins the session again.
    Suspended,
    /// A bug in burdock, or in a handler.
    Panicked,
}

impl Ended {
    /// In words, for a client that still waits and for the log.
    pub fn describe(&self) -> Cow<'static, str> {
        match self {
            Ended::Deleted => "the session was deleted by its client".into(),
            Ended::Idle => "the session was idle for too long".into(),
            Ended::Evicted => "the session made room for a new one".into(),
            Ended::Exited(exit) => exit.describe().into(),
            Ended::NotStarted => "the server could not be started".into(),
            Ended::Abandoned => "the client went away during initialize".into(),
            Ended::ClosedElsewhere => "the session was closed through another node or by an operator".into(),
            Ended::Drained => "this node is stopping: initialize again".into(),
            Ended::Suspended => "this node is stopping: the session goes on when it is back".into(),
            Ended::Panicked => "an internal error ended the session".into(),
        }
    }

    fn count(&self) {
        match self {
            Ended::Deleted | Ended::ClosedElsewhere => METRICS.sessions_deleted_total.add_one(),
            Ended::Idle | Ended::Abandoned => METRICS.sessions_idle_total.add_one(),
            Ended::Evicted => METRICS.sessions_evicted_total.add_one(),
            Ended::Exited(_) => METRICS.sessions_exited_total.add_one(),
            Ended::NotStarted => METRICS.sessions_not_started_total.add_one(),
            Ended::Drained | Ended::Suspended => METRICS.sessions_drained_total.add_one(),
            Ended::Panicked => METRICS.session_panics_total.add_one(),
        }
    }
}

/// The door to one session's worker.
#[derive(Debug)]
pub struct SessionHandle {
    /// Its id.
    pub id: SessionId,
    /// The index of its server in the config.
    pub server: usize,
    /// Who it belongs to.
    pub principal: Option<Principal>,
    /// Its short id, for the log.
    label: Arc<str>,
    /// The client's name: foreign text.
    client: Box<str>,
    /// When it began, in seconds since 1970.
    created: u64,
    /// Its `initialize`, when it may have to be begun again.
    initialize: Option<Box<RawValue>>,
    /// What the worker lets others see.
    pub activity: Arc<Activity>,
    /// For the readers of its streams.
    pub keep_alive_comment: Duration,
    /// For the readers of its streams, too.
    pub room: Room,
    inbox: Sender<Input>,
    _counted: Entered,
}

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The worker is behind.
    Busy,
    /// The session has ended.
    Ended,
}

impl SessionHandle {
    /// A number for the stream of a new POST.
    pub fn new_stream(&self) -> u32 {
        self.activity.new_stream()
    }

    /// Hands over an input; waits a little for room, when many come at once.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn tell(&self, input: Input) -> Result<(), NotTaken> {
        self.activity.touch();
        match self.inbox.try_send(input) {
            Ok(()) => Ok(()),
            Err(Refused::Closed(_)) => Err(NotTaken::Ended),
            // Seldom, so in a box: every connection would have to have room for it.
            Err(Refused::Full(input)) => Box::pin(self.tell_in_time(input)).await,
        }
    }

    async fn tell_in_time(&self, input: Input) -> Result<(), NotTaken> {
        let sent = smol::future::or(async { Some(self.inbox.send(input).await) }, async {
            async_io::Timer::after(INBOX_WAIT).await;
            None
        });
        match sent.await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(NotTaken::Ended),
            None => Err(NotTaken::Busy),
        }
    }
}

impl SessionHandle {
    /// Asks the worker of a stopping node's session to end it, unless a call is in flight or a reader is behind: then
    /// it does nothing, and is to be asked again. Never waits.
    pub fn retire(&self) {
        // A worker that is behind is not idle.
        let _ = self.inbox.try_send(Input::Retire);
    }

    /// Whether the session has ended: its worker takes nothing any more.
    pub fn is_over(&self) -> bool {
        self.inbox.is_closed()
    }
}

/// What a lookup found (design 5).
#[derive(Debug)]
pub enum Lookup {
    /// Here: `has_session`.
    Here(Arc<SessionHandle>),
    /// On another node, which lives or not.
    Elsewhere {
        /// Its name.
        node: String,
        /// Whether it lives.
        alive: bool,
    },
    /// Its process has ended.
    Lost {
        /// Where it was.
        node: String,
        /// What is known of it.
        record: Box<Record>,
    },
    /// It was closed.
    Closed,
    /// Nobody knows it.
    Unknown,
    /// It is not here, and the registry could not be asked.
    RegistryDown,
}

/// Why there is no new session.
#[derive(Debug)]
pub enum CreateError {
    /// At a cap (in words) and nothing to evict, or this node stops. Later, or on another node, it may work.
    AtCap(&'static str),
    /// The backend refused `initialize`: its error response.
    Refused(Payload),
    /// An HTTP status and the reason.
    Failed(u16, String),
}

/// Whose session it is, and of what.
#[derive(Debug)]
struct Owner {
    /// The index of its server.
    server: usize,
    principal: Option<Principal>,
    client: String,
    /// When it began, in seconds since 1970.
    created: u64,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// By their index.
    by_server: Vec<usize>,
    by_principal: HashMap<Principal, usize>,
}

/// A part of the table, by the random part of the ids.
type Shard = HashMap<u128, Arc<SessionHandle>, BuildHasherDefault<Random>>;

/// Hashes what is random already: the keys in the table were made here, and what is only looked up cannot crowd it.
#[derive(Debug, Default)]
struct Random(u64);

impl Hasher for Random {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, key: u128) {
        // The lowest bits have chosen the shard.
        self.0 = (key >> 64) as u64 ^ key as u64;
    }
}

/// All sessions of this process.
#[derive(Debug)]
pub struct Sessions {
    node: Arc<str>,
    servers: Vec<Arc<ServerConfig>>,
    limits: SessionLimits,
    keep_alive_comment: Duration,
    shards: [Mutex<Shard>; TABLE_SHARDS],
    counts: Mutex<Counts>,
    /// The processes of its sessions, those of ended ones included until they are reaped.
    children: Arc<Children>,
    phase: phase::Current,
    registry: Registry,
    misroutes: Misroutes,
}

impl Sessions {
    /// An empty table.
    pub fn new(config: &Config, registry: Registry) -> Sessions {
        Sessions {
            node: config.node.as_str().into(),
            servers: config.servers.clone(),
            limits: config.sessions,
            keep_alive_comment: config.keep_alive_comment,
            shards: std::array::from_fn(|_| Mutex::default()),
            counts: Mutex::new(Counts { by_server: vec![0; config.servers.len()], ..Counts::default() }),
            children: Arc::default(),
            phase: phase::Current::new(),
            registry,
            misroutes: Misroutes::default(),
        }
    }

    /// Which sessions exist anywhere.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    fn shard(&self, id: &SessionId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(id.key() % TABLE_SHARDS as u128) as usize])
    }

    /// Whether the session of this text is here, for this principal and server. Asks nobody else: one that exists
    /// only in the registry is not here.
    pub fn has_session(&self, text: &str, server: usize, principal: Option<&Principal>) -> bool {
        let id = SessionId::parse(text);
        id.is_some_and(|id| matches!(self.look_here(&id, server, principal), Some(Lookup::Here(_))))
    }

    /// The session of this id, if it is here.
    pub(crate) fn handle(&self, id: &SessionId) -> Option<Arc<SessionHandle>> {
        self.shard(id).get(&id.key()).filter(|handle| handle.id == *id).cloned()
    }

    /// `None` when the local table does not know the id.
    fn look_here(&self, id: &SessionId, server: usize, principal: Option<&Principal>) -> Option<Lookup> {
        let handle = self.handle(id)?;
        let is_owner = handle.principal.as_ref() == principal && handle.server == server;
        Some(if is_owner { Lookup::Here(handle) } else { Lookup::Unknown })
    }

    /// Where the session of this id is, for this principal and server: what belongs to another is unknown (S3).
    pub async fn lookup(&self, text: &str, server: usize, principal: Option<&Principal>) -> Lookup {
        let Some(id) = SessionId::parse(text) else { return Lookup::Unknown };
        if let Some(known) = self.look_here(&id, server, principal) {
            return known;
        }
        // In a box, for every connection would have to have room for it.
        Box::pin(self.look_elsewhere(&id, server, principal)).await
    }

    async fn look_elsewhere(&self, id: &SessionId, server: usize, principal: Option<&Principal>) -> Lookup {
        let name = self.servers.get(server).map_or("", |server| &server.name);
        let node = id.node().to_owned();
        let found = match self.registry.find(id, principal, name).await {
            Found::Closed => Lookup::Closed,
            Found::Unknown => Lookup::Unknown,
            Found::Down => Lookup::RegistryDown,
            Found::Elsewhere { alive } => Lookup::Elsewhere { node, alive },
            Found::Lost(record) => Lookup::Lost { node, record },
        };
        self.misroutes.tell(id, &self.node, &found);
        found
    }

    /// Closes a session that is not here, wherever it is. Returns whether there was one, of this principal and server.
    pub async fn close_from_afar(&self, text: &str, server: usize, principal: Option<&Principal>) -> bool {
        let (Some(id), Some(server)) = (SessionId::parse(text), self.servers.get(server)) else {
            return false;
        };
        self.registry.close_from_afar(&id, principal, &server.name.as_str().into()).await
    }

    /// Closes a session that was closed through another node, which has compared the principal, or by an operator.
    pub(crate) fn close_as_told(&self, id: &SessionId) {
        if let Some(handle) = self.handle(id) {
            self.close(&handle, Ended::ClosedElsewhere);
        }
    }

    /// What the registry keeps of a session, if it is here and has begun. Asked for to be written: from now on the
    /// session's end has something to delete.
    pub(crate) fn record(&self, id: &SessionId, epoch: &str) -> Option<Record> {
        let handle = {
            let shard = self.shard(id);
            let there = shard.get(&id.key()).filter(|handle| handle.id == *id);
            let handle = there.filter(|handle| handle.activity.has_begun())?;
            // Under the lock: whoever takes it out after this knows of it.
            handle.activity.record();
            Arc::clone(handle)
        };
        Some(Record {
            node: self.node.to_string(),
            epoch: epoch.to_owned(),
            server: self.servers.get(handle.server)?.name.clone(),
            protocol: handle.activity.version().as_str().to_owned(),
            client: handle.client.to_string(),
            principal: handle.principal.as_ref().map(ToString::to_string),
            created: handle.created,
            state: State::Live,
            initialize: handle.initialize.clone(),
        })
    }

    /// How far this node is on its way from serving to stopped.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Goes forward to a phase. [`Sessions::stop`] ends it all.
    pub fn enter(&self, phase: Phase) {
        self.phase.advance(phase);
    }

    /// Ends every session, and begins no more. Those that outlive the stop are suspended.
    pub fn stop(&self) {
        self.enter(Phase::Stopped);
        for handle in self.all() {
            self.close(&handle, self.stop_of(&handle));
        }
    }

    /// How the stop of this node ends a session.
    fn stop_of(&self, handle: &SessionHandle) -> Ended {
        if self.outlives_stop(handle) { Ended::Suspended } else { Ended::Drained }
    }

    /// Whether the next process of this node can begin the session again: its client need not be sent elsewhere.
    pub fn outlives_stop(&self, handle: &SessionHandle) -> bool {
        self.registry.is_shared() && handle.initialize.is_some() && handle.activity.has_begun()
    }

    /// Begins a session of the client of this name: starts a worker and its backend, gives it `initialize` and waits
    /// for the answer.
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
        // Answered: from here on the session's worker decides.
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
    fn start(
        self: &Arc<Self>,
        id: SessionId,
        owner: Owner,
        settings: &ServerConfig,
        initialize: Message,
    ) -> (Arc<SessionHandle>, queue::Receiver<Opened>) {
        let (handle, worker) = self.prepare(id, owner, settings, &initialize, Activity::new());
        self.shard(&handle.id).insert(handle.id.key(), Arc::clone(&handle));
        let opening = self.run(Arc::clone(&handle), worker, initialize);
        (handle, opening)
    }

    /// A session that is in no table yet and has no task.
    fn prepare(
        &self,
        id: SessionId,
        owner: Owner,
        settings: &ServerConfig,
        initialize: &Message,
        activity: Activity,
    ) -> (Arc<SessionHandle>, Box<worker::Worker>) {
        let (inbox, inputs) = queue::bounded(INBOX_MAX);
        let (activity, room) = (Arc::new(activity), Room::default());
        let label: Arc<str> = id.short().into();
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
            inbox,
            _counted: METRICS.sessions.enter(),
        });
        let idle_timeout = settings.idle_timeout.unwrap_or(self.limits.idle_timeout);
        // In a box: its task's future would have room for it several times.
        let worker = Box::new(worker::Worker::new(worker::Setup {
            backend: start_backend(&settings.launch, &label, &self.children),
            label,
            activity,
            inbox: inputs,
            start_deadline: settings.start_deadline,
            idle_timeout,
            idle_timeout_no_stream: idle_timeout.min(self.limits.idle_timeout_no_stream),
            keep_alive_comment: self.keep_alive_comment,
            room,
        }));
        (handle, worker)
    }

    /// The processes of its sessions.
    pub fn children(&self) -> &Children {
        &self.children
    }

    /// Why no session can begin here, if so.
    pub fn refuses(&self) -> Option<&'static str> {
        self.registry.refuses()
    }

    /// Gives the worker of a session in the table a task, at whose end the session is closed.
    fn run(
        self: &Arc<Self>,
        handle: Arc<SessionHandle>,
        worker: Box<worker::Worker>,
        initialize: Message,
    ) -> queue::Receiver<Opened> {
        let (opened, opening) = queue::bounded(1);
        // In a box: it goes when it is answered, the room for it would stay.
        let initialize = Box::new(initialize);
        let (sessions, entered) = (Arc::clone(self), Arc::clone(&handle));
        runtime::spawn(async move {
            let ended = worker::live(worker, initialize, opened).await;
            sessions.close(&handle, ended);
        })
        .detach();
        // Either this sees that the node stops, or `stop` sees the new session.
        if self.phase() == Phase::Stopped {
            self.close(&entered, self.stop_of(&entered));
        }
        opening
    }

    /// The one end of every session: out of the table, out of the registry, and the worker told. What is already
    /// closed is left alone; returns whether it was this call that closed it.
    pub fn close(&self, handle: &SessionHandle, ended: Ended) -> bool {
        let is_unwanted = matches!(ended, Ended::Deleted | Ended::ClosedElsewhere);
        // First the reason, then the inbox: the worker reads it when the inbox is closed.
        handle.activity.set_ended(ended);
        // Of two that close it at once the first has the reason.
        let ended = handle.activity.ended();
        if ended == Ended::Suspended && !is_unwanted {
            // It stays in the table, from which the registry's writer makes its record: that is to stay, too.
            let was_open = handle.inbox.close();
            if was_open {
                tell_end(handle, &ended);
            }
            return was_open;
        }
        // Before the worker hears of it, who closes it as well: what is done at the end is this call's.
        let was_there = self.take_out(handle);
        handle.inbox.close();
        if was_there {
            // Before it counts as gone, for a node that stops flushes the registry then. Of one that has not begun
            // nobody has the id.
            if handle.activity.has_begun() {
                let recorded = handle.activity.may_have_record();
                self.registry.close(&handle.id, handle.principal.as_ref(), recorded);
            }
            self.give_back(handle.server, handle.principal.as_ref());
            memory::ended();
            tell_end(handle, &ended);
        }
        was_there
    }

    /// Returns whether this very session was in the table; another of its id, restored after its end, stays there.
    fn take_out(&self, handle: &SessionHandle) -> bool {
        let mut shard = self.shard(&handle.id);
        let is_there = shard.get(&handle.id.key()).is_some_and(|there| std::ptr::eq(&**there, handle));
        is_there && shard.remove(&handle.id.key()).is_some()
    }

    /// Takes a place under every cap, evicting an abandoned session when there is one; says which cap is reached.
    fn make_room(
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
        // A child outlives its session by its stop: sessions that come and go must not pile up processes.
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

    fn give_back(&self, server: usize, principal: Option<&Principal>) {
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

    /// Every session there is at this moment.
    pub fn all(&self) -> Vec<Arc<SessionHandle>> {
        self.shards.iter().flat_map(|shard| lock(shard).values().cloned().collect::<Vec<_>>()).collect()
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        lock(&self.counts).all
    }

    /// How many of them do not outlive the stop of this node. One is counted until the registry knows of its end.
    pub fn count_ending(&self) -> usize {
        let all = self.count();
        if !self.registry.is_shared() || !self.servers.iter().any(|server| server.restore) {
            return all;
        }
        all.saturating_sub(self.all().iter().filter(|handle| self.outlives_stop(handle)).count())
    }

    /// Pokes sessions that nothing was heard of, for ever; each decides itself whether it is over.
    pub async fn reap(self: Arc<Self>) {
        let shortest = self
            .servers
            .iter()
            .filter_map(|server| server.idle_timeout)
            .chain([self.limits.idle_timeout_no_stream])
            .min();
        let step = (shortest.unwrap_or(REAP_STEP_MAX) / 4).clamp(crate::limits::SWEEP_STEP, REAP_STEP_MAX);
        let mut pause = Duration::ZERO;
        loop {
            // One shard at a time, so that the workers of a hundred thousand sessions do not all stand before a client.
            for (number, shard) in self.shards.iter().enumerate() {
                pause += step / TABLE_SHARDS as u32;
                // There is nothing to look at before the next one: a node without sessions sleeps for a whole step.
                if lock(shard).is_empty() && number + 1 < TABLE_SHARDS {
                    continue;
                }
                async_io::Timer::after(std::mem::take(&mut pause)).await;
                let (now, pressure) = (sweep::now_secs(), budget::pressure());
                for handle in lock(shard).values() {
                    if pressure || Duration::from_secs(handle.activity.idle_secs(now).into()) >= step {
                        // A worker that is behind is not idle.
                        let _ = handle.inbox.try_send(Input::Tick);
                    }
                }
            }
        }
    }
}

/// A session has ended: for the log and the metrics.
fn tell_end(handle: &SessionHandle, ended: &Ended) {
    ended.count();
    let level = match ended {
        Ended::Exited(_) | Ended::Panicked => log::Level::Warn,
        _ => log::Level::Info,
    };
    log::log!(level, "[{}] session over: {}", handle.label, ended.describe());
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
    // That this node stops, or that the client left, is nobody's fault.
    let level = if status == 503 { log::Level::Info } else { log::Level::Error };
    log::log!(level, "[{}] no session on {server}: {text}", handle.label);
    CreateError::Failed(status, text)
}

/// A session whose `initialize` is not answered yet; dropped when the client that asked has gone away.
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Once;

    use smol::future::FutureExt as _;

    use super::*;
    use crate::config::{Access, LogFormat, LogSettings, Names};
    use crate::message::{Parsed, parse};

    /// Answers `initialize` and then says nothing.
    const SILENT: &str = r#"read x; echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"}}'; cat >/dev/null"#;

    fn sessions(max: usize) -> Arc<Sessions> {
        static RUNTIME: Once = Once::new();
        RUNTIME.call_once(|| {
            runtime::start_for_tests();
            runtime::spawn(sweep::run()).detach();
        });
        let second = Duration::from_secs(1);
        let command = crate::backend::command::Command {
            program: "sh".into(),
            args: vec!["-c".into(), SILENT.into()],
            env: Vec::new(),
            cwd: None,
            term_grace: second,
        };
        let server = ServerConfig {
            name: "s".into(),
            launch: Launch::Child(Arc::new(command)),
            start_deadline: second * 10,
            max_sessions: None,
            idle_timeout: None,
            restore: false,
        };
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            admin: None,
            node: "n1".into(),
            servers: vec![Arc::new(server)],
            default_server: Some(0),
            access: Access {
                names: Names { loopback: true, allowed: Vec::new() },
                allow_origins: Vec::new(),
                trusted_proxies: Vec::new(),
                tokens: None,
                public_url: None,
            },
            sessions: SessionLimits {
                max,
                max_per_principal: max,
                idle_timeout: second * 60,
                idle_timeout_no_stream: second * 60,
            },
            keep_alive_comment: second,
            drain_timeout: second,
            retire_window: second,
            redis: None,
            advertise: None,
            threads: 2,
            log: LogSettings { filter: "off".into(), format: LogFormat::Text },
        };
        Arc::new(Sessions::new(&config, Registry::memory()))
    }

    fn message(text: &str) -> Message {
        match parse(text.as_bytes().to_vec(), budget::Share::default()).unwrap() {
            Parsed::One(message) => message,
            Parsed::Batch(_) => panic!("a batch"),
        }
    }

    async fn begin(sessions: &Arc<Sessions>) -> Arc<SessionHandle> {
        let initialize = message(
            r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#,
        );
        sessions.create(0, None, String::new(), initialize, [127, 0, 0, 1].into()).await.unwrap().0
    }

    fn call(handle: &SessionHandle, id: i64) -> crate::queue::Receiver<crate::http::Event> {
        let (events, live) = crate::queue::bounded(4);
        let address = ReturnAddress {
            stream: handle.new_stream(),
            events,
            form: Form::Either,
            since: crate::moment::Moment::now(),
        };
        let request = message(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#));
        let post = Post { messages: Parsed::One(request), reply: Some(address) };
        handle.inbox.try_send(Input::Post(Box::new(post))).unwrap();
        live
    }

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        let late = async {
            async_io::Timer::after(Duration::from_secs(10)).await;
            panic!("not within 10 s")
        };
        future.or(late).await
    }

    /// Invariant 12: a panic ends its own session, whose callers are answered, and no other.
    #[test]
    fn a_panic_ends_one_session() {
        let sessions = sessions(10);
        async_io::block_on(async {
            let (one, other) = (begin(&sessions).await, begin(&sessions).await);
            let panics = METRICS.session_panics_total.get();
            let waiting = call(&one, 5);
            one.inbox.try_send(Input::Panic).unwrap();
            let event = soon(waiting.recv()).await.unwrap();
            let text = String::from_utf8(event.data.unwrap().to_vec()).unwrap();
            assert!(event.last && text.contains(r#""id":5"#) && text.contains("internal error"), "{text}");
            while METRICS.session_panics_total.get() == panics {
                async_io::Timer::after(Duration::from_millis(5)).await;
            }
            assert!(matches!(sessions.lookup(&one.id.to_string(), 0, None).await, Lookup::Closed));
            assert!(matches!(sessions.lookup(&other.id.to_string(), 0, None).await, Lookup::Here(_)));
            assert_eq!(sessions.count(), 1);
        });
    }

    /// Design 5: every end goes through one close, which answers whoever waits.
    #[test]
    fn close_answers_every_call_and_gives_the_place_back() {
        let sessions = sessions(1);
        async_io::block_on(async {
            let handle = begin(&sessions).await;
            let waiting: VecDeque<_> = (1..=3).map(|id| call(&handle, id)).collect();
            assert!(sessions.close(&handle, Ended::Deleted));
            assert!(!sessions.close(&handle, Ended::Idle), "closed twice");
            for live in waiting {
                let event = soon(live.recv()).await.unwrap();
                assert!(event.last);
                assert!(
                    String::from_utf8_lossy(event.data.unwrap().bytes()).contains("deleted by its client")
                );
            }
            assert_eq!(handle.tell(Input::Tick).await, Err(NotTaken::Ended));
            assert_eq!(sessions.count(), 0);
            begin(&sessions).await;
        });
    }

    /// Design 5: at the cap, with nobody to evict, there is no new session.
    #[test]
    fn a_session_at_its_cap_refuses_another() {
        let sessions = sessions(1);
        async_io::block_on(async {
            let _one = begin(&sessions).await;
            let initialize = message(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#);
            let refused = sessions.create(0, None, String::new(), initialize, [127, 0, 0, 1].into()).await;
            assert!(matches!(refused, Err(CreateError::AtCap(_))), "{refused:?}");
        });
    }

    /// A session that was restored under the id of one that has just ended is not closed by the end of that one.
    #[test]
    fn the_end_of_a_session_does_not_close_another_of_its_id() {
        let sessions = sessions(2);
        async_io::block_on(async {
            let before = begin(&sessions).await;
            assert!(sessions.close(&before, Ended::Deleted));
            let initialize = message(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#);
            let owner = Owner { server: 0, principal: None, client: String::new(), created: 1 };
            let settings = Arc::clone(&sessions.servers[0]);
            let (again, _opened) = sessions.start(before.id.clone(), owner, &settings, initialize);
            assert!(!sessions.close(&before, Ended::Idle));
            assert!(sessions.handle(&again.id).is_some_and(|there| Arc::ptr_eq(&there, &again)));
            assert!(sessions.close(&again, Ended::Deleted));
        });
    }
}
