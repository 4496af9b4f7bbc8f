//! What a server written in Rust does with each method of the protocol.

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
use super::reply::{self, RequestError};
use super::resource::{Contents, Variables};
use super::server::Server;
use super::session::HandlerSession;
use super::tool;
use crate::budget::Payload;
use crate::limits::URI_BYTES_MAX;
use crate::message::{self, INVALID_PARAMS, Id, Message};
use crate::version::{self, Version};

/// How a request is to be answered.
pub(crate) enum Dispatch {
    /// With this response, at once.
    Now(Payload),
    /// With this response, at once; with it the session begins, in this version of the protocol.
    Welcome(Version, Payload),
    /// By running this call, which needs a handler.
    Later(Box<HandlerCall>),
}

type Outcome = Result<Payload, RequestError>;

/// Answers a request, which is the call of this number, or returns the call that answers it.
pub(crate) fn request(
    server: &Arc<Server>,
    session: &Arc<HandlerSession>,
    number: u64,
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
            Some(kind) => return later(server, session, caller, number, id, message, kind),
            None => answered_here(server, session, caller, id, method, message),
        },
    };
    Dispatch::Now(answer.unwrap_or_else(|error| reply::error(id, &error)))
}

/// Answers what needs no handler.
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

/// A request that a handler answers.
pub(crate) struct HandlerCall {
    server: Arc<Server>,
    session: Arc<HandlerSession>,
    context: Context,
    /// Ours, and the client's: it may use one id for two calls.
    number: u64,
    id: Id,
    message: Message,
    kind: CallKind,
}

/// Which kind of handler a call needs.
#[derive(Clone, Copy)]
enum CallKind {
    CallTool,
    Read,
    GetPrompt,
    Complete,
}

impl CallKind {
    /// `None` for a method that needs no handler, and for one that this offer does not include.
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
    number: u64,
    id: &Id,
    message: &Message,
    kind: CallKind,
) -> Dispatch {
    let progress_token = message.concerns.as_ref();
    let context = Context::new(Arc::clone(session), Arc::clone(caller), number, progress_token);
    Dispatch::Later(Box::new(HandlerCall {
        server: Arc::clone(server),
        session: Arc::clone(session),
        context,
        number,
        id: id.clone(),
        message: message.clone(),
        kind,
    }))
}

impl HandlerCall {
    /// The call's number in its conversation.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Its session.
    pub(crate) fn session(&self) -> &HandlerSession {
        &self.session
    }

    /// Runs the handler, and returns the response.
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

/// Reads the params of a request. A request without params is read as if it had an empty object.
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
    // A client that asks for a version we do not know is offered our newest (L39: it may then hang up).
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
    Ok((version, message::result_text(id, welcome.get())))
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
        Some(page) => Ok(message::result_text(id, &page)),
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

/// What is said of arguments that do not fit. Since 2025-11-25 the model is told, so that it can correct
/// them; before that the client gets an error (L54).
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

#[cfg(test)]
mod tests {
    use smol::future::block_on;

    use super::*;
    use crate::budget::Share;
    use crate::handler::{Completion, NoArguments, Prompt, Resource};
    use crate::message::{Kind, Parsed};
    use crate::queue;

    /// A session that no worker listens to: what is said at once is returned, and nothing else is said.
    struct Harness {
        server: Arc<Server>,
        session: Arc<HandlerSession>,
    }

    impl Harness {
        fn new(server: Server) -> Harness {
            let (outputs, _) = queue::bounded(1);
            Harness { session: Arc::new(server.session(outputs)), server: Arc::new(server) }
        }

        /// The same after an `initialize` for this revision.
        fn begun(server: Server, version: &str) -> Harness {
            let harness = Harness::new(server);
            let welcome = harness.request("initialize", json!({"protocolVersion": version}));
            assert_eq!(welcome["result"]["protocolVersion"], version);
            harness
        }

        fn dispatch(&self, method: &str, params: Value) -> Dispatch {
            let request = json!({"jsonrpc": "2.0", "id": "i", "method": method, "params": params});
            let text = request.to_string().into_bytes();
            let share = Share::overdraw(text.len());
            let Ok(Parsed::One(message)) = crate::message::parse(text, share) else {
                panic!("no message: {request}")
            };
            let Kind::Request { id, method } = &message.kind else { panic!("no request: {request}") };
            super::request(&self.server, &self.session, 1, id, method, &message)
        }

        /// The response, whoever makes it.
        fn request(&self, method: &str, params: Value) -> Value {
            let payload = match self.dispatch(method, params) {
                Dispatch::Now(payload) | Dispatch::Welcome(_, payload) => payload,
                Dispatch::Later(call) => block_on(call.answer()),
            };
            let response: Value = serde_json::from_slice(&payload.to_vec()).unwrap();
            assert!(response["id"] == "i" && response["jsonrpc"] == "2.0", "{response}");
            response
        }
    }

