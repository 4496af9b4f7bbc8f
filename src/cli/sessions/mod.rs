//! `burdock sessions`: what the nodes of a cluster have recorded in Redis, for operators.

mod arguments;
mod show;

use std::collections::BTreeMap;
use std::ffi::OsString;

use redis::Connection;

use self::arguments::{SessionsAction, SessionsArguments};
use super::{Failure, complain, print};
use crate::config::{Environment, RedisTarget};
use crate::foreign::Foreign;
use crate::limits::{HEARTBEAT_STEP, LISTED_SESSIONS_MAX, OPERATOR_ANSWER_DEADLINE};
use crate::registry::operator::{self, Listing, Standing};
use crate::registry::problem;
use crate::session_id::SessionId;

/// The help of the command.
pub const HELP: &str = "\
Shows the sessions of a cluster, as its nodes have recorded them in Redis.

Usage: burdock sessions [OPTIONS]              a table of all sessions, and one of all nodes
       burdock sessions close ID [OPTIONS]     end a session, as its client's DELETE would
       burdock sessions prune [OPTIONS]        delete the records of lost sessions

Where Redis is, as for burdock serve (also as BURDOCK_REDIS or BURDOCK_REDIS_FILE):
  --redis URL       redis://HOST/ or unix:///PATH
  --redis-file FILE a file with that URL and nothing else: a password is no argument

For the table:
  --node NAME       only this node, and sessions whose id begins with it
  --full            whole ids and names. A whole id is a secret: who has it may be able to use the session
  --json            as JSON, with the same ids

For close:
  --dry-run         say what would be closed, and change nothing

