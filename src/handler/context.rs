//! A handler's hold on its client: one for each call.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::session::HandlerSession;
use super::{RequestError, reply};
use crate::backend::Output;
use crate::budget::Payload;
use crate::limits::CLIENT_BYTES_MAX;
use crate::message::Id;

/// What a handler knows of its client and can tell it. Cheap to clone; a clone may outlive its call, and then tells
/// the client what belongs to no call.
#[derive(Clone)]
pub struct Context {
    session: Arc<HandlerSession>,
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

/// The other side: a program, and what it can do.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Its name: foreign text.
    pub name: String,
    /// Its version: foreign text.
    pub version: String,
    /// What it declared, as it came. Most handlers never ask, so it is read when one does.
    declared: Option<Box<RawValue>>,
    capabilities: OnceLock<Value>,
}

impl Client {
    /// Refused when it says so much of itself that keeping it for the session would be a burden.
    pub(super) fn new(
        name: String,
        version: String,
        declared: Option<&RawValue>,
    ) -> Result<Client, RequestError> {
        let bytes = name.len() + version.len() + declared.map_or(0, |declared| declared.get().len());
        if bytes > CLIENT_BYTES_MAX {
            return Err(RequestError::invalid(format!(
                "clientInfo and capabilities have more than {CLIENT_BYTES_MAX} bytes together: declare less"
            )));
        }
        Ok(Client { name, version, declared: declared.map(ToOwned::to_owned), capabilities: OnceLock::new() })
    }

    /// What it declared that it can; null when it said nothing.
    pub fn capabilities(&self) -> &Value {
        self.capabilities.get_or_init(|| {
            let declared = self.declared.as_ref();
            declared.and_then(|declared| serde_json::from_str(declared.get()).ok()).unwrap_or_default()
        })
    }

    /// Whether it declared this capability (`sampling`), or a part of one (`elicitation`, `url`).
    fn declares(&self, path: &[&str]) -> bool {
        let found = path.iter().try_fold(self.capabilities(), |value, key| value.get(key));
        found.is_some_and(|value| !value.is_null() && *value != Value::Bool(false))
    }

    /// Whether a form can be put to its user. A client that names no mode knows this one (L47).
    pub fn takes_forms(&self) -> bool {
        self.declares(&["elicitation"])
            && (self.declares(&["elicitation", "form"]) || !self.declares(&["elicitation", "url"]))
    }

    /// Whether its user can be sent to a page.
    pub fn takes_urls(&self) -> bool {
        self.declares(&["elicitation", "url"])
    }

    /// Whether its model can be asked.
    pub fn samples(&self) -> bool {
        self.declares(&["sampling"])
    }

    /// Whether it tells its roots.
    pub fn has_roots(&self) -> bool {
        self.declares(&["roots"])
    }
}

/// How grave a log message is (RFC 5424, section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum LogLevel {
    /// For who looks for a mistake.
    Debug,
    /// As usual.
    Info,
    /// As usual, but worth a look.
    Notice,
    /// Something may be wrong.
    Warning,
    /// Something is wrong.
    Error,
    /// A part has failed.
    Critical,
    /// Somebody has to act at once.
    Alert,
    /// Nothing works.
    Emergency,
}

/// What a person did with a form or a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Elicited {
    /// They sent this; an empty object for a link.
    Accepted(Value),
    /// They said no.
    Declined,
    /// They did not decide.
    Cancelled,
}

/// A folder or file the client works on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Root {
    /// Where it is: a `file://` URI.
    pub uri: String,
    /// Its name.
    pub name: Option<String>,
}

/// Why the client did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// It did not declare that it can: it was not asked.
    NotSupported,
    /// It took too long; it was told that nobody waits any more.
    TimedOut,
    /// Too many questions wait for it already.
    TooMany,
    /// Its session is over.
    Over,
    /// It answered with an error.
    Refused {
        /// The error's code.
        code: i64,
        /// The error's text.
        message: String,
    },
    /// Its answer is not what the protocol says.
    Unreadable,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::NotSupported => {
                f.write_str("the client cannot be asked this: it did not declare that it can")
            }
            AskError::TimedOut => f.write_str("the client did not answer in time"),
            AskError::TooMany => f.write_str("too many questions wait for the client"),
            AskError::Over => f.write_str("the client's session is over"),
            AskError::Refused { code, message } => write!(f, "the client refused: {message} ({code})"),
            AskError::Unreadable => f.write_str("the client's answer is not what the protocol says"),
        }
    }
}

