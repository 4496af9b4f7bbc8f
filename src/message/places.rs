//! Where things stand in a message's bytes, and what of it must be mended.

use std::ops::Range;

use super::members::{JsonMember, members};

/// A part of a message, as an index into its bytes. Messages are smaller than 4 GiB (`MESSAGE_BYTES_MAX`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteSpan {
    start: u32,
    end: u32,
}

impl ByteSpan {
    pub(super) fn new(range: Range<usize>) -> Option<ByteSpan> {
        Some(ByteSpan { start: u32::try_from(range.start).ok()?, end: u32::try_from(range.end).ok()? })
    }

    /// Where `part`, a slice of `whole`, lies in it.
    pub(super) fn of(part: &str, whole: &[u8]) -> Option<ByteSpan> {
        let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        ByteSpan::new(start..start + part.len())
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What must not be passed on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mend {
    pub(super) place: ByteSpan,
    /// What goes out instead.
    pub(super) by: &'static str,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct MessagePlaces {
    pub(super) id: Option<ByteSpan>,
    /// Of what the message is about.
    pub(super) concerns: Option<ByteSpan>,
    pub(super) params: Option<ByteSpan>,
    /// In no order, without overlap. Nearly always empty.
    pub(super) mends: Vec<Mend>,
}

impl MessagePlaces {
    /// Leaves out those members of the object at `brace` for which `stays` is false, and their commas.
    pub(super) fn leave_out(&mut self, bytes: &[u8], brace: usize, stays: impl Fn(&JsonMember<'_>) -> bool) {
        // The end of the last member that stays, and the beginning of a member that goes although none before
        // it stays.
        let (mut kept, mut leading) = (None, None);
        let mut cut = |from: usize, to: usize| {
            let Some(place) = ByteSpan::new(from..to) else { return };
            match self.mends.last_mut() {
                // A message may have very many members that go, one behind the other.
                Some(Mend { place: before, by: "" }) if before.end == place.start => before.end = place.end,
                _ => self.mends.push(Mend { place, by: "" }),
            }
        };
        let mut last = brace + 1;
        for member in members(bytes, brace) {
            let start = leading.take();
            if let Some(start) = start {
                cut(start, member.place.start);
            }
            match (stays(&member), kept) {
                (true, _) => kept = Some(member.place.end),
                (false, Some(end)) => {
                    cut(end, member.place.end);
                    kept = Some(member.place.end);
                }
                (false, None) => leading = Some(member.place.start),
            }
            last = member.place.end;
        }
        if let Some(start) = leading {
            cut(start, last);
        }
    }

    /// `by` goes out in place of what stands at `place`.
    pub(super) fn put(&mut self, place: Range<usize>, by: &'static str) {
        self.mends.extend(ByteSpan::new(place).map(|place| Mend { place, by }));
    }
}
