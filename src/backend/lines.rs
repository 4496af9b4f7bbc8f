//! Newline-delimited messages out of a byte stream, sans-io: bounded in length, counted in the budget.

use serde::de::IgnoredAny;

use crate::budget::Share;
use crate::limits::{
    CR_LOOKS_MAX, LINE_DISCARD_BYTES_MAX, MESSAGE_BYTES_MAX, TOO_LONG_HEAD_BYTES, TOO_LONG_TAIL_BYTES,
};

/// Collects one line at a time.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: Vec<u8>,
    /// The share of `held`'s capacity.
    share: Share,
    /// What is left of the current line once it was given up; `None` while the line is kept.
    discarded: Option<Discarded>,
    /// How often the growing line was tried as a whole, for it may end with a lone CR (`CR_LOOKS_MAX`), and how
    /// long it was at the last try.
    cr_looks: u8,
    looked_at: usize,
}

/// What is left of a line that was given up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Discarded {
    /// Its first bytes, at most `TOO_LONG_HEAD_BYTES`.
    pub(super) head: Vec<u8>,
    /// Its last bytes, at most `TOO_LONG_TAIL_BYTES`; those of a short line are in `head` as well.
    pub(super) tail: Vec<u8>,
    /// How long it was.
    pub(super) bytes: usize,
}

impl Discarded {
    fn add(&mut self, part: &[u8]) {
        self.bytes += part.len();
        let room = TOO_LONG_HEAD_BYTES.saturating_sub(self.head.len()).min(part.len());
        self.head.extend_from_slice(&part[..room]);
        let last = &part[part.len().saturating_sub(TOO_LONG_TAIL_BYTES)..];
        let surplus = (self.tail.len() + last.len()).saturating_sub(TOO_LONG_TAIL_BYTES);
        self.tail.drain(..surplus);
        self.tail.extend_from_slice(last);
    }
}

/// What a piece of input led to.
#[derive(Debug)]
pub(super) enum LineStep {
    /// All of it was taken and no line is complete.
    More,
    /// A line without its line feed, and its share.
    Line(Vec<u8>, Share),
    /// The end of a line that was longer than a message may be, or was given up.
    TooLong(Discarded),
    /// So much of one line was thrown away that no end is to be expected.
    Endless(Discarded),
    /// Nothing was taken: the byte budget is spent. Feed again later, or [`Lines::give_up`].
    BudgetSpent,
}

impl Lines {
    /// Takes input up to and including the first line feed. Returns how many bytes it took, and what they led
    /// to.
    pub(super) fn feed(&mut self, input: &[u8]) -> (usize, LineStep) {
        let end = memchr::memchr(b'\n', input);
        let part = &input[..end.unwrap_or(input.len())];
        let taken = part.len() + usize::from(end.is_some());
        if self.discarded.is_none() && self.held.len() + part.len() > MESSAGE_BYTES_MAX {
            self.give_up();
        }
        if self.discarded.is_some() {
            return (taken, self.discard(part, end.is_some()));
        }
        if !self.make_room(part.len()) {
            return (0, LineStep::BudgetSpent);
        }
        self.held.extend_from_slice(part);
        if end.is_none() { (taken, LineStep::More) } else { (taken, self.take()) }
    }

    /// Throws away what is held of the current line, and whatever still comes of it.
    pub(super) fn give_up(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.share = Share::default();
        self.discarded.get_or_insert_default().add(&held);
    }

    /// To be called when the pipe is empty for now, until it returns no line. Some programs end lines with a
    /// lone CR. So a whole JSON text with a CR behind it is a line: nothing that may still come can belong to
    /// it.
    pub(super) fn pause(&mut self) -> LineStep {
        let is_new = self.held.len() != self.looked_at;
        let is_candidate = self.held.ends_with(b"}\r") || self.held.ends_with(b"]\r");
        if !is_candidate || !is_new || self.cr_looks >= CR_LOOKS_MAX {
            return LineStep::More;
        }
        self.looked_at = self.held.len();
        // Bounded, so that a text that arrives a few bytes at a time is not parsed again after each of them.
        self.cr_looks += 1;
        let mut texts = serde_json::Deserializer::from_slice(&self.held).into_iter::<IgnoredAny>();
        let is_whole = texts.next().is_some_and(|text| text.is_ok());
        let end = texts.byte_offset();
        if !is_whole || self.held.get(end) != Some(&b'\r') {
            return LineStep::More;
        }
        let rest = self.held.split_off(end + 1);
        let line = self.take();
        (self.share, self.held) = (Share::overdraw(rest.capacity()), rest);
        line
    }