For prune, which changes nothing unless told to:
  --yes             do delete
  --restorable      also those that the next run of their node would begin again (\"restore\" in mcp.json)

  -h, --help        this text

A session is live when the very run of the node that began it is there, draining when that node is about to
stop, and lost when it is gone. A node that was killed counts as there until its heartbeat has run out: 30 s
after the last one, or when it is back. Nodes have a heartbeat every 10 s; its age is in the table. Sessions
are disputed while two running nodes have one name; prune leaves them alone.

A client that comes back for a lost session is told `lost` and begins anew; when it is restorable and its node
is back, it goes on. Once the record is pruned the client is told `unknown`, and begins anew. Otherwise
records last for 30 days. A session that is closed here still answers until its node's next heartbeat.

Exit status: 0 when it was done, 1 when it could not be, 2 for a usage mistake.

Examples:
  burdock sessions --redis-file /etc/burdock/redis-url
  burdock sessions close n1-4ZSXJ8Q0M2T7V9BACDEFGHJKMN --redis redis://10.0.0.5/
  burdock sessions prune --redis redis://10.0.0.5/ --yes
";

/// Does what was asked for.
///
/// # Errors
/// A usage failure for what was typed; otherwise what Redis refused, or that there is no such session.
pub fn run(arguments: &[OsString], environment: &Environment) -> Result<(), Failure> {
    let Some(asked) = arguments::parse(arguments, environment)? else { return print(HELP) };
    for warning in &asked.warnings {
        complain(format_args!("burdock: {warning}\n"));
    }
    let redis = &asked.redis;
    let done = operator::connect(&redis.connection).and_then(|mut connection| {
        let version = operator::version(&mut connection)?;
        match version.filter(|version| *version < problem::REDIS_MIN) {
            Some(old) => Ok(Err(failed(redis, &problem::too_old(Some(old))))),
            None => act(&mut connection, &asked),
        }
    });
    let describe = |error| problem::describe(&error, OPERATOR_ANSWER_DEADLINE, &redis.by);
    done.unwrap_or_else(|error| Err(failed(redis, &describe(error))))
}

/// The outer error is Redis's; the inner result is the command's.
fn act(connection: &mut Connection, asked: &SessionsArguments) -> redis::RedisResult<Result<(), Failure>> {
    match &asked.action {
        SessionsAction::List { json, full, node } => {
            let listing = operator::list(connection, node.as_deref())?;
            let text = if *json {
                show::json(&listing, &asked.redis, *full)
            } else {
                show::tables(&listing, &asked.redis, *full)
            };
            complain(remarks(&listing));
            Ok(print(&text))
        }
        SessionsAction::Close { id, dry_run } => close(connection, id, *dry_run),
        SessionsAction::Prune { yes, restorable } => prune(connection, &asked.redis, *yes, *restorable),
    }
}

/// Warnings that go with a list, for stderr.
fn remarks(listing: &Listing) -> String {
    let mut text = String::new();
    for (name, _) in listing.nodes.iter().filter(|(_, heartbeat)| heartbeat.disputed) {
        text.push_str(&format!(
            "burdock: two running nodes are named {name}: give each a --node of its own; until then nobody can tell \
             which of the sessions of {name} are lost\n"
        ));
    }
    if listing.unreadable > 0 {
        text.push_str(&format!(
            "burdock: {} under mcp:session:* and mcp:node:* not as burdock writes them, and left alone\n",
            counted(listing.unreadable, "key is", "keys are")
        ));
    }
    if listing.more {
        text.push_str(&format!(
            "burdock: there is more than fits a list ({LISTED_SESSIONS_MAX} sessions); --node NAME shows those of one \
             node\n"
        ));
    }
    text
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn close(
    connection: &mut Connection,
    id: &SessionId,
    dry_run: bool,
) -> redis::RedisResult<Result<(), Failure>> {
    let found = operator::find(connection, id)?;
    let closed = match found {
        Some((record, standing)) if dry_run => Some((record, standing)),
        Some((_, standing)) => {
            operator::close_from_afar(connection, id, |_| true)?.map(|record| (record, standing))
        }
        None => None,
    };
    let Some((record, standing)) = closed else {
        let node = id.node();
        return Ok(Err(Failure::Failed(format!(
            "no session {id:?} is recorded (it may have ended; burdock sessions --full --node {node} lists whole ids)"
        ))));
    };
    let (node, did) = (&record.node, if dry_run { "would close" } else { "closed" });
    let then = match standing {
        Standing::Live | Standing::Draining | Standing::Disputed => {
            format!(
                "node {node} ends it with its next heartbeat, within {} s; until then it still answers",
                HEARTBEAT_STEP.as_secs()
            )
        }
        Standing::Lost => {
            format!("its process on node {node} is gone; only its record was left")
        }
    };
    let (server, client) = (Foreign(record.server.as_bytes()), Foreign(record.client.as_bytes()));
    let mut text = format!("{did} {id:?} of {client} at {server}: {then}\n");
    if dry_run {
        text.push_str("nothing is changed; without --dry-run it is\n");
    }
    Ok(print(&text))
}

fn prune(
    connection: &mut Connection,
    redis: &RedisTarget,
    yes: bool,
    restorable: bool,
) -> redis::RedisResult<Result<(), Failure>> {
    let listing = operator::list(connection, None)?;
    let lost: Vec<_> = listing.sessions.iter().filter(|one| one.standing == Standing::Lost).collect();
    let (delete, keep): (Vec<_>, Vec<_>) = lost.into_iter().partition(|one| restorable || !one.restorable);
    let mut per_node: BTreeMap<&str, usize> = BTreeMap::new();
    for listed in &delete {
        if !yes || operator::prune(connection, listed, restorable)? {
            *per_node.entry(listed.record.node.as_str()).or_default() += 1;
        }
    }
    complain(remarks(&listing));
    let changed = delete.len() - per_node.values().sum::<usize>();
    let mut text = pruned(&per_node, yes, keep.len(), changed);
    if !per_node.is_empty() && !yes {
        let restorable = if restorable { " --restorable" } else { "" };
        let again = if redis.again.is_empty() { String::new() } else { format!(" {}", redis.again) };
        text.push_str(&format!(
            "nothing is changed; to delete them: burdock sessions prune --yes{restorable}{again}\n"
        ));
    } else if listing.more {
        text.push_str("there are more; run it again\n");
    }
    Ok(print(&text))
}

/// What prune has done, or would do.
fn pruned(per_node: &BTreeMap<&str, usize>, yes: bool, restorable: usize, changed: usize) -> String {
    let count: usize = per_node.values().sum();
    let nodes: Vec<String> = per_node.iter().map(|(node, count)| format!("{node}: {count}")).collect();
    let mut text = match (count, yes) {
        (0, _) => "there is no record of a lost session to delete\n".to_owned(),
        (_, true) => {
            let records = counted(count, "record of a lost session", "records of lost sessions");
            format!("deleted {records} ({})\n", nodes.join(", "))
        }
        (_, false) => {
            let records = counted(count, "record of a lost session", "records of lost sessions");
            format!("would delete {records} ({})\n", nodes.join(", "))
        }
    };
    if changed > 0 {
        let are = counted(changed, "that has changed meanwhile", "that have changed meanwhile");
        text.push_str(&format!("left {are}\n"));
    }
    if restorable > 0 {
        let are = counted(restorable, "that the next run of its node begins", "that the next runs begin");
        text.push_str(&format!(
            "left {are} again when the client comes back (--restorable takes those too)\n"
        ));
    }
    text
}

/// What is wrong with Redis, in words that follow its address.
fn failed(redis: &RedisTarget, problem: &str) -> Failure {
    Failure::Failed(format!("Redis at {} {problem}", redis.shown))
}
