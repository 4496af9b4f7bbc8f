//! A connection to Redis. It is made when it is needed and thrown away after an error. It blocks, so it is
//! used on the blocking pool, by one caller at a time.

use std::time::Duration;

use redis::{Client, Connection, RedisResult};

use crate::config;
use crate::limits::REDIS_DEADLINE;

/// See the module.
pub(super) struct Link {
    client: Client,
    /// The longest wait for a connection, and for each answer.
    deadline: Duration,
    connection: Option<Connection>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("open", &self.is_open()).finish()
    }
}

impl Link {
    /// Not connected yet.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub(super) fn new(settings: &config::RedisTarget, deadline: Duration) -> Result<Link, String> {
        let client = Client::open(settings.connection.clone())
            .map_err(|error| format!("{} cannot be used: {error}", settings.shown))?;
        Ok(Link { client, deadline: deadline.min(REDIS_DEADLINE), connection: None })
    }

    /// Whether there is a connection: the last use of it went well.
    pub(super) fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Runs `words` with the connection. After any error the connection is thrown away, for an answer may
    /// still be on its way.
    ///
    /// # Errors
    /// Those of connecting and of `words`.
    pub(super) async fn talk<T: Send + 'static>(
        &mut self,
        words: impl FnOnce(&mut Connection) -> RedisResult<T> + Send + 'static,
    ) -> RedisResult<T> {
        let (kept, client, deadline) = (self.connection.take(), self.client.clone(), self.deadline);
        let (answer, connection) = smol::unblock(move || {
            let mut connection = match kept {
                Some(connection) => connection,
                None => connect(&client, deadline)?,
            };
            words(&mut connection).map(|answer| (answer, connection))
        })
        .await?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

fn connect(client: &Client, deadline: Duration) -> RedisResult<Connection> {
    let connection = client.get_connection_with_timeout(deadline)?;
    connection.set_read_timeout(Some(deadline))?;
    connection.set_write_timeout(Some(deadline))?;
    Ok(connection)
}
