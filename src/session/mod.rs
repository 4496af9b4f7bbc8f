//! Sessions: one client's handshake-era state, held by a worker; the table of them; their caps and their end.
//!
//! [`Sessions`] is the only door. A lookup asks the local table first and the registry only for ids that are
//! not here; every end of a session goes through one [`Sessions::close`].

mod activity;
mod birth;
mod broken_lines;
mod caps;
mod census;
mod ended;
mod handle;
pub mod input;
mod life;
mod misroutes;
mod opening;
mod phase;
mod reaper;
mod restore;
pub mod stream;
pub mod streams;
mod table;
mod waiting;
pub mod worker;
mod worker_log;

use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use self::activity::Activity;
pub use self::birth::CreateError;
use self::caps::Counts;
pub use self::census::CallCensus;
pub use self::ended::Ended;
pub use self::handle::{NotTaken, SessionHandle};
pub use self::input::{Attach, Input, Post};
use self::misroutes::Misroutes;
pub use self::opening::Opened;
pub use self::phase::NodePhase;
pub use self::streams::{Form, ReturnAddress};
use self::table::SessionTable;
use crate::backend::children::Children;
use crate::config::{Config, ServerConfig, SessionLimits};
use crate::lock::lock;
use crate::memory;
use crate::principal::Principal;
use crate::registry::record::RecordState;
use crate::registry::{Found, Living, Record, Registry};
use crate::session_id::SessionId;

/// What a lookup found.
#[derive(Debug)]
pub enum Lookup {
    /// On this node, and it belongs to this principal and server.
    Here(Arc<SessionHandle>),
    /// It is on another node.
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

/// Who a session belongs to, and of which server it is.
#[derive(Debug)]
struct Owner {
    /// The index of its server.
    server: usize,
    principal: Option<Principal>,
    client: String,
    /// When it began, in seconds since 1970.
    created: u64,
}

/// All sessions of this process.
#[derive(Debug)]
pub struct Sessions {
    node: Arc<str>,
    servers: Vec<Arc<ServerConfig>>,
    limits: SessionLimits,
    keep_alive_comment: Duration,
    table: SessionTable,
    counts: Mutex<Counts>,
    /// The calls of its sessions.
    calls: CallCensus,
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
            table: SessionTable::new(),
            counts: Mutex::new(Counts { by_server: vec![0; config.servers.len()], ..Counts::default() }),
            calls: CallCensus::default(),
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

    /// Whether the session of this text is here, for this principal and server. Asks nobody else: one that
    /// exists only in the registry is not here.
    pub fn has_session(&self, text: &str, server: usize, principal: Option<&Principal>) -> bool {
        let id = SessionId::parse(text);
        id.is_some_and(|id| matches!(self.look_here(&id, server, principal), Some(Lookup::Here(_))))
    }

    /// The session of this id, if it is here.
    pub(crate) fn handle(&self, id: &SessionId) -> Option<Arc<SessionHandle>> {
        self.table.get(id)
    }

    /// `None` when the local table does not know the id.
    fn look_here(&self, id: &SessionId, server: usize, principal: Option<&Principal>) -> Option<Lookup> {
        let handle = self.handle(id)?;
        let is_owner = handle.principal.as_ref() == principal && handle.server == server;
        Some(if is_owner { Lookup::Here(handle) } else { Lookup::Unknown })
    }

