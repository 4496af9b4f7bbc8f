//! Which method does what.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::caller::Caller;
use super::client::{Client, LogLevel};
use super::completion::{Completing, Reference};
use super::context::Context;
use super::offer::Offer;
use super::reply::{self, INVALID_PARAMS, RequestError};
use super::resource::{Contents, Variables};
use super::server::Server;
use super::session::HandlerSession;
use super::tool;
use crate::budget::Payload;
use crate::limits::URI_BYTES_MAX;
use crate::message::{self, Id, Message};
use crate::version::{self, Version};

/// How a request is answered.
pub(crate) enum Dispatch {
    /// At once.
    Now(Payload),
    /// At once: the session begins, with this version.
    Welcome(Version, Payload),
    /// By a handler.
    Later(Box<HandlerCall>),
}

type Outcome = Result<Payload, RequestError>;

/// Answers a request, or says who does.
pub(crate) fn request(
    server: &Arc<Server>,
    session: &Arc<HandlerSession>,
    id: &Id,
    method: &str,
    message: &Message,
) -> Dispatch {
    let answer = match (method, session.caller()) {
        ("initialize", _) => match initialize(server, session, id, message) {
            Ok((version, welcome)) => return Dispatch::Welcome(version, welcome),
            Err(error) => Err(error),
        },
        ("ping", _) => Ok(message::empty_result(id)),
        (_, None) => Err(RequestError::invalid_request("begin with initialize")),
        (_, Some(caller)) => match CallKind::of(method, session.offer) {
            Some(kind) => return later(server, session, caller, id, message, kind),
            None => answered_here(server, session, caller, id, method, message),
        },
    };
    Dispatch::Now(answer.unwrap_or_else(|error| reply::error(id, &error)))
}

/// What needs no handler of the server's.
fn answered_here(
    server: &Server,
    session: &HandlerSession,
    caller: &Caller,
    id: &Id,
    method: &str,
    message: &Message,
) -> Outcome {
    match method {
        "tools/list" | "resources/list" | "resources/templates/list" | "prompts/list" => {
            list(server, id, method, message)
        }
        "resources/subscribe" if session.offer.subscriptions => subscribe(server, session, id, message),
        "resources/unsubscribe" if session.offer.subscriptions => unsubscribe(session, id, message),
        "logging/setLevel" if session.offer.logging => set_level(caller, id, message),
        _ => Err(RequestError::method_not_found()),
    }
}

/// A call on its way to a handler.
pub(crate) struct HandlerCall {
    server: Arc<Server>,
    session: Arc<HandlerSession>,
    context: Context,
    id: Id,
    message: Message,
    kind: CallKind,
}

/// What a call wants of a handler.
#[derive(Clone, Copy)]
enum CallKind {
    CallTool,
    Read,
    GetPrompt,
    Complete,
}

impl CallKind {
    /// `None`: this method calls no handler, or none of a server with this offer.
    fn of(method: &str, offer: Offer) -> Option<CallKind> {
        match method {
            "tools/call" if offer.tools => Some(CallKind::CallTool),
            "resources/read" if offer.resources => Some(CallKind::Read),
            "prompts/get" if offer.prompts => Some(CallKind::GetPrompt),
            "completion/complete" if offer.completion => Some(CallKind::Complete),
            _ => None,
        }
    }
}

/// The call is boxed, so that its task, which is moved several times until it runs, is small.
fn later(
    server: &Arc<Server>,
    session: &Arc<HandlerSession>,
    caller: &Arc<Caller>,
    id: &Id,
    message: &Message,
    kind: CallKind,
) -> Dispatch {
    let progress_token = message.concerns.as_ref();
    let context = Context::new(Arc::clone(session), Arc::clone(caller), id, progress_token);
    Dispatch::Later(Box::new(HandlerCall {
        server: Arc::clone(server),
        session: Arc::clone(session),
        context,
        id: id.clone(),
        message: message.clone(),
        kind,
    }))
}

impl HandlerCall {
    /// The request's id.
    pub(crate) fn id(&self) -> &Id {
        &self.id
    }

    /// Its session.
    pub(crate) fn session(&self) -> &HandlerSession {
        &self.session
    }

