//! A stdio MCP server in a process of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;

use super::{Output, Priority, SendError};
use crate::budget::Payload;

/// What to run, as the config says it. Shared by all sessions of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program: a path, or a name looked up in PATH of the child's environment.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables besides the inherited ones (PATH, HOME, USER, LOGNAME, SHELL, TERM, LANG, TMPDIR); they win.
    pub env: Vec<(String, String)>,
    /// The directory it runs in; burdock's own when `None`.
    pub cwd: Option<PathBuf>,
    /// From SIGTERM to SIGKILL.
    pub term_grace: Duration,
}

/// The worker's hold on a child. Dropping it stops the child.
#[derive(Debug)]
pub struct ChildHandle {
    stdin: async_channel::Sender<Payload>,
    outputs: Receiver<Output>,
}

impl ChildHandle {
    /// See [`super::Backend::send`].
    pub fn send(&self, _message: Payload, _priority: Priority) -> Result<(), SendError> {
        Err(SendError::Closed)
    }

    /// See [`super::Backend::outputs`].
    pub fn outputs(&self) -> &Receiver<Output> {
        &self.outputs
    }

    /// See [`super::Backend::stop`].
    pub fn stop(&self) {
        self.stdin.close();
    }
}

/// Starts `command` in a task of its own and returns at once. Whether it could be started is told by the outputs.
/// `label` (the session's short id) names it in the log.
pub fn start(_command: Arc<Command>, _label: String) -> ChildHandle {
    let (stdin, _) = async_channel::bounded(1);
    let (_, outputs) = async_channel::bounded(1);
    ChildHandle { stdin, outputs }
}
