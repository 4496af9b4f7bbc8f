//! The `mcp.json`: the file MCP hosts read, with burdock's own settings under `"burdock"` of a server.
//!
//! The file is shared with other tools: burdock ignores their keys, with one warning for each, but a mistake
//! in its own keys is an error with its place. A relative `cwd` starts at burdock's working directory, a
//! relative path in `command` at the server's `cwd` if it has one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::args::Environment;
use super::error::Error;
use super::expand::expand;
use super::json::{Document, JsonType, JsonValue};
use super::nearest::hint;
use super::server_name::{self, is_server_name};
use super::settings::{Launch, ServerConfig};
use super::{duration, program};
use crate::backend::command::Command;
use crate::limits::{
    CHILD_START_DEADLINE, CHILD_TERM_GRACE, CHILD_TERM_GRACE_MAX, CONFIGURED_WAIT_MAX,
    FOREIGN_TEXT_BYTES_MAX, SESSIONS_MAX,
};

/// burdock's settings of a server.
const OWN_KEYS: [&str; 5] = ["idleTimeout", "maxSessions", "restore", "startTimeout", "stopTimeout"];

/// Reads the servers of a file and checks that each can be run.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn servers(
    document: &Document,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Vec<ServerConfig>, Error> {
    let root = document.root()?;
    let mut reader = Reader { environment, warnings, told: BTreeSet::new() };
    let list = reader.list(&root)?;
    let mut servers = Vec::new();
    for (name, entry) in list.entries()? {
        servers.extend(reader.server(name, &entry)?);
    }
    if servers.is_empty() {
        return Err(
            list.error("there is no server to run here; one looks like \"name\": {\"command\": \"...\"}")
        );
    }
    Ok(servers)
}

/// The reading of one file.
struct Reader<'a> {
    environment: &'a Environment,
    warnings: &'a mut Vec<String>,
    /// Keys of other tools that have had their warning.
    told: BTreeSet<String>,
}

/// A server's entry: the values of the keys that burdock reads, and the other keys.
#[derive(Default)]
struct ServerEntry<'a> {
    command: Option<JsonValue<'a>>,
    args: Option<JsonValue<'a>>,
    env: Option<JsonValue<'a>>,
    cwd: Option<JsonValue<'a>>,
    kind: Option<JsonValue<'a>>,
    disabled: Option<JsonValue<'a>>,
    url: Option<JsonValue<'a>>,
    own: Option<JsonValue<'a>>,
    others: Vec<(String, JsonValue<'a>)>,
}

