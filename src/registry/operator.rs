//! What is done in Redis about sessions that live elsewhere: an operator lists them and cleans up, and a node
//! closes one that lives on another node. All of it blocks, so a node calls it through `smol::unblock`.
//!
//! Anybody may have written what is read here. A key or value that is not as burdock writes it is counted and
//! left alone. After an error a connection must not be used again: an answer may still be on its way, or a
//! WATCH be set.

use std::collections::BTreeMap;

use redis::{Client, Connection, ConnectionInfo, ErrorKind, RedisResult, ServerErrorKind, cmd, pipe};

use super::record::{
    Heartbeat, INBOX_SUFFIX, NODE_PREFIX, Record, SESSION_PREFIX, closed_key, inbox_key, node_key,
    session_key, session_of,
};
use super::scan::{KeyScan, values};
use crate::limits::{
    CLOSED_SECS, HEARTBEAT_SECS, INBOX_IDS_MAX, LISTED_NODES_MAX, LISTED_SESSIONS_MAX, MGET_KEYS,
    OPERATOR_ANSWER_DEADLINE, OPERATOR_CONNECT_DEADLINE, TRANSACTION_TRIES_MAX,
};
use crate::session_id::{SessionId, is_node_name};

/// How the process of a recorded session does, by its node's heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The run of the node that has the session lives.
    Live,
    /// The same, and the node takes no new sessions.
    Draining,
    /// Two living processes have the node's name. The session is in one of them, or in neither.
    Disputed,
    /// The run that had the session is gone: the node is down, or another run has its name.
    Lost,
}

impl Standing {
    /// The standing of a record, by the heartbeat of its node (if there is one).
    pub fn of(record: &Record, heartbeat: Option<&Heartbeat>) -> Standing {
        match heartbeat {
            Some(heartbeat) if heartbeat.disputed => Standing::Disputed,
            Some(heartbeat) if heartbeat.epoch != record.epoch => Standing::Lost,
            Some(heartbeat) if heartbeat.draining => Standing::Draining,
            Some(_) => Standing::Live,
            None => Standing::Lost,
        }
    }
}

/// A session as the list has it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub id: SessionId,
    /// What is recorded, without the `initialize`.
    pub record: Record,
    /// Whether there was an `initialize`: a new run of the node can begin the session again.
    pub restorable: bool,
    /// How its process does.
    pub standing: Standing,
}

/// What Redis holds about a cluster.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The sessions, by node and then the oldest first.
    pub sessions: Vec<Listed>,
    /// The nodes that have a heartbeat, by name.
    pub nodes: BTreeMap<String, Heartbeat>,
    /// How many seconds ago their heartbeats were, where Redis tells (the user may not ask).
    pub ages: BTreeMap<String, u64>,
    /// Keys of sessions and nodes whose name or value is not as burdock writes it.
    pub unreadable: usize,
    /// There are more than `LISTED_SESSIONS_MAX` sessions, or more keys than are looked through.
    pub more: bool,
}

/// Connects, with a deadline for each answer that is waited for later.
///
/// # Errors
/// What Redis or the way to it refused.
pub fn connect(redis: &ConnectionInfo) -> RedisResult<Connection> {
    let connection = Client::open(redis.clone())?.get_connection_with_timeout(OPERATOR_CONNECT_DEADLINE)?;
    connection.set_read_timeout(Some(OPERATOR_ANSWER_DEADLINE))?;
    connection.set_write_timeout(Some(OPERATOR_ANSWER_DEADLINE))?;
    Ok(connection)
}

/// The first two numbers of Redis's version; `None` when it does not tell (the user may not ask).
///
/// # Errors
/// What Redis or the way to it refused, but for that permission.
pub fn version(connection: &mut Connection) -> RedisResult<Option<(u32, u32)>> {
    let info: String = match cmd("INFO").arg("server").query(connection) {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => return Ok(None),
        info => info?,
    };
    let line = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let mut numbers = line.into_iter().flat_map(|line| line.split('.')).map_while(|part| part.parse().ok());
    Ok(numbers.next().zip(numbers.next()))
}

