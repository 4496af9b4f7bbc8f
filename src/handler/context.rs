//! What a handler is given with each call: who calls, and how to talk back.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ask::{AskError, Elicited, Root, elicited};
use super::caller::Caller;
use super::client::{Client, LogLevel};
use super::session::HandlerSession;
use crate::backend::output::Output;
use crate::budget::Payload;
use crate::message::{self, Id};

/// What a handler knows of its client and can tell it or ask of it.
///
/// Cheap to clone. A clone may outlive its call: a background task can keep one. What it tells then reaches
/// the client as a message that belongs to no call, and progress is dropped.
///
/// The functions that tell something wait while the client's session has no room for more, and do nothing
/// once the session is over. Those that ask end with an [`AskError`].
#[derive(Clone)]
pub struct Context {
    session: Arc<HandlerSession>,
    caller: Arc<Caller>,
    call: Arc<CallState>,
}

/// The call that a context was made for.
struct CallState {
    number: u64,
    progress_token: Option<Id>,
    /// The progress that was told last, as the bits of an `f64`.
    progress: AtomicU64,
    /// The handler has returned.
    done: AtomicBool,
}

impl Context {
    pub(super) fn new(
        session: Arc<HandlerSession>,
        caller: Arc<Caller>,
        number: u64,
        progress_token: Option<&Id>,
    ) -> Context {
        let call = CallState {
            number,
            progress_token: progress_token.cloned(),
            progress: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
            done: AtomicBool::new(false),
        };
        Context { session, caller, call: Arc::new(call) }
    }

    /// The client that makes this call.
    pub fn client(&self) -> &Client {
        &self.caller.client
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The session's own value of type `T`: all calls of one session share it, and no other session sees it.
    /// It is made by `T::default` at the first use, and the session lets go of it at its end.
    pub fn state<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.session.state()
    }

