//! The process-wide byte budget: what is held of messages is counted, from the socket or pipe it came from
//! until the last holder lets go.
//!
//! One atomic counter. A [`Share`] is a part of it that gives itself back; a [`Payload`] is bytes with their share.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{HELD_BYTES_MAX, HELD_BYTES_PRESSURE};

static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes held at this moment.
pub fn held_bytes() -> usize {
    HELD_BYTES.load(Ordering::Relaxed)
}

/// Whether so much is held that logs should shed what can be done without.
pub fn pressure() -> bool {
    held_bytes() > HELD_BYTES_PRESSURE
}

/// A part of the budget, given back on drop.
#[derive(Debug, Default)]
pub struct Share(usize);

impl Share {
    /// Takes `bytes` of the budget, or nothing when that would exceed [`HELD_BYTES_MAX`].
    pub fn reserve(bytes: usize) -> Option<Share> {
        let mut share = Share(0);
        share.grow_to(bytes).then_some(share)
    }

    /// Takes `bytes` whatever is left: for what must not be refused (a response, an error).
    pub fn overdraw(bytes: usize) -> Share {
        HELD_BYTES.fetch_add(bytes, Ordering::Relaxed);
        Share(bytes)
    }

    /// Makes the share at least `bytes` large; false (and unchanged) when the budget is spent.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.0).filter(|more| *more > 0) else { return true };
        let taken = HELD_BYTES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(more).filter(|sum| *sum <= HELD_BYTES_MAX)
        });
        if taken.is_ok() {
            self.0 += more;
        }
        taken.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        HELD_BYTES.fetch_sub(self.0, Ordering::Relaxed);
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
