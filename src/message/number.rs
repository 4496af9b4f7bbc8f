//! The value of a JSON number of any size and in any spelling, exact enough to compare ids.

/// `digits` times ten to the power of `exponent`, with a sign. Zero has no digits; other numbers neither
/// begin nor end with the digit 0. So equal numbers are equal values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Numeral {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Numeral {
    /// Reads a JSON number; `None` when `text` is none, or its exponent is absurdly large.
    pub(super) fn read(text: &str) -> Option<Numeral> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || leading_zero || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let digits = [whole, fraction].concat();
        let exponent = i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
        let significant = digits.trim_end_matches('0');
        let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() {
            return Some(Numeral { negative: false, digits: String::new(), exponent: 0 });
        }
        Some(Numeral { negative, digits: significant.to_owned(), exponent: exponent + zeros })
    }

    /// Whether it has no fraction.
    pub(super) fn is_whole(&self) -> bool {
        self.exponent >= 0
    }

    /// The value, when it is a `u64`.
    pub(super) fn value(&self) -> Option<u64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let digits: u64 = self.digits.parse().ok().filter(|_| !self.negative && self.is_whole())?;
        digits.checked_mul(10_u64.checked_pow(u32::try_from(self.exponent).ok()?)?)
    }
}