/// Lists the sessions and nodes, by SCAN; only `node` and those with ids of it when it is given.
///
/// # Errors
/// What Redis or the way to it refused.
pub fn list(connection: &mut Connection, node: Option<&str>) -> RedisResult<Listing> {
    let mut listing = Listing::default();
    let sessions = found_sessions(connection, node, &mut listing)?;
    // Read after the records. A run that began in between makes the records of the run before it lost, which
    // is what they are.
    listing.nodes = nodes(connection, &mut listing)?;
    listing.sessions = sessions
        .into_values()
        .map(|(id, mut record)| {
            let restorable = record.initialize.take().is_some();
            let standing = Standing::of(&record, listing.nodes.get(&record.node));
            Listed { id, record, restorable, standing }
        })
        .collect();
    listing.nodes.retain(|name, _| node.is_none_or(|node| node == name));
    listing.ages = ages(connection, listing.nodes.keys())?;
    listing.sessions.sort_by(|one, other| {
        (&one.record.node, one.record.created).cmp(&(&other.record.node, other.record.created))
    });
    Ok(listing)
}

/// Sessions by their whole id: SCAN may give a key twice.
type ById = BTreeMap<String, (SessionId, Record)>;

fn found_sessions(
    connection: &mut Connection,
    node: Option<&str>,
    listing: &mut Listing,
) -> RedisResult<ById> {
    let pattern = node.map_or(format!("{SESSION_PREFIX}*"), |node| format!("{SESSION_PREFIX}{node}-*"));
    let mut sessions = ById::new();
    scan(connection, &pattern, listing, |listing, key, value| {
        match session_of(key.as_bytes()).zip(value.and_then(readable)) {
            Some(_) if sessions.len() >= LISTED_SESSIONS_MAX => return false,
            Some((id, mut record)) => {
                // Only that there is one is wanted; it can be large.
                record.initialize = record.initialize.map(|_| Box::default());
                sessions.insert(id.to_string(), (id, record));
            }
            None => listing.unreadable += 1,
        }
        true
    })?;
    Ok(sessions)
}

fn nodes(connection: &mut Connection, listing: &mut Listing) -> RedisResult<BTreeMap<String, Heartbeat>> {
    let mut nodes = BTreeMap::new();
    scan(connection, &format!("{NODE_PREFIX}*"), listing, |listing, key, value| {
        let Some(name) = key.strip_prefix(NODE_PREFIX).filter(|name| !name.ends_with(INBOX_SUFFIX)) else {
            return true;
        };
        let heartbeat = value.and_then(|value| serde_json::from_slice::<Heartbeat>(&value).ok());
        match heartbeat.filter(|_| is_node_name(name)) {
            Some(_) if nodes.len() >= LISTED_NODES_MAX => return false,
            Some(heartbeat) => drop(nodes.insert(name.to_owned(), heartbeat)),
            None => listing.unreadable += 1,
        }
        true
    })?;
    Ok(nodes)
}

/// How old the heartbeats are, from how long their keys still live. Asking that needs a right that no other
/// command here needs; without it ages are unknown.
fn ages<'a>(
    connection: &mut Connection,
    names: impl Iterator<Item = &'a String> + Clone,
) -> RedisResult<BTreeMap<String, u64>> {
    let mut asked = pipe();
    for name in names.clone() {
        asked.ttl(node_key(name));
    }
    if asked.is_empty() {
        return Ok(BTreeMap::new());
    }
    let left: Vec<i64> = match asked.query(connection) {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {
            return Ok(BTreeMap::new());
        }
        left => left?,
    };
    // Negative when the key lives for ever, or is gone by now.
    let age = |left: i64| u64::try_from(left).ok().map(|left| HEARTBEAT_SECS.saturating_sub(left));
    Ok(names.zip(left).filter_map(|(name, left)| Some((name.clone(), age(left)?))).collect())
}

