//! Durations as they are typed: `90`, `90s`, `15m`, `2h`, `500ms`.

use std::time::Duration;

/// What a duration may look like, for messages.
pub const ALLOWED: &str = "seconds like 90, or with a unit: 500ms, 90s, 15m, 2h";

/// Reads a duration; `None` when it is none.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
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
        for (text, millis) in
            [("0", 0), ("90", 90_000), ("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("500ms", 500)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1",
            "1.5",
            "1d",
            "1 s",
            "90S",
            "1h30m",
            "99999999999999999999",
            "9999999999999999999h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn shown_and_read_again_it_is_the_same(millis in 0..u64::MAX / 2) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
