//! `--log` and `--log-format`.

use std::str::FromStr;

use super::args::Typed;
use super::error::Error;
use super::flags::Flag;
use super::settings::{LogFormat, LogSettings};

/// What is logged and how.
///
/// # Errors
/// A filter or a form that is not known.
pub(super) fn of(typed: &Typed) -> Result<LogSettings, Error> {
    let filter = match typed.one(Flag::Log) {
        None => "info".to_owned(),
        Some(given) if is_log_filter(&given.text) => given.text.clone(),
        Some(given) => {
            return Err(given.error(
                "must be error, warn, info, debug, trace or off, also by module: warn,burdock::http=debug",
            ));
        }
    };
    let format = match typed.one(Flag::LogFormat) {
        None => LogFormat::Text,
        Some(given) => match given.text.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => return Err(given.error("must be text or json")),
        },
    };
    Ok(LogSettings { filter, format })
}

/// Whether every part is `LEVEL` or `TARGET=LEVEL`. A lone target is refused, though the backend would take
/// it: it is nearly always a misspelled level, and then nothing at all would be logged.
fn is_log_filter(text: &str) -> bool {
    let (levels, _pattern) = text.split_once('/').unwrap_or((text, ""));
    let is_level = |level: &str| log::LevelFilter::from_str(level).is_ok();
    levels.split(',').map(str::trim).all(|part| match part.split_once('=') {
        Some((target, level)) => !target.is_empty() && is_level(level),
        None => is_level(part),
    })
}
