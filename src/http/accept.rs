//! Which media types a client reads, sans-io (RFC 9110, section 12.5.1).

/// Whether the ranges of all `Accept` headers of a request let the media type `main`/`sub` through. The most
/// specific range that matches decides: `*/*, text/event-stream;q=0` is everything but event streams.
pub fn accepts<'a>(headers: impl Iterator<Item = &'a str>, main: &str, sub: &str) -> bool {
    let ranges = headers.flat_map(|header| header.split(','));
    let matching = ranges.filter_map(|range| Some((specificity(range, main, sub)?, !is_weightless(range))));
    // Where equally specific ranges contradict each other, yes wins.
    matching.max().is_some_and(|(_, acceptable)| acceptable)
}

/// How closely a range names the type: 2 by name, 1 with any subtype, 0 for any type. `None` when it means
/// others.
fn specificity(range: &str, main: &str, sub: &str) -> Option<u8> {
    let (range_main, range_sub) = media_type(range).split_once('/')?;
    match (range_main, range_sub) {
        ("*", "*") => Some(0),
        (range_main, _) if !range_main.eq_ignore_ascii_case(main) => None,
        (_, "*") => Some(1),
        (_, range_sub) => range_sub.eq_ignore_ascii_case(sub).then_some(2),
    }
}

/// Whether a range has the weight 0, which means "not acceptable" (RFC 9110, section 12.4.2).
fn is_weightless(range: &str) -> bool {
    let mut parameters = range.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    parameters.any(|(name, weight)| name.trim().eq_ignore_ascii_case("q") && is_zero(weight.trim()))
}

fn is_zero(weight: &str) -> bool {
    let decimals = weight.strip_prefix('0').map(|rest| rest.strip_prefix('.').unwrap_or(rest));
    decimals.is_some_and(|decimals| decimals.bytes().all(|digit| digit == b'0'))
}

/// A media type or range without its parameters (RFC 9110, section 8.3.1).
pub fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_range_decides() {
        for (header, json, events) in [
            ("application/json, text/event-stream", true, true),
            ("TEXT/event-stream; charset=utf-8 , application/JSON ;q=0.1", true, true),
            ("*/*", true, true),
            ("*/*;q=0.001", true, true),
            ("application/*", true, false),
            ("text/*", false, true),
            ("*, text, /, text/html, application/json5", false, false),
            ("", false, false),
            ("text/event-stream;q=0", false, false),
            ("application/json, text/event-stream;q=0", true, false),
            ("application/json, text/event-stream; Q = 0.000", true, false),
            ("*/*, text/event-stream;q=0", true, false),
            ("text/event-stream;q=0, text/*, */*", true, false),
            ("text/*;q=0, */*;q=0.5", true, false),
            ("*/*;q=0, text/event-stream", false, true),
            ("text/event-stream;q=0, text/event-stream;q=1", false, true),
            // Not a weight of 0: what cannot be read is no refusal.
            ("text/event-stream;q=, application/json;q=0.01;q=x", true, true),
            ("text/event-stream;version=0", false, true),
        ] {
            let accepts = |main, sub| accepts([header].into_iter(), main, sub);
            assert_eq!(accepts("application", "json"), json, "{header:?}");
            assert_eq!(accepts("text", "event-stream"), events, "{header:?}");
        }
        let two = ["application/json", "text/event-stream;q=0"];
        assert!(!accepts(two.into_iter(), "text", "event-stream"));
    }
}
