//! A server as it is described in code: its name, what it offers, and the handlers behind that.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::completion::{Completing, Completion};
use super::context::Context;
use super::list::List;
use super::offer::Offer;
use super::prompt::{Prompt, PromptResult};
use super::reply::RequestError;
use super::resource::{Contents, Resource, ResourceTemplate, Variables};
use super::session::HandlerSession;
use super::template::Template;
use super::tool::{Tool, ToolError, ToolResult};
use crate::backend::output::Output;
use crate::limits::{ASK_DEADLINE, PAGE_ENTRIES};
use crate::queue;
use crate::version::SUPPORTED;

/// A future whose type is not named.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

type CallTool = dyn Fn(Context, &str) -> Result<Boxed<Result<ToolResult, ToolError>>, String> + Send + Sync;
type ReadResource =
    dyn Fn(Context, String, Variables) -> Boxed<Result<Vec<Contents>, RequestError>> + Send + Sync;
type GetPrompt = dyn Fn(Context, Variables) -> Boxed<Result<PromptResult, RequestError>> + Send + Sync;
type Complete = dyn Fn(Context, Completing) -> Boxed<Result<Completion, RequestError>> + Send + Sync;

/// A server: its name, what it offers, and the handlers behind that. It is built once and shared by all its
/// sessions.
///
/// Lists show what was registered in that order. What is registered under a name or URI that is taken
/// replaces what was there.
pub struct Server {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) title: Option<String>,
    pub(super) instructions: Option<String>,
    /// The result of `initialize` for each supported revision, made when a client first asks for it.
    pub(super) welcomes: [OnceLock<Box<RawValue>>; SUPPORTED.len()],
    pub(super) tools: List<Box<CallTool>>,
    pub(super) resources: List<ResourceEntry>,
    pub(super) templates: List<TemplateEntry>,
    pub(super) prompts: List<PromptEntry>,
    pub(super) completion: Option<Box<Complete>>,
    subscriptions: bool,
    logging: bool,
    pub(super) page_entries: usize,
    ask_deadline: Duration,
}

/// A resource, or the resources of a template: how they are read.
pub(super) struct ResourceEntry {
    pub(super) media_type: Option<String>,
    pub(super) read: Box<ReadResource>,
}

impl ResourceEntry {
    fn new<F, Fut, R>(media_type: Option<String>, handler: F) -> ResourceEntry
    where
        F: Fn(Context, Variables) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, RequestError>> + Send + 'static,
        R: Into<Contents>,
    {
        let read = move |context: Context, uri: String, variables: Variables| {
            let contents = handler(context, variables);
            Box::pin(async move { Ok(vec![contents.await?.into().at(uri)]) }) as Boxed<_>
        };
        ResourceEntry { media_type, read: Box::new(read) }
    }
}

/// A template, and how the resources under its URIs are read.
pub(super) struct TemplateEntry {
    template: Template,
    entry: ResourceEntry,
}

pub(super) struct PromptEntry {
    pub(super) required: Vec<String>,
    pub(super) get: Box<GetPrompt>,
}

