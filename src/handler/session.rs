//! What the handlers of one session share: the way to its client, the questions that the client has not
//! answered, its subscriptions, and the state that handlers keep.

use std::any::{Any, TypeId};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use async_channel::Sender;
use async_io::Timer;
use serde_json::Value;
use smol::Task;
use smol::future::or;

use super::ask::{AskError, read_answer};
use super::caller::Caller;
use super::offer::Offer;
use crate::backend::output::Output;
use crate::budget::Payload;
use crate::limits::{ASKS_MAX, SUBSCRIPTIONS_MAX};
use crate::lock::lock;
use crate::message::{self, Id};
use crate::queue::{self, Refused};
use crate::runtime;

/// See the module.
pub(crate) struct HandlerSession {
    pub(super) offer: Offer,
    outputs: queue::Sender<Output>,
    /// Outputs not yet queued plus running handlers: zero means nothing more will be said.
    unsaid: Arc<AtomicUsize>,
    /// Settled by `initialize`.
    caller: OnceLock<Arc<Caller>>,
    tables: Mutex<HandlerTables>,
}

/// What is kept under a lock, which is held for a moment only.
#[derive(Default)]
struct HandlerTables {
    /// The tasks of calls whose handlers run, by the calls' numbers.
    running: BTreeMap<u64, Task<()>>,
    /// For each unanswered request to the client, where its answer goes.
    asks: BTreeMap<i64, Sender<Payload>>,
    asked: i64,
    subscriptions: BTreeSet<String>,
    /// The values that handlers keep for this session, one of each type ([`super::Context::state`]).
    states: BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// The session has ended: no call, question or state is added any more.
    over: bool,
}

impl HandlerSession {
    pub(super) fn new(offer: Offer, outputs: queue::Sender<Output>) -> HandlerSession {
        HandlerSession {
            offer,
            outputs,
            unsaid: Arc::default(),
            caller: OnceLock::new(),
            tables: Mutex::default(),
        }
    }

    fn tables(&self) -> MutexGuard<'_, HandlerTables> {
        lock(&self.tables)
    }

    /// Settles who calls, at `initialize`. False when that was settled before.
    pub(super) fn settle(&self, caller: Caller) -> bool {
        self.caller.set(Arc::new(caller)).is_ok()
    }

    /// `None` before `initialize`.
    pub(super) fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.get()
    }

    // --- Calls ---------------------------------------------------------------------------------------------

    /// How many handlers run.
    pub(crate) fn running(&self) -> usize {
        self.tables().running.len()
    }

    /// Runs a call in a task of its own. The task must hold the [`Unsaid`] that it is given until all is
    /// said. False when the session is over.
    pub(crate) fn run<F>(&self, number: u64, call: impl FnOnce(Unsaid) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tables = self.tables();
        if tables.over {
            return false;
        }
        let Entry::Vacant(place) = tables.running.entry(number) else { return false };
        // The task starts under the lock, so that it cannot end before it is in the table.
        place.insert(runtime::spawn(call(Unsaid::new(&self.unsaid))));
        true
    }

    /// The handler has returned: its call can no longer be cancelled.
    pub(crate) fn done(&self, number: u64) {
        if let Some(task) = self.tables().running.remove(&number) {
            task.detach();
        }
    }

    /// The client cancelled a call: drops its handler (L44).
    pub(crate) fn cancel(&self, number: u64) {
        let task = self.tables().running.remove(&number);
        drop(task);
    }

    /// Ends the session: drops its handlers, the questions they wait for, and the state they kept.
    pub(crate) fn end(&self) {
        let (running, asks, states) = {
            let mut tables = self.tables();
            tables.over = true;
            let tables = &mut *tables;
            // Taken out first and dropped later: destructors may be anybody's code, which must not run under
            // the lock.
            (
                std::mem::take(&mut tables.running),
                std::mem::take(&mut tables.asks),
                std::mem::take(&mut tables.states),
            )
        };
        drop((running, asks));
        // One by one: two panics within one drop would end the process.
        states.into_values().for_each(|state| runtime::watched_drop(|| drop(state)));
        self.outputs.close();
    }

    // --- To the client -------------------------------------------------------------------------------------

    /// Whether no handler runs and all that was said is among the outputs.
    pub(crate) fn is_quiet(&self) -> bool {
        self.unsaid.load(Ordering::Acquire) == 0
    }

    /// Queues an output, and waits while there is no room. False when the session is over.
    pub(crate) async fn say(&self, output: Output) -> bool {
        self.outputs.send(output).await.is_ok()
    }

    /// The same without waiting: an output that finds no room is queued by a task, as soon as there is some.
    pub(crate) fn post(&self, output: Output) {
        if let Err(Refused::Full(output)) = self.outputs.try_send(output) {
            let (outputs, unsaid) = (self.outputs.clone(), Unsaid::new(&self.unsaid));
            runtime::spawn(async move {
                let _ = outputs.send(output).await;
                drop(unsaid);
            })
            .detach();
        }
    }

    /// Sends the client a request that belongs to the call `to`, and waits for the answer, at most
    /// [`Offer::ask_deadline`] (L46: every request has a timeout).
    pub(super) async fn ask(&self, to: u64, method: &str, params: Value) -> Result<Value, AskError> {
        let (sender, answers) = async_channel::bounded(1);
        let asked = self.begin_ask(sender)?;
        let waiting = Waiting { session: self, to, asked };
        let request = message::request(Some(asked), method, &params).map_err(|_| AskError::Unreadable)?;
        if !self.say(Output::Related { to, payload: request }).await {
            return Err(AskError::Over);
        }
        let deadline = self.offer.ask_deadline;
        let answer = or(async { answers.recv().await.map_err(|_| AskError::Over) }, late(deadline)).await;
        drop(waiting);
        read_answer(answer?.bytes())
    }

    fn begin_ask(&self, sender: Sender<Payload>) -> Result<i64, AskError> {
        let mut tables = self.tables();
        if tables.over {
            return Err(AskError::Over);
        }
        if tables.asks.len() >= ASKS_MAX {
            return Err(AskError::TooMany);
        }
        tables.asked += 1;
        let asked = tables.asked;
        tables.asks.insert(asked, sender);
        Ok(asked)
    }

    /// The client has answered a request of ours.
    pub(crate) fn answered(&self, id: &Id, answer: Payload) {
        let Some(number) = id.plain() else { return };
        let waiting = self.tables().asks.remove(&number);
        if let Some(waiting) = waiting {
            // The channel has room for its one answer.
            let _ = waiting.try_send(answer);
        }
    }

    // --- What the client wants to hear ---------------------------------------------------------------------

    /// False when the session has as many subscriptions as it may have.
    pub(super) fn subscribe(&self, uri: &str) -> bool {
        let mut tables = self.tables();
        let room = tables.subscriptions.len() < SUBSCRIPTIONS_MAX || tables.subscriptions.contains(uri);
        if room {
            tables.subscriptions.insert(uri.to_owned());
        }
        room
    }

    pub(super) fn unsubscribe(&self, uri: &str) {
        self.tables().subscriptions.remove(uri);
    }

    /// Whether the client subscribed to this resource, or to one that contains it (L52: updates may name a
    /// part).
    pub(super) fn subscribed(&self, uri: &str) -> bool {
        let part_of = |whole: &String| {
            uri.strip_prefix(whole.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || whole.ends_with('/'))
        };
        self.tables().subscriptions.iter().any(part_of)
    }

    // --- What handlers keep --------------------------------------------------------------------------------

    pub(super) fn state<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let found = self.tables().states.get(&TypeId::of::<T>()).cloned();
        if let Some(state) = found.and_then(|state| state.downcast().ok()) {
            return state;
        }
        // Made outside the lock, because `default` may be slow. The first value that is put into the table
        // stays.
        let fresh: Arc<T> = Arc::default();
        let mut tables = self.tables();
        if tables.over {
            return fresh;
        }
        let kept = tables.states.entry(TypeId::of::<T>()).or_insert_with(|| Arc::clone(&fresh) as _);
        Arc::clone(kept).downcast().unwrap_or(fresh)
    }
}

