//! What stands in Redis, sans-io: the keys, and the JSON under them.
//!
//! A record says that a session exists and where, never what is in it. Whatever is read here was written by
//! somebody else: it is foreign text until it has been parsed, and the text in it stays foreign.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::session_id::SessionId;

/// What the keys of sessions begin with.
pub const SESSION_PREFIX: &str = "mcp:session:";
/// What the keys begin with that say a session was closed.
pub const CLOSED_PREFIX: &str = "mcp:closed:";
/// What the keys of nodes begin with.
pub const NODE_PREFIX: &str = "mcp:node:";
/// What the key of a node's inbox ends with.
pub const INBOX_SUFFIX: &str = ":inbox";

/// The key of a session's [`Record`].
pub fn session_key(id: &SessionId) -> String {
    format!("{SESSION_PREFIX}{id}")
}

/// The session whose [`Record`] has this key; `None` when it is not as burdock writes them.
pub fn session_of(key: &[u8]) -> Option<SessionId> {
    SessionId::parse(str::from_utf8(key).ok()?.strip_prefix(SESSION_PREFIX)?)
}

/// The key that says a session was closed not long ago: its principal, or nothing.
pub fn closed_key(id: &SessionId) -> String {
    format!("{CLOSED_PREFIX}{id}")
}

/// The key of a node's [`Heartbeat`].
pub fn node_key(node: &str) -> String {
    format!("{NODE_PREFIX}{node}")
}

/// The key of the list of sessions of a node that were closed through other nodes.
pub fn inbox_key(node: &str) -> String {
    format!("{NODE_PREFIX}{node}{INBOX_SUFFIX}")
}

/// The record of a session: that it exists, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The node it lives on.
    pub node: String,
    /// Which run of that node: a record of another epoch than its node's is lost.
    pub epoch: String,
    /// The server it talks to.
    pub server: String,
    /// The protocol version it negotiated.
    pub protocol: String,
    /// The client's own name: foreign text.
    pub client: String,
    /// Who it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// When it began, in seconds since 1970.
    pub created: u64,
    /// What it is doing.
    pub state: RecordState,
    /// The `initialize` that began it, when its server's sessions are restored (at most `RESTORE_BYTES_MAX`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialize: Option<Box<RawValue>>,
}

/// What a session is doing, as others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    /// It lives.
    Live,
}

/// The heartbeat of a node: that it lives, and how it is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Which run of the node.
    pub epoch: String,
    /// How to reach it (`--advertise`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Sessions it has.
    pub sessions: usize,
    /// Whether it takes no new ones.
    pub draining: bool,
    /// Whether another living process has the node's name. Then each overwrites the heartbeat of the other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disputed: bool,
    /// The version of burdock.
    pub version: String,
    /// When the process began, in milliseconds since 1970: of two with one name the later one gives way.
    pub started: u64,
    /// The number of this heartbeat in its epoch, from 1. When Redis does not have the last one, it lost
    /// data.
    pub beat: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_is_there_and_no_more() {
        let text = r#"{"node":"n1","epoch":"e.1","server":"s","protocol":"2025-11-25","client":"c","created":1,"state":"live"}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        let more = text.replace(r#""state":"live""#, r#""state":"live","initialize":{"id":1},"later":true"#);
        let record: Record = serde_json::from_str(&more).unwrap();
        assert_eq!(record.initialize.unwrap().get(), r#"{"id":1}"#);
    }

    #[test]
    fn keys_are_as_the_design_has_them() {
        let id = SessionId::parse("n1-00000000000000000000000001").unwrap();
        assert_eq!(session_key(&id), "mcp:session:n1-00000000000000000000000001");
        assert_eq!(session_of(session_key(&id).as_bytes()), Some(id.clone()));
        assert_eq!(closed_key(&id), "mcp:closed:n1-00000000000000000000000001");
        assert_eq!((node_key("n1"), inbox_key("n1")), ("mcp:node:n1".into(), "mcp:node:n1:inbox".into()));
    }
}
