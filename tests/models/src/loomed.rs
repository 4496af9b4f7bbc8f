//! What `Direction` and `Room` take from here, for loom's own would not do.

use std::task::Waker;

pub use loom::sync::Arc;
pub use loom::sync::atomic::Ordering;

use crate::lock::lock;

/// What atomic-waker promises: a wake finds the waker that was registered last, or it came before the registration,
/// which then sees what was stored before the wake. loom's own wakes early when both meet, which would hide a loss.
#[derive(Debug, Default)]
pub struct AtomicWaker(loom::sync::Mutex<Option<Waker>>);

impl AtomicWaker {
    pub fn register(&self, waker: &Waker) {
        let former = lock(&self.0).replace(waker.clone());
        drop(former);
    }

    pub fn wake(&self) {
        let waker = lock(&self.0).take();
        waker.into_iter().for_each(Waker::wake);
    }
}

/// loom's, with stores that are swaps. loom does not know that nothing can come between a store and the swap that
/// reads it. So it lets another thread's store come before a swap that did not read it, and be lost. A swap always
/// follows what came last, and its ordering is the store's.
#[derive(Debug, Default)]
pub struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub fn store(&self, value: bool, order: Ordering) {
        self.0.swap(value, order);
    }

    pub fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(value, order)
    }

    pub fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }
}
