//! Takes a mutex, also after a panic of the thread that held it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The guard of `mutex`. A panic under the lock poisons it; that is ignored. Nothing in burdock leaves a
/// locked value half changed, and a panic must end one session only (ARCHITECTURE.md, invariant 12: no panic
/// crosses a session's edge).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
