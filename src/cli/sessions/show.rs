//! A list of sessions and nodes, as tables or as JSON.
//!
//! Names in records are foreign text and must not control a terminal: tables show them escaped and cut, JSON
//! is written in ASCII.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::config::RedisTarget;
use crate::foreign::Foreign;
use crate::registry::operator::{Listed, Listing, Standing};
use crate::registry::record::Heartbeat;
use crate::session_id::SessionId;

/// Characters of a name in a table, without `--full`.
const NAME_CHARS: usize = 28;

/// The cell of a value that is missing.
const NONE: &str = "-";

/// A node's sessions, counted by the records.
#[derive(Clone, Copy, Debug, Default)]
struct NodeCounts {
    live: usize,
    lost: usize,
}

/// All nodes with a heartbeat or a record.
fn count(listing: &Listing) -> BTreeMap<&str, NodeCounts> {
    let mut counts: BTreeMap<&str, NodeCounts> =
        listing.nodes.keys().map(|name| (name.as_str(), NodeCounts::default())).collect();
    for listed in &listing.sessions {
        let count = counts.entry(&listed.record.node).or_default();
        match listed.standing {
            Standing::Live | Standing::Draining | Standing::Disputed => count.live += 1,
            Standing::Lost => count.lost += 1,
        }
    }
    counts
}

fn state(standing: Standing) -> &'static str {
    match standing {
        Standing::Live => "live",
        Standing::Draining => "draining",
        Standing::Disputed => "disputed",
        Standing::Lost => "lost",
    }
}

/// The state in a table.
fn state_cell(listed: &Listed) -> String {
    let restorable = if listed.restorable { ", restorable" } else { "" };
    format!("{}{restorable}", state(listed.standing))
}

/// The id, whole only when that was asked for.
fn shown(id: &SessionId, full: bool) -> String {
    if full { id.to_string() } else { format!("{id:?}") }
}

fn age(created: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now.as_secs().saturating_sub(created)
}

// --- Tables ------------------------------------------------------------------------------------------------

/// Both tables.
pub(super) fn tables(listing: &Listing, redis: &RedisTarget, full: bool) -> String {
    let mut text = String::new();
    if listing.sessions.is_empty() {
        text.push_str("there are no sessions\n");
    } else {
        let head = ["SESSION", "NODE", "SERVER", "CLIENT", "PRINCIPAL", "AGE", "STATE"].map(str::to_owned);
        let rows = listing.sessions.iter().map(|listed| row(listed, full));
        text.push_str(&table(std::iter::once(head).chain(rows).collect()));
    }
    text.push('\n');
    let counts = count(listing);
    if counts.is_empty() {
        text.push_str(&format!(
            "no node has a heartbeat at {}: do nodes run with that Redis?\n",
            redis.shown
        ));
    } else {
        let head = ["NODE", "LIVE", "LOST", "HEARTBEAT", "VERSION", "URL"].map(str::to_owned);
        let rows = counts.iter().map(|(name, count)| node_row(listing, name, *count));
        text.push_str(&table(std::iter::once(head).chain(rows).collect()));
    }
    text
}

fn row(listed: &Listed, full: bool) -> [String; 7] {
    let record = &listed.record;
    let cut = |text: &str| cut(text, full);
    [
        shown(&listed.id, full),
        record.node.clone(),
        cut(&record.server),
        cut(&record.client),
        record.principal.as_deref().map_or(NONE.to_owned(), cut),
        span(age(record.created)),
        state_cell(listed),
    ]
}

fn node_row(listing: &Listing, name: &str, count: NodeCounts) -> [String; 6] {
    let heartbeat = listing.nodes.get(name);
    let beats = match heartbeat {
        Some(heartbeat) if heartbeat.disputed => "disputed".to_owned(),
        Some(heartbeat) if heartbeat.draining => "draining".to_owned(),
        Some(_) => listing.ages.get(name).map_or("yes".to_owned(), |age| format!("{} ago", span(*age))),
        None => "none".to_owned(),
    };
    let text = |text: Option<&str>| text.map_or(NONE.to_owned(), |text| cut(text, true));
    [
        name.to_owned(),
        count.live.to_string(),
        count.lost.to_string(),
        beats,
        text(heartbeat.map(|heartbeat| heartbeat.version.as_str())),
        text(heartbeat.and_then(|heartbeat| heartbeat.url.as_deref())),
    ]
}

