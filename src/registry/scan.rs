//! SCAN, round by round. The keys it finds may have been written by anybody, and it ends even when Redis
//! never says so.

use redis::{Connection, RedisResult, cmd};

use crate::limits::{SCAN_COUNT, SCAN_ROUNDS_MAX};

/// A search for keys, between two rounds.
#[derive(Debug)]
pub(super) struct KeyScan {
    pattern: String,
    /// `None` when there are no more.
    cursor: Option<u64>,
    rounds: usize,
}

impl KeyScan {
    /// For the keys that match `pattern`.
    pub(super) fn new(pattern: String) -> KeyScan {
        KeyScan { pattern, cursor: Some(0), rounds: 0 }
    }

    /// The keys of the next round, some of them perhaps not for the first time; `None` at the end.
    pub(super) fn next(&mut self, connection: &mut Connection) -> RedisResult<Option<Vec<Vec<u8>>>> {
        let Some(cursor) = self.cursor.filter(|_| !self.is_cut_short()) else { return Ok(None) };
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(SCAN_COUNT);
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query(connection)?;
        self.cursor = Some(next).filter(|next| *next != 0);
        self.rounds += 1;
        Ok(Some(keys))
    }

    /// Whether there was no end within `SCAN_ROUNDS_MAX` rounds.
    pub(super) fn is_cut_short(&self) -> bool {
        self.cursor.is_some() && self.rounds >= SCAN_ROUNDS_MAX
    }
}

/// The strings under keys. Like MGET, it treats a value that is no string as absent.
pub(super) fn values(
    connection: &mut Connection,
    keys: &[impl redis::ToRedisArgs],
) -> RedisResult<Vec<Option<Vec<u8>>>> {
    cmd("MGET").arg(keys).query(connection)
}
