//! Servers written in Rust: described once by a [`Server`], called with a [`Context`].
//!
//! A handler is an async function of a context and typed arguments. What it asks, tells and keeps goes
//! through its context, which never shows how the client is connected: the same handler serves HTTP and
//! stdio, and every revision of the protocol.
//!
//! ```
//! use burdock::handler::{Context, Server, ToolError};
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Add {
//!     /// How much to add.
//!     amount: u64,
//! }
//!
//! async fn add(context: Context, add: Add) -> Result<String, ToolError> {
//!     // One sum for each session.
//!     let sum = context.state::<AtomicU64>();
//!     Ok((sum.fetch_add(add.amount, Ordering::Relaxed) + add.amount).to_string())
//! }
//!
//! let server = Server::new("adder", "1.0")
//!     .instructions("Add as often as you like.")
//!     .tool("add", "Adds to this session's sum.", add);
//! assert_eq!(server.name(), "adder");
//! ```
//!
//! [`crate::serve`] puts it on the network, [`crate::serve_stdio`] on stdin and stdout. A program that speaks
//! over stdio can also run behind the `burdock` program: `burdock serve -- YOUR_PROGRAM`, which knows tokens
//! and several nodes. `src/demo.rs` is a larger example.
//!
//! # What a handler returns
//!
//! A tool returns text, [`Content`], several of them, or [`Json`] for a structured result. `?` on any error
//! fails the call with the error's text, which the model reads and may act upon; a
//! [`ToolError::Request`] is a JSON-RPC error for the client instead. Handlers of resources, prompts and
//! completions fail with a [`RequestError`].
//!
//! # Asking the client
//!
//! [`Context::elicit`] shows the user a form, [`Context::elicit_url`] a link; [`Context::sample`] asks the
//! model, [`Context::roots`] the client's folders. The call waits meanwhile, for
//! [`Server::ask_deadline`] at most. A client that did not declare that it can is not asked
//! ([`AskError::NotSupported`]).
//!
//! ```
//! use burdock::handler::{Context, Elicited, NoArguments, Server, ToolError};
//! use serde_json::json;
//!
//! async fn delete_all(context: Context, _: NoArguments) -> Result<&'static str, ToolError> {
//!     let nothing_to_fill_in = json!({"type": "object", "properties": {}});
//!     match context.elicit("Delete everything?", nothing_to_fill_in).await? {
//!         Elicited::Accepted(_) => Ok("deleted"),
//!         Elicited::Declined | Elicited::Cancelled => Ok("nothing was deleted"),
//!     }
//! }
//!
//! let server = Server::new("files", "1.0").tool("delete_all", "Deletes everything.", delete_all);
//! # drop(server);
//! ```
//!
//! # How handlers run
//!
//! Each call is a task of its own. It is dropped when the client cancels it, and when its session ends. A
//! panic ends the session, and no other. A handler that blocks its thread delays only itself: another thread
//! takes the place of the blocked one, within bounds; still, long computations are better off in
//! [`smol::unblock`].

mod ask;
mod base64;
mod caller;
mod client;
mod completion;
mod context;
mod list;
mod methods;
mod offer;
mod prompt;
mod reply;
mod resource;
mod server;
mod session;
mod template;
mod tool;

pub use self::ask::{AskError, Elicited, Root};
pub use self::client::{Client, LogLevel};
pub use self::completion::{Completing, Completion, Reference};
pub use self::context::Context;
pub use self::prompt::{Prompt, PromptMessage, PromptResult, Role};
pub use self::reply::RequestError;
pub use self::resource::{Contents, Described, Resource, ResourceTemplate, Uri, UriTemplate, Variables};
pub use self::server::Server;
pub use self::tool::{Annotations, Content, Json, NoArguments, Tool, ToolError, ToolResult};

pub(crate) use self::methods::{Dispatch, HandlerCall, request};
pub(crate) use self::session::{HandlerSession, Unsaid};
