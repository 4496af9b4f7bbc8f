//! Durations as they are typed: `90`, `90s`, `15m`, `2h`, `500ms`, `1h 30m`, `1d`.

use std::time::Duration;

use crate::limits::DURATION_TEXT_BYTES_MAX;

/// What a duration may look like, for messages.
pub const ALLOWED: &str = "seconds like 90, or with a unit: 500ms, 90s, 15m, 2h";

/// Reads a duration: a bare number is in seconds, anything else as humantime has it. `None` when it is none.
pub fn parse(text: &str) -> Option<Duration> {
    // humantime 2.4.0 panics on a sum beyond Duration::MAX; so short a text has no such sum.
    if text.len() > DURATION_TEXT_BYTES_MAX {
        return None;
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    humantime::parse_duration(text).ok()
}

/// A duration in the same form, with the largest unit that fits.
pub fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    match (millis, duration.as_secs()) {
        (millis, _) if millis % 1000 != 0 => format!("{millis}ms"),
        (_, seconds) if seconds > 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (_, seconds) if seconds > 0 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        (_, seconds) => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units() {
        for (text, millis) in [
            ("0", 0),
            ("90", 90_000),
            ("90s", 90_000),
            ("15m", 900_000),
            ("2h", 7_200_000),
            ("500ms", 500),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("1 s", 1000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1",
            "1.5",
            "1x",
            "90S",
            "+1",
            "1h 30",
            "99999999999999999999",
            "9999999999999999999h",
            // What humantime panics on.
            "18446744073709551615s 1000ms",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn shown_and_read_again_it_is_the_same(millis in 0..u64::MAX / 1_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "([0-9]{1,20} ?(ms|ns|[a-zA-Z.])? ?){0,4}|\\PC*") {
            let _ = parse(&text);
        }
    }
}
