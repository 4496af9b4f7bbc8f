//! What was asked for, checked: the one [`Config`] that everything else is built from.
//!
//! There are two types and one conversion between them: [`Typed`] is what flags and environment said, as text;
//! [`Config`] has defaults filled in, files read and every relation checked ([`Config::check`]).

pub mod address;
pub mod args;
mod check;
pub mod duration;
pub mod expand;
pub mod file;
pub mod json;
pub mod nearest;
mod program;
pub mod redis;
mod server_name;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::address::{AdminListen, IpNet};
pub use self::args::{Environment, Flag, Typed};
pub use self::redis::Redis;
use crate::backend::command::Command;
use crate::handler;
use crate::limits::SERVER_NAME_BYTES_MAX;
use crate::principal::Tokens;

/// A run of `burdock serve`, as checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect (`--listen`). Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The second listener, for metrics (`--admin`); none when `None`.
    pub admin: Option<AdminListen>,
    /// This process's name in session ids (`--node`): `[a-z][a-z0-9]{0,15}`.
    pub node: String,
    /// What can be reached, each at `/mcp/<name>`. At least one; names are unique.
    pub servers: Vec<Arc<Server>>,
    /// The index in `servers` of the one that is at `/mcp` as well: the only one, or `--default`.
    pub default_server: Option<usize>,
    /// Who may call.
    pub access: Access,
    /// How many sessions there may be, and for how long they may idle.
    pub sessions: SessionLimits,
    /// The pause between two comments on a silent stream (`--keep-alive-comment`).
    pub keep_alive_comment: Duration,
    /// How long calls in flight may take after SIGTERM (`--drain-timeout`). Zero means not at all. In a cluster, how
    /// long sessions may take to end by themselves.
    pub drain_timeout: Duration,
    /// Over how long a cluster's node spreads the end of its sessions after that (`--retire-window`).
    pub retire_window: Duration,
    /// The registry that the nodes of a cluster share (`--redis`, `--redis-file`); this process only when `None`.
    pub redis: Option<Redis>,
    /// How other nodes reach this one (`--advertise`): told to operators by `burdock sessions`.
    pub advertise: Option<String>,
    /// Threads of the executor (`--threads`): at least one.
    pub threads: usize,
    /// What is logged and how.
    pub log: LogSettings,
}

impl Config {
    /// The names of the admin listener: its own bind decides whether loopback names or all addresses are among them.
    /// `None` on a unix socket: there who may open its file may ask, and `Host` says nothing.
    pub fn admin_names(&self) -> Option<Names> {
        match self.admin {
            Some(AdminListen::Tcp(address)) => Some(Names {
                loopback: address.ip().to_canonical().is_loopback(),
                allowed: self.access.names.allowed.clone(),
            }),
            Some(AdminListen::Unix(_)) | None => None,
        }
    }
}

/// One MCP server of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name in the path: `[A-Za-z0-9._-]{1,64}`, not `.` or `..`.
    pub name: String,
    /// What answers each of its sessions.
    pub launch: Launch,
    /// From spawn to the answer of `initialize` (`startTimeout`).
    pub start_deadline: Duration,
    /// Sessions of this server at once (`maxSessions`); only the cap in all when `None`.
    pub max_sessions: Option<usize>,
    /// Its own idle timeout (`idleTimeout`); [`SessionLimits::idle_timeout`] when `None`.
    pub idle_timeout: Option<Duration>,
    /// Whether a session that was lost with its process is begun again under its id (`restore`).
    pub restore: bool,
}

/// What answers the sessions of a server.
#[derive(Clone, Debug)]
pub enum Launch {
    /// A process for each of them.
    Child(Arc<Command>),
    /// A server in this process, shared by all of them.
    Handler(Arc<handler::Server>),
}

impl PartialEq for Launch {
    /// Equal commands, or the same handler.
    fn eq(&self, other: &Launch) -> bool {
        match (self, other) {
            (Launch::Child(one), Launch::Child(other)) => one == other,
            (Launch::Handler(one), Launch::Handler(other)) => Arc::ptr_eq(one, other),
            (Launch::Child(_), Launch::Handler(_)) | (Launch::Handler(_), Launch::Child(_)) => false,
        }
    }
}

impl Eq for Launch {}

/// Under which names one listener may be called: what `Host` is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Whether it listens on a loopback address, which answers to loopback names and addresses. Any other answers to
    /// every address.
    pub loopback: bool,
    /// Names allowed besides, on any port, in lower case and without a port (`--allow-host`, and the name in
    /// `--public-url`).
    pub allowed: Vec<String>,
}

/// Who may call, and under which names.
#[derive(Clone, Debug)]
pub struct Access {
    /// The names of the main listener.
    pub names: Names,
    /// Origins allowed in `Origin`, in lower case: `scheme://name[:port]` (`--allow-origin`).
    pub allow_origins: Vec<String>,
    /// Proxies whose forwarded headers count (`--trusted-proxy`).
    pub trusted_proxies: Vec<IpNet>,
    /// Who may call with which token (`--token-file`); everyone is one user when `None`.
    pub tokens: Option<Tokens>,
    /// The URL under which clients reach burdock (`--public-url`), without a slash at the end.
    pub public_url: Option<String>,
}

impl Access {
    /// Whether others come in although `listen` is a loopback address: through a proxy on this machine, by a name
    /// that is not this machine's own.
    pub fn is_behind_local_proxy(&self) -> bool {
        self.names.loopback && !self.names.allowed.iter().all(|name| is_own_name(name))
    }
}

/// Whether a name, as it stands in a URL, always means the machine itself: a loopback address or `localhost`.
fn is_own_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// Bounds of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions at once (`--max-sessions`, else derived from the machine's memory). At least one.
    pub max: usize,
    /// Sessions of one principal at once; equal to `max` when there are no principals. At least one.
    pub max_per_principal: usize,
    /// A session without stream, call and input for this long is closed (`--idle-timeout`).
    pub idle_timeout: Duration,
    /// The same for a session that never opened a stream; never longer than `idle_timeout`.
    pub idle_timeout_no_stream: Duration,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The filter, in env_logger's syntax (`--log`): `info`, `burdock=debug,warn`.
    pub filter: String,
    /// The form of a line (`--log-format`).
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, target, message.
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// What is wrong with what was asked for, and where. Nothing of it is a fault of the machine: exit status 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The command line as a whole.
    Usage(String),
    /// The value of a flag or a variable.
    Typed {
        /// The flag with its dashes, or the variable.
        by: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A file as a whole.
    File {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A place in a file.
    Place {
        /// The file, as it was typed.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The path of keys; empty when it is about the file's form.
        key: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(problem) => f.write_str(problem),
            Error::Typed { by, problem } => write!(f, "{by}: {problem}"),
            Error::File { path, problem } => write!(f, "{} {problem}", path.display()),
            Error::Place { file, line, key, problem } if key.is_empty() => {
                write!(f, "{file}:{line}: {problem}")
            }
            Error::Place { file, line, key, problem } => write!(f, "{file}:{line}: {key}: {problem}"),
        }
    }
}

impl std::error::Error for Error {}

/// What a server's name may be, for messages.
const SERVER_NAME_ALLOWED: &str = "cannot be a part of a URL's path; allowed: letters, digits, '.', '_', '-', 1 to 64 of them, but not . or ..";

/// Whether a server may have this name: `[A-Za-z0-9._-]{1,64}`, not `.` or `..`.
pub fn is_server_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=SERVER_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(letters)
        && name != "."
        && name != ".."
}
