//! What is typed after `burdock sessions`.

use std::ffi::OsString;

use lexopt::Arg;

use crate::cli::Failure;
use crate::config::nearest::hint;
use crate::config::{Environment, Flag, RedisTarget, Typed, redis};
use crate::session_id::{SessionId, is_node_name};

/// The options, for hints.
const OPTIONS: [&str; 9] =
    ["--redis", "--redis-file", "--node", "--full", "--json", "--dry-run", "--yes", "--restorable", "--help"];

/// What was typed, checked: what to do, and in which Redis.
#[derive(Debug)]
pub(super) struct SessionsArguments {
    pub(super) action: SessionsAction,
    pub(super) redis: RedisTarget,
    /// What is odd but harmless.
    pub(super) warnings: Vec<String>,
}

/// What to do.
#[derive(Debug)]
pub(super) enum SessionsAction {
    /// Show the sessions and nodes.
    List { json: bool, full: bool, node: Option<String> },
    /// End one session.
    Close { id: SessionId, dry_run: bool },
    /// Delete the records of lost sessions.
    Prune { yes: bool, restorable: bool },
}

/// What was typed, sorted but not yet checked.
#[derive(Debug, Default)]
struct Words {
    /// `close`, `prune`, an id.
    words: Vec<String>,
    /// Switches, with their dashes.
    switches: Vec<String>,
    node: Option<String>,
    /// `--redis` and `--redis-file`, which [`Typed::parse`] reads as for `burdock serve`.
    redis: Vec<OsString>,
    help: bool,
}

/// `None` when help was asked for.
pub(super) fn parse(
    arguments: &[OsString],
    environment: &Environment,
) -> Result<Option<SessionsArguments>, Failure> {
    let words = words(arguments)?;
    if words.help {
        return Ok(None);
    }
    let action = action(&words)?;
    let mut warnings = Vec::new();
    let redis = where_redis_is(&words.redis, environment, &mut warnings)?;
    Ok(Some(SessionsArguments { action, redis, warnings }))
}

fn usage(problem: impl std::fmt::Display) -> Failure {
    Failure::Usage(format!("{problem} (burdock help sessions says more)"))
}

fn words(arguments: &[OsString]) -> Result<Words, Failure> {
    let mut words = Words::default();
    let mut parser = lexopt::Parser::from_args(arguments.iter().cloned());
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => words.help = true,
            Arg::Long(name @ ("redis" | "redis-file")) => {
                let mut flag = OsString::from(format!("--{name}="));
                flag.push(parser.value().map_err(usage)?);
                words.redis.push(flag);
            }
            Arg::Long("node") if words.node.is_none() => {
                words.node = Some(parser.value().map_err(usage)?.to_string_lossy().into_owned());
            }
            Arg::Long(name) => {
                let switch = format!("--{name}");
                if !OPTIONS.contains(&switch.as_str()) || switch == "--node" {
                    let hint = hint(&switch, OPTIONS);
                    return Err(usage(format_args!("{switch}: not an option here{hint}")));
                }
                words.switches.push(switch);
            }
            Arg::Value(word) => words.words.push(word.to_string_lossy().into_owned()),
            Arg::Short(_) => return Err(usage(argument.unexpected())),
        }
    }
    Ok(words)
}

fn action(words: &Words) -> Result<SessionsAction, Failure> {
    let typed: Vec<&str> = words.words.iter().map(String::as_str).collect();
    let has = |switch: &str| words.switches.iter().any(|typed| typed == switch);
    let (action, goes_with) = match typed[..] {
        [] => {
            let node = words.node.clone();
            (
                SessionsAction::List { json: has("--json"), full: has("--full"), node },
                &["--json", "--full"][..],
            )
        }
        ["close", id] => {
            (SessionsAction::Close { id: whole_id(id)?, dry_run: has("--dry-run") }, &["--dry-run"][..])
        }
        ["close", ..] => return Err(usage("close one session: burdock sessions close ID")),
        // `prune --dry-run` is accepted because a prune without --yes is one.
        ["prune"] => {
            let prune = SessionsAction::Prune { yes: has("--yes"), restorable: has("--restorable") };
            (prune, &["--yes", "--restorable", "--dry-run"][..])
        }
        [word, ..] => {
            let hint = hint(word, ["close", "prune"]);
            return Err(usage(format_args!("{word:?} is neither close ID nor prune{hint}")));
        }
    };
    if let Some(stray) = words.switches.iter().find(|typed| !goes_with.contains(&typed.as_str())) {
        return Err(usage(format_args!("{stray} does not go with what was asked for")));
    }
    if has("--yes") && has("--dry-run") {
        return Err(usage("--yes goes without --dry-run"));
    }
    check_node(words.node.as_deref(), &action)?;
    Ok(action)
}

