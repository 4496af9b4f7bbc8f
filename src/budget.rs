//! The byte budget of the process: the bytes of a message count from the moment they are read from a socket
//! or pipe until the last holder lets go of them.
//!
//! It is one atomic counter. A [`Share`] is a part of it that is given back on drop; a [`Payload`] is the
//! bytes of a message with their share.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{
    BODY_BYTES_SMALL, COPIED_BODY_BYTES_MAX, EDITS_GATHERED_MAX, HELD_BYTES_MAX, HELD_BYTES_PRESSURE,
    UNFINISHED_BYTES_MAX,
};
use crate::memory;

static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);
static UNFINISHED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// How many bytes of messages are held at this moment.
pub fn held_bytes() -> usize {
    HELD_BYTES.load(Ordering::Relaxed)
}

/// Whether so much is held that replay logs should drop notifications ([`HELD_BYTES_PRESSURE`]).
pub fn pressure() -> bool {
    held_bytes() > HELD_BYTES_PRESSURE
}

/// Adds `more` to a counter; false, and nothing added, where the sum would exceed `max`.
fn take(counter: &AtomicUsize, more: usize, max: usize) -> bool {
    let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
        held.checked_add(more).filter(|sum| *sum <= max)
    });
    taken.is_ok()
}

/// A part of the budget, given back on drop.
#[derive(Debug, Default)]
pub struct Share {
    bytes: usize,
    /// How many of these belong to an unfinished body and lie beyond its first [`BODY_BYTES_SMALL`].
    unfinished: usize,
}

impl Share {
    /// Takes `bytes` of the budget; `None` when more than [`HELD_BYTES_MAX`] would be held then.
    pub fn reserve(bytes: usize) -> Option<Share> {
        let mut share = Share::default();
        share.grow_to(bytes).then_some(share)
    }

    /// Takes `bytes` even if the budget is spent: for what must not be refused, such as an error response.
    pub fn overdraw(bytes: usize) -> Share {
        HELD_BYTES.fetch_add(bytes, Ordering::Relaxed);
        Share { bytes, unfinished: 0 }
    }

    /// Grows by `more` bytes even if the budget is spent: for what is put into a message that was accepted
    /// already.
    pub fn overdraw_more(&mut self, more: usize) {
        HELD_BYTES.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
    }

    /// Makes the share at least `bytes` large; false, and nothing taken, when the budget is spent.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let grown = more == 0 || take(&HELD_BYTES, more, HELD_BYTES_MAX);
        if grown {
            self.bytes += more;
        }
        grown
    }

    /// As [`Share::grow_to`], for a body that is still being read, until [`Share::body_finished`]. All such
    /// bodies together may hold [`UNFINISHED_BYTES_MAX`] beyond their first [`BODY_BYTES_SMALL`] bytes, so
    /// that slow senders cannot spend the whole budget.
    pub fn grow_unfinished_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(BODY_BYTES_SMALL).saturating_sub(self.unfinished);
        if more > 0 && !take(&UNFINISHED_BYTES, more, UNFINISHED_BYTES_MAX) {
            return false;
        }
        self.unfinished += more;
        self.grow_to(bytes)
    }

    /// The body has been read to its end: it no longer counts as unfinished.
    pub fn body_finished(&mut self) {
        UNFINISHED_BYTES.fetch_sub(std::mem::take(&mut self.unfinished), Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.body_finished();
        HELD_BYTES.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.bytes > BODY_BYTES_SMALL {
            memory::freed(self.bytes);
        }
    }
}

/// Bytes of a message and their share of the budget; cloning shares both.
///
/// A payload may have edits: what was put in place of some of its bytes (an id, a token). A small payload is
/// edited in place. A large one keeps its bytes where they are; its edits lie beside them, and
/// [`Payload::pieces`] gives all of it in order, so that a writer gathers what nobody joined.
#[derive(Clone)]
pub struct Payload(Arc<Held>);

struct Held {
    bytes: Vec<u8>,
    /// In their order, without overlap.
    edits: Vec<KeptEdit>,
    /// The length of all pieces.
    len: usize,
    share: Share,
}