impl<'a> ServerEntry<'a> {
    fn sort(node: &JsonValue<'a>) -> Result<ServerEntry<'a>, Error> {
        let mut entry = ServerEntry::default();
        for (key, value) in node.entries()? {
            match key.as_str() {
                "command" => entry.command = Some(value),
                "args" => entry.args = Some(value),
                "env" => entry.env = Some(value),
                "cwd" => entry.cwd = Some(value),
                "type" | "transport" => entry.kind = Some(value),
                "disabled" => entry.disabled = Some(value),
                "url" | "serverUrl" | "httpUrl" => entry.url = Some(value),
                "burdock" => entry.own = Some(value),
                _ => entry.others.push((key, value)),
            }
        }
        Ok(entry)
    }

    fn is_disabled(&self) -> Result<bool, Error> {
        self.disabled.as_ref().map_or(Ok(false), JsonValue::boolean)
    }

    /// Whether it is a server that is on the network already: there is no process for burdock to start.
    fn is_remote(&self) -> Result<bool, Error> {
        let Some(node) = &self.kind else { return Ok(self.url.is_some()) };
        match node.string()?.to_ascii_lowercase().as_str() {
            "stdio" => Ok(false),
            "http" | "sse" | "ws" | "streamable-http" | "streamablehttp" | "streamable_http" => Ok(true),
            _ => Err(node.error("burdock runs stdio servers; allowed: \"stdio\"")),
        }
    }
}

/// burdock's own settings of a server.
#[derive(Default)]
struct Own {
    max_sessions: Option<usize>,
    idle_timeout: Option<Duration>,
    start_timeout: Option<Duration>,
    stop_timeout: Option<Duration>,
    restore: bool,
}

impl Reader<'_> {
    /// The object with the servers.
    fn list<'a>(&mut self, root: &JsonValue<'a>) -> Result<JsonValue<'a>, Error> {
        let mut list: Option<JsonValue<'a>> = None;
        for (key, value) in root.entries()? {
            match key.as_str() {
                "mcpServers" | "servers" => match &list {
                    None => list = Some(value),
                    Some(first) => {
                        return Err(
                            value.error(format_args!("the servers are under {} already", first.key()))
                        );
                    }
                },
                "burdock" => {
                    return Err(value.error(
                        "burdock's settings belong to a server: mcpServers.NAME.burdock; those of the process are flags",
                    ));
                }
                // An editor's help, not a setting.
                "$schema" => {}
                _ => self.tell_ignored(&key, &value),
            }
        }
        list.ok_or_else(|| root.error("has no servers; they go under the key mcpServers"))
    }

    /// One server; `None` when it is not for burdock to run.
    fn server(&mut self, name: String, node: &JsonValue<'_>) -> Result<Option<ServerConfig>, Error> {
        let entry = ServerEntry::sort(node)?;
        if entry.is_disabled()? {
            return Ok(None);
        }
        if entry.is_remote()? {
            self.warnings
                .push(node.error("skipped: it is on the network already (it has a url)").to_string());
            return Ok(None);
        }
        if !is_server_name(&name) {
            return Err(node.error(server_name::ALLOWED));
        }
        for (key, value) in &entry.others {
            self.tell_ignored(key, value);
        }
        let own = entry.own.as_ref().map_or(Ok(Own::default()), own_settings)?;
        let command = self.command(node, &entry, own.stop_timeout.unwrap_or(CHILD_TERM_GRACE))?;
        Ok(Some(ServerConfig {
            name,
            launch: Launch::Child(Arc::new(command)),
            start_deadline: own.start_timeout.unwrap_or(CHILD_START_DEADLINE),
            max_sessions: own.max_sessions,
            idle_timeout: own.idle_timeout,
            restore: own.restore,
        }))
    }

    fn command(
        &self,
        node: &JsonValue<'_>,
        entry: &ServerEntry<'_>,
        term_grace: Duration,
    ) -> Result<Command, Error> {
        let Some(program) = &entry.command else {
            return Err(
                node.error("has no command; a server looks like {\"command\": \"...\", \"args\": [...]}")
            );
        };
        let command = Command {
            program: self.text(program)?,
            args: self.args(entry.args.as_ref())?,
            env: self.env(entry.env.as_ref())?,
            cwd: entry.cwd.as_ref().map(|cwd| self.directory(cwd)).transpose()?,
            term_grace,
        };
        if command.program.is_empty() {
            return Err(program.error("is empty; it names the program to run"));
        }
        program::check(&command, self.environment).map_err(|problem| program.error(problem))?;
        Ok(command)
    }

    fn args(&self, node: Option<&JsonValue<'_>>) -> Result<Vec<String>, Error> {
        let items = node.map_or(Ok(Vec::new()), JsonValue::items)?;
        items.iter().map(|item| self.text(item)).collect()
    }

    fn env(&self, node: Option<&JsonValue<'_>>) -> Result<Vec<(String, String)>, Error> {
        let entries = node.map_or(Ok(Vec::new()), JsonValue::entries)?;
        let pair = |(name, value): (String, JsonValue<'_>)| {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(value.error("is no name for a variable"));
            }
            let text = self.text(&value)?;
            Ok((name, text))
        };
        entries.into_iter().map(pair).collect()
    }

    fn directory(&self, node: &JsonValue<'_>) -> Result<PathBuf, Error> {
        let path = PathBuf::from(self.text(node)?);
        if path.is_dir() {
            return Ok(path);
        }
        Err(node.error(format_args!("there is no directory {}", path.display())))
    }

    /// A string with its variables filled in.
    fn text(&self, node: &JsonValue<'_>) -> Result<String, Error> {
        let text = expand(&node.string()?, self.environment).map_err(|problem| node.error(problem))?;
        if text.contains('\0') {
            return Err(node.error("has a NUL character, which cannot be passed to a program"));
        }
        Ok(text)
    }

    fn tell_ignored(&mut self, key: &str, node: &JsonValue<'_>) {
        // A very long key is not worth remembering.
        if key.len() <= FOREIGN_TEXT_BYTES_MAX && self.told.insert(key.to_owned()) {
            self.warnings.push(node.error("another tool's key, ignored (said once)").to_string());
        }
    }
}

fn own_settings(node: &JsonValue<'_>) -> Result<Own, Error> {
    let mut own = Own::default();
    let entries: BTreeMap<String, JsonValue<'_>> = node.entries()?.into_iter().collect();
    for (key, value) in &entries {
        match key.as_str() {
            "maxSessions" => own.max_sessions = Some(count(value)?),
            "idleTimeout" => own.idle_timeout = Some(time(value, CONFIGURED_WAIT_MAX)?),
            "restore" => own.restore = value.boolean()?,
            "startTimeout" => own.start_timeout = Some(time(value, CONFIGURED_WAIT_MAX)?),
            "stopTimeout" => own.stop_timeout = Some(time(value, CHILD_TERM_GRACE_MAX)?),
            _ => {
                let hint = hint(key, OWN_KEYS);
                return Err(value.error(format_args!("unknown key; allowed: {}{hint}", OWN_KEYS.join(", "))));
            }
        }
    }
    Ok(own)
}

