//! What a line of stdout looks like, sans-io: a JSON text, alone or with bytes around it that programs for
//! people write (a byte order mark, terminal colours, NUL, record separators), a log line, or nothing.

use std::ops::Range;

use crate::limits::NOISE_ENDS_MAX;

/// What a line looks like. Nothing is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// There is nothing in it.
    Blank,
    /// It begins like a JSON object or array, which is here.
    Json(Range<usize>),
    /// Text that is no JSON, with an object in it that begins here; `"jsonrpc"` is in one of them.
    Wrapped(usize),
    /// Something else.
    Garbage,
}

/// Looks at a line. One that is only an object, as nearly all are, costs a look at its first and its last
/// byte.
pub(super) fn look(line: &[u8]) -> Looks {
    if let [b'{', .., b'}'] = line {
        return Looks::Json(0..line.len());
    }
    let start = noise(line);
    let end = match line.get(start) {
        None => return Looks::Blank,
        Some(b'{') => end(line, b'}'),
        Some(b'[') => end(line, b']'),
        Some(_) => return wrapped(line, start),
    };
    if !is_json(&line[start..end]) {
        return wrapped(line, start);
    }
    Looks::Json(start..end)
}

/// Whether a text that begins with a bracket or brace begins like JSON. Log lines begin with `[INFO]` or
/// `[12:30]`: an array counts when it begins with a message, or at least ends like one.
fn is_json(text: &[u8]) -> bool {
    let [b'[', rest @ ..] = text else { return true };
    let first = rest.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_value =
        first.is_none_or(|byte| matches!(byte, b'[' | b']' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'));
    first == Some(&b'{') || is_value && text.ends_with(b"]")
}

/// The end of the JSON text in a line: behind the first `close` that only noise follows.
fn end(line: &[u8], close: u8) -> usize {
    // The title in an OSC sequence may have brackets of its own, so one look is not always enough.
    let ends = memchr::memrchr_iter(close, line).take(NOISE_ENDS_MAX).map(|at| at + 1);
    let is_end = |end: &usize| *end + noise(&line[*end..]) == line.len();
    // A text that was cut has no end; the parser is given the whole line.
    ends.filter(is_end).last().unwrap_or(line.len())
}

fn wrapped(line: &[u8], start: usize) -> Looks {
    let Some(brace) = memchr::memchr(b'{', &line[start..]) else { return Looks::Garbage };
    let at = start + brace;
    // An object that has lost its brace mentions it before.
    let is_message = memchr::memmem::find(&line[at..], br#""jsonrpc""#)
        .or_else(|| memchr::memmem::find(&line[start..at], br#""jsonrpc":"#));
    if is_message.is_some() { Looks::Wrapped(at) } else { Looks::Garbage }
}

/// How many bytes at the beginning of `text` are neither JSON nor a word.
fn noise(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += match &text[at..] {
            [0xef, 0xbb, 0xbf, ..] => 3,
            [0x1b, rest @ ..] => 1 + escape(rest),
            [b' ' | 0x7f, ..] => 1,
            [byte, ..] if byte.is_ascii_control() => 1,
            _ => return at,
        };
    }
}

/// How many bytes after an ESC belong to its sequence (ECMA-48, 5.3 to 5.6).
fn escape(rest: &[u8]) -> usize {
    let run = |from: usize, range: std::ops::RangeInclusive<u8>| {
        let bytes = rest.iter().skip(from).take_while(|byte| range.contains(byte));
        from + bytes.count()
    };
    let last = |from: usize| rest.len().min(from + 1);
    match rest.first() {
        // CSI: parameters and intermediates, then a final byte.
        Some(b'[') => last(run(1, 0x20..=0x3f)),
        // OSC and the other strings: up to BEL, or to ESC \, whose ESC comes around as a sequence of its own.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let end = memchr::memchr2(0x07, 0x1b, rest);
            end.map_or(rest.len(), |end| if rest[end] == 0x07 { end + 1 } else { end })
        }
        Some(0x20..=0x2f) => last(run(0, 0x20..=0x2f)),
        Some(0x30..=0x7e) => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The JSON that is found in a line.
    fn json(line: &str) -> Option<&str> {
        match look(line.as_bytes()) {
            Looks::Json(place) => Some(&line[place]),
            _ => None,
        }
    }

    #[test]
    fn what_is_around_a_json_text_is_no_part_of_it() {
        let object = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        let around = [
            ("\u{feff}", ""),
            ("\0", "\0"),
            ("\x1e", ""),
            ("\u{feff}\x1e\0", " \r"),
            ("\x1b[32m", "\x1b[0m"),
            ("\x1b[38;5;12m\x1b[1m ", "\x1b[0m\r"),
            ("\x1b]0;npx [x]\x07", "\x1b]0;{done}\x07"),
            ("\x1b]8;;http://x\x1b\\", "\x1b]8;;\x1b\\"),
            ("\x1b(B\x1b=", "\x1b[K\x7f"),
        ];
        for (before, after) in around {
            assert_eq!(json(&format!("{before}{object}{after}")), Some(object), "{before:?} {after:?}");
            assert_eq!(json(&format!("{before}[{object}]{after}")), Some(&*format!("[{object}]")));
        }
        assert_eq!(json(&format!("  {object} \t")), Some(object));
    }

    #[test]
    fn a_text_that_was_cut_or_has_something_behind_it_is_left_to_the_parser() {
        for line in [r#"{"id":1,"result"#, "{}}} tail", "[{", "{", "{\u{1b}[0m", "[{}] tail"] {
            assert_eq!(json(line), Some(line));
        }
        assert_eq!(json("\u{1b}[1m{\"id\":1 "), Some("{\"id\":1 "));
    }

    #[test]
    fn other_lines_are_blank_garbage_or_hold_a_message() {
        for blank in ["", "\r", " \t", "\u{feff}", "\u{1b}[0m\r", "\0"] {
            assert_eq!(look(blank.as_bytes()), Looks::Blank, "{blank:?}");
        }
        for garbage in ["npm notice", "INFO {a}", r#"a "jsonrpc" {"#, "\u{1b}[2mlog\u{1b}[0m", "}", "\u{1b}"]
        {
            let looks = look(garbage.as_bytes());
            assert!(matches!(looks, Looks::Garbage | Looks::Blank), "{garbage:?}: {looks:?}");
        }
        for garbage in ["[INFO] listening", "[12:30:01] [x", "[see] [1]", "[tcp] up", "["] {
            assert_eq!(look(garbage.as_bytes()), Looks::Garbage, "{garbage:?}");
        }
        let object = r#"{"jsonrpc":"2.0"}"#;
        for before in ["INFO: ", "[INFO] ", "[2026-11-27 12:30:01] ", "\u{1b}[2m[12:30]\u{1b}[0m "] {
            assert_eq!(
                look(format!("{before}{object}").as_bytes()),
                Looks::Wrapped(before.len()),
                "{before:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn prop_any_bytes_are_looked_at(line in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Looks::Json(place) = look(&line) {
                prop_assert!(place.start < place.end && place.end <= line.len());
            }
        }

        #[test]
        fn prop_a_json_text_is_found_whole(
            text in r#"(\[\{|\{)[\x20-\x7e]{0,20}"#,
            before in r"(\u{feff}|\x1b\[[0-9;]{0,5}m|\x00|\x1e){0,4}",
            after in r"( |\r|\x1b\[[0-9;]{0,5}m|\x00){0,4}",
        ) {
            let text = text.clone() + if text.starts_with('{') { "}" } else { "]" };
            let line = format!("{before}{text}{after}");
            prop_assert_eq!(json(&line), Some(&*text));
        }
    }
}
