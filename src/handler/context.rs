//! A handler's hold on its client: one for each call.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ask::{AskError, Elicited, Root, elicited};
use super::caller::Caller;
use super::client::{Client, LogLevel};
use super::reply;
use super::session::HandlerSession;
use crate::backend::output::Output;
use crate::budget::Payload;
use crate::message::Id;

/// What a handler knows of its client and can tell it. Cheap to clone; a clone may outlive its call, and then tells
/// the client what belongs to no call.
#[derive(Clone)]
pub struct Context {
    session: Arc<HandlerSession>,
    caller: Arc<Caller>,
    call: Arc<CallState>,
}

/// The call a context was made for.
struct CallState {
    id: Id,
    progress_token: Option<Id>,
    /// The progress told last, as bits of an `f64`.
    progress: AtomicU64,
    done: AtomicBool,
}

impl Context {
    pub(super) fn new(
        session: Arc<HandlerSession>,
        caller: Arc<Caller>,
        id: &Id,
        progress_token: Option<&Id>,
    ) -> Context {
        let call = CallState {
            id: id.clone(),
            progress_token: progress_token.cloned(),
            progress: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
            done: AtomicBool::new(false),
        };
        Context { session, caller, call: Arc::new(call) }
    }

    /// Who calls.
    pub fn client(&self) -> &Client {
        &self.caller.client
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What this session keeps: one value of each type, made by `default` when it is asked for first, and dropped
    /// with the session.
    pub fn state<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.session.state()
    }

    /// Tells how far the call is, when the client wants to know: it gave a token, and `done` is more than what it was
    /// told before (L45).
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

    /// Sends the client a log message, when the server has [`super::Server::logging`] and the client wants messages
    /// of this level (L53). No secrets: people read it.
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
        if let Some(payload) = reply::outgoing(None, method, params) {
            self.session.say(Output::Related { to: self.call.id.clone(), payload }).await;
        }
    }

    /// Tells that the list of tools has changed for this client (L51).
    pub async fn notify_tools_changed(&self) {
        if self.session.offer.tools {
            static TOLD: OnceLock<Payload> = OnceLock::new();
            self.tell_changed("tools", &TOLD).await;
        }
    }

    /// Tells that the list of prompts has changed for this client (L51).
    pub async fn notify_prompts_changed(&self) {
        if self.session.offer.prompts {
            static TOLD: OnceLock<Payload> = OnceLock::new();
            self.tell_changed("prompts", &TOLD).await;
        }
    }

    /// Tells that the list of resources has changed for this client (L51).
    pub async fn notify_resources_changed(&self) {
        if self.session.offer.resources {
            static TOLD: OnceLock<Payload> = OnceLock::new();
            self.tell_changed("resources", &TOLD).await;
        }
    }

    /// Tells that this resource has changed, when the client subscribed to it (L52).
    pub async fn resource_updated(&self, uri: &str) {
        if self.session.subscribed(uri) {
            let params = json!({"uri": uri});
            if let Some(payload) = reply::outgoing(None, "notifications/resources/updated", &params) {
                self.session.say(Output::Unrelated(payload)).await;
            }
        }
    }

    /// `told` is the same for every session: its bytes are made once and held once, however many logs they are in.
    async fn tell_changed(&self, list: &str, told: &OnceLock<Payload>) {
        let payload = told.get_or_init(|| {
            let method = format!("notifications/{list}/list_changed");
            let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{}}}}"#);
            Payload::made_here(text.into_bytes())
        });
        self.session.say(Output::Unrelated(payload.clone())).await;
    }

    /// Puts a form to the client's user. `schema` is the JSON Schema of an object with plain members (L48); never
    /// ask for secrets this way.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn elicit(&self, message: &str, schema: Value) -> Result<Elicited, AskError> {
        if !self.client().takes_forms() {
            return Err(AskError::NotSupported);
        }
        let params = json!({"message": message, "requestedSchema": schema});
        elicited(self.session.ask(&self.call.id, "elicitation/create", params).await?)
    }

    /// Sends the client's user to a page, for what must not go through the client, such as secrets (L48). `id` is
    /// yours, to tell its visits apart.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn elicit_url(&self, message: &str, url: &str, id: &str) -> Result<Elicited, AskError> {
        if !self.client().takes_urls() {
            return Err(AskError::NotSupported);
        }
        let params = json!({"mode": "url", "message": message, "url": url, "elicitationId": id});
        elicited(self.session.ask(&self.call.id, "elicitation/create", params).await?)
    }

    /// Asks the client's model. `params` are those of `sampling/createMessage`: `messages` and `maxTokens` at least.
    /// The answer is its result, with `role`, `content` and `model`.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn sample(&self, params: Value) -> Result<Value, AskError> {
        let tools = params.get("tools").is_some() && !self.client().declares(&["sampling", "tools"]);
        if !self.client().samples() || tools {
            return Err(AskError::NotSupported);
        }
        self.session.ask(&self.call.id, "sampling/createMessage", params).await
    }

    /// Asks which folders and files the client works on.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn roots(&self) -> Result<Vec<Root>, AskError> {
        #[derive(Deserialize)]
        struct RootsResult {
            roots: Vec<Root>,
        }
        if !self.client().has_roots() {
            return Err(AskError::NotSupported);
        }
        let answer = self.session.ask(&self.call.id, "roots/list", json!({})).await?;
        let answer: RootsResult = serde_json::from_value(answer).map_err(|_| AskError::Unreadable)?;
        Ok(answer.roots)
    }

    /// Says that this call takes long: its client may hang up now and come back for the answer, if it knows how.
    /// Nothing else changes.
    pub async fn detach(&self) {
        self.session.say(Output::Detach(self.call.id.clone())).await;
    }

    /// The call has its outcome: no progress any more (L45).
    pub(super) fn finish(&self) {
        self.call.done.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({:?})", self.call.id)
    }
}