    /// A server that has one of everything.
    fn full() -> Server {
        Server::new("full", "1")
            .logging()
            .subscriptions()
            .tool("t", "A tool.", |_context, _: NoArguments| async { Ok("done") })
            .resource(Resource::new("n://a", "a"), |_context| async { Ok("note") })
            .prompt(
                Prompt::new("p", "A prompt.").argument("who", "Whom."),
                |_context, arguments| async move { Ok(arguments["who"].clone()) },
            )
            .completion(|_context, completing| async move { Ok(Completion::new([completing.value])) })
    }

    /// Every method but `initialize` and `ping`, with params that a full server takes.
    fn methods() -> Vec<(&'static str, Value)> {
        let completing = json!({"ref": {"type": "ref/prompt", "name": "p"},
                                "argument": {"name": "who", "value": "A"}});
        vec![
            ("tools/list", json!({})),
            ("tools/call", json!({"name": "t"})),
            ("resources/list", json!({})),
            ("resources/templates/list", json!({})),
            ("resources/read", json!({"uri": "n://a"})),
            ("resources/subscribe", json!({"uri": "n://a"})),
            ("resources/unsubscribe", json!({"uri": "n://a"})),
            ("prompts/list", json!({})),
            ("prompts/get", json!({"name": "p", "arguments": {"who": "Ada"}})),
            ("completion/complete", completing),
            ("logging/setLevel", json!({"level": "error"})),
        ]
    }

    /// L40: before `initialize` a client may only ping.
    #[test]
    fn a_session_begins_with_initialize_and_once() {
        let harness = Harness::new(full());
        assert_eq!(harness.request("ping", json!({}))["result"], json!({}));
        for (method, params) in methods() {
            assert_eq!(harness.request(method, params)["error"]["code"], -32600, "{method}");
        }
        let welcome = json!({"protocolVersion": "1999-01-01", "clientInfo": {"name": "c", "version": "2"}});
        assert_eq!(
            harness.request("initialize", welcome.clone())["result"]["protocolVersion"],
            version::LATEST
        );
        assert_eq!(harness.request("initialize", welcome)["error"]["code"], -32600);
        let caller = harness.session.caller().unwrap();
        assert_eq!((&*caller.client.name, &*caller.client.version), ("c", "2"));
    }

    /// L54: a method of a capability that is not there is not found (-32601).
    #[test]
    fn what_is_offered_is_answered_and_nothing_else() {
        let (full, empty) = (
            Harness::begun(full(), version::LATEST),
            Harness::begun(Server::new("empty", "1"), version::LATEST),
        );
        for (method, params) in methods() {
            let answer = full.request(method, params.clone());
            assert!(answer["result"].is_object(), "{method}: {answer}");
            assert_eq!(empty.request(method, params)["error"]["code"], -32601, "{method}");
        }
        assert_eq!(full.request("tools/nosuch", json!({}))["error"]["code"], -32601);
    }

    #[test]
    fn handlers_answer_calls_and_nobody_else() {
        let harness = Harness::begun(full(), version::LATEST);
        for (method, params) in methods() {
            let later = matches!(harness.dispatch(method, params), Dispatch::Later(_));
            let calls = ["tools/call", "resources/read", "prompts/get", "completion/complete"];
            assert_eq!(later, calls.contains(&method), "{method}");
        }
    }

    /// L54: since 2025-11-25 the model is told what is wrong with its arguments, before that the client.
    #[test]
    fn arguments_that_do_not_fit_are_told_by_revision() {
        #[derive(Deserialize, schemars::JsonSchema)]
        struct Number {
            number: u8,
        }
        let server = || {
            Server::new("s", "1").tool("t", "Takes a number.", |_context, Number { number }| async move {
                Ok(number.to_string())
            })
        };
        let wrong = json!({"name": "t", "arguments": {"number": "seven"}});
        let told = Harness::begun(server(), "2025-11-25").request("tools/call", wrong.clone());
        assert_eq!(told["result"]["isError"], true, "{told}");
        let told = Harness::begun(server(), "2025-06-18").request("tools/call", wrong);
        assert_eq!(told["error"]["code"], -32602, "{told}");
    }

    #[test]
    fn what_a_request_names_must_be_there() {
        let harness = Harness::begun(full(), version::LATEST);
        for (method, params, code) in [
            ("tools/call", json!({"name": "nosuch"}), -32602),
            ("tools/list", json!({"cursor": "nosuch"}), -32602),
            ("prompts/get", json!({"name": "nosuch"}), -32602),
            ("prompts/get", json!({"name": "p"}), -32602),
            ("resources/read", json!({"uri": "n://nosuch"}), -32002),
            ("resources/subscribe", json!({"uri": "n://nosuch"}), -32002),
            ("resources/read", json!({"uri": "n".repeat(URI_BYTES_MAX + 1)}), -32602),
            ("logging/setLevel", json!({"level": "loud"}), -32602),
        ] {
            let answer = harness.request(method, params.clone());
            assert_eq!(answer["error"]["code"], code, "{method} {params}: {answer}");
        }
    }
}
