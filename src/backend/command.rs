//! What to run as a child.

use std::path::PathBuf;
use std::time::Duration;

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
