//! The process-wide byte budget: what is held of messages is counted, from the socket or pipe it came from
//! until the last holder lets go.
//!
//! One atomic counter. A [`Share`] is a part of it that gives itself back; a [`Payload`] is bytes with their share.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{BODY_BYTES_SMALL, HELD_BYTES_MAX, HELD_BYTES_PRESSURE, UNFINISHED_BYTES_MAX};
use crate::memory;

static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);
static UNFINISHED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes held at this moment.
pub fn held_bytes() -> usize {
    HELD_BYTES.load(Ordering::Relaxed)
}

/// Whether so much is held that logs should shed what can be done without.
pub fn pressure() -> bool {
    held_bytes() > HELD_BYTES_PRESSURE
}

/// Adds `more` to a counter unless that would exceed `max`.
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
    /// Of these, what an unfinished body holds beyond a small one's size.
    unfinished: usize,
}

impl Share {
    /// Takes `bytes` of the budget, or nothing when that would exceed [`HELD_BYTES_MAX`].
    pub fn reserve(bytes: usize) -> Option<Share> {
        let mut share = Share::default();
        share.grow_to(bytes).then_some(share)
    }

    /// Takes `bytes` whatever is left: for what must not be refused (a response, an error).
    pub fn overdraw(bytes: usize) -> Share {
        HELD_BYTES.fetch_add(bytes, Ordering::Relaxed);
        Share { bytes, unfinished: 0 }
    }

    /// Makes the share at least `bytes` large; false (and unchanged) when the budget is spent.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let grown = more == 0 || take(&HELD_BYTES, more, HELD_BYTES_MAX);
        if grown {
            self.bytes += more;
        }
        grown
    }

    /// The same for a body that is still being read: what all of these hold beyond [`BODY_BYTES_SMALL`] each is
    /// bounded by itself. [`Share::body_finished`] ends that.
    pub fn grow_unfinished_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(BODY_BYTES_SMALL).saturating_sub(self.unfinished);
        if more > 0 && !take(&UNFINISHED_BYTES, more, UNFINISHED_BYTES_MAX) {
            return false;
        }
        self.unfinished += more;
        self.grow_to(bytes)
    }

    /// The body has been read to its end.
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
#[derive(Clone)]
pub struct Payload(Arc<Held>);

struct Held {
    bytes: Vec<u8>,
    _share: Share,
}

impl Payload {
    /// Bytes whose share is already taken.
    pub fn new(bytes: Vec<u8>, share: Share) -> Payload {
        Payload(Arc::new(Held { bytes, _share: share }))
    }

    /// Bytes made here (an error, a small answer): never refused, still counted.
    pub fn made_here(bytes: Vec<u8>) -> Payload {
        let share = Share::overdraw(bytes.len());
        Payload::new(bytes, share)
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl fmt::Debug for Payload {
    /// The size only: payloads never get into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}