    /// Where the session of this id is, for this principal and server: what belongs to another is unknown
    /// (S3).
    pub async fn lookup(&self, text: &str, server: usize, principal: Option<&Principal>) -> Lookup {
        let Some(id) = SessionId::parse(text) else { return Lookup::Unknown };
        if let Some(known) = self.look_here(&id, server, principal) {
            return known;
        }
        // Boxed: otherwise every connection's future would be large enough for it.
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

    /// Ends the session of this id because its client says so, wherever the session is: here, on another
    /// node, or lost with a process that is gone.
    ///
    /// # Errors
    /// Why there is none for this principal and server: never [`Lookup::Here`].
    pub async fn delete(
        &self,
        text: &str,
        server: usize,
        principal: Option<&Principal>,
    ) -> Result<(), Lookup> {
        let Some(id) = SessionId::parse(text) else { return Err(Lookup::Unknown) };
        match self.look_here(&id, server, principal) {
            Some(Lookup::Here(handle)) => {
                self.close(&handle, Ended::Deleted);
                Ok(())
            }
            Some(not_theirs) => Err(not_theirs),
            None => Box::pin(self.delete_elsewhere(&id, server, principal)).await,
        }
    }

    /// Closes the session through the registry, with one question, so that this counts as no misroute. Only
    /// when there was none to close a second question asks why.
    async fn delete_elsewhere(
        &self,
        id: &SessionId,
        server: usize,
        principal: Option<&Principal>,
    ) -> Result<(), Lookup> {
        let Some(settings) = self.servers.get(server) else { return Err(Lookup::Unknown) };
        let deleted = self.registry.close_from_afar(id, principal, &settings.name.as_str().into()).await;
        if deleted { Ok(()) } else { Err(self.look_elsewhere(id, server, principal).await) }
    }

    /// How far this node is on its way from serving to stopped.
    pub fn phase(&self) -> NodePhase {
        self.phase.get()
    }

    /// Advances to a phase. [`Sessions::stop`] is the last step.
    pub fn enter(&self, phase: NodePhase) {
        self.phase.advance(phase);
    }

    /// Ends every session, and begins no more. Those that outlive the stop are suspended.
    pub fn stop(&self) {
        self.enter(NodePhase::Stopped);
        for handle in self.all() {
            self.close(&handle, self.stop_of(&handle));
        }
    }

    /// For which reason a stop of this node ends a session.
    fn stop_of(&self, handle: &SessionHandle) -> Ended {
        if self.outlives_stop(handle) { Ended::Suspended } else { Ended::Drained }
    }

    /// Whether the next process of this node can restore the session, so that its client need not go to
    /// another node.
    pub fn outlives_stop(&self, handle: &SessionHandle) -> bool {
        self.registry.is_shared() && handle.initialize.is_some() && handle.activity.has_begun()
    }

    /// The one end of every session: it leaves the table and the registry, and its worker is told. A session
    /// that is closed already is left alone. Returns whether this call closed it.
    pub fn close(&self, handle: &SessionHandle, ended: Ended) -> bool {
        let is_unwanted = matches!(ended, Ended::Deleted | Ended::ClosedElsewhere);
        // The reason is set before the inbox is closed, because the worker reads it then.
        handle.activity.set_ended(ended);
        // When two close it at the same time, the reason of the first stands.
        let ended = handle.activity.ended();
        if ended == Ended::Suspended && !is_unwanted {
            // It stays in the table, so that its record stays, too: the registry's writer makes records from
            // the table.
            let was_open = handle.inbox.close();
            if was_open {
                ended.tell(&handle.label);
            }
            return was_open;
        }
        // Out of the table first: the worker calls `close` as well when its inbox is closed, and only the
        // call that finds the session there does the bookkeeping below.
        let was_there = self.table.take_out(handle);
        let was_open = handle.inbox.close();
        if was_there {
            self.forget(handle);
            // The end of a suspended session was logged and counted when it was suspended.
            if was_open || ended != Ended::Suspended {
                ended.tell(&handle.label);
            } else {
                log::info!("[{}] its client does not want it any more: it does not go on", handle.label);
            }
        }
        was_there
    }

    /// A session has left the table.
    fn forget(&self, handle: &SessionHandle) {
        // The registry hears of it before the count drops, for a node that stops flushes the registry when
        // there are no sessions left. One that never began has no record, for its client never got the id.
        if handle.activity.has_begun() {
            let recorded = handle.activity.may_have_record();
            self.registry.close(&handle.id, handle.principal.as_ref(), recorded);
        }
        self.give_back(handle.server, handle.principal.as_ref());
        memory::ended();
    }

    /// Why no session can begin here; `None` when it can.
    pub fn refuses(&self) -> Option<&'static str> {
        self.registry.refuses()
    }
    /// The processes of its sessions.
    pub fn children(&self) -> &Children {
        &self.children
    }

    /// Every session there is at this moment.
    pub fn all(&self) -> Vec<Arc<SessionHandle>> {
        self.table.all()
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        lock(&self.counts).all
    }

    /// How many requests of their clients have no response yet.
    pub fn calls(&self) -> usize {
        self.calls.calls()
    }

