//! `burdock serve`: checks what was typed, starts the node and says where it is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};

use log::{info, warn};
use serde::Serialize;

use super::{Failure, VERSION, print};
use crate::config::flags::Takes;
use crate::config::{Config, Environment, Flag, Launch, LogFormat, ServerConfig, Typed};
use crate::logging;
use crate::{server, systemd};

/// The placeholder for a token in a snippet.
const TOKEN: &str = "Bearer YOUR_TOKEN";

/// The placeholder in URLs for the machine's name, when no flag says it.
const UNKNOWN_HOST: &str = "THIS_HOST";

/// Where the help's second column begins.
const HELP_COLUMN: usize = 30;

/// Serves, as `arguments` and `environment` say, until a signal ends it.
///
/// # Errors
/// A usage failure for what was typed or configured; otherwise what the system refused.
pub fn run(arguments: &[OsString], environment: &Environment) -> Result<(), Failure> {
    let usage = |error: crate::config::Error| Failure::Usage(error.to_string());
    let mut typed = Typed::parse(arguments, environment).map_err(usage)?;
    if typed.help {
        return print(&help());
    }
    let passed = passed()?;
    typed.passed = passed.as_ref().map(|(_, address)| *address);
    let (config, warnings) = Config::check(&typed, environment).map_err(usage)?;
    logging::init(&config.log, environment.get("JOURNAL_STREAM").map(String::as_str))
        .map_err(|error| Failure::Failed(error.to_string()))?;
    for warning in warnings {
        warn!("{warning}");
    }
    server::run_on(config, passed.map(|(socket, _)| socket), announce)
        .map_err(|error| Failure::Failed(error.to_string()))
}

/// The socket that a service manager has passed, and its address. There are no threads yet.
fn passed() -> Result<Option<(TcpListener, SocketAddr)>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let Some(socket) = systemd::passed_listener().map_err(|error| failed(&error))? else { return Ok(None) };
    let address = socket.local_addr().map_err(|error| failed(&error))?;
    Ok(Some((socket, address)))
}

/// Says where burdock listens: to a person on stdout, to a machine in the log.
fn announce(config: &Config, bound: SocketAddr) {
    info!("{VERSION}, node {}: listening on {bound}", config.node);
    if everyone_may_call(config) {
        warn!("--insecure-public: everyone who can reach {bound} may use the servers");
    }
    match config.log.format {
        // A closed stdout is no reason not to serve.
        LogFormat::Text => drop(print(&banner(config, bound))),
        LogFormat::Json => {}
    }
}

fn everyone_may_call(config: &Config) -> bool {
    !config.access.names.loopback && config.access.tokens.is_none()
}

/// What a person reads at start: the URLs, and what to give to a client.
pub fn banner(config: &Config, bound: SocketAddr) -> String {
    let base = base_url(config, bound);
    let mut text = format!("{VERSION}, node {}\n\n", config.node);
    // Writing to a String cannot fail.
    for (server, url) in addressed(config, &base) {
        let _ = writeln!(text, "  {:<16} {url}", server.name);
    }
    if let Some(admin) = &config.admin {
        let _ = writeln!(text, "  {:<16} {admin}", "(admin)");
    }
    if config.servers.iter().all(|server| matches!(server.launch, Launch::Handler(_))) {
        text.push_str("\nThis is the demo. For a server of yours: burdock serve -- COMMAND [ARGS...]\n");
    }
    let _ = write!(text, "\n{}\n", who_may_call(config));
    if base.contains(UNKNOWN_HOST) {
        let _ = writeln!(text, "{UNKNOWN_HOST} is the name clients know: say it with --public-url.");
    }
    let _ = write!(text, "\nFor hosts that read an mcpServers file:\n\n{}\n", hosts_snippet(config, &base));
    let _ = write!(text, "\nFor Claude Code:\n\n{}\n", claude_snippet(config, &base));
    text
}