struct KeptEdit {
    place: Range<usize>,
    by: Box<[u8]>,
}

/// A change to a payload: `by` goes out in place of what stands in `place`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit<'a> {
    /// Where, in the bytes without edits.
    pub place: Range<usize>,
    /// What goes out instead; empty when the bytes are left out.
    pub by: &'a [u8],
}

impl Payload {
    /// Bytes whose share is already taken.
    pub fn new(bytes: Vec<u8>, share: Share) -> Payload {
        let len = bytes.len();
        Payload(Arc::new(Held { bytes, edits: Vec::new(), len, share }))
    }

    /// Bytes made here (an error, a small answer): never refused, still counted.
    pub fn made_here(bytes: Vec<u8>) -> Payload {
        let share = Share::overdraw(bytes.len());
        Payload::new(bytes, share)
    }

    /// How many bytes go out.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether nothing goes out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes as they came in. Of a payload that was edited only [`Payload::pieces`] has what goes out:
    /// this is for whoever reads a message before that.
    pub fn bytes(&self) -> &[u8] {
        debug_assert!(self.0.edits.is_empty(), "read after it was edited");
        &self.0.bytes
    }

    /// The same payload with `edits`, which are in their order and do not overlap. The bytes stay where they
    /// are when this is their only holder; so small a payload that a copy costs nothing is edited in place.
    pub fn edited(mut self, edits: &[Edit<'_>]) -> Payload {
        if edits.is_empty() {
            return self;
        }
        match Arc::get_mut(&mut self.0) {
            Some(held) if held.edits.is_empty() => {
                held.edit(edits);
                self
            }
            _ => Payload::made_here(joined(&self.0)).edited(edits),
        }
    }

    /// What goes out, in order, none of it empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.0.pieces()
    }

    /// The same without its first `written` bytes: what is left when so many are out.
    pub fn pieces_from(&self, mut written: usize) -> impl Iterator<Item = &[u8]> {
        self.pieces().filter_map(move |piece| {
            let skipped = written.min(piece.len());
            written -= skipped;
            piece.get(skipped..).filter(|rest| !rest.is_empty())
        })
    }

    /// A copy of what goes out.
    pub fn to_vec(&self) -> Vec<u8> {
        joined(&self.0)
    }
}

impl Held {
    fn edit(&mut self, edits: &[Edit<'_>]) {
        let more: usize = edits.iter().map(|edit| edit.by.len()).sum();
        self.share.overdraw_more(more);
        self.len = self.len + more - edits.iter().map(|edit| edit.place.len()).sum::<usize>();
        let few = edits.len() <= EDITS_GATHERED_MAX;
        if few && self.bytes.len() <= COPIED_BODY_BYTES_MAX {
            for Edit { place, by } in edits.iter().rev() {
                self.bytes.splice(place.clone(), by.iter().copied());
            }
            return;
        }
        let kept = |edit: &Edit<'_>| KeptEdit { place: edit.place.clone(), by: edit.by.into() };
        self.edits = edits.iter().map(kept).collect();
        if !few {
            // One gathering write would not take so many pieces, and many moves in place would cost more than a copy.
            self.bytes = joined(self);
            self.edits.clear();
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.edits.iter().map(|edit| (edit.place.start, &*edit.by, edit.place.end));
        let mut from = 0;
        ends.chain([(self.bytes.len(), &[][..], self.bytes.len())])
            .flat_map(move |(start, by, end)| [&self.bytes[std::mem::replace(&mut from, end)..start], by])
            .filter(|piece| !piece.is_empty())
    }
}

fn joined(held: &Held) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(held.len);
    held.pieces().for_each(|piece| bytes.extend_from_slice(piece));
    bytes
}

impl fmt::Debug for Payload {
    /// The size only: payloads never get into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edit(place: Range<usize>, by: &[u8]) -> Edit<'_> {
        Edit { place, by }
    }

