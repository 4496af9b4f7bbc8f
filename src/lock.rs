//! Taking a mutex, whatever became of whoever had it before.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The guard of `mutex`, also after a panic under it: nothing in burdock leaves what it locks half done, and a panic is
/// to end one session only (invariant 12).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
