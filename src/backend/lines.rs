//! Newline-delimited messages out of a byte stream, sans-io: bounded in length, counted in the budget.

use crate::budget::Share;
use crate::limits::{LINE_DISCARD_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Collects one line at a time.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: Vec<u8>,
    /// The share of `held`'s capacity.
    share: Share,
    /// Bytes of the current line that were thrown away; `None` while the line is kept.
    discarded: Option<usize>,
}

/// What a piece of input led to.
#[derive(Debug)]
pub(super) enum Step {
    /// All of it was taken and no line is complete.
    More,
    /// A line without its line feed, and its share.
    Line(Vec<u8>, Share),
    /// The line has become too long: what was held and what follows of it is thrown away. Said once per line.
    TooLong,
    /// So much of one line was thrown away that no end is to be expected.
    Endless,
    /// Nothing was taken: the byte budget is spent. Feed again later, or [`Lines::give_up`].
    BudgetSpent,
}

impl Lines {
    /// Takes input up to and including the first line feed. Returns how many bytes it took, and what they led to.
    pub(super) fn feed(&mut self, input: &[u8]) -> (usize, Step) {
        let end = memchr::memchr(b'\n', input);
        let part = &input[..end.unwrap_or(input.len())];
        let taken = part.len() + usize::from(end.is_some());
        if self.discarded.is_some() {
            return (taken, self.discard(part.len(), end.is_some()));
        }
        if self.held.len() + part.len() > MESSAGE_BYTES_MAX {
            self.give_up();
            self.discard(part.len(), end.is_some());
            return (taken, Step::TooLong);
        }
        if !self.make_room(part.len()) {
            return (0, Step::BudgetSpent);
        }
        self.held.extend_from_slice(part);
        if end.is_none() { (taken, Step::More) } else { (taken, self.take()) }
    }

    /// Throws away what is held of the current line, and whatever still comes of it.
    pub(super) fn give_up(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.share = Share::default();
        self.discarded = Some(held.len());
    }

    /// The end of the stream: what is held counts as a line.
    pub(super) fn finish(&mut self) -> Step {
        if self.held.is_empty() { Step::More } else { self.take() }
    }

    fn take(&mut self) -> Step {
        Step::Line(std::mem::take(&mut self.held), std::mem::take(&mut self.share))
    }

    fn discard(&mut self, bytes: usize, ended: bool) -> Step {
        let discarded = self.discarded.unwrap_or(0) + bytes;
        self.discarded = (!ended).then_some(discarded);
        if discarded > LINE_DISCARD_BYTES_MAX && !ended { Step::Endless } else { Step::More }
    }

    /// Room for `more` bytes; false when the budget is spent. A line that comes in one piece gets exactly its size,
    /// one that grows doubles, so that it is copied only a few times.
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
                    Step::Line(line, _) => found.push(line),
                    Step::TooLong => too_long += 1,
                    Step::More => {}
                    Step::Endless | Step::BudgetSpent => panic!("{step:?}"),
                }
            }
        }
        if let Step::Line(line, _) = lines.finish() {
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
            if matches!(lines.feed(&piece).1, Step::Endless) {
                break;
            }
            assert!(lines.held.capacity() <= MESSAGE_BYTES_MAX);
        }
        assert!(fed > LINE_DISCARD_BYTES_MAX);
    }
}