    /// The end of the stream: what is held counts as a line.
    pub(super) fn finish(&mut self) -> LineStep {
        match self.discarded.take() {
            Some(discarded) => LineStep::TooLong(discarded),
            None if self.held.is_empty() => LineStep::More,
            None => self.take(),
        }
    }

    fn take(&mut self) -> LineStep {
        (self.cr_looks, self.looked_at) = (0, 0);
        LineStep::Line(std::mem::take(&mut self.held), std::mem::take(&mut self.share))
    }

    fn discard(&mut self, part: &[u8], ended: bool) -> LineStep {
        let mut discarded = self.discarded.take().unwrap_or_default();
        discarded.add(part);
        if ended {
            return LineStep::TooLong(discarded);
        }
        if discarded.bytes > LINE_DISCARD_BYTES_MAX {
            return LineStep::Endless(discarded);
        }
        self.discarded = Some(discarded);
        LineStep::More
    }

    /// Makes room for `more` bytes; false when the budget is spent. A line that comes in one piece gets
    /// exactly its size. The room of one that grows is doubled each time, so that it is copied only a few
    /// times.
    fn make_room(&mut self, more: usize) -> bool {
        let needed = self.held.len() + more;
        if needed <= self.held.capacity() {
            return true;
        }
        let capacity = needed.max(self.held.capacity() * 2).min(MESSAGE_BYTES_MAX);
        let granted = self.share.grow_to(capacity);
        if granted {
            self.held.reserve_exact(capacity - self.held.len());
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All lines of `input` cut into pieces of `size`, and how many were too long.
    fn lines(input: &[u8], size: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut lines, mut found, mut too_long) = (Lines::default(), Vec::new(), 0);
        for piece in input.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() {
                let (taken, step) = lines.feed(rest);
                rest = &rest[taken..];
                match step {
                    LineStep::Line(line, _) => found.push(line),
                    LineStep::TooLong(_) => too_long += 1,
                    LineStep::More => {}
                    LineStep::Endless(_) | LineStep::BudgetSpent => panic!("{step:?}"),
                }
            }
        }
        if let LineStep::Line(line, _) = lines.finish() {
            found.push(line);
        }
        (found, too_long)
    }

    #[test]
    fn the_cut_does_not_matter() {
        let input = b"{\"a\":1}\n\nplain\r\n[1]";
        let expected: Vec<Vec<u8>> = vec![b"{\"a\":1}".into(), b"".into(), b"plain\r".into(), b"[1]".into()];
        for size in 1..=input.len() {
            assert_eq!(lines(input, size), (expected.clone(), 0), "pieces of {size}");
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_a_message_and_no_longer() {
        let mut input = vec![b'x'; MESSAGE_BYTES_MAX];
        input.extend_from_slice(b"\nshort\n");
        let (found, too_long) = lines(&input, 5000);
        assert_eq!((found.len(), found[0].len(), too_long), (2, MESSAGE_BYTES_MAX, 0));
        input.insert(0, b'x');
        let (found, too_long) = lines(&input, 5000);
        assert_eq!((found, too_long), (vec![b"short".to_vec()], 1));
    }

    #[test]
    fn a_line_without_end_is_noticed_in_bounded_memory() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; 1024 * 1024];
        let mut fed = 0;
        loop {
            fed += piece.len();
            assert!(fed <= LINE_DISCARD_BYTES_MAX + 2 * piece.len(), "never noticed");
            if matches!(lines.feed(&piece).1, LineStep::Endless(_)) {
                break;
            }
            assert!(lines.held.capacity() <= MESSAGE_BYTES_MAX);
        }
        assert!(fed > LINE_DISCARD_BYTES_MAX);
    }

