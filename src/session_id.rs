//! Session ids: `<node>-<26 characters of Crockford's base32>`, 128 bits from the system's CSPRNG (L30:
//! nobody can guess one; invariant 15).
//!
//! The node's name in front is a routing hint for Traefik, never trusted: what proves a session is the table.

use std::fmt;
use std::sync::Arc;

use crate::limits::{NODE_NAME_BYTES_MAX, SESSION_ID_RANDOM_CHARS};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A session's id. Debug and [`SessionId::short`] show only its beginning: the whole id is a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// The node's name, filled up with zero bytes: an id needs no allocation.
    node: [u8; NODE_NAME_BYTES_MAX],
    random: u128,
}

/// Room for an id's text.
pub(crate) const TEXT_BYTES_MAX: usize = NODE_NAME_BYTES_MAX + 1 + SESSION_ID_RANDOM_CHARS;

/// The value of each letter of the alphabet; 255 for every other byte.
const DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        digits[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// Characters whose number has 60 bits.
const REGISTER_CHARS: usize = 12;

/// The number that at most [`REGISTER_CHARS`] letters of the alphabet stand for.
fn number(letters: &[u8]) -> Option<u64> {
    let (number, all) = letters.iter().fold((0, 0), |(number, all), letter| {
        let digit = DIGITS[*letter as usize];
        (number << 5 | u64::from(digit), all | digit)
    });
    (all < 32).then_some(number)
}

/// A node's name in the form an id has it. Names are no longer: [`is_node_name`].
fn padded(name: &str) -> [u8; NODE_NAME_BYTES_MAX] {
    let mut padded = [0; NODE_NAME_BYTES_MAX];
    for (to, byte) in padded.iter_mut().zip(name.bytes()) {
        *to = byte;
    }
    padded
}

impl SessionId {
    /// A new id on `node`.
    ///
    /// # Errors
    /// When the system's CSPRNG cannot be read.
    pub fn new(node: &Arc<str>) -> Result<SessionId, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(SessionId { node: padded(node), random: u128::from_be_bytes(bytes) })
    }

    /// Reads an id; `None` for whatever does not have exactly the form, which no registry need be asked
    /// about.
    pub fn parse(text: &str) -> Option<SessionId> {
        let hyphen = memchr::memrchr(b'-', text.as_bytes())?;
        let (node, random) = (&text[..hyphen], &text[hyphen + 1..]);
        if !is_node_name(node) {
            return None;
        }
        let random: &[u8; SESSION_ID_RANDOM_CHARS] = random.as_bytes().try_into().ok()?;
        // In parts that fit a register: 26 characters hold 130 bits, of which the top two must be empty.
        let (high, low) = random.split_at(SESSION_ID_RANDOM_CHARS - 2 * REGISTER_CHARS);
        let (middle, low) = low.split_at(REGISTER_CHARS);
        let high = u128::from(u8::try_from(number(high)?).ok()?);
        let (middle, low) = (u128::from(number(middle)?), u128::from(number(low)?));
        let bits = 5 * REGISTER_CHARS;
        Some(SessionId { node: padded(node), random: high << (2 * bits) | middle << bits | low })
    }

    /// The node in the id.
    pub fn node(&self) -> &str {
        let length = self.node.iter().position(|byte| *byte == 0).unwrap_or(self.node.len());
        std::str::from_utf8(&self.node[..length]).unwrap_or_default()
    }

    /// The table's key: the random part.
    pub(crate) fn key(&self) -> u128 {
        self.random
    }

    /// The id for logs: the node and six characters.
    pub fn short(&self) -> String {
        let room = &mut [0; TEXT_BYTES_MAX];
        let text = self.text(room);
        let end = text.len() - (SESSION_ID_RANDOM_CHARS - 6);
        text[..end].to_owned()
    }

    /// The whole id, written into `room`.
    pub(crate) fn text<'a>(&self, room: &'a mut [u8; TEXT_BYTES_MAX]) -> &'a str {
        let node = self.node().len();
        let length = node + 1 + SESSION_ID_RANDOM_CHARS;
        room[..node].copy_from_slice(&self.node[..node]);
        room[node] = b'-';
        for (place, letter) in room[node + 1..length].iter_mut().rev().enumerate() {
            *letter = ALPHABET[(self.random >> (5 * place) & 31) as usize];
        }
        std::str::from_utf8(&room[..length]).unwrap_or_default()
    }
}

/// Whether `name` may name a node: `[a-z][a-z0-9]{0,15}`.
pub fn is_node_name(name: &str) -> bool {
    name.len() <= NODE_NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

impl fmt::Display for SessionId {
    /// The whole id: for the wire and the registry only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; TEXT_BYTES_MAX]))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_exact_form_is_an_id() {
        let node: Arc<str> = "n1".into();
        let id = SessionId::new(&node).unwrap();
        let text = id.to_string();
        assert_eq!(text.len(), 3 + 26);
        assert_eq!(SessionId::parse(&text), Some(id.clone()));
        assert!(format!("{id:?}").len() < 14, "the whole id is in Debug");
        let random = &text[3..];
        for wrong in [
            String::new(),
            random.to_owned(),
            format!("-{random}"),
            format!("N1-{random}"),
            format!("1n-{random}"),
            format!("n_1-{random}"),
            format!("abcdefghijklmnopq-{random}"),
            format!("n1-{}", &random[1..]),
            format!("n1-{random}0"),
            format!("n1-{}", random.to_lowercase()).replace(char::is_numeric, "i"),
            format!("n1-8{}", &random[1..]),
            format!("n1-{}U", &random[..25]),
            format!(" {text}"),
        ] {
            assert_eq!(SessionId::parse(&wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn prop_display_and_parse_agree(random in any::<u128>(), node in "[a-z][a-z0-9]{0,15}") {
            let id = SessionId { node: padded(&node), random };
            prop_assert_eq!(id.node(), node);
            prop_assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn prop_parse_never_panics(text in ".{0,60}") {
            let _ = SessionId::parse(&text);
        }
    }
}