fn count(node: &JsonValue<'_>) -> Result<usize, Error> {
    let allowed = 1..=SESSIONS_MAX;
    let count = node.whole_number().ok().and_then(|count| usize::try_from(count).ok());
    count
        .filter(|count| allowed.contains(count))
        .ok_or_else(|| node.error(format_args!("must be a whole number from 1 to {SESSIONS_MAX}")))
}

fn time(node: &JsonValue<'_>, max: Duration) -> Result<Duration, Error> {
    let time = match node.kind() {
        JsonType::Number => node.whole_number().ok().map(Duration::from_secs),
        JsonType::String => duration::parse(&node.string()?),
        JsonType::Object | JsonType::Array | JsonType::Bool | JsonType::Null => None,
    };
    let allowed = Duration::from_millis(1)..=max;
    time.filter(|time| allowed.contains(time)).ok_or_else(|| {
        let max = duration::show(max);
        node.error(format_args!("must be {}; more than 0 and at most {max}", duration::ALLOWED))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Result<Vec<ServerConfig>, String>, Vec<String>) {
        let environment = [("PATH", "/bin:/usr/bin"), ("DIR", "/tmp"), ("KEY", "k")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into();
        let mut warnings = Vec::new();
        let servers = servers(&Document::new("m", text), &environment, &mut warnings);
        (servers.map_err(|error| error.to_string()), warnings)
    }

    #[test]
    fn the_usual_file() {
        let (servers, warnings) = read(
            r#"{
            // VS Code writes comments.
            "mcpServers": {
                "git": {"command": "sh", "args": ["-c", "echo ${KEY} ${NO:-d}"], "env": {"A": "${env:KEY}"},
                        "cwd": "${DIR}", "type": "stdio", "disabled": false,
                        "burdock": {"maxSessions": 3, "idleTimeout": 60, "startTimeout": "5s", "stopTimeout": "500ms", "restore": true}},
                "off": {"command": "nonexistent", "disabled": true},
                "far away": {"type": "http", "url": "http://x/"},
                "two": {"command": "/bin/sh", "timeout": 5},
                "three": {"command": "/bin/sh", "timeout": 5, "alwaysAllow": []},
            },
        }"#,
        );
        let servers = servers.unwrap();
        let names: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, ["git", "two", "three"]);
        let git = &servers[0];
        let Launch::Child(command) = &git.launch else { panic!("{git:?}") };
        assert_eq!(command.args, ["-c", "echo k d"]);
        assert_eq!(command.env, [("A".to_owned(), "k".to_owned())]);
        assert_eq!(command.cwd, Some(PathBuf::from("/tmp")));
        assert_eq!(command.term_grace, Duration::from_millis(500));
        assert_eq!(git.start_deadline, Duration::from_secs(5));
        assert_eq!((git.max_sessions, git.idle_timeout), (Some(3), Some(Duration::from_secs(60))));
        assert!(git.restore && !servers[1].restore);
        assert_eq!((servers[1].max_sessions, servers[1].start_deadline), (None, CHILD_START_DEADLINE));
        assert_eq!(
            warnings,
            [
                "m:8: mcpServers.far away: skipped: it is on the network already (it has a url)",
                "m:9: mcpServers.two.timeout: another tool's key, ignored (said once)",
                "m:10: mcpServers.three.alwaysAllow: another tool's key, ignored (said once)",
            ]
        );
    }

    #[test]
    fn vs_code_has_another_key() {
        let (servers, warnings) = read(r#"{"inputs": [], "servers": {"a": {"command": "sh"}}}"#);
        assert_eq!(servers.unwrap()[0].name, "a");
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        for (text, expected) in [
            ("[]", "m:1: must be an object, not an array"),
            ("{}", "m:1: has no servers; they go under the key mcpServers"),
            (
                "{\"mcpServers\": {},\n\"servers\": {}}",
                "m:2: servers: the servers are under mcpServers already",
            ),
            ("{\"mcpServers\": []}", "m:1: mcpServers: must be an object, not an array"),
            (
                "{\"mcpServers\": {}}",
                "m:1: mcpServers: there is no server to run here; one looks like \"name\": {\"command\": \"...\"}",
            ),
            (
                "{\"burdock\": {}}",
                "m:1: burdock: burdock's settings belong to a server: mcpServers.NAME.burdock; those of the process are flags",
            ),
        ] {
            assert_eq!(read(text).0.unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_server_has_a_place() {
        for (entry, expected) in [
            (r#"{}"#, ": has no command; a server looks like {\"command\": \"...\", \"args\": [...]}"),
            (r#"{"command": ""}"#, ".command: is empty; it names the program to run"),
            (r#"{"command": 5}"#, ".command: must be a string: put it in quotes, \"5\""),
            (r#"{"command": ["sh"]}"#, ".command: must be a string, not an array"),
            (r#"{"command": "nosuch"}"#, ".command: there is no program nosuch in PATH (/bin:/usr/bin)"),
            (r#"{"command": "sh", "args": "x"}"#, ".args: must be an array, not a string"),
            (
                r#"{"command": "sh", "args": ["a", true]}"#,
                ".args[1]: must be a string: put it in quotes, \"true\"",
            ),
            (
                r#"{"command": "sh", "args": ["a\u0000"]}"#,
                ".args[0]: has a NUL character, which cannot be passed to a program",
            ),
            (
                r#"{"command": "sh", "env": {"PORT": 80}}"#,
                ".env.PORT: must be a string: put it in quotes, \"80\"",
            ),
            (r#"{"command": "sh", "env": {"A=B": "x"}}"#, ".env.A=B: is no name for a variable"),
            (
                r#"{"command": "sh", "env": {"A": "${NO}"}}"#,
                ".env.A: uses ${NO}, which is not set in burdock's environment; set it, or write ${NO:-default}",
            ),
            (r#"{"command": "sh", "cwd": "/nonexistent"}"#, ".cwd: there is no directory /nonexistent"),
            (r#"{"command": "sh", "type": "pipe"}"#, ".type: burdock runs stdio servers; allowed: \"stdio\""),
            (r#"{"command": "sh", "disabled": "yes"}"#, ".disabled: must be true or false, not a string"),
            (r#"{"command": "sh", "command": "sh"}"#, ".command: given twice"),
            (
                r#"{"command": "sh", "burdock": {"idleTimout": 5}}"#,
                ".burdock.idleTimout: unknown key; allowed: idleTimeout, maxSessions, restore, startTimeout, stopTimeout; did you mean idleTimeout?",
            ),
            (
                r#"{"command": "sh", "burdock": {"idleTimeout": "1x"}}"#,
                ".burdock.idleTimeout: must be seconds like 90, or with a unit: 500ms, 90s, 15m, 2h; more than 0 and at most 720h",
            ),
            (
                r#"{"command": "sh", "burdock": {"stopTimeout": 3600}}"#,
                ".burdock.stopTimeout: must be seconds like 90, or with a unit: 500ms, 90s, 15m, 2h; more than 0 and at most 1m",
            ),
            (
                r#"{"command": "sh", "burdock": {"maxSessions": 0}}"#,
                ".burdock.maxSessions: must be a whole number from 1 to 100000",
            ),
            (
                r#"{"command": "sh", "burdock": {"maxSessions": 1.5}}"#,
                ".burdock.maxSessions: must be a whole number from 1 to 100000",
            ),
            (r#"{"command": "sh", "burdock": true}"#, ".burdock: must be an object, not true or false"),
        ] {
            let text = format!("{{\"mcpServers\": {{\n\"s\":\n{entry}\n}}}}");
            let line = if expected.starts_with(':') { 2 } else { 3 };
            assert_eq!(read(&text).0.unwrap_err(), format!("m:{line}: mcpServers.s{expected}"), "{entry}");
        }
    }

    #[test]
    fn names_are_fit_for_a_path() {
        for name in ["a b", "", ".", "..", "a/b", "\u{e4}", &"x".repeat(65)] {
            let text = format!("{{\"servers\": {{\"{name}\": {{\"command\": \"sh\"}}}}}}");
            assert!(read(&text).0.unwrap_err().contains("allowed: letters, digits"), "{name}");
        }
        let twice = "{\"servers\": {\"a\": {\"command\": \"sh\"},\n\"a\": {\"command\": \"sh\"}}}";
        assert_eq!(read(twice).0.unwrap_err(), "m:2: servers.a: given twice");
    }

    proptest! {
        #[test]
        fn any_entry_is_read_or_refused(
            key in "command|args|env|cwd|burdock|type|url|disabled|x",
            value in "\\{\\}|\\[\\]|\"[a-z$\\{\\}]{0,8}\"|[0-9]{1,3}|true|null|\\{\"a\": 1\\}",
        ) {
            let text = format!("{{\"servers\": {{\"s\": {{\"command\": \"sh\", \"{key}\": {value}}}}}}}");
            let _ = read(&text);
        }
    }
}
