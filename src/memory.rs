//! Memory that many sessions have left behind goes back to the system.
//!
//! glibc keeps what is freed below the last piece in use, so a node would stay as large as on its busiest day.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::ENDS_PER_GIVING_BACK;

/// Sessions and connections that have ended since free memory was given back.
static ENDS: AtomicUsize = AtomicUsize::new(0);

/// A session or a connection has ended.
pub fn ended() {
    ENDS.fetch_add(1, Ordering::Relaxed);
}

/// Whether so much has ended that giving back is worth its while.
pub fn is_full_of_ends() -> bool {
    ENDS.load(Ordering::Relaxed) >= ENDS_PER_GIVING_BACK
}

/// Watches how many have ended.
#[derive(Debug, Default)]
pub struct Watch {
    /// At the last look.
    seen: usize,
}

impl Watch {
    /// Whether so much has ended that giving back is worth its while, and no more ends at the moment; or whether that
    /// has gone on for `long`. Then counting begins anew. To be asked in short steps.
    pub fn is_due(&mut self, long: bool) -> bool {
        let ends = ENDS.load(Ordering::Relaxed);
        let is_quiet = std::mem::replace(&mut self.seen, ends) == ends;
        let due = ends >= ENDS_PER_GIVING_BACK && (is_quiet || long);
        if due {
            ENDS.fetch_sub(ends, Ordering::Relaxed);
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