impl std::error::Error for AskError {}

impl Context {
    pub(super) fn new(session: &Arc<HandlerSession>, id: &Id, progress_token: Option<&Id>) -> Context {
        let call = CallState {
            id: id.clone(),
            progress_token: progress_token.cloned(),
            progress: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
            done: AtomicBool::new(false),
        };
        Context { session: Arc::clone(session), call: Arc::new(call) }
    }

    /// Who calls.
    pub fn client(&self) -> &Client {
        static NOBODY: Client = Client {
            name: String::new(),
            version: String::new(),
            declared: None,
            capabilities: OnceLock::new(),
        };
        self.session.settled().map_or(&NOBODY, |settled| &settled.client)
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
        if self.session.logs(level) {
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
        if !self.session.server.tools.is_empty() {
            static TOLD: OnceLock<Payload> = OnceLock::new();
            self.tell_changed("tools", &TOLD).await;
        }
    }

    /// Tells that the list of prompts has changed for this client (L51).
    pub async fn notify_prompts_changed(&self) {
        if !self.session.server.prompts.is_empty() {
            static TOLD: OnceLock<Payload> = OnceLock::new();
            self.tell_changed("prompts", &TOLD).await;
        }
    }

    /// Tells that the list of resources has changed for this client (L51).
    pub async fn notify_resources_changed(&self) {
        if self.session.server.has_resources() {
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

fn elicited(answer: Value) -> Result<Elicited, AskError> {
    #[derive(Deserialize)]
    struct ElicitResult {
        action: ElicitAction,
        #[serde(default)]
        content: Value,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum ElicitAction {
        Accept,
        Decline,
        Cancel,
    }
    match serde_json::from_value(answer) {
        Ok(ElicitResult { action: ElicitAction::Accept, content: Value::Null }) => {
            Ok(Elicited::Accepted(json!({})))
        }
        Ok(ElicitResult { action: ElicitAction::Accept, content }) => Ok(Elicited::Accepted(content)),
        Ok(ElicitResult { action: ElicitAction::Decline, .. }) => Ok(Elicited::Declined),
        Ok(ElicitResult { action: ElicitAction::Cancel, .. }) => Ok(Elicited::Cancelled),
        Err(_) => Err(AskError::Unreadable),
    }
}

impl From<AskError> for RequestError {
    fn from(error: AskError) -> RequestError {
        RequestError::internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_can_is_what_it_declared() {
        let client = |capabilities: Value| {
            let declared = serde_json::value::to_raw_value(&capabilities).unwrap();
            Client::new(String::new(), String::new(), Some(&declared)).unwrap()
        };
        let forms = |capabilities| client(capabilities).takes_forms();
        assert!(forms(json!({"elicitation": {}})) && forms(json!({"elicitation": {"form": {}, "url": {}}})));
        assert!(!forms(json!({})) && !forms(json!({"elicitation": {"url": {}}})) && !forms(Value::Null));
        assert!(client(json!({"elicitation": {"url": {}}})).takes_urls());
        assert!(!client(json!({"elicitation": {}})).takes_urls());
        assert!(client(json!({"sampling": {}})).samples() && !client(json!({"sampling": null})).samples());
    }

    #[test]
    fn answers_to_a_form() {
        let read = |answer| elicited(answer);
        assert_eq!(
            read(json!({"action": "accept", "content": {"a": 1}})),
            Ok(Elicited::Accepted(json!({"a": 1})))
        );
        assert_eq!(read(json!({"action": "decline"})), Ok(Elicited::Declined));
        assert_eq!(read(json!({"action": "cancel"})), Ok(Elicited::Cancelled));
        assert_eq!(read(json!({"action": "other"})), Err(AskError::Unreadable));
    }
}
