//! Reads the value of a flag as a switch, a number or a time.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::args::Typed;
use super::duration;
use super::error::Error;
use super::flags::Flag;

/// Whether a switch is on.
pub(super) fn switch(typed: &Typed, flag: Flag) -> Result<bool, Error> {
    let Some(given) = typed.one(flag) else { return Ok(false) };
    match given.text.as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(given.error("must be 1 or true, 0 or false")),
    }
}

/// A whole number from 1 to `max`.
pub(super) fn count(typed: &Typed, flag: Flag, max: usize) -> Result<Option<usize>, Error> {
    let Some(given) = typed.one(flag) else { return Ok(None) };
    let count = given.text.parse().ok().filter(|count| (1..=max).contains(count));
    count.map(Some).ok_or_else(|| given.error(format_args!("must be a whole number from 1 to {max}")))
}

/// A time, when it is `allowed`; `default` when nothing was typed.
pub(super) fn time(
    typed: &Typed,
    flag: Flag,
    allowed: RangeInclusive<Duration>,
    default: Duration,
) -> Result<Duration, Error> {
    let Some(given) = typed.one(flag) else { return Ok(default) };
    let time = duration::parse(&given.text).filter(|time| allowed.contains(time));
    time.ok_or_else(|| {
        let (min, max) = (duration::show(*allowed.start()), duration::show(*allowed.end()));
        given.error(format_args!("must be {}; from {min} to {max}", duration::ALLOWED))
    })
}
