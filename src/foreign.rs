//! Text from outside on its way to a log, a terminal or an error message: escaped and cut.

use std::fmt::{self, Write as _};

use crate::limits::FOREIGN_TEXT_BYTES_MAX;

/// Displays bytes from a client, a child or a file: control characters and invalid UTF-8 escaped, at most
/// [`FOREIGN_TEXT_BYTES_MAX`] bytes, an ellipsis where it was cut.
#[derive(Clone, Copy)]
pub struct Foreign<'a>(pub &'a [u8]);

impl fmt::Display for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = FOREIGN_TEXT_BYTES_MAX;
        for chunk in self.0[..self.0.len().min(FOREIGN_TEXT_BYTES_MAX)].utf8_chunks() {
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
        if self.0.len() > FOREIGN_TEXT_BYTES_MAX { f.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Control characters, and those that reorder or hide the text around them (CVE-2021-42574).
fn hides(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2064}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_cuts() {
        assert_eq!(Foreign(b"plain \xc3\xa4").to_string(), "plain \u{e4}");
        assert_eq!(Foreign(b"a\x1b[2Jb\n").to_string(), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(Foreign(b"\xff").to_string(), "\\xff");
        assert!(Foreign(&[b'x'; 5000]).to_string().len() <= FOREIGN_TEXT_BYTES_MAX + 3);
        assert!(Foreign(&[7; 5000]).to_string().len() <= FOREIGN_TEXT_BYTES_MAX + 3);
        assert!(Foreign(&[0xff; 5000]).to_string().len() <= FOREIGN_TEXT_BYTES_MAX + 3);
    }
}
