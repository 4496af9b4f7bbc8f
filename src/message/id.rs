//! Request ids and progress tokens: kept as the text they were written in, and compared by it.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::number::Numeral;
use super::text::unquote;
use crate::limits::ID_BYTES_MAX;

/// A request id or progress token: the JSON text of a string or of a number, never null; of an id without a
/// fraction (L11).
///
/// Two of them are equal when they are the same bytes: `1`, `1.0` and `"1"` are three ids. [`Id::fits`] is
/// the wider comparison, for peers that give an id back in other words.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(IdText);

/// The form of nearly every id takes no memory of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum IdText {
    /// A number that is written as Rust writes it.
    Plain(i64),
    /// Any other text.
    Kept(Box<str>),
}

/// Why a JSON value is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoId {
    /// It is neither a string nor a number without a fraction.
    OtherType,
    /// It has more than `ID_BYTES_MAX` bytes.
    TooLong,
}

impl Id {
    /// The id that a JSON value is.
    ///
    /// # Errors
    /// [`NoId`] when it is none.
    pub fn of(raw: &RawValue) -> Result<Id, NoId> {
        let text = raw.get();
        let inner = text.strip_prefix('"').map_or(text, |rest| rest.strip_suffix('"').unwrap_or(rest));
        let is_text = inner.len() < text.len();
        if !is_text && !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Err(NoId::OtherType);
        }
        if inner.len() > ID_BYTES_MAX {
            return Err(NoId::TooLong);
        }
        if is_text {
            return Ok(Id(IdText::Kept(text.into())));
        }
        if let Some(plain) = plain(text) {
            return Ok(Id(IdText::Plain(plain)));
        }
        let whole = Numeral::read(text).is_some_and(|numeral| numeral.is_whole());
        if whole { Ok(Id(IdText::Kept(text.into()))) } else { Err(NoId::OtherType) }
    }

    /// The progress token that a JSON value is: clients take any number for one.
    ///
    /// # Errors
    /// [`NoId`] when it is none.
    pub fn of_token(raw: &RawValue) -> Result<Id, NoId> {
        let text = raw.get();
        let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        match Id::of(raw) {
            Err(NoId::OtherType) if is_number => Ok(Id(IdText::Kept(text.into()))),
            token => token,
        }
    }

    /// The JSON text.
    pub fn text<'a>(&'a self, buffer: &'a mut itoa::Buffer) -> &'a str {
        match &self.0 {
            IdText::Plain(number) => buffer.format(*number),
            IdText::Kept(text) => text,
        }
    }

    /// The id that `text` stands for, when it is the text of one.
    pub fn of_text(text: &str) -> Option<Id> {
        Id::of(serde_json::from_str(text).ok()?).ok()
    }

    /// The number, when the id is written as numbers are.
    pub fn plain(&self) -> Option<i64> {
        match self.0 {
            IdText::Plain(number) => Some(number),
            IdText::Kept(_) => None,
        }
    }

    /// The number that the id stands for in any spelling: `7`, `7.0`, `70e-1`, `"7"`.
    pub fn value(&self) -> Option<u64> {
        match &self.0 {
            IdText::Plain(number) => u64::try_from(*number).ok(),
            IdText::Kept(text) => numeral(text)?.value(),
        }
    }

    /// Whether a peer that was given the id `other` may mean that one by this: it is the same number, or the
    /// same string in another spelling.
    pub fn fits(&self, other: &Id) -> bool {
        if self == other {
            return true;
        }
        let (own, others) = (self.to_string(), other.to_string());
        match (numeral(&own), numeral(&others)) {
            (Some(own), Some(others)) => own == others,
            (None, None) => match (unquote_text(&own), unquote_text(&others)) {
                (Some(own), Some(others)) => own == others,
                _ => false,
            },
            _ => false,
        }
    }
}

/// The number that `text` is, when Rust would write it the same way.
fn plain(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    let signed_zero = number == 0 && text.len() > 1;
    (!signed_zero && !text.starts_with('+')).then_some(number)
}