    /// Runs the handler; its outcome is the response.
    pub(crate) async fn answer(&self) -> Payload {
        let answer = match self.kind {
            CallKind::CallTool => call_tool(self).await,
            CallKind::Read => Box::pin(read(self)).await,
            CallKind::GetPrompt => Box::pin(get_prompt(self)).await,
            CallKind::Complete => Box::pin(complete(self)).await,
        };
        self.context.finish();
        answer.unwrap_or_else(|error| reply::error(&self.id, &error))
    }
}

/// The params of a request; those of a request without any are an empty object.
fn params<'a, P: Deserialize<'a>>(message: &'a Message) -> Result<P, RequestError> {
    serde_json::from_str(message.params().unwrap_or("{}"))
        .map_err(|error| RequestError::invalid(format!("the params do not fit: {error}")))
}

// --- The session -------------------------------------------------------------------------------------------

fn initialize(
    server: &Server,
    session: &HandlerSession,
    id: &Id,
    message: &Message,
) -> Result<(Version, Payload), RequestError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params<'a> {
        #[serde(borrow)]
        protocol_version: Cow<'a, str>,
        #[serde(borrow)]
        capabilities: Option<&'a RawValue>,
        #[serde(default)]
        client_info: Info,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Info {
        name: String,
        version: String,
    }
    let Params { protocol_version, capabilities, client_info } = params(message)?;
    // What is not supported is answered with the newest (L39).
    let agreed = version::SUPPORTED.iter().position(|known| *known == protocol_version).unwrap_or(0);
    let version = Version::new(version::SUPPORTED[agreed]);
    let client = Client::new(client_info.name, client_info.version, capabilities)?;
    if !session.settle(Caller::new(client, version.clone())) {
        return Err(RequestError::invalid_request("this session is already initialized"));
    }
    let welcome = server.welcomes[agreed].get_or_init(|| {
        let welcome = welcome(server, version::SUPPORTED[agreed]);
        serde_json::value::to_raw_value(&welcome).unwrap_or_default()
    });
    Ok((version, reply::result_text(id, welcome.get())))
}

fn welcome(server: &Server, agreed: &str) -> Value {
    let mut welcome = json!({
        "protocolVersion": agreed,
        "capabilities": server.offer().capabilities(),
        "serverInfo": {"name": server.name, "version": server.version},
    });
    if let Some(title) = &server.title {
        welcome["serverInfo"]["title"] = json!(title);
    }
    if let Some(instructions) = &server.instructions {
        welcome["instructions"] = json!(instructions);
    }
    welcome
}

fn set_level(caller: &Caller, id: &Id, message: &Message) -> Outcome {
    #[derive(Deserialize)]
    struct Params {
        level: LogLevel,
    }
    caller.set_log_from(params::<Params>(message)?.level);
    Ok(message::empty_result(id))
}

fn list(server: &Server, id: &Id, method: &str, message: &Message) -> Outcome {
    #[derive(Deserialize)]
    struct Params {
        cursor: Option<String>,
    }
    let (offer, entries) = (server.offer(), server.page_entries);
    let cursor = params::<Params>(message)?.cursor;
    let cursor = cursor.as_deref();
    let page = match method {
        "tools/list" if offer.tools => server.tools.page("tools", cursor, entries),
        "prompts/list" if offer.prompts => server.prompts.page("prompts", cursor, entries),
        "resources/list" if offer.resources => server.resources.page("resources", cursor, entries),
        "resources/templates/list" if offer.resources => {
            server.templates.page("resourceTemplates", cursor, entries)
        }
        _ => return Err(RequestError::method_not_found()),
    };
    match page {
        Some(page) => Ok(reply::result_text(id, &page)),
        None => Err(RequestError::invalid("this cursor is none of this server's")),
    }
}

// --- Tools -------------------------------------------------------------------------------------------------

async fn call_tool(call: &HandlerCall) -> Outcome {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let started = {
        let Params { name, arguments } = params(&call.message)?;
        let tool = call.server.tools.get(&name);
        let tool = tool.ok_or_else(|| RequestError::invalid(format!("there is no tool {name}")))?;
        tool(call.context.clone(), arguments.map_or("{}", RawValue::get))
    };
    let answer = match started {
        Ok(answer) => answer.await,
        Err(problem) => Err(misfit(call.context.caller(), &problem)),
    };
    Ok(reply::result(&call.id, &tool::settle(answer)?))
}

