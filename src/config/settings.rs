//! The checked configuration: plain data, which the other rooms read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::address::{AdminListen, IpNet, is_loopback};
use super::redis::RedisTarget;
use crate::authority;
use crate::backend::command::Command;
use crate::handler;
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
    pub servers: Vec<Arc<ServerConfig>>,
    /// The index in `servers` of the one that is at `/mcp` as well: the only one, or `--default`.
    pub default_server: Option<usize>,
    /// Who may call.
    pub access: Access,
    /// How many sessions there may be, and for how long they may idle.
    pub sessions: SessionLimits,
    /// The pause between two comments on a silent stream (`--keep-alive-comment`).
    pub keep_alive_comment: Duration,
    /// How long calls in flight may take after SIGTERM, in a cluster also how long sessions may take to end
    /// by themselves (`--drain-timeout`). Zero means no wait.
    pub drain_timeout: Duration,
    /// Over how long a cluster's node spreads the end of its sessions after that (`--retire-window`).
    pub retire_window: Duration,
    /// The registry that the nodes of a cluster share (`--redis`, `--redis-file`); this process only when
    /// `None`.
    pub redis: Option<RedisTarget>,
    /// How other nodes reach this one (`--advertise`): told to operators by `burdock sessions`.
    pub advertise: Option<String>,
    /// Threads of the executor (`--threads`): at least one.
    pub threads: usize,
    /// What is logged and how.
    pub log: LogSettings,
}

impl Config {
    /// The names of the admin listener: its own bind decides whether loopback names or all addresses are
    /// among them. `None` on a unix socket: the permissions of its file say who may ask, and `Host` says
    /// nothing.
    pub fn admin_names(&self) -> Option<Names> {
        match self.admin {
            Some(AdminListen::Tcp(address)) => {
                Some(Names { loopback: is_loopback(address), allowed: self.access.names.allowed.clone() })
            }
            Some(AdminListen::Unix(_)) | None => None,
        }
    }
}

/// One MCP server of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Its name in the path: `[A-Za-z0-9._-]{1,64}`, not `.` or `..`.
    pub name: String,
    /// What answers each of its sessions.
    pub launch: Launch,
    /// From spawn to the answer of `initialize` (`startTimeout`).
    pub start_deadline: Duration,
    /// Sessions of this server at once (`maxSessions`). `None`: only the cap on all sessions counts.
    pub max_sessions: Option<usize>,
    /// Its own idle timeout (`idleTimeout`). `None`: [`SessionLimits::idle_timeout`] counts.
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
    /// Whether it listens on a loopback address, which answers to loopback names and addresses. Any other
    /// answers to every address.
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
    /// Whether others may come in although `listen` is a loopback address: a name is allowed that is not the
    /// machine's own, so a proxy on this machine may pass on their requests.
    pub fn is_behind_local_proxy(&self) -> bool {
        self.names.loopback && !self.names.allowed.iter().all(|name| authority::is_own_host(name))
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