    /// How many sessions end with this node: all but those that are restored later. A session counts until the
    /// registry knows of its end.
    pub fn count_ending(&self) -> usize {
        let all = self.count();
        if !self.registry.is_shared() || !self.servers.iter().any(|server| server.restore) {
            return all;
        }
        all.saturating_sub(self.all().iter().filter(|handle| self.outlives_stop(handle)).count())
    }
}

impl Living for Sessions {
    fn count(&self) -> usize {
        Sessions::count(self)
    }

    fn ids(&self) -> Vec<SessionId> {
        self.all().iter().map(|handle| handle.id.clone()).collect()
    }

    fn is_here(&self, id: &SessionId) -> bool {
        self.table.get(id).is_some()
    }

    fn record(&self, id: &SessionId, epoch: &str) -> Option<Record> {
        let handle = {
            let shard = self.table.shard(id);
            let there = shard.get(&id.key()).filter(|there| there.handle.id == *id);
            let handle = there.map(|there| &there.handle).filter(|handle| handle.activity.has_begun())?;
            // Set under the lock, so that whoever takes the session out later knows that a record may exist.
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
            state: RecordState::Live,
            initialize: handle.initialize.clone(),
        })
    }

    fn close_as_told(&self, id: &SessionId) {
        if let Some(handle) = self.table.get(id) {
            self.close(&handle, Ended::ClosedElsewhere);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Once;

    use smol::future::FutureExt as _;

    use super::*;
    use crate::budget;
    use crate::config::{Access, Launch, LogFormat, LogSettings, Names};
    use crate::message::Message;
    use crate::message::{Parsed, parse};
    use crate::metrics::METRICS;
    use crate::{runtime, sweep};

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
            stream: handle.activity.new_stream(),
            events,
            form: Form::Either,
            since: crate::moment::Moment::now(),
            census: handle.calls.clone(),
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

    /// Every end goes through one close, which answers whoever waits.
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

    /// The review's B7: the end of a suspended session was counted and told a second time when its client
    /// deleted it.
    #[test]
    fn the_end_of_a_suspended_session_is_told_once() {
        let sessions = sessions(1);
        async_io::block_on(async {
            let handle = begin(&sessions).await;
            let drained = METRICS.sessions_drained_total.get();
            assert!(sessions.close(&handle, Ended::Suspended));
            assert!(!sessions.close(&handle, Ended::Suspended), "suspended twice");
            assert_eq!(sessions.count(), 1, "the next process begins it again");
            assert!(sessions.close(&handle, Ended::Deleted));
            assert_eq!((sessions.count(), METRICS.sessions_drained_total.get()), (0, drained + 1));
        });
    }

    /// Two servers of one process do not wait for each other's calls.
    #[test]
    fn calls_are_counted_by_their_owner() {
        let (ours, other) = (sessions(1), sessions(1));
        async_io::block_on(async {
            let handle = begin(&ours).await;
            let waiting = call(&handle, 5);
            soon(async {
                while ours.calls() == 0 {
                    async_io::Timer::after(Duration::from_millis(5)).await;
                }
            })
            .await;
            assert_eq!((ours.calls(), other.calls()), (1, 0));
            ours.close(&handle, Ended::Deleted);
            soon(waiting.recv()).await.unwrap();
            assert_eq!(ours.calls(), 0);
        });
    }

    /// Whoever has to find the tasks of all workers finds them in the table.
    #[test]
    fn the_table_has_the_tasks_of_the_workers() {
        let sessions = sessions(1);
        async_io::block_on(async {
            let handle = begin(&sessions).await;
            assert!(sessions.table.has_task(&handle));
            assert!(sessions.close(&handle, Ended::Deleted));
            assert!(!sessions.table.has_task(&handle));
        });
    }

    /// At the cap, with nobody to evict, there is no new session.
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

    /// A session that was restored under the id of one that has just ended is not closed by the end of that
    /// one.
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
            assert!(sessions.table.get(&again.id).is_some_and(|there| Arc::ptr_eq(&there, &again)));
            assert!(sessions.close(&again, Ended::Deleted));
        });
    }

    /// What each idle session keeps, however it began. A ratchet: it may become less.
    #[test]
    fn the_task_of_an_idle_session_is_small() {
        fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let sizes = (size(life::live), size_of::<worker::Worker>(), size_of::<SessionHandle>());
        assert!(sizes.0 <= 160 && sizes.1 <= 640 && sizes.2 <= 176, "{sizes:?}");
    }
}
