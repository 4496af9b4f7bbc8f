//! The conversion: from what was typed to a [`Config`] that can be run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::address::{self, AdminListen, is_loopback};
use super::args::{Environment, Typed};
use super::error::Error;
use super::flags::Flag;
use super::settings::{Config, Launch, ServerConfig, SessionLimits};
use super::values::{count, switch, time};
use super::{access, logs, machine, redis, servers};
use crate::handler;
use crate::limits::{
    CHILD_MEMORY_BYTES, CONFIGURED_WAIT_MAX, DRAIN_TIMEOUT, HANDLER_MEMORY_BYTES,
    HANDLER_SESSIONS_DERIVED_MAX, IDLE_TIMEOUT, IDLE_TIMEOUT_NO_STREAM, KEEP_ALIVE_COMMENT,
    KEEP_ALIVE_COMMENT_MAX, KEEP_ALIVE_COMMENT_MIN, NODE_NAME_BYTES_MAX, RETIRE_WINDOW, SESSIONS_DERIVED_MAX,
    SESSIONS_DERIVED_MIN, SESSIONS_MAX, THREADS_MAX,
};
use crate::session_id::is_node_name;

/// The default of `--listen`.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The bounds of a wait that may be zero: no wait at all.
const ANY_WAIT: RangeInclusive<Duration> = Duration::ZERO..=CONFIGURED_WAIT_MAX;

const ONE_MILLISECOND: Duration = Duration::from_millis(1);

impl Config {
    /// What serves `server` on `listen`, with defaults for everything else.
    ///
    /// # Errors
    /// When others could reach the address: a server started from Rust has no tokens to tell them apart by.
    pub fn of_handler(server: handler::Server, listen: SocketAddr) -> Result<Config, Error> {
        if !is_loopback(listen) {
            return Err(Error::Usage(format!(
                "{listen}: others can reach this address, and nothing here asks who they are; listen on 127.0.0.1, or \
                 serve with the burdock program and --token-file"
            )));
        }
        let typed = Typed::on(listen);
        let (mut config, _) = Config::check(&typed, &Environment::new())?;
        config.servers = vec![Arc::new(ServerConfig::in_process(server))];
        Ok(config)
    }

    /// Checks what was typed, reads the files it names and fills in the defaults. The second part of the
    /// result is what is odd but harmless, in words for the user.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(typed: &Typed, environment: &Environment) -> Result<(Config, Vec<String>), Error> {
        let mut warnings = typed.warnings.clone();
        let log = logs::of(typed)?;
        let listen = listen(typed, &mut warnings)?;
        let insecure_public = switch(typed, Flag::InsecurePublic)?;
        let access = access::of(typed, listen, insecure_public, &mut warnings)?;
        let servers = servers::of(typed, environment, &mut warnings)?;
        let in_process = servers.iter().all(|server| matches!(server.launch, Launch::Handler(_)));
        let sessions = session_limits(typed, access.tokens.is_some(), in_process)?;
        let config = Config {
            listen,
            admin: admin(typed, insecure_public)?,
            node: node(typed)?,
            default_server: servers::default_server(typed, &servers)?,
            servers: servers.into_iter().map(Arc::new).collect(),
            sessions,
            access,
            keep_alive_comment: time(
                typed,
                Flag::KeepAliveComment,
                KEEP_ALIVE_COMMENT_MIN..=KEEP_ALIVE_COMMENT_MAX,
                KEEP_ALIVE_COMMENT,
            )?,
            drain_timeout: time(typed, Flag::DrainTimeout, ANY_WAIT, DRAIN_TIMEOUT)?,
            retire_window: time(typed, Flag::RetireWindow, ANY_WAIT, RETIRE_WINDOW)?,
            redis: redis::of(typed, switch(typed, Flag::RedisRequired)?, &mut warnings)?,
            advertise: typed.one(Flag::Advertise).map(access::advertised).transpose()?,
            threads: count(typed, Flag::Threads, THREADS_MAX)?.unwrap_or_else(machine::cores),
            log,
        };
        warn_of_no_cluster(typed, &config, &mut warnings);
        Ok((config, warnings))
    }
}