/// The number that an id's text stands for, quoted or not.
fn numeral(text: &str) -> Option<Numeral> {
    let text = if text.starts_with('"') { unquote_text(text)? } else { text.to_owned() };
    Numeral::read(&text)
}

fn unquote_text(text: &str) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    unquote(raw).map(std::borrow::Cow::into_owned)
}

impl From<i64> for Id {
    fn from(number: i64) -> Id {
        Id(IdText::Plain(number))
    }
}

impl fmt::Display for Id {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            IdText::Plain(number) => write!(f, "{number}"),
            IdText::Kept(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

impl Serialize for Id {
    /// As it was written.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            IdText::Plain(number) => serializer.serialize_i64(*number),
            IdText::Kept(text) => match serde_json::from_str::<&RawValue>(text) {
                Ok(raw) => raw.serialize(serializer),
                Err(error) => Err(serde::ser::Error::custom(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> Id {
        Id::of_text(text).unwrap_or_else(|| panic!("{text} is no id"))
    }

    fn no_id(text: &str) -> NoId {
        Id::of(serde_json::from_str(text).unwrap()).expect_err(text)
    }

    /// L11: any string, any integer, in the spelling of whoever wrote it.
    #[test]
    fn an_id_keeps_its_spelling() {
        let longest = format!("\"{}\"", "x".repeat(ID_BYTES_MAX));
        for text in ["0", "-0", "7", "-7", "7.0", "1e3", "70e-1", "1790000000000000001", &"9".repeat(60)]
            .into_iter()
            .chain([r#""""#, r#""a\"b""#, r#""\u0061""#, "\"\u{e9}\"", longest.as_str()])
        {
            assert_eq!(id(text).to_string(), text);
            assert_eq!(serde_json::to_string(&id(text)).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_id_says_why() {
        for text in ["1.5", "15e-1", "null", "true", "{}", "[1]", "1e99999999999999999999"] {
            assert_eq!(no_id(text), NoId::OtherType, "{text}");
        }
        assert_eq!(no_id(&format!("\"{}\"", "x".repeat(ID_BYTES_MAX + 1))), NoId::TooLong);
        assert_eq!(no_id(&"9".repeat(ID_BYTES_MAX + 1)), NoId::TooLong);
    }

    #[test]
    fn ids_are_equal_by_their_bytes_and_fit_by_their_value() {
        for (one, other) in
            [("1", "1.0"), ("1", "\"1\""), ("1000", "1e3"), ("0", "-0"), (r#""a""#, r#""\u0061""#)]
        {
            assert_ne!(id(one), id(other));
            assert!(id(one).fits(&id(other)) && id(other).fits(&id(one)), "{one} {other}");
        }
        for (one, other) in [("1", "2"), ("1", "\"ID\""), ("1", "-1"), (r#""a""#, r#""b""#), ("1", "\"01\"")]
        {
            assert!(!id(one).fits(&id(other)) && !id(other).fits(&id(one)), "{one} {other}");
        }
        assert_eq!(["7", "7.0", "\"7\"", "0.7e1"].map(|text| id(text).value()), [Some(7); 4]);
        assert_eq!(["-7", "\"x\"", "99999999999999999999"].map(|text| id(text).value()), [None; 3]);
    }

    proptest! {
        #[test]
        fn prop_a_number_fits_itself_in_every_spelling(number in any::<i64>(), zeros in 0..5usize) {
            let spellings = [
                number.to_string(),
                format!("{number}.{}", "0".repeat(zeros + 1)),
                format!("{number}{}e-{zeros}", "0".repeat(zeros)),
                format!("\"{number}\""),
            ];
            for one in &spellings {
                for other in &spellings {
                    prop_assert!(id(one).fits(&id(other)), "{} {}", one, other);
                    prop_assert!(!id(one).fits(&Id::from(number.wrapping_add(1))));
                }
                prop_assert_eq!(id(one).value(), u64::try_from(number).ok());
            }
        }
    }
}
