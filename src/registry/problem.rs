//! What Redis, or the way to it, refused: in words that say what to do. Nothing of the URL is in them.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::foreign::Foreign;

/// The oldest Redis that burdock works with.
pub const REDIS_MIN: (u32, u32) = (6, 2);

/// The rights that each user of burdock's needs, and those that a node needs besides.
const RIGHTS: &str = "~mcp:* +scan +mget +exists +watch +unwatch +multi +exec +del +setex +rpush +ltrim +expire, \
                      and for a node +set +lpop as well";

/// What is wrong, to be put after the address: `Redis at ... refuses connections`. `deadline` is how long an
/// answer was waited for, `by` the flag or variable with the URL.
pub fn describe(error: &RedisError, deadline: Duration, by: &str) -> String {
    let said = || Foreign(error.to_string().as_bytes()).to_string();
    match error.kind() {
        ErrorKind::RESP3NotSupported => too_old(None),
        ErrorKind::AuthenticationFailed => format!(
            "refuses the user or the password: correct the URL of {by} (or Redis has no password: then leave it out)"
        ),
        ErrorKind::Server(ServerErrorKind::NoPerm) => format!(
            "does not let this user do that ({}): its ACL needs {RIGHTS}",
            Foreign(error.detail().unwrap_or("NOPERM").as_bytes())
        ),
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "is still loading its data: try again".to_owned(),
        ErrorKind::Server(ServerErrorKind::ReadOnly) => {
            "is a replica, which takes no changes: use its primary".to_owned()
        }
        ErrorKind::Server(ServerErrorKind::ResponseError) if is_unknown_syntax(error) => {
            let (major, minor) = REDIS_MIN;
            format!("says {}: burdock needs Redis {major}.{minor} or later", said())
        }
        ErrorKind::Parse => "does not speak as Redis does: is that its port?".to_owned(),
        _ if error.code() == Some("NOAUTH") => {
            "wants a password: put redis://:PASSWORD@HOST/ into a file for --redis-file".to_owned()
        }
        _ if error.is_timeout() => format!(
            "does not answer (waited for at most {deadline:?}): does it hang, or is something in the way?"
        ),
        _ if error.is_connection_refusal() => "refuses connections: does it run there?".to_owned(),
        ErrorKind::Io => format!("cannot be reached: {}", said()),
        _ => format!("says {}", said()),
    }
}

/// That its version is; `None` when it is not known.
pub fn too_old(version: Option<(u32, u32)>) -> String {
    let is = version.map_or("is".to_owned(), |(major, minor)| format!("is {major}.{minor},"));
    let (major, minor) = REDIS_MIN;
    format!("{is} too old: {major}.{minor} or later is needed")
}

/// What a Redis says that does not know the options of SET and LPOP.
fn is_unknown_syntax(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("syntax") || detail.contains("arguments"))
}
