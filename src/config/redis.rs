//! `--redis` and `--redis-file`: where the registry is, as a URL or a file with one.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::args::{Given, Typed};
use super::error::Error;
use super::flags::Flag;
use crate::small_file;

/// What a URL may be, for messages.
const ALLOWED: &str =
    "must be a URL like redis://10.0.0.5/, redis://USER:PASSWORD@HOST:6379/DB or unix:///run/redis.sock";

/// What may be wrong with a URL that has a user or a password.
const ESCAPES: &str =
    "; in a user or password write %2F for /, %40 for @, %3A for :, %23 for #, %3F for ?, %25 for %";

/// The permission that a file with a password should not give.
const READ_BY_OTHERS: u32 = 0o004;

/// Where the registry is, and whether burdock may serve without it.
#[derive(Clone)]
pub struct RedisTarget {
    /// For the client.
    pub connection: ConnectionInfo,
    /// The address without user and password, for messages.
    pub shown: String,
    /// The flag with its dashes, or the variable, that says so.
    pub by: String,
    /// The flag that names the same Redis again, for commands that burdock suggests: `--redis-file FILE`,
    /// without a password. Empty when a variable named it, which still holds.
    pub again: String,
    /// Whether to start only when it answers (`--redis-required`).
    pub required: bool,
}

impl fmt::Debug for RedisTarget {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTarget").field("shown", &self.shown).field("required", &self.required).finish()
    }
}

/// What `--redis` and `--redis-file` say; `None` when neither was typed.
///
/// # Errors
/// Both are there, the file cannot be read, or the URL is not one that burdock can use.
pub fn of(typed: &Typed, required: bool, warnings: &mut Vec<String>) -> Result<Option<RedisTarget>, Error> {
    match (typed.one(Flag::Redis), typed.one(Flag::RedisFile)) {
        (Some(_), Some(given)) => Err(given.error("goes without --redis; leave out one of the two")),
        (Some(given), None) => typed_url(given, required, warnings).map(Some),
        (None, Some(given)) => of_file(given, required, warnings).map(Some),
        (None, None) if required => {
            Err(Error::Usage("--redis-required goes with --redis URL or --redis-file FILE".to_owned()))
        }
        (None, None) => Ok(None),
    }
}

fn typed_url(given: &Given, required: bool, warnings: &mut Vec<String>) -> Result<RedisTarget, Error> {
    let mut redis = parse(given, &given.text, required)?;
    if !given.by.starts_with("--") {
        return Ok(redis);
    }
    if redis.connection.redis_settings().password().is_none() {
        redis.again = format!("--redis {}", given.text);
        return Ok(redis);
    }
    redis.again = "--redis URL".to_owned();
    warnings.push(
        "--redis has a password, which every user of this machine can read in the list of processes; \
         --redis-file FILE keeps it"
            .to_owned(),
    );
    Ok(redis)
}

fn of_file(given: &Given, required: bool, warnings: &mut Vec<String>) -> Result<RedisTarget, Error> {
    let path = Path::new(&given.text);
    let (text, metadata) = small_file::read(path)
        .map_err(|problem| given.error(format_args!("{} {problem}", path.display())))?;
    let text = text.trim();
    if text.lines().count() != 1 {
        return Err(given.error(format_args!(
            "{} must have one line, the URL only: no comment, no second URL",
            path.display()
        )));
    }
    let mut redis = parse(given, text, required)?;
    if given.by.starts_with("--") {
        redis.again = format!("--redis-file {}", path.display());
    }
    let is_public = metadata.permissions().mode() & READ_BY_OTHERS != 0;
    if is_public && redis.connection.redis_settings().password().is_some() {
        warnings.push(format!(
            "{0} has a password, which every user of this machine can read there; run: chmod o-r {0}",
            path.display()
        ));
    }
    Ok(redis)
}

/// Reads a URL. Nothing of it is in the error, for it may hold a password.
fn parse(given: &Given, url: &str, required: bool) -> Result<RedisTarget, Error> {
    let (scheme, _) = url.split_once(':').unwrap_or_default();
    match scheme {
        "rediss" | "valkeys" => {
            return Err(given.error(format_args!(
                "{scheme}:// needs TLS, which burdock is built without; let a tunnel on this machine (stunnel, \
                 spiped, WireGuard) speak it, and use redis:// or unix://"
            )));
        }
        "redis" | "valkey" | "unix" | "redis+unix" | "valkey+unix" => {}
        _ => return Err(given.error(ALLOWED)),
    }
    let connection = url.into_connection_info().map_err(|error| {
        let detail = error.detail().filter(|detail| !url.contains(detail));
        let hint = if url.contains('@') { ESCAPES } else { "" };
        given.error(format_args!("{ALLOWED} ({}{hint})", detail.unwrap_or("it cannot be read as a URL")))
    })?;
    let Some(shown) = shown(&connection) else { return Err(given.error(ALLOWED)) };
    // Operators see this name in CLIENT LIST.
    let settings = connection.redis_settings().clone().set_lib_name("burdock", env!("CARGO_PKG_VERSION"));
    let connection = connection.set_redis_settings(settings);
    Ok(RedisTarget { connection, shown, by: given.by.clone(), again: String::new(), required })
}

/// The address as a URL without user and password; the number of a database only when it is not 0.
fn shown(connection: &ConnectionInfo) -> Option<String> {
    let db = connection.redis_settings().db();
    let number = |before: &str| if db == 0 { String::new() } else { format!("{before}{db}") };
    match connection.addr() {
        ConnectionAddr::Tcp(host, port) if host.contains(':') => {
            Some(format!("redis://[{host}]:{port}{}", number("/")))
        }
        ConnectionAddr::Tcp(host, port) => Some(format!("redis://{host}:{port}{}", number("/"))),
        ConnectionAddr::Unix(path) => Some(format!("unix://{}{}", path.display(), number("?db="))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<RedisTarget, String> {
        let given = Given { by: "--redis".to_owned(), text: url.to_owned() };
        parse(&given, url, false).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_shown_has_no_password() {
        let redis = read("redis://bob:secret@10.0.0.5:7000/3").unwrap();
        assert_eq!(redis.shown, "redis://10.0.0.5:7000/3");
        let settings = redis.connection.redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("bob"), Some("secret"), 3)
        );
        assert!(!format!("{redis:?}").contains("secret"));
        assert_eq!(read("unix:///run/r.sock").unwrap().shown, "unix:///run/r.sock");
        assert_eq!(read("unix:///run/r.sock?db=2").unwrap().shown, "unix:///run/r.sock?db=2");
        assert_eq!(read("redis://[::1]/").unwrap().shown, "redis://[::1]:6379");
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_repeating_it() {
        for (url, expected) in [
            ("rediss://:secret@h/", "needs TLS"),
            ("valkeys://:secret@h/", "needs TLS"),
            ("http://:secret@h/", ALLOWED),
            ("10.0.0.5:6379", ALLOWED),
            ("", ALLOWED),
            ("redis://:secret@/", ALLOWED),
            ("redis://:secret@h/x", ALLOWED),
            ("redis://:secret@0.0.0.0/", ALLOWED),
            ("redis://h/?protocol=secret", ALLOWED),
            ("redis://:se/secret@h/", "%2F for /"),
            ("redis://u:s@s/secret@h/", "%40 for @"),
        ] {
            let error = read(url).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
