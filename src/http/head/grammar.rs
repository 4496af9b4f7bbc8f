//! The words of a head: hosts, tokens, numbers, and where in its bytes they lie.

use std::ops::Range;

use crate::authority::Authority;
use crate::limits::HEAD_BYTES_MAX;

/// A part of a head's bytes. Heads are at most [`HEAD_BYTES_MAX`] long, so that 16 bits suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u16,
    end: u16,
}

const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize);

impl Span {
    pub(super) const EMPTY: Span = Span { start: 0, end: 0 };

    /// Where `part`, a slice of `whole`, lies in it.
    pub(super) fn of(part: &[u8], whole: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        Span { start: start as u16, end: (start + part.len()) as u16 }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Whether `host` is a name or address with an optional port.
pub(super) fn is_host(host: &[u8]) -> bool {
    std::str::from_utf8(host).is_ok_and(|host| Authority::parse(host).is_ok())
}

/// Room for the longest name that is looked for.
pub(super) const KNOWN_NAME_ROOM: usize = 32;

/// `name` with bit 0x20 set in every byte: lower case for letters; digits and `-` unchanged. Other token
/// bytes change, but never into a letter, digit or `-`, so no foreign name can equal a known one. Made in
/// `room`; empty when `name` is longer than any name that is looked for.
pub(super) fn lower_case<'a>(name: &str, room: &'a mut [u8; KNOWN_NAME_ROOM]) -> &'a [u8] {
    let Some(copy) = room.get_mut(..name.len()) else { return &[] };
    copy.copy_from_slice(name.as_bytes());
    // All of the room, not only the name: for a fixed number of bytes the compiler needs no loop.
    for byte in room.iter_mut() {
        *byte |= b'a' ^ b'A';
    }
    &room[..name.len()]
}

/// Digits and nothing else, at least one.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    let (first, others) = digits.split_first()?;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    others.iter().try_fold(digit(first)?, |number, byte| number.checked_mul(10)?.checked_add(digit(byte)?))
}

/// Whether a comma-separated list has a token, without case (RFC 9110, section 5.6.1).
pub(super) fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// RFC 9110, section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_lower_case_is_no_other_names() {
        for token_byte in (0..=u8::MAX).filter(|byte| is_token_byte(*byte)) {
            let name = (token_byte as char).to_string();
            let lower = lower_case(&name, &mut [0; KNOWN_NAME_ROOM])[0];
            if lower.is_ascii_alphanumeric() || lower == b'-' {
                assert_eq!(lower, token_byte.to_ascii_lowercase(), "{name}");
            }
        }
        assert_eq!(lower_case(&"a".repeat(33), &mut [0; KNOWN_NAME_ROOM]), b"");
    }

    #[test]
    fn lengths_are_decimal_numbers() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "+1", "-1", "1 ", "1,1", "0x1", "a", "18446744073709551616"] {
            assert_eq!(decimal(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn takes_valid_hosts_only() {
        // RFC 3986, section 3.2.3: a port may be empty.
        for host in
            ["n1", "n1.example.org:80", "127.0.0.1:8080", "[::1]", "[::1]:65535", "a_b~c", "n1:", "[::1]:"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "a/b",
            "a?b",
            "a#b",
            "u@h",
            "a b",
            "a,b",
            "n1:x",
            "n1:65536",
            "n1:+1",
            "::1",
            "[::1",
            "[x]",
            "[::1]x",
            "a:1:2",
            "caf\u{e9}",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
