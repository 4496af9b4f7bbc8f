//! Memory that many sessions or large messages have left behind goes back to the system.
//!
//! glibc keeps what is freed below the last piece in use, so a node would stay as large as on its busiest day.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{ENDED_BYTES, FREED_BYTES_PER_GIVING_BACK};

/// Bytes set free, about, since free memory was given back.
static FREED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A session or a connection has ended.
pub fn ended() {
    freed(ENDED_BYTES);
}

/// So much of messages was set free. For large ones: the small ones are in pieces that the next ones take.
pub fn freed(bytes: usize) {
    FREED_BYTES.fetch_add(bytes, Ordering::Relaxed);
}

/// Whether so much was set free that giving back is worth its while.
pub fn much_is_free() -> bool {
    FREED_BYTES.load(Ordering::Relaxed) >= FREED_BYTES_PER_GIVING_BACK
}

/// Watches how much is set free.
#[derive(Debug, Default)]
pub struct Watch {
    /// At the last look.
    seen: usize,
}

impl Watch {
    /// Whether so much was set free that giving back is worth its while, and nothing more is at the moment; or whether
    /// that has gone on for `long`. Then counting begins anew. To be asked in short steps.
    pub fn is_due(&mut self, long: bool) -> bool {
        let freed = FREED_BYTES.load(Ordering::Relaxed);
        let is_quiet = std::mem::replace(&mut self.seen, freed) == freed;
        let due = freed >= FREED_BYTES_PER_GIVING_BACK && (is_quiet || long);
        if due {
            FREED_BYTES.fetch_sub(freed, Ordering::Relaxed);
        }
        due
    }
}

/// Returns what is free to the system. Blocks for some milliseconds per hundred megabytes: for the blocking pool.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn give_back() {
    // SAFETY: `malloc_trim` takes an integer, locks the allocator as `malloc` does, and moves nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Returns what is free to the system. Other C libraries do so by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