/// Warns of settings that mean nothing without Redis, and of a node that shares Redis under the default name.
fn warn_of_no_cluster(typed: &Typed, config: &Config, warnings: &mut Vec<String>) {
    if config.redis.is_some() {
        if typed.one(Flag::Node).is_none() {
            let node = &config.node;
            warnings.push(format!(
                "this node shares Redis and has no --node: it is called {node}, and two nodes of one name are in each \
                 other's way"
            ));
        }
        return;
    }
    if let Some(given) = typed.one(Flag::Advertise) {
        warnings.push(format!("{} means nothing without --redis or --redis-file", given.by));
    }
    if let Some(given) = typed.one(Flag::RetireWindow) {
        warnings.push(format!(
            "{} means nothing without --redis or --redis-file, unless a load balancer asks for /health/ready",
            given.by
        ));
    }
    let restored: Vec<&str> =
        config.servers.iter().filter(|server| server.restore).map(|server| server.name.as_str()).collect();
    if !restored.is_empty() {
        warnings.push(format!(
            "\"restore\" means nothing without --redis or --redis-file: {} cannot be restored",
            restored.join(", ")
        ));
    }
}

/// The address to listen on. A socket that a service manager passed is bound already, so its address outranks
/// `--listen`.
fn listen(typed: &Typed, warnings: &mut Vec<String>) -> Result<SocketAddr, Error> {
    let asked = typed.one(Flag::Listen).map(|given| {
        address::socket(&given.text).map(|asked| (given, asked)).map_err(|problem| given.error(problem))
    });
    match (typed.passed, asked.transpose()?) {
        (None, None) => Ok(LISTEN),
        (None, Some((_, asked))) => Ok(asked),
        (Some(passed), asked) => {
            if let Some((given, asked)) = asked.filter(|(_, asked)| *asked != passed) {
                warnings.push(format!("{} {asked} is not used: a socket on {passed} was passed", given.by));
            }
            Ok(passed)
        }
    }
}

fn admin(typed: &Typed, insecure_public: bool) -> Result<Option<AdminListen>, Error> {
    let Some(given) = typed.one(Flag::Admin) else { return Ok(None) };
    let admin: AdminListen =
        given.text.parse().map_err(|allowed| given.error(format_args!("must be {allowed}")))?;
    match &admin {
        AdminListen::Tcp(address) if !is_loopback(*address) && !insecure_public => {
            Err(given.error(format_args!(
                "{address} can be reached by others, and whoever reaches it sees the metrics; \
             use 127.0.0.1:{} or unix:/PATH, or allow it with --insecure-public",
                address.port()
            )))
        }
        AdminListen::Tcp(_) | AdminListen::Unix(_) => Ok(Some(admin)),
    }
}

fn node(typed: &Typed) -> Result<String, Error> {
    match typed.one(Flag::Node) {
        None => Ok("local".to_owned()),
        Some(given) if is_node_name(&given.text) => Ok(given.text.clone()),
        Some(given) => Err(given.error(format_args!(
            "must be lower case letters and digits, a letter first, at most {NODE_NAME_BYTES_MAX}"
        ))),
    }
}

fn session_limits(typed: &Typed, principals: bool, in_process: bool) -> Result<SessionLimits, Error> {
    let max = count(typed, Flag::MaxSessions, SESSIONS_MAX)?
        .unwrap_or_else(|| derived_sessions(machine::memory_bytes(Path::new("/")), in_process));
    let idle_timeout = time(typed, Flag::IdleTimeout, ONE_MILLISECOND..=CONFIGURED_WAIT_MAX, IDLE_TIMEOUT)?;
    Ok(SessionLimits {
        max,
        // One of several users must not be able to take all places.
        max_per_principal: if principals { (max / 2).max(1) } else { max },
        idle_timeout,
        idle_timeout_no_stream: idle_timeout.min(IDLE_TIMEOUT_NO_STREAM),
    })
}