/// A record, if these bytes are one. Its `node` becomes a part of a key: it must be a node's name.
fn readable(bytes: Vec<u8>) -> Option<Record> {
    serde_json::from_slice::<Record>(&bytes).ok().filter(|record| is_node_name(&record.node))
}

/// Gives `take` each key that matches, with its value, until `take` returns `false` or the keys end. A value
/// is `None` when it is no string; a key that went away meanwhile looks the same, which is why a second look
/// decides.
fn scan(
    connection: &mut Connection,
    pattern: &str,
    listing: &mut Listing,
    mut take: impl FnMut(&mut Listing, &str, Option<Vec<u8>>) -> bool,
) -> RedisResult<()> {
    let mut scan = KeyScan::new(pattern.to_owned());
    while let Some(keys) = scan.next(connection)? {
        for keys in keys.chunks(MGET_KEYS) {
            for (key, value) in keys.iter().zip(values(connection, keys)?) {
                if value.is_none() && !is_there(connection, key)? {
                    continue;
                }
                if !take(listing, &String::from_utf8_lossy(key), value) {
                    listing.more = true;
                    return Ok(());
                }
            }
        }
    }
    listing.more |= scan.is_cut_short();
    Ok(())
}

fn is_there(connection: &mut Connection, key: &[u8]) -> RedisResult<bool> {
    cmd("EXISTS").arg(key).query(connection)
}

/// The string under a key. MGET, because it calls what is no string absent where GET would fail.
pub(super) fn value(connection: &mut Connection, key: &str) -> RedisResult<Option<Vec<u8>>> {
    Ok(values(connection, &[key])?.into_iter().next().flatten())
}

/// The record of a session and its node's heartbeat; both as they are at one moment of the transaction they
/// belong to.
fn look(connection: &mut Connection, id: &SessionId) -> RedisResult<Option<(Record, Option<Heartbeat>)>> {
    let mut values = values(connection, &[session_key(id), node_key(id.node())])?.into_iter();
    let Some(record) = values.next().flatten().and_then(readable) else { return Ok(None) };
    let heartbeat = if record.node == id.node() {
        values.next().flatten()
    } else {
        value(connection, &node_key(&record.node))?
    };
    Ok(Some((record, heartbeat.and_then(|bytes| serde_json::from_slice(&bytes).ok()))))
}

/// The record of a session, and how its process does; `None` when there is none that can be read.
///
/// # Errors
/// What Redis or the way to it refused.
pub fn find(connection: &mut Connection, id: &SessionId) -> RedisResult<Option<(Record, Standing)>> {
    let found = look(connection, id)?;
    Ok(found.map(|(record, heartbeat)| {
        let standing = Standing::of(&record, heartbeat.as_ref());
        (record, standing)
    }))
}

/// Closes a session that lives elsewhere, if `may` says so of its record: in one transaction the record is
/// deleted, `mcp:closed:{id}` says so for an hour, and the id is put into the inbox of its node, which ends
/// the session with its next heartbeat. Gives what was recorded; `None`, with nothing changed, when nothing
/// is or `may` declines.
///
/// # Errors
/// What Redis or the way to it refused; also when the record changed each time it was looked at.
pub fn close_from_afar(
    connection: &mut Connection,
    id: &SessionId,
    may: impl Fn(&Record) -> bool,
) -> RedisResult<Option<Record>> {
    let key = session_key(id);
    watched(connection, &[&key], |connection| {
        let Some(record) = value(connection, &key)?.and_then(readable).filter(&may) else { return Ok(None) };
        let inbox = inbox_key(&record.node);
        let mut change = pipe();
        change.atomic().del(&key).ignore();
        if is_no_list(connection, &inbox)? {
            change.del(&inbox).ignore();
        }
        change.set_ex(closed_key(id), record.principal.as_deref().unwrap_or(""), CLOSED_SECS).ignore();
        change.rpush(&inbox, id.to_string()).ignore();
        // The newest stay: a node that has not looked for so long has more to forget than these.
        change.ltrim(&inbox, -INBOX_IDS_MAX, -1).ignore();
        change.expire(&inbox, CLOSED_SECS as i64).ignore();
        Ok(Some((change, record)))
    })
}