fn who_may_call(config: &Config) -> &'static str {
    if config.access.tokens.is_some() {
        "Clients need a token (burdock token NAME makes one)."
    } else if everyone_may_call(config) {
        "WARNING: --insecure-public: everyone who can reach this address may use the servers, as one user."
    } else if config.access.is_behind_local_proxy() {
        "Without --token-file, everyone on this machine may use the servers, and whoever a proxy on it lets through."
    } else {
        "Without --token-file, everyone on this machine is one user."
    }
}

/// The URL without `/mcp`.
fn base_url(config: &Config, bound: SocketAddr) -> String {
    match &config.access.public_url {
        Some(url) => url.clone(),
        None if bound.ip().is_unspecified() => {
            let host = config.access.names.allowed.first().map_or(UNKNOWN_HOST, String::as_str);
            format!("http://{host}:{}", bound.port())
        }
        None => format!("http://{bound}"),
    }
}

fn url(config: &Config, base: &str, index: usize) -> String {
    match config.servers.get(index) {
        Some(server) if config.default_server != Some(index) => format!("{base}/mcp/{}", server.name),
        Some(_) | None => format!("{base}/mcp"),
    }
}

/// The servers with their URLs.
fn addressed<'a>(config: &'a Config, base: &'a str) -> impl Iterator<Item = (&'a ServerConfig, String)> {
    config.servers.iter().enumerate().map(move |(index, server)| (&**server, url(config, base, index)))
}

/// An entry of an `mcpServers` file, its keys in the order that people write.
#[derive(Serialize)]
struct SnippetEntry {
    r#type: &'static str,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Headers>,
}

#[derive(Serialize)]
struct Headers {
    #[serde(rename = "Authorization")]
    authorization: &'static str,
}

