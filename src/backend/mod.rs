//! What answers a session's messages: a child process (a stdio MCP server), or a handler in this process.
//!
//! Messages go in through [`Backend::send`] and come out of [`Backend::outputs`]; neither ever waits on the
//! other.

pub mod child;
pub mod children;
pub mod command;
pub mod descriptors;
pub mod handler;
mod ladder;
mod lines;
pub(crate) mod mark;
mod noise;
pub(crate) mod output;
mod pipe;
mod rate;
mod reap;
mod spawn;
mod stderr;
mod stdout;
pub mod watchdog;

pub use self::output::{Exit, Output, Priority, SendError};
use crate::conversation::Outbound;
use crate::queue::Receiver;

/// The answering side of one session.
#[derive(Debug)]
pub enum Backend {
    /// A stdio server in a process of its own.
    Child(child::ChildHandle),
    /// A server in this process.
    Handler(handler::HandlerHandle),
}

impl Backend {
    /// Queues a message; never waits.
    ///
    /// # Errors
    /// [`SendError`] when the backend does not keep up or has ended.
    pub fn send(&self, outgoing: Outbound, priority: Priority) -> Result<(), SendError> {
        match self {
            Backend::Child(child) => child.send(outgoing.into_payload(), priority),
            Backend::Handler(handler) => handler.send(outgoing, priority),
        }
    }

    /// What comes out. Closed after [`Output::Exited`].
    pub fn outputs(&self) -> &Receiver<Output> {
        match self {
            Backend::Child(child) => child.outputs(),
            Backend::Handler(handler) => handler.outputs(),
        }
    }

    /// Begins to stop it: no more messages are taken, what is queued is still written. [`Output::Exited`]
    /// follows.
    pub fn stop(&self) {
        match self {
            Backend::Child(child) => child.stop(),
            Backend::Handler(handler) => handler.stop(),
        }
    }
}