/// Whether something else than an inbox stands under its key, in the way of the id. Asked by a trim that
/// takes nothing, because that is a right which the close needs anyway.
fn is_no_list(connection: &mut Connection, inbox: &str) -> RedisResult<bool> {
    match cmd("LTRIM").arg(inbox).arg(0).arg(-1).exec(connection) {
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(true),
        answer => answer.map(|()| false),
    }
}

/// Deletes the record of a session whose process is gone; `false`, with nothing changed, when it lives
/// (again), or is `restorable` and that is not allowed, or is not recorded. Whether it lives is decided in
/// the transaction.
///
/// # Errors
/// What Redis or the way to it refused; also when the record changed each time it was looked at.
pub fn prune(connection: &mut Connection, listed: &Listed, restorable: bool) -> RedisResult<bool> {
    let id = &listed.id;
    let key = session_key(id);
    let watch = [key.as_str(), &node_key(&listed.record.node)];
    let pruned = watched(connection, &watch, |connection| {
        let lost = |(record, heartbeat): &(Record, Option<Heartbeat>)| {
            // Only this node's heartbeat is watched.
            record.node == listed.record.node
                && Standing::of(record, heartbeat.as_ref()) == Standing::Lost
                && (restorable || record.initialize.is_none())
        };
        let Some(_) = look(connection, id)?.filter(lost) else { return Ok(None) };
        let mut change = pipe();
        change.atomic().del(&key).ignore();
        Ok(Some((change, ())))
    })?;
    Ok(pruned.is_some())
}

/// Runs what `plan` makes of the keys as they are, if nobody changes them meanwhile; otherwise plans again.
fn watched<T>(
    connection: &mut Connection,
    keys: &[&str],
    mut plan: impl FnMut(&mut Connection) -> RedisResult<Option<(redis::Pipeline, T)>>,
) -> RedisResult<Option<T>> {
    for _ in 0..TRANSACTION_TRIES_MAX {
        cmd("WATCH").arg(keys).exec(connection)?;
        let Some((change, planned)) = plan(connection)? else {
            cmd("UNWATCH").exec(connection)?;
            return Ok(None);
        };
        let done: Option<()> = change.query(connection)?;
        if done.is_some() {
            return Ok(Some(planned));
        }
    }
    Err((ErrorKind::Client, "the record changes all the time").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: &str) -> Record {
        let text = format!(
            r#"{{"node":"n1","epoch":"{epoch}","server":"s","protocol":"p","client":"c","created":1,"state":"live"}}"#
        );
        readable(text.into_bytes()).unwrap()
    }

    fn heartbeat(epoch: &str, draining: bool) -> Heartbeat {
        let version = "1".to_owned();
        Heartbeat {
            epoch: epoch.to_owned(),
            url: None,
            sessions: 0,
            draining,
            disputed: false,
            version,
            started: 0,
            beat: 1,
        }
    }

    #[test]
    fn a_session_lives_only_in_the_run_that_it_began_in() {
        for (beat, expected) in [
            (Some(heartbeat("a", false)), Standing::Live),
            (Some(heartbeat("a", true)), Standing::Draining),
            (Some(heartbeat("b", false)), Standing::Lost),
            (Some(heartbeat("b", true)), Standing::Lost),
            (Some(Heartbeat { disputed: true, ..heartbeat("b", false) }), Standing::Disputed),
            (None, Standing::Lost),
        ] {
            assert_eq!(Standing::of(&record("a"), beat.as_ref()), expected, "{beat:?}");
        }
    }

    #[test]
    fn a_record_of_no_node_is_none() {
        assert!(readable(b"{".to_vec()).is_none());
        let bad = serde_json::to_string(&record("a")).unwrap().replace("n1", "n1:inbox");
        assert!(readable(bad.into_bytes()).is_none());
    }
}