/// `{"mcpServers": ...}`, indented.
fn hosts_snippet(config: &Config, base: &str) -> String {
    let headers = || config.access.tokens.as_ref().map(|_| Headers { authorization: TOKEN });
    let servers: BTreeMap<&str, SnippetEntry> = addressed(config, base)
        .map(|(server, url)| (server.name.as_str(), SnippetEntry { r#type: "http", url, headers: headers() }))
        .collect();
    // Strings in maps always have a JSON form.
    let snippet =
        serde_json::to_string_pretty(&BTreeMap::from([("mcpServers", servers)])).unwrap_or_default();
    snippet.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// One command for each server.
fn claude_snippet(config: &Config, base: &str) -> String {
    let header = match &config.access.tokens {
        None => String::new(),
        Some(_) => format!(" --header \"Authorization: {TOKEN}\""),
    };
    let line = |(server, url): (&ServerConfig, String)| {
        format!("  claude mcp add --transport http {} {url}{header}", server.name)
    };
    addressed(config, base).map(line).collect::<Vec<_>>().join("\n")
}

/// The help of the command.
pub fn help() -> String {
    let mut text = "\
Serves MCP servers over HTTP: each session of a client gets a process of its own.

Usage: burdock serve [OPTIONS]                          a demo, made of handlers
       burdock serve [OPTIONS] -- COMMAND [ARGS...]
       burdock serve [OPTIONS] --config mcp.json

A server is at /mcp/NAME; the only one, or the --default, is at /mcp as well.
In brackets: what holds when an option is not given.
"
    .to_owned();
    for (heading, flags) in Flag::SECTIONS {
        text.push_str(&format!("\n{heading}\n"));
        text.extend(flags.iter().map(|flag| help_line(*flag)));
    }
    text.push_str(&format!("{:<HELP_COLUMN$}this text\n", "  -h, --help"));
    text.push_str(HELP_END);
    text
}

/// The help below the options.
const HELP_END: &str = "
Each option can be given as a variable too: BURDOCK_LISTEN for --listen, lists with commas
between, BURDOCK_INSECURE_PUBLIC=1. An option outranks its variable. TIME is in seconds, or
has a unit: 500ms, 90s, 15m, 2h.

In an mcp.json, a server may have settings for burdock:
  {\"mcpServers\": {\"git\": {\"command\": \"uvx\", \"args\": [\"mcp-server-git\"],
    \"burdock\": {\"maxSessions\": 20, \"idleTimeout\": \"10m\", \"startTimeout\": 60, \"stopTimeout\": 5,
      \"restore\": true}}}}
restore: in a cluster, sessions outlive a restart of their node, if the server keeps nothing
between two calls.

Examples:
  burdock serve
  burdock serve -- npx -y @modelcontextprotocol/server-everything
  burdock serve --config mcp.json --listen 10.0.0.5:8080 --token-file tokens
";

/// An option and what it does; what does not fit begins a new line.
fn help_line(flag: Flag) -> String {
    let about = flag.describe();
    let repeated = if about.takes == Takes::Many { "..." } else { "" };
    let option = format!("  --{} {}{repeated}", about.name, about.value);
    let help = about.help.replace('\n', &format!("\n{:HELP_COLUMN$}", ""));
    if option.trim_end().len() < HELP_COLUMN {
        format!("{option:<HELP_COLUMN$}{help}\n")
    } else {
        format!("{option}\n{:HELP_COLUMN$}{help}\n", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Config {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let environment = Environment::new();
        Config::check(&Typed::parse(&arguments, &environment).unwrap(), &environment).unwrap().0
    }

    #[test]
    fn the_banner_has_urls_and_snippets() {
        let text = banner(&config(&["--", "/bin/sh"]), ([127, 0, 0, 1], 4711).into());
        assert!(text.contains("\n  sh               http://127.0.0.1:4711/mcp\n"), "{text}");
        assert!(text.contains("\"url\": \"http://127.0.0.1:4711/mcp\""), "{text}");
        assert!(text.contains("  claude mcp add --transport http sh http://127.0.0.1:4711/mcp\n"), "{text}");
        assert!(!text.contains("WARNING") && !text.contains("Authorization"), "{text}");
    }

    #[test]
    fn the_banner_of_the_demo_says_how_to_go_on() {
        let text = banner(&config(&[]), ([127, 0, 0, 1], 4711).into());
        assert!(text.contains("\n  demo             http://127.0.0.1:4711/mcp\n"), "{text}");
        assert!(text.contains("burdock serve -- COMMAND"), "{text}");
    }

    #[test]
    fn the_banner_warns_of_what_is_open() {
        let bound = ([0, 0, 0, 0], 80).into();
        let text = banner(&config(&["--listen=0.0.0.0:80", "--insecure-public", "--", "/bin/sh"]), bound);
        assert!(text.contains("WARNING: --insecure-public"), "{text}");
        assert!(text.contains("http://THIS_HOST:80/mcp") && text.contains("--public-url"), "{text}");
        let url = "--public-url=https://m.example/x";
        let text =
            banner(&config(&["--listen=0.0.0.0:80", "--insecure-public", url, "--", "/bin/sh"]), bound);
        assert!(text.contains("https://m.example/x/mcp") && !text.contains(UNKNOWN_HOST), "{text}");
    }

    #[test]
    fn the_banner_tells_of_a_proxy() {
        let bound = ([127, 0, 0, 1], 80).into();
        let url = "--public-url=https://m.example";
        let text = banner(&config(&[url, "--trusted-proxy=127.0.0.1", "--", "/bin/sh"]), bound);
        assert!(text.contains("whoever a proxy on it lets through"), "{text}");
    }

    #[test]
    fn several_servers_and_tokens() {
        let mut config = config(&["--", "/bin/sh"]);
        let mut second = (*config.servers[0]).clone();
        second.name = "two".to_owned();
        config.servers.push(second.into());
        let text = hosts_snippet(&config, "http://h");
        assert!(text.contains("\"http://h/mcp\"") && text.contains("\"http://h/mcp/two\""), "{text}");
        config.default_server = None;
        assert!(hosts_snippet(&config, "http://h").contains("\"http://h/mcp/sh\""));
    }

    #[test]
    fn the_help_fits_a_terminal_and_names_every_flag() {
        let text = help();
        for line in text.lines() {
            assert!(line.len() <= 110, "{line}");
        }
        for flag in Flag::ALL {
            assert!(text.contains(&format!("  --{}", flag.describe().name)), "{flag:?}");
        }
    }
}