    #[test]
    fn a_large_payload_is_edited_without_a_copy() {
        let bytes = vec![b'x'; 2 * 1024 * 1024];
        let at = bytes.as_ptr();
        let payload = Payload::made_here(bytes).edited(&[edit(5..6, b"17"), edit(100..110, b"")]);
        assert_eq!(payload.len(), 2 * 1024 * 1024 + 1 - 10);
        let pieces: Vec<&[u8]> = payload.pieces().collect();
        assert_eq!(pieces.iter().map(|piece| piece.len()).sum::<usize>(), payload.len());
        assert_eq!((pieces.len(), pieces[0].as_ptr(), pieces[1]), (4, at, &b"17"[..]));
    }

    #[test]
    fn a_small_payload_stays_one_piece() {
        let payload = Payload::made_here(br#"{"id":1,"a":2}"#.to_vec());
        let payload = payload.edited(&[edit(6..7, br#""client""#), edit(7..13, b"")]);
        assert_eq!(payload.pieces().collect::<Vec<_>>(), [br#"{"id":"client"}"#]);
        assert_eq!(payload.clone().edited(&[edit(0..1, b"[")]).to_vec(), br#"["id":"client"}"#);
        assert_eq!(payload.to_vec(), br#"{"id":"client"}"#, "a holder's bytes were changed under it");
    }

    #[test]
    fn a_counter_stops_at_its_bound() {
        let counter = AtomicUsize::new(3);
        assert!(take(&counter, 4, 7) && !take(&counter, 1, 7) && take(&counter, 0, 7));
        assert!(!take(&counter, usize::MAX, usize::MAX), "the sum is too large for a usize");
        assert_eq!(counter.into_inner(), 7);
    }

    #[test]
    fn a_share_that_cannot_grow_stays_as_it_was() {
        assert!(Share::reserve(HELD_BYTES_MAX + 1).is_none());
        let mut share = Share::reserve(10).unwrap();
        assert!(!share.grow_to(HELD_BYTES_MAX + 1) && share.grow_to(4) && share.bytes == 10);
        share.overdraw_more(5);
        assert!(share.grow_to(20) && share.bytes == 20);
    }

    #[test]
    fn a_body_is_unfinished_beyond_its_first_bytes_and_until_its_end() {
        let mut share = Share::default();
        assert!(share.grow_unfinished_to(BODY_BYTES_SMALL) && share.unfinished == 0);
        assert!(share.grow_unfinished_to(BODY_BYTES_SMALL + 7) && share.unfinished == 7);
        let too_much = BODY_BYTES_SMALL + UNFINISHED_BYTES_MAX + 1;
        assert!(!share.grow_unfinished_to(too_much) && share.bytes == BODY_BYTES_SMALL + 7);
        share.body_finished();
        assert_eq!((share.unfinished, share.bytes), (0, BODY_BYTES_SMALL + 7));
    }

    proptest! {
        #[test]
        fn prop_pieces_are_the_edited_bytes(
            size in prop_oneof![0..200usize, COPIED_BODY_BYTES_MAX - 10..COPIED_BODY_BYTES_MAX + 200],
            cuts in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..9)), 0..6),
            from in any::<prop::sample::Index>(),
        ) {
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let mut ends: Vec<usize> = cuts.iter().map(|(at, _)| at.index(size + 1)).collect();
            ends.sort_unstable();
            let places = ends.chunks_exact(2).map(|ends| ends[0]..ends[1]);
            let edits: Vec<Edit<'_>> =
                places.zip(&cuts).map(|(place, (_, by))| edit(place, by)).collect();
            let (mut expected, mut at) = (Vec::new(), 0);
            for Edit { place, by } in &edits {
                expected.extend_from_slice(&bytes[at..place.start]);
                expected.extend_from_slice(by);
                at = place.end;
            }
            expected.extend_from_slice(&bytes[at..]);
            let payload = Payload::made_here(bytes).edited(&edits);
            prop_assert_eq!(payload.len(), expected.len());
            let from = from.index(expected.len() + 1);
            prop_assert_eq!(payload.pieces_from(from).flatten().copied().collect::<Vec<u8>>(), &expected[from..]);
            prop_assert_eq!(payload.to_vec(), expected);
        }
    }
}