    #[test]
    fn of_a_line_that_is_too_long_both_ends_and_the_size_are_left() {
        let mut input: Vec<u8> =
            (0..=u8::MAX).filter(|byte| *byte != b'\n').cycle().take(MESSAGE_BYTES_MAX + 9).collect();
        let (bytes, line) = (input.len(), input.clone());
        input.push(b'\n');
        for size in [1000, 1024, 5000, 65_536] {
            let mut lines = Lines::default();
            let steps = input.chunks(size).map(|piece| lines.feed(piece).1);
            let told: Vec<Discarded> = steps
                .filter_map(|step| if let LineStep::TooLong(told) = step { Some(told) } else { None })
                .collect();
            let (head, tail) = (&line[..TOO_LONG_HEAD_BYTES], &line[bytes - TOO_LONG_TAIL_BYTES..]);
            assert_eq!(
                told,
                [Discarded { head: head.to_vec(), tail: tail.to_vec(), bytes }],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_line_given_up_early_is_told_at_its_end_and_at_the_end_of_the_stream() {
        let mut lines = Lines::default();
        assert!(matches!(lines.feed(b"abc").1, LineStep::More));
        lines.give_up();
        assert!(matches!(lines.feed(b"def").1, LineStep::More));
        let told = Discarded { head: b"abcdef".into(), tail: b"abcdef".into(), bytes: 6 };
        assert!(matches!(lines.feed(b"\nnext").1, LineStep::TooLong(found) if found == told));
        assert!(matches!(lines.feed(b"next").1, LineStep::More));
        lines.give_up();
        assert!(matches!(lines.finish(), LineStep::TooLong(found) if found.bytes == 4));
    }

    #[test]
    fn a_lone_cr_ends_a_whole_json_text_when_nothing_follows() {
        let whole = |text: &[u8]| {
            let mut lines = Lines::default();
            assert!(matches!(lines.feed(text).1, LineStep::More));
            matches!(lines.pause(), LineStep::Line(line, _) if line == text)
        };
        assert!(whole(b"{\"id\":1}\r") && whole(b"[1]\r"));
        for not_yet in [&b"{\"a\":{}\r"[..], b"{\"id\":1}", b"text\r", b"{\"a\":\"}\r", b"{} {}\r"] {
            assert!(!whole(not_yet), "{not_yet:?}");
        }
        let mut lines = Lines::default();
        lines.feed(b"{}\r{\"id\":1}\r");
        assert!(matches!(lines.pause(), LineStep::Line(line, _) if line == b"{}\r"));
        assert!(matches!(lines.pause(), LineStep::Line(line, _) if line == b"{\"id\":1}\r"));
        assert!(matches!(lines.pause(), LineStep::More));
    }

    #[test]
    fn a_line_is_not_read_again_at_each_cr() {
        let mut lines = Lines::default();
        lines.feed(b"[\"");
        for _ in 0..1000 {
            lines.feed(b"]\r");
            assert!(matches!(lines.pause(), LineStep::More));
        }
        assert_eq!(lines.cr_looks, CR_LOOKS_MAX);
        assert!(matches!(lines.feed(b"\n").1, LineStep::Line(..)));
        assert_eq!(lines.cr_looks, 0);
    }

    proptest! {
        /// However the bytes come, and whenever nothing more comes for now, no byte of a line is lost; and
        /// what a pause makes a line is a whole JSON text.
        #[test]
        fn prop_no_byte_is_lost(
            input in r#"(\{\}|\[1\]|\r|\n|x|\{"a":|\}){0,30}"#,
            cuts in prop::collection::vec((1..8usize, any::<bool>()), 1..60),
        ) {
            let (mut lines, mut rest, mut found) = (Lines::default(), input.as_bytes(), Vec::new());
            for (size, pauses) in cuts.into_iter().chain([(usize::MAX, false)]) {
                let (mut piece, later) = rest.split_at(size.min(rest.len()));
                rest = later;
                while !piece.is_empty() {
                    let (taken, step) = lines.feed(piece);
                    if let LineStep::Line(line, _) = step { found.extend(line) }
                    piece = &piece[taken..];
                }
                while pauses && let LineStep::Line(line, _) = lines.pause() {
                    prop_assert!(serde_json::from_slice::<IgnoredAny>(&line).is_ok());
                    found.extend(line);
                }
            }
            if let LineStep::Line(line, _) = lines.finish() { found.extend(line) }
            let expected: Vec<u8> = input.bytes().filter(|byte| *byte != b'\n').collect();
            prop_assert_eq!(found, expected);
        }
    }
}
