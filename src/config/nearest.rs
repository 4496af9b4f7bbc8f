//! Guesses what a misspelled word was meant to be.

/// The candidate that is nearest to `word`, if one is near enough to be a likely slip of the finger.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips_allowed = word.chars().count().div_ceil(4);
    candidates
        .into_iter()
        .map(|candidate| (slips(word, candidate), candidate))
        .filter(|(slips, _)| *slips <= slips_allowed)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean ...?`, or nothing when nothing is near.
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// Insertions, deletions and replacements between the two words (Levenshtein's distance), case ignored.
fn slips(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_ascii_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.to_ascii_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..right.len() {
            let replaced = diagonal + usize::from(letter != right[column]);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_slips() {
        for (left, right, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("Node", "node", 0)]
        {
            assert_eq!(slips(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn finds_the_likely_word_and_nothing_else() {
        let words = ["listen", "log", "log-format", "idle-timeout"];
        assert_eq!(nearest("lisen", words), Some("listen"));
        assert_eq!(nearest("logformat", words), Some("log-format"));
        assert_eq!(nearest("idle_timeout", words), Some("idle-timeout"));
        assert_eq!(nearest("redis", words), None);
        assert_eq!(nearest("", words), None);
    }
}