/// `--node` narrows the table, and nothing else.
fn check_node(node: Option<&str>, action: &SessionsAction) -> Result<(), Failure> {
    match (node, action) {
        (Some(name), SessionsAction::List { .. }) if !is_node_name(name) => {
            Err(usage(format_args!("--node {name:?}: no node can have this name")))
        }
        (Some(_), SessionsAction::Close { .. } | SessionsAction::Prune { .. }) => {
            Err(usage("--node goes with the table only"))
        }
        (Some(_) | None, _) => Ok(()),
    }
}

fn whole_id(text: &str) -> Result<SessionId, Failure> {
    SessionId::parse(text).ok_or_else(|| {
        usage(format_args!("{text:?} is no whole session id; burdock sessions --full shows whole ids"))
    })
}

/// Where Redis is: by the flags and variables of `burdock serve`. A flag outranks both variables.
fn where_redis_is(
    flags: &[OsString],
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<RedisTarget, Failure> {
    let ours = [Flag::Redis, Flag::RedisFile].map(Flag::variable);
    let of_environment = environment.iter().filter(|(name, _)| flags.is_empty() && ours.contains(name));
    let variables = of_environment.map(|(name, text)| (name.clone(), text.clone())).collect();
    let typed = Typed::parse(flags, &variables).map_err(usage)?;
    let redis = redis::of(&typed, false, warnings).map_err(usage)?;
    redis.ok_or_else(|| {
        let [variable, _] = ours;
        usage(format_args!(
            "where is Redis? --redis-file FILE or --redis URL, as for burdock serve, or {variable}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Option<SessionsArguments>, Failure> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let variables = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        parse(&arguments, &variables.collect())
    }

    const ID: &str = "n1-00000000000000000000000001";

    #[test]
    fn what_is_asked_is_understood() {
        let at = ["--redis", "redis://h/"];
        for (arguments, expected) in [
            (&[][..], r#"List { json: false, full: false, node: None }"#),
            (&["--json", "--full", "--node", "n1"], r#"List { json: true, full: true, node: Some("n1") }"#),
            (&["close", ID], "Close { id: n1-000000…, dry_run: false }"),
            (&["close", "--dry-run", ID], "Close { id: n1-000000…, dry_run: true }"),
            (&["prune"], "Prune { yes: false, restorable: false }"),
            (&["prune", "--yes", "--restorable"], "Prune { yes: true, restorable: true }"),
        ] {
            let asked = asked(&[arguments, &at].concat(), &[]).unwrap().unwrap();
            assert_eq!(format!("{:?}", asked.action), expected);
        }
        assert!(asked(&["--help"], &[]).unwrap().is_none());
    }

    #[test]
    fn what_is_typed_outranks_both_variables() {
        let both = [("BURDOCK_REDIS", "redis://a/"), ("BURDOCK_NODE", "N!"), ("BURDOCK_REDIS_FILE", "")];
        assert_eq!(asked(&[], &both).unwrap().unwrap().redis.shown, "redis://a:6379");
        let file = [("BURDOCK_REDIS_FILE", "/nowhere")];
        assert_eq!(asked(&["--redis=redis://b/"], &file).unwrap().unwrap().redis.shown, "redis://b:6379");
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (arguments, expected) in [
            (&[][..], "where is Redis?"),
            (&["--redis", "http://:secret@h/"], "must be a URL like"),
            (&["--redis", "redis://h/", "--redis-file", "f"], "leave out one"),
            (&["--redis", "redis://h/", "--redis", "redis://i/"], "given twice"),
            (&["--redis-file", "/nowhere"], "does not exist"),
            (&["clsoe", ID], "did you mean close?"),
            (&["close"], "close one session"),
            (&["close", ID, ID], "close one session"),
            (&["close", "n1-000000"], "no whole session id"),
            (&["close", ID, "--yes"], "--yes does not go with"),
            (&["close", ID, "--node", "n1"], "--node goes with the table only"),
            (&["--yes"], "--yes does not go with"),
            (&["prune", "--json"], "--json does not go with"),
            (&["prune", "--yes", "--dry-run"], "--yes goes without --dry-run"),
            (&["prune", "x"], "neither close ID nor prune"),
            (&["--node", "N*"], "no node can have this name"),
            (&["--node", "n1", "--node", "n2"], "--node: not an option"),
            (&["--jsn"], "did you mean --json?"),
            (&["-x"], "-x"),
        ] {
            let Err(Failure::Usage(problem)) = asked(arguments, &[]) else { panic!("{arguments:?}") };
            assert!(problem.contains(expected) && !problem.contains("secret"), "{arguments:?}: {problem}");
        }
    }
}