impl Server {
    /// A server of this name and version that offers nothing yet.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Server {
        Server {
            name: name.into(),
            version: version.into(),
            title: None,
            instructions: None,
            welcomes: Default::default(),
            tools: List::default(),
            resources: List::default(),
            templates: List::default(),
            prompts: List::default(),
            completion: None,
            subscriptions: false,
            logging: false,
            page_entries: PAGE_ENTRIES,
            ask_deadline: ASK_DEADLINE,
        }
    }

    /// Its name, as given to [`Server::new`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets the name that people are shown.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Server {
        self.title = Some(title.into());
        self
    }

    /// Sets the instructions: how the server is used, for the model to read.
    #[must_use]
    pub fn instructions(mut self, text: impl Into<String>) -> Server {
        self.instructions = Some(text.into());
        self
    }

    /// Declares that the server logs to its clients: without this [`Context::log`] sends nothing.
    #[must_use]
    pub fn logging(mut self) -> Server {
        self.logging = true;
        self
    }

    /// Lets clients subscribe to resources, at most 256 in a session: without this
    /// [`Context::resource_updated`] sends nothing.
    #[must_use]
    pub fn subscriptions(mut self) -> Server {
        self.subscriptions = true;
        self
    }

    /// Sets how many entries one page of a list has: at least one, and 250 when this is not called.
    #[must_use]
    pub fn page_entries(mut self, entries: usize) -> Server {
        self.page_entries = entries.max(1);
        self
    }

    /// Sets how long a client may take to answer [`Context::elicit`], [`Context::elicit_url`],
    /// [`Context::sample`] and [`Context::roots`]: five minutes when this is not called.
    #[must_use]
    pub fn ask_deadline(mut self, deadline: Duration) -> Server {
        self.ask_deadline = deadline;
        self
    }

    /// Adds a tool. Its arguments are of type `A`, from which their JSON Schema is derived. A call whose
    /// arguments do not fit is answered with an error, and the handler is not called. For a tool without
    /// arguments `A` is [`NoArguments`](super::NoArguments).
    #[must_use]
    pub fn tool<A, F, Fut, R>(self, name: &str, description: &str, handler: F) -> Server
    where
        A: DeserializeOwned + schemars::JsonSchema,
        F: Fn(Context, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<ToolResult>,
    {
        let tool = Tool::new(name, description, schemars::schema_for!(A).to_value());
        self.tool_as(tool, handler)
    }

    /// Adds a tool as [`Server::tool`] does, but with everything that can be said about it: the schema, too,
    /// is yours.
    #[must_use]
    pub fn tool_as<A, F, Fut, R>(mut self, tool: Tool, handler: F) -> Server
    where
        A: DeserializeOwned,
        F: Fn(Context, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<ToolResult>,
    {
        let call = move |context: Context, arguments: &str| {
            let arguments = serde_json::from_str(arguments).map_err(|error| error.to_string())?;
            let answer = handler(context, arguments);
            Ok(Box::pin(async move { answer.await.map(Into::into) }) as Boxed<_>)
        };
        self.tools.put(tool.name.clone(), &tool, Box::new(call));
        self
    }

    /// Adds a tool with a schema of your own, whose handler gets the arguments as the client sent them,
    /// unchecked.
    #[must_use]
    pub fn tool_with<F, Fut, R>(self, tool: Tool, handler: F) -> Server
    where
        F: Fn(Context, Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, ToolError>> + Send + 'static,
        R: Into<ToolResult>,
    {
        self.tool_as(tool, handler)
    }

    /// Adds a resource under a fixed URI.
    #[must_use]
    pub fn resource<F, Fut, R>(mut self, resource: Resource, handler: F) -> Server
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, RequestError>> + Send + 'static,
        R: Into<Contents>,
    {
        let read = move |context: Context, _: Variables| handler(context);
        let entry = ResourceEntry::new(resource.mime_type.clone(), read);
        self.resources.put(resource.place.uri.clone(), &resource, entry);
        self
    }

    /// Adds the resources under the URIs of a template such as `note://{id}/text` (RFC 6570, level 1). The
    /// handler gets the variables of the URI that is read. A URI that fits several templates belongs to the
    /// first, and one that was registered with [`Server::resource`] to that resource.
    #[must_use]
    pub fn resource_template<F, Fut, R>(mut self, template: ResourceTemplate, handler: F) -> Server
    where
        F: Fn(Context, Variables) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, RequestError>> + Send + 'static,
        R: Into<Contents>,
    {
        let entry = ResourceEntry::new(template.mime_type.clone(), handler);
        let uris = &template.place.uri_template;
        let entry = TemplateEntry { template: Template::new(uris), entry };
        self.templates.put(uris.clone(), &template, entry);
        self
    }

    /// Adds a prompt. The handler gets its arguments, among them all that are required.
    #[must_use]
    pub fn prompt<F, Fut, R>(mut self, prompt: Prompt, handler: F) -> Server
    where
        F: Fn(Context, Variables) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, RequestError>> + Send + 'static,
        R: Into<PromptResult>,
    {
        let get = move |context: Context, arguments: Variables| {
            let answer = handler(context, arguments);
            Box::pin(async move { answer.await.map(Into::into) }) as Boxed<_>
        };
        let entry = PromptEntry { required: prompt.required(), get: Box::new(get) };
        self.prompts.put(prompt.name.clone(), &prompt, entry);
        self
    }

    /// Sets the handler that completes arguments of prompts and variables of resource templates for all of
    /// the server.
    #[must_use]
    pub fn completion<F, Fut>(mut self, handler: F) -> Server
    where
        F: Fn(Context, Completing) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Completion, RequestError>> + Send + 'static,
    {
        self.completion = Some(Box::new(move |context, completing| Box::pin(handler(context, completing))));
        self
    }

    /// What the handlers of one session share; `outputs` leads to its client.
    pub(crate) fn session(&self, outputs: queue::Sender<Output>) -> HandlerSession {
        HandlerSession::new(self.offer(), outputs)
    }

    /// What is offered now; the same for good once the server is shared.
    pub(super) fn offer(&self) -> Offer {
        Offer {
            tools: !self.tools.is_empty(),
            resources: !self.resources.is_empty() || !self.templates.is_empty(),
            prompts: !self.prompts.is_empty(),
            completion: self.completion.is_some(),
            subscriptions: self.subscriptions,
            logging: self.logging,
            ask_deadline: self.ask_deadline,
        }
    }

    /// How the resource under this URI is read, and the variables in the URI.
    pub(super) fn find_resource(&self, uri: &str) -> Option<(&ResourceEntry, Variables)> {
        if let Some(entry) = self.resources.get(uri) {
            return Some((entry, Variables::new()));
        }
        self.templates.iter().find_map(|found| Some((&found.entry, found.template.read(uri)?)))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({} {}, {} tools)", self.name, self.version, self.tools.len())
    }
}
