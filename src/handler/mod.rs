//! Servers written in Rust: described once by a [`Server`], called with a [`Context`].
//!
//! A handler is an async function of a context and typed arguments. What it asks, tells and keeps goes
//! through its context, which never shows how the client is connected: the same handler serves HTTP and
//! stdio, and every revision of the protocol.
//!
//! ```
//! use burdock::handler::{Context, Server};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Echo {
//!     /// What to say.
//!     text: String,
//! }
//!
//! let server = Server::new("demo", "1.0")
//!     .instructions("Say something.")
//!     .tool("echo", "Says what it is told", |_context: Context, echo: Echo| async move { Ok(echo.text) });
//! assert_eq!(server.name(), "demo");
//! ```
//!
//! [`crate::serve`] puts it on the network, [`crate::serve_stdio`] on stdin and stdout.
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
