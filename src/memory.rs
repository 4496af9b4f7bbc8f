//! Memory that many sessions have left behind goes back to the system.
//!
//! glibc keeps what is freed below the last piece in use, so a node would stay as large as on its busiest day.

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
