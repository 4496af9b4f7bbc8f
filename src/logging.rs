//! The log: one line per record on stderr, for people or for machines.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::SystemTime;

use log::Record;
use serde::Serialize;

use crate::config::{LogFormat, LogSettings};

/// Room for a line; most are shorter.
const LINE_ROOM: usize = 192;

/// A record as one line of JSON.
#[derive(Serialize)]
struct JsonRecord<'a> {
    ts: String,
    level: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    message: &'a str,
}

/// Begins to log. `journal` is the variable `JOURNAL_STREAM` (systemd.exec(5)), by which systemd tells a
/// service that its output goes to the journal, which has timestamps of its own.
///
/// # Errors
/// When there is a log already.
pub fn init(settings: &LogSettings, journal: Option<&str>) -> Result<(), log::SetLoggerError> {
    let timestamps = !journal.is_some_and(stderr_is);
    let format = settings.format;
    env_logger::Builder::new()
        .parse_filters(&settings.filter)
        .format(move |out, record| match format {
            LogFormat::Text => text(out, record, timestamps.then(SystemTime::now)),
            LogFormat::Json => json(out, record, SystemTime::now()),
        })
        .try_init()
}

/// `2026-11-21T08:49:00Z INFO  burdock::server: message`
fn text(out: &mut impl Write, record: &Record<'_>, now: Option<SystemTime>) -> io::Result<()> {
    // Formatted as a string first: writing each piece to `out` costs more.
    let mut line = String::with_capacity(LINE_ROOM);
    let stamped = now.map_or(Ok(()), |now| write!(line, "{} ", humantime::format_rfc3339_seconds(now)));
    stamped
        .and_then(|()| writeln!(line, "{:<5} {}: {}", record.level(), record.target(), record.args()))
        .map_err(io::Error::other)?;
    out.write_all(line.as_bytes())
}

/// `{"ts":"2026-11-21T08:49:00.123Z","level":"info","target":"burdock::session","session":"n1-1SKWQ8","message":"..."}`
fn json(out: &mut impl Write, record: &Record<'_>, now: SystemTime) -> io::Result<()> {
    let message = record.args().to_string();
    let (session, message) =
        of_session(&message).map_or((None, &*message), |(label, rest)| (Some(label), rest));
    let line = JsonRecord {
        ts: humantime::format_rfc3339_millis(now).to_string(),
        level: &record.level().as_str().to_ascii_lowercase(),
        target: record.target(),
        session,
        message,
    };
    writeln!(out, "{}", serde_json::to_string(&line)?)
}

/// A message about a session begins with the label of its id in brackets, wherever burdock logs one.
fn of_session(message: &str) -> Option<(&str, &str)> {
    let (label, rest) = message.strip_prefix('[')?.split_once("] ")?;
    label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-').then_some((label, rest))
}

/// Whether stderr is the stream that `device:inode` names.
fn stderr_is(stream: &str) -> bool {
    let Ok(stat) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use log::Level;

    use super::*;

    fn written(message: &str, write: impl Fn(&mut Vec<u8>, &Record<'_>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(
            &mut out,
            &Record::builder()
                .level(Level::Info)
                .target("burdock::server")
                .args(format_args!("{message}"))
                .build(),
        )
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_lines() {
        let now = UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(
            written("a \"b\"\nc", |out, record| text(out, record, Some(now))),
            "1970-01-01T00:00:01Z INFO  burdock::server: a \"b\"\nc\n"
        );
        assert_eq!(
            written("[n1-X] a", |out, record| text(out, record, None)),
            "INFO  burdock::server: [n1-X] a\n"
        );
    }

    #[test]
    fn json_lines() {
        for (message, rest) in [
            ("a \"b\"\nc", r#""message":"a \"b\"\nc""#),
            ("[n1-1SKWQ8] started", r#""session":"n1-1SKWQ8","message":"started""#),
            ("[::1] is no session", r#""message":"[::1] is no session""#),
            ("[n1-1SKWQ8 is no session", r#""message":"[n1-1SKWQ8 is no session""#),
        ] {
            let line =
                written(message, |out, record| json(out, record, UNIX_EPOCH + Duration::from_millis(1_500)));
            let begin = r#"{"ts":"1970-01-01T00:00:01.500Z","level":"info","target":"burdock::server""#;
            assert_eq!(line, format!("{begin},{rest}}}\n"));
        }
    }

    #[test]
    fn a_journal_is_known_by_its_inode() {
        let stat = rustix::fs::fstat(io::stderr()).unwrap();
        assert!(stderr_is(&format!("{}:{}", stat.st_dev, stat.st_ino)));
        assert!(!stderr_is(&format!("{}:{}", stat.st_dev, stat.st_ino + 1)));
        assert!(!stderr_is(""));
    }
}