/// Foreign text, short enough for a column.
fn cut(text: &str, full: bool) -> String {
    let escaped = Foreign(text.as_bytes()).to_string();
    match escaped.char_indices().nth(NAME_CHARS) {
        Some((at, _)) if !full => format!("{}…", &escaped[..at]),
        Some(_) | None if escaped.is_empty() => NONE.to_owned(),
        Some(_) | None => escaped,
    }
}

/// Seconds in the two units that matter.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        (_, _, _) => format!("{days}d{:02}h", hours % 24),
    }
}

/// Rows with their columns below each other.
fn table<const COLUMNS: usize>(rows: Vec<[String; COLUMNS]>) -> String {
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; COLUMNS]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

// --- JSON --------------------------------------------------------------------------------------------------

#[derive(Serialize)]
struct SessionsReport<'a> {
    redis: &'a str,
    sessions: Vec<SessionRow<'a>>,
    nodes: Vec<NodeRow<'a>>,
    /// Keys that are not as burdock writes them.
    unreadable: usize,
    /// Whether all sessions are in the list.
    complete: bool,
}

#[derive(Serialize)]
struct SessionRow<'a> {
    id: String,
    node: &'a str,
    epoch: &'a str,
    server: &'a str,
    protocol: &'a str,
    client: &'a str,
    principal: Option<&'a str>,
    created: u64,
    age_seconds: u64,
    state: &'static str,
    restorable: bool,
}

#[derive(Serialize)]
struct NodeRow<'a> {
    name: &'a str,
    live: usize,
    lost: usize,
    heartbeat: Option<&'a Heartbeat>,
    /// How long ago it was, where that is known.
    heartbeat_age_seconds: Option<u64>,
}

/// One object, in ASCII.
pub(super) fn json(listing: &Listing, redis: &RedisTarget, full: bool) -> String {
    let report = SessionsReport {
        redis: &redis.shown,
        sessions: listing.sessions.iter().map(|listed| session(listed, full)).collect(),
        nodes: count(listing).into_iter().map(|(name, count)| node(listing, name, count)).collect(),
        unreadable: listing.unreadable,
        complete: !listing.more,
    };
    ascii(&serde_json::to_string_pretty(&report).unwrap_or_default()) + "\n"
}

fn node<'a>(listing: &'a Listing, name: &'a str, count: NodeCounts) -> NodeRow<'a> {
    let heartbeat = listing.nodes.get(name);
    let heartbeat_age_seconds = listing.ages.get(name).copied();
    NodeRow { name, live: count.live, lost: count.lost, heartbeat, heartbeat_age_seconds }
}

fn session(listed: &Listed, full: bool) -> SessionRow<'_> {
    let record = &listed.record;
    SessionRow {
        id: shown(&listed.id, full),
        node: &record.node,
        epoch: &record.epoch,
        server: &record.server,
        protocol: &record.protocol,
        client: &record.client,
        principal: record.principal.as_deref(),
        created: record.created,
        age_seconds: age(record.created),
        state: state(listed.standing),
        restorable: listed.restorable,
    }
}

/// The same JSON in ASCII: other characters occur in strings only, where an escape means the same.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, ' '..='~' | '\n') {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_at_most() {
        for (seconds, expected) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3900, "1h05m"), (90_000, "1d01h")]
        {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn json_in_ascii_means_the_same() {
        let value = serde_json::json!({"\u{9b}2J": "\u{202e}a\u{1f600}\u{7f}\n\u{1b}\u{e4}"});
        let text = ascii(&serde_json::to_string_pretty(&value).unwrap());
        assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_name_fits_its_column() {
        assert_eq!(cut("", false), "-");
        assert_eq!(cut("a\u{1b}[2J\n", false), "a\\u{1b}[2J\\u{a}");
        assert_eq!(cut(&"\u{e4}".repeat(50), false).chars().count(), NAME_CHARS + 1);
        assert_eq!(cut(&"x".repeat(50), true).len(), 50);
    }
}