/// Arguments that do not fit: since 2025-11-25 the model is told, so that it can correct them (L54).
fn misfit(caller: &Caller, problem: &str) -> tool::ToolError {
    let text = format!("the arguments do not fit the tool's schema: {problem}");
    match caller.version.as_str() >= version::LATEST {
        true => tool::ToolError::Told(text),
        false => tool::ToolError::Request(RequestError::invalid(text)),
    }
}

// --- Resources ---------------------------------------------------------------------------------------------

fn uri(message: &Message) -> Result<String, RequestError> {
    #[derive(Deserialize)]
    struct UriParams {
        uri: String,
    }
    let UriParams { uri } = params(message)?;
    if uri.len() > URI_BYTES_MAX { Err(RequestError::invalid("this URI is too long")) } else { Ok(uri) }
}

async fn read(call: &HandlerCall) -> Outcome {
    #[derive(Serialize)]
    struct ReadResult {
        contents: Vec<Contents>,
    }
    let uri = uri(&call.message)?;
    let Some((entry, variables)) = call.server.find_resource(&uri) else {
        return Err(RequestError::not_found(&uri));
    };
    let contents = (entry.read)(call.context.clone(), uri, variables).await?;
    let contents =
        contents.into_iter().map(|contents| contents.or_mime_type(entry.media_type.as_ref())).collect();
    Ok(reply::result(&call.id, &ReadResult { contents }))
}

fn subscribe(server: &Server, session: &HandlerSession, id: &Id, message: &Message) -> Outcome {
    let uri = uri(message)?;
    if server.find_resource(&uri).is_none() {
        return Err(RequestError::not_found(&uri));
    }
    if session.subscribe(&uri) {
        Ok(message::empty_result(id))
    } else {
        Err(RequestError::internal("there are as many subscriptions as there may be"))
    }
}

fn unsubscribe(session: &HandlerSession, id: &Id, message: &Message) -> Outcome {
    session.unsubscribe(&uri(message)?);
    Ok(message::empty_result(id))
}

// --- Prompts and completion --------------------------------------------------------------------------------

async fn get_prompt(call: &HandlerCall) -> Outcome {
    #[derive(Deserialize)]
    struct Params {
        name: String,
        #[serde(default)]
        arguments: Variables,
    }
    let Params { name, arguments } = params(&call.message)?;
    let prompt = call.server.prompts.get(&name);
    let prompt = prompt.ok_or_else(|| RequestError::invalid(format!("there is no prompt {name}")))?;
    if let Some(missing) = prompt.required.iter().find(|required| !arguments.contains_key(*required)) {
        return Err(RequestError::invalid(format!("the argument {missing} is missing")));
    }
    let result = (prompt.get)(call.context.clone(), arguments).await?;
    Ok(reply::result(&call.id, &result))
}

#[derive(Deserialize)]
struct CompleteParams {
    r#ref: Ref,
    argument: CompleteArgument,
    #[serde(default)]
    context: CompleteContext,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Ref {
    #[serde(rename = "ref/prompt")]
    Prompt { name: String },
    #[serde(rename = "ref/resource")]
    Resource { uri: String },
}

#[derive(Deserialize)]
struct CompleteArgument {
    name: String,
    value: String,
}

#[derive(Default, Deserialize)]
struct CompleteContext {
    #[serde(default)]
    arguments: Variables,
}

async fn complete(call: &HandlerCall) -> Outcome {
    let CompleteParams { r#ref, argument, context } = params(&call.message)?;
    let server = &call.server;
    let (reference, known) = match r#ref {
        Ref::Prompt { name } => (Reference::Prompt(name.clone()), server.prompts.get(&name).is_some()),
        Ref::Resource { uri } => {
            let known = server.templates.get(&uri).is_some() || server.find_resource(&uri).is_some();
            (Reference::Resource(uri), known)
        }
    };
    let (true, Some(complete)) = (known, &server.completion) else {
        return Err(RequestError::new(INVALID_PARAMS, "what is to be completed is not known here"));
    };
    let completing =
        Completing { reference, argument: argument.name, value: argument.value, others: context.arguments };
    let completion = complete(call.context.clone(), completing).await?;
    Ok(reply::result(&call.id, &json!({"completion": completion})))
}
