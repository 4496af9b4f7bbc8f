//! Text from outside on its way to a log, a terminal or an error message: escaped, and cut to a bounded
//! length.

use std::fmt::{self, Write as _};

use crate::limits::FOREIGN_TEXT_BYTES_MAX;

/// Displays bytes that came from a client, a child or a file. Control characters and invalid UTF-8 are
/// escaped. At most [`FOREIGN_TEXT_BYTES_MAX`] bytes are shown; an ellipsis follows where more was cut off.
#[derive(Clone, Copy)]
pub struct Foreign<'a>(pub &'a [u8]);

impl<'a> Foreign<'a> {
    /// The same, cut at `max` bytes.
    pub fn up_to(bytes: &'a [u8], max: usize) -> impl fmt::Display + 'a {
        UpTo { bytes, max }
    }
}

impl fmt::Display for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        UpTo { bytes: self.0, max: FOREIGN_TEXT_BYTES_MAX }.fmt(f)
    }
}

struct UpTo<'a> {
    bytes: &'a [u8],
    max: usize,
}

impl fmt::Display for UpTo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = self.max;
        for chunk in self.bytes[..self.bytes.len().min(self.max)].utf8_chunks() {
            for character in chunk.valid().chars() {
                let hidden = hides(character);
                let length = if hidden { character.escape_unicode().len() } else { character.len_utf8() };
                let Some(left) = room.checked_sub(length) else { return f.write_str("…") };
                room = left;
                match hidden {
                    true => write!(f, "{}", character.escape_unicode())?,
                    false => f.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                let Some(left) = room.checked_sub(r"\xff".len()) else { return f.write_str("…") };
                room = left;
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if self.bytes.len() > self.max { f.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a character must be escaped: it controls a terminal, or reorders or hides the text around it
/// (CVE-2021-42574).
fn hides(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2064}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8]) -> String {
        Foreign(bytes).to_string()
    }

    #[test]
    fn what_controls_or_hides_is_escaped() {
        assert_eq!(shown(b"plain \xc3\xa4"), "plain \u{e4}");
        assert_eq!(shown(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(shown(b"\xff"), "\\xff");
        for hidden in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{2028}', '\u{61c}', '\u{85}'] {
            let text = format!("a{hidden}b");
            assert_eq!(shown(text.as_bytes()), format!("a{}b", hidden.escape_unicode()));
        }
        assert_eq!(format!("{:?}", Foreign(b"\t")), "\\u{9}");
    }

    #[test]
    fn an_ellipsis_says_that_more_came() {
        let whole = "x".repeat(FOREIGN_TEXT_BYTES_MAX);
        assert_eq!(shown(whole.as_bytes()), whole);
        assert_eq!(shown(format!("{whole}y").as_bytes()), format!("{whole}…"));
        // The cut is in the middle of a character, or of what stands for one.
        let almost = &whole[1..];
        assert_eq!(shown(format!("{almost}ä").as_bytes()), format!("{almost}…"));
        assert_eq!(shown(format!("{almost}\n").as_bytes()), format!("{almost}…"));
        assert_eq!(Foreign::up_to(&[b'x'; 5000], 4096).to_string(), format!("{}…", "x".repeat(4096)));
        assert_eq!(Foreign::up_to(&[b'x'; 4096], 4096).to_string(), "x".repeat(4096));
    }

    proptest! {
        #[test]
        fn prop_what_is_shown_is_short_and_harmless(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let shown = shown(&bytes);
            prop_assert!(shown.len() <= FOREIGN_TEXT_BYTES_MAX + "…".len(), "{}", shown.len());
            prop_assert!(!shown.chars().any(hides));
        }
    }
}