    /// Tells the client how far the call is: `done` of `total`, in a unit of your own, with words for people.
    ///
    /// Nothing is sent when the client asked for no progress (it gave no token), when `done` is no number or
    /// not more than what was told before (L45: progress only rises), or after the handler has returned.
    pub async fn progress(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Progress<'a> {
            progress_token: &'a Id,
            progress: f64,
            #[serde(skip_serializing_if = "Option::is_none")]
            total: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
        }
        let Some(progress_token) = &self.call.progress_token else { return };
        if self.call.done.load(Ordering::Relaxed) || !done.is_finite() || !self.rises_to(done) {
            return;
        }
        self.tell_about_call(
            "notifications/progress",
            &Progress { progress_token, progress: done, total, message },
        )
        .await;
    }

    fn rises_to(&self, done: f64) -> bool {
        let rise = |before| (f64::from_bits(before) < done).then_some(done.to_bits());
        self.call.progress.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rise).is_ok()
    }

    /// Sends the client a log message: any JSON. People read it, so it must hold no secrets.
    ///
    /// Nothing is sent unless the server was built with [`super::Server::logging`] and the client wants
    /// messages of this level (L53: a client sets the level); one that never said gets those from
    /// [`LogLevel::Info`] on.
    pub async fn log(&self, level: LogLevel, data: impl Serialize) {
        #[derive(Serialize)]
        struct Log<D> {
            level: LogLevel,
            data: D,
        }
        if self.session.offer.logging && self.caller.logs(level) {
            self.tell_about_call("notifications/message", &Log { level, data }).await;
        }
    }

    async fn tell_about_call(&self, method: &str, params: &impl Serialize) {
        if let Ok(payload) = message::request(None, method, params) {
            self.session.say(Output::Related { to: self.call.number, payload }).await;
        }
    }

    /// Tells this client that its list of tools has changed (L51: `list_changed`), so that it reads the list
    /// again.
    pub async fn notify_tools_changed(&self) {
        if self.session.offer.tools {
            static TOLD: OnceLock<Option<Payload>> = OnceLock::new();
            self.tell_changed("tools", &TOLD).await;
        }
    }

    /// Tells this client that its list of prompts has changed, so that it reads the list again.
    pub async fn notify_prompts_changed(&self) {
        if self.session.offer.prompts {
            static TOLD: OnceLock<Option<Payload>> = OnceLock::new();
            self.tell_changed("prompts", &TOLD).await;
        }
    }

    /// Tells this client that its list of resources has changed, so that it reads the list again.
    pub async fn notify_resources_changed(&self) {
        if self.session.offer.resources {
            static TOLD: OnceLock<Option<Payload>> = OnceLock::new();
            self.tell_changed("resources", &TOLD).await;
        }
    }

    /// Tells this client that the resource at `uri` has changed, if it subscribed to that resource or to one
    /// that contains it: `note://a` contains `note://a/b` (L52: the URI may be that of a part).
    pub async fn resource_updated(&self, uri: &str) {
        if self.session.subscribed(uri) {
            let params = json!({"uri": uri});
            if let Ok(payload) = message::request(None, "notifications/resources/updated", &params) {
                self.session.say(Output::Unrelated(payload)).await;
            }
        }
    }

    /// The message is the same for every session. `told` keeps its bytes, so that all sessions share one
    /// copy.
    async fn tell_changed(&self, list: &str, told: &OnceLock<Option<Payload>>) {
        let payload = told.get_or_init(|| {
            message::request(None, &format!("notifications/{list}/list_changed"), &json!({})).ok()
        });
        if let Some(payload) = payload {
            self.session.say(Output::Unrelated(payload.clone())).await;
        }
    }

    /// Shows the client's user a form, and waits until they have answered it. `schema` is the JSON Schema of
    /// an object whose members are plain (strings, numbers, booleans; L48: no nesting). The form passes
    /// through the client, so never ask for secrets this way: [`Context::elicit_url`] is for them.
    ///
    /// # Errors
    /// [`AskError`]; it is `NotSupported` unless [`Client::takes_forms`].
    pub async fn elicit(&self, message: &str, schema: Value) -> Result<Elicited, AskError> {
        if !self.client().takes_forms() {
            return Err(AskError::NotSupported);
        }
        let params = json!({"message": message, "requestedSchema": schema});
        elicited(self.session.ask(self.call.number, "elicitation/create", params).await?)
    }

    /// Offers the client's user a link to a web page, for what must not pass through the client, such as
    /// secrets (L48: URL mode). Waits until they have accepted or refused it, not until they are done with
    /// the page. `id` is an id of your own, by which the page can tell one visit from another.
    ///
    /// # Errors
    /// [`AskError`]; it is `NotSupported` unless [`Client::takes_urls`].
    pub async fn elicit_url(&self, message: &str, url: &str, id: &str) -> Result<Elicited, AskError> {
        if !self.client().takes_urls() {
            return Err(AskError::NotSupported);
        }
        let params = json!({"mode": "url", "message": message, "url": url, "elicitationId": id});
        elicited(self.session.ask(self.call.number, "elicitation/create", params).await?)
    }

    /// Asks the client's model. `params` are those of `sampling/createMessage`: at least `messages` and
    /// `maxTokens`. Returns that method's result, with `role`, `content` and `model`, unchecked.
    ///
    /// # Errors
    /// [`AskError`]; it is `NotSupported` unless [`Client::samples`], and for `params` with `tools` unless
    /// the client declared `sampling.tools`.
    pub async fn sample(&self, params: Value) -> Result<Value, AskError> {
        let tools = params.get("tools").is_some() && !self.client().declares(&["sampling", "tools"]);
        if !self.client().samples() || tools {
            return Err(AskError::NotSupported);
        }
        self.session.ask(self.call.number, "sampling/createMessage", params).await
    }

    /// Asks which folders and files the client works on.
    ///
    /// # Errors
    /// [`AskError`]; it is `NotSupported` unless [`Client::has_roots`].
    pub async fn roots(&self) -> Result<Vec<Root>, AskError> {
        #[derive(Deserialize)]
        struct RootsResult {
            roots: Vec<Root>,
        }
        if !self.client().has_roots() {
            return Err(AskError::NotSupported);
        }
        let answer = self.session.ask(self.call.number, "roots/list", json!({})).await?;
        let answer: RootsResult = serde_json::from_value(answer).map_err(|_| AskError::Unreadable)?;
        Ok(answer.roots)
    }

    /// Says that this call takes long. A client that can resume streams (revision 2025-11-25) is disconnected
    /// now and comes back for the answer later; for any other client nothing changes. The call goes on either
    /// way.
    pub async fn detach(&self) {
        self.session.say(Output::Detach(self.call.number)).await;
    }

    /// The handler has returned: no progress is told any more (L45: it stops at completion).
    pub(super) fn finish(&self) {
        self.call.done.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({:?})", self.call.number)
    }
}
