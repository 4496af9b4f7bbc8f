//! Commands about sessions that go to Redis together, packed as they go over the wire.
//!
//! This is nearly all that a session costs the writer. So a command is written straight into the bytes to be
//! sent, where the client library's own pipeline needs four allocations and two copies for each. The library
//! reads the answers.

use redis::{Connection, RedisResult, Value};

use super::record::{CLOSED_PREFIX, Record, SESSION_PREFIX};
use crate::limits::{CLOSED_SECS, RECORD_SECS};
use crate::session_id::{SessionId, TEXT_BYTES_MAX};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct WriteBatch {
    bytes: Vec<u8>,
    commands: usize,
}

impl WriteBatch {
    /// Whether there is nothing to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// What is to be sent.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Deletes the records of these sessions: one command, and one answer, for all.
    pub(super) fn delete<'a>(&mut self, ids: impl Iterator<Item = &'a SessionId> + Clone) {
        let count = ids.clone().count();
        if count > 0 {
            self.command(b"DEL", 1 + count);
            ids.for_each(|id| self.key(SESSION_PREFIX, id));
        }
    }

    /// Writes a session's record.
    pub(super) fn record(&mut self, id: &SessionId, record: &Record) {
        self.set(SESSION_PREFIX, id, &serde_json::to_vec(record).unwrap_or_default(), RECORD_SECS);
    }

    /// Writes that a session of this owner was closed.
    pub(super) fn closed(&mut self, id: &SessionId, owner: &str) {
        self.set(CLOSED_PREFIX, id, owner.as_bytes(), CLOSED_SECS);
    }

    fn set(&mut self, prefix: &str, id: &SessionId, value: &[u8], secs: u64) {
        self.command(b"SET", 5);
        self.key(prefix, id);
        self.argument(value);
        self.argument(b"EX");
        self.argument(itoa::Buffer::new().format(secs).as_bytes());
    }

    /// Writes the head of a command with so many arguments, its name included.
    fn command(&mut self, name: &[u8], arguments: usize) {
        self.commands += 1;
        self.number(b'*', arguments);
        self.argument(name);
    }

    fn key(&mut self, prefix: &str, id: &SessionId) {
        let room = &mut [0; TEXT_BYTES_MAX];
        let text = id.text(room);
        self.number(b'$', prefix.len() + text.len());
        self.bytes.extend_from_slice(prefix.as_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn argument(&mut self, argument: &[u8]) {
        self.number(b'$', argument.len());
        self.bytes.extend_from_slice(argument);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Writes a count or a length, behind the `sign` that says what it counts.
    fn number(&mut self, sign: u8, number: usize) {
        self.bytes.push(sign);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Sends it all and waits for the answers.
    ///
    /// # Errors
    /// Those of the way to Redis, or the first that Redis answers.
    pub(super) fn send(&self, connection: &mut Connection) -> RedisResult<()> {
        connection.send_packed_command(&self.bytes)?;
        // `req_packed_commands` is not used: it waits for every answer, even when the first one did not come
        // in time.
        (0..self.commands).try_for_each(|_| connection.recv_response()?.extract_error().map(drop::<Value>))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::record::{RecordState, closed_key, session_key};

    fn id() -> SessionId {
        SessionId::new(&"n1".into()).unwrap()
    }

    /// What the client library makes of the same commands.
    #[test]
    fn commands_are_packed_as_redis_reads_them() {
        let (one, two) = (id(), id());
        let record = Record {
            node: "n1".into(),
            epoch: "e.1".into(),
            server: "s".into(),
            protocol: "2025-11-25".into(),
            client: "Grüße\r\n".into(),
            principal: None,
            created: 1,
            state: RecordState::Live,
            initialize: None,
        };
        let mut batch = WriteBatch::default();
        assert!(batch.is_empty());
        batch.delete([].iter());
        assert!(batch.is_empty());
        batch.delete([&one, &two].into_iter());
        batch.record(&one, &record);
        batch.closed(&two, "");
        let value = serde_json::to_string(&record).unwrap();
        let mut expected = redis::pipe();
        expected.cmd("DEL").arg(session_key(&one)).arg(session_key(&two));
        expected.cmd("SET").arg(session_key(&one)).arg(value).arg("EX").arg(RECORD_SECS);
        expected.cmd("SET").arg(closed_key(&two)).arg("").arg("EX").arg(CLOSED_SECS);
        assert_eq!(batch.bytes, expected.get_packed_pipeline());
        assert_eq!(batch.commands, 3);
    }
}