fn derived_sessions(memory_bytes: u64, in_process: bool) -> usize {
    let (each, most) = match in_process {
        true => (HANDLER_MEMORY_BYTES, HANDLER_SESSIONS_DERIVED_MAX),
        false => (CHILD_MEMORY_BYTES, SESSIONS_DERIVED_MAX),
    };
    let fitting = usize::try_from(memory_bytes / each).unwrap_or(most);
    fitting.clamp(SESSIONS_DERIVED_MIN, most)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use super::super::server_name;
    use super::super::settings::{LogFormat, LogSettings};
    use super::*;

    fn check(arguments: &[&str]) -> Result<(Config, Vec<String>), String> {
        let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        if !arguments.iter().any(|argument| argument == "--" || argument == "--config") {
            arguments.extend(["--".into(), "/bin/sh".into()]);
        }
        let environment = Environment::from([("PATH".to_owned(), "/bin:/usr/bin".to_owned())]);
        Typed::parse(&arguments, &environment)
            .and_then(|typed| Config::check(&typed, &environment))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults() {
        let (config, warnings) = check(&[]).unwrap();
        assert_eq!(config.listen, LISTEN);
        assert_eq!(config.admin, None);
        assert_eq!(config.node, "local");
        assert_eq!(config.servers[0].name, "sh");
        assert_eq!(config.default_server, Some(0));
        assert!(
            config.access.names.loopback
                && config.access.tokens.is_none()
                && config.access.names.allowed.is_empty()
        );
        assert_eq!(config.sessions.max_per_principal, config.sessions.max);
        assert_eq!(config.sessions.idle_timeout_no_stream, IDLE_TIMEOUT_NO_STREAM);
        assert!((1..=THREADS_MAX).contains(&config.threads));
        assert_eq!(config.log, LogSettings { filter: "info".to_owned(), format: LogFormat::Text });
        assert!(warnings.is_empty());
    }

    #[test]
    fn what_is_typed_is_taken() {
        let (config, warnings) = check(&[
            "--listen=0.0.0.0:0",
            "--insecure-public",
            "--admin=unix:/run/b.sock",
            "--node=n1",
            "--public-url=https://MCP.example.com:8443/x/",
            "--allow-host=Other.example,[::1]",
            "--allow-origin=https://App.example.com,vscode-webview://abc",
            "--trusted-proxy=10.0.0.0/8",
            "--max-sessions=7",
            "--idle-timeout=2m",
            "--keep-alive-comment=500ms",
            "--drain-timeout=0",
            "--threads=2",
            "--log=warn,burdock::http=debug",
            "--log-format=json",
        ])
        .unwrap();
        assert!(!config.access.names.loopback);
        assert_eq!(config.admin, Some(AdminListen::Unix(PathBuf::from("/run/b.sock"))));
        assert_eq!(config.access.public_url.as_deref(), Some("https://MCP.example.com:8443/x"));
        assert_eq!(config.access.names.allowed, ["other.example", "[::1]", "mcp.example.com"]);
        assert_eq!(config.access.allow_origins, ["https://app.example.com", "vscode-webview://abc"]);
        assert_eq!(config.access.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(
            config.sessions,
            SessionLimits {
                max: 7,
                max_per_principal: 7,
                idle_timeout: Duration::from_secs(120),
                idle_timeout_no_stream: Duration::from_secs(120),
            }
        );
        assert_eq!(config.keep_alive_comment, Duration::from_millis(500));
        assert_eq!((config.drain_timeout, config.threads), (Duration::ZERO, 2));
        assert_eq!(config.log.format, LogFormat::Json);
        assert!(warnings.is_empty());
    }

    #[test]
    fn a_public_address_needs_a_decision() {
        for listen in ["0.0.0.0:80", "[::]:80", "10.0.0.5:80"] {
            let error = check(&["--listen", listen]).unwrap_err();
            assert!(error.starts_with(&format!("--listen: {listen}: others can reach")), "{error}");
            assert!(error.contains("--token-file") && error.contains("--insecure-public"), "{error}");
            assert!(check(&["--listen", listen, "--insecure-public"]).is_ok());
        }
        for listen in ["127.0.0.1:80", "127.8.8.8:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(check(&["--listen", listen]).unwrap().0.access.names.loopback, "{listen}");
        }
        let (config, _) = check(&["--listen", "10.0.0.5:80", "--insecure-public"]).unwrap();
        assert_eq!(config.access.names.allowed, ["10.0.0.5"]);
        let (_, warnings) = check(&["--listen", "0.0.0.0:80", "--insecure-public"]).unwrap();
        let expected = "by its address are served, those that come by a name are refused";
        assert!(warnings[0].contains(expected) && warnings[0].contains("--allow-host"), "{warnings:?}");
    }

    #[test]
    fn a_local_proxy_for_others_needs_a_decision() {
        const URL: &str = "--public-url=https://mcp.example.com";
        let error = check(&[URL]).unwrap_err();
        assert!(error.starts_with("--public-url: https://mcp.example.com brings in others"), "{error}");
        for way_out in ["--token-file", "--trusted-proxy", "--insecure-public"] {
            assert!(error.contains(way_out), "{way_out}: {error}");
        }
        assert_eq!(check(&[URL, "--trusted-proxy=127.0.0.1"]).unwrap().1, Vec::<String>::new());
        assert_eq!(check(&[URL, "--insecure-public"]).unwrap().1, Vec::<String>::new());
        assert!(check(&[URL, "--allow-host=localhost"]).is_err());
        for own in ["http://localhost:8080", "http://127.0.0.1:9", "http://[::1]", "http://mcp.LOCALHOST"] {
            assert_eq!(check(&[&format!("--public-url={own}")]).unwrap().1, Vec::<String>::new(), "{own}");
        }
        let (_, warnings) = check(&["--allow-host=mcp.example.com"]).unwrap();
        assert!(warnings[0].starts_with("--allow-host names more than this machine"), "{warnings:?}");
        assert_eq!(check(&["--allow-host=localhost,[::1]"]).unwrap().1, Vec::<String>::new());
    }

    #[test]
    fn the_admin_listener_stays_at_home() {
        let error = check(&["--admin", "0.0.0.0:4000"]).unwrap_err();
        assert!(error.contains("use 127.0.0.1:4000 or unix:/PATH"), "{error}");
        assert!(check(&["--admin", "0.0.0.0:4000", "--insecure-public"]).is_ok());
        assert!(check(&["--admin", "127.0.0.1:4000"]).is_ok());
    }

    #[test]
    fn wrong_values_are_named_with_what_is_allowed() {
        for (flag, values, allowed) in [
            ("--listen", &["8080", "host.example:8080", "1.2.3.4", ""][..], "like 127.0.0.1:8080"),
            ("--admin", &["4000", "unix:"], "unix:/run"),
            ("--node", &["", "N1", "1n", "n-1", "abcdefghijklmnopq", "\u{e4}"], "lower case letters"),
            ("--default", &["x"], "there is: sh"),
            (
                "--public-url",
                &["example.com", "ftp://x", "https://", "https://a/?b", "https://u@h", "https://h:x"],
                "like https://",
            ),
            ("--public-url", &["https://a/mcp", "https://a/mcp/"], "goes without the /mcp"),
            ("--allow-host", &["a:80", "https://a", "", "a,", "*", "::1"], "without a port"),
            (
                "--allow-origin",
                &["app.example.com", "https://a/x", "*", "null", "https://a/"],
                "a scheme and a name",
            ),
            ("--trusted-proxy", &["proxy", "10.0.0.0/40"], "a network"),
            ("--max-sessions", &["0", "-1", "100001", "x", "1e3"], "from 1 to 100000"),
            ("--threads", &["0", "65"], "from 1 to 64"),
            ("--idle-timeout", &["0", "31d", "721h", ""], "from 1ms to 720h"),
            ("--keep-alive-comment", &["10ms", "300"], "from 100ms to 4m"),
            ("--drain-timeout", &["x"], "from 0s to 720h"),
            ("--retire-window", &["x", "-1"], "from 0s to 720h"),
            ("--advertise", &["n1", "http://", "http://n1/mcp", "redis://n1"], "without a path"),
            ("--log", &["inof", "", "burdock", "=info", "info,x=y"], "debug, trace or off"),
            ("--log-format", &["xml"], "text or json"),
            ("--token-file", &["/nonexistent"], "does not exist"),
        ] {
            for value in values {
                let error = check(&[&format!("{flag}={value}")]).unwrap_err();
                assert!(error.contains(allowed), "{flag}={value}: {error}");
            }
        }
    }

    #[test]
    fn there_is_one_source_of_servers() {
        let check_bare = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            let environment = Environment::new();
            Config::check(&Typed::parse(&arguments, &environment).unwrap(), &environment)
                .unwrap_err()
                .to_string()
        };
        assert!(check_bare(&["--config", "x", "--", "sh"]).contains("leave out one of the two"));
        assert!(check_bare(&["--config", "/nonexistent"]).contains("/nonexistent does not exist"));
        assert!(check_bare(&["--config", "/"]).contains("is a directory"));
        assert_eq!(
            check_bare(&["--", "nosuch-program"]),
            "-- nosuch-program: there is no program nosuch-program in PATH (/bin:/usr/bin)"
        );
    }

    #[test]
    fn without_a_server_there_is_the_demo() {
        let (config, _) = Config::check(&Typed::default(), &Environment::new()).unwrap();
        assert_eq!((config.servers.len(), config.servers[0].name.as_str()), (1, "demo"));
        let server = || handler::Server::new("no name for a path", "1");
        let config = Config::of_handler(server(), ([127, 0, 0, 1], 0).into()).unwrap();
        assert_eq!((config.default_server, config.servers[0].name.as_str()), (Some(0), server_name::UNNAMED));
        let error = Config::of_handler(server(), ([0, 0, 0, 0], 80).into()).unwrap_err();
        assert!(error.to_string().contains("others can reach this address"), "{error}");
    }

    #[test]
    fn a_switch_in_the_environment() {
        for (value, expected) in [("1", Some(true)), ("true", Some(true)), ("0", Some(false)), ("yes", None)]
        {
            let environment = Environment::from([("BURDOCK_INSECURE_PUBLIC".to_owned(), value.to_owned())]);
            let typed = Typed::parse(&[], &environment).unwrap();
            assert_eq!(switch(&typed, Flag::InsecurePublic).ok(), expected, "{value}");
        }
    }

    #[test]
    fn what_means_nothing_without_redis_is_told() {
        let told = |arguments: &[&str], part: &str| {
            let (_, warnings) = check(arguments).unwrap();
            assert!(warnings.iter().any(|warning| warning.contains(part)), "{arguments:?}: {warnings:?}");
        };
        told(&["--advertise", "http://h:1"], "--advertise means nothing without --redis");
        told(&["--retire-window", "1s"], "--retire-window means nothing without --redis");
        told(&["--redis", "redis://h/"], "it is called local");
        let (_, warnings) =
            check(&["--redis", "redis://h/", "--node", "n1", "--retire-window", "1s"]).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn the_session_cap_follows_memory() {
        assert_eq!(derived_sessions(0, false), SESSIONS_DERIVED_MIN);
        assert_eq!(derived_sessions(100 * CHILD_MEMORY_BYTES, false), 100);
        assert_eq!(derived_sessions(u64::MAX, false), SESSIONS_DERIVED_MAX);
        assert_eq!(derived_sessions(u64::MAX, true), HANDLER_SESSIONS_DERIVED_MAX);
    }
}