impl fmt::Debug for HandlerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandlerSession({} running)", self.running())
    }
}

/// While it lives, something is still to be said.
pub(crate) struct Unsaid(Arc<AtomicUsize>);

impl Unsaid {
    fn new(count: &Arc<AtomicUsize>) -> Unsaid {
        count.fetch_add(1, Ordering::Relaxed);
        Unsaid(Arc::clone(count))
    }
}

impl Drop for Unsaid {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// A request to the client that waits for its answer. If it is dropped before that, the client is told that
/// nobody waits any more (L46).
struct Waiting<'a> {
    session: &'a HandlerSession,
    to: u64,
    asked: i64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.session.tables().asks.remove(&self.asked).is_none() {
            return;
        }
        let params = serde_json::json!({"requestId": self.asked, "reason": "the server no longer waits"});
        if let Ok(payload) = message::request(None, "notifications/cancelled", &params) {
            self.session.post(Output::Related { to: self.to, payload });
        }
    }
}

async fn late(deadline: Duration) -> Result<Payload, AskError> {
    Timer::after(deadline).await;
    Err(AskError::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU8;

    use super::super::server::Server;
    use super::*;

    fn session() -> HandlerSession {
        let (outputs, _) = queue::bounded(1);
        HandlerSession::new(Server::new("s", "1").subscriptions().offer(), outputs)
    }

    #[test]
    fn a_subscription_covers_what_is_below_it() {
        let session = session();
        assert!(session.subscribe("n://a") && session.subscribe("n://a"));
        assert!(session.subscribed("n://a") && session.subscribed("n://a/b"));
        assert!(!session.subscribed("n://ab") && !session.subscribed("n://"));
        session.unsubscribe("n://a");
        assert!(!session.subscribed("n://a"));
    }

    #[test]
    fn subscriptions_and_questions_are_bounded() {
        let session = session();
        for number in 0..SUBSCRIPTIONS_MAX {
            assert!(session.subscribe(&format!("n://{number}")));
        }
        assert!(!session.subscribe("n://more") && session.subscribe("n://0"));
        let (sender, _answers) = async_channel::bounded(1);
        for _ in 0..ASKS_MAX {
            session.begin_ask(sender.clone()).unwrap();
        }
        assert_eq!(session.begin_ask(sender), Err(AskError::TooMany));
    }

    #[test]
    fn a_state_is_one_of_its_type_and_ends_with_the_session() {
        let session = session();
        let number = session.state::<AtomicU8>();
        number.store(7, Ordering::Relaxed);
        assert_eq!(session.state::<AtomicU8>().load(Ordering::Relaxed), 7);
        assert_eq!(session.state::<AtomicUsize>().load(Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&number), 2);
        session.end();
        assert_eq!(Arc::strong_count(&number), 1);
    }
}
