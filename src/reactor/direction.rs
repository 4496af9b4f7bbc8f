//! Whether one direction of a descriptor is ready, told by any thread and asked by one task.

#[cfg(not(model))]
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

#[cfg(not(model))]
use atomic_waker::AtomicWaker;

// What tests/models tries all interleavings of.
#[cfg(model)]
use crate::loomed::{AtomicBool, AtomicWaker, Ordering};

/// One direction of a descriptor.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// Something has happened since the last look.
    ready: AtomicBool,
    /// Nothing more will happen: from now on every look finds it ready.
    over: AtomicBool,
    waker: AtomicWaker,
}

impl Direction {
    /// Notes that something happened; with `over` nothing more will. Any thread that took an event may call
    /// this, in any order: both flags only rise here.
    pub(super) fn tell(&self, over: bool) {
        if over {
            self.over.store(true, Ordering::Release);
        }
        // First the flag, then the wake: see `poll_ready`.
        self.ready.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Completes when something was told since it last completed. For one task at a time.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        // First the waker, then the look: what is told in between wakes.
        self.waker.register(cx.waker());
        match self.ready.swap(false, Ordering::AcqRel) || self.over.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// The next look finds it ready. For the task that looks: it wakes nobody.
    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    #[cfg(test)]
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.ready.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_found_at_every_look_and_anything_else_at_one() {
        let direction = Direction::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(direction.poll_ready(&mut cx).is_pending());
        direction.tell(false);
        assert!(direction.poll_ready(&mut cx).is_ready());
        assert!(direction.poll_ready(&mut cx).is_pending());
        direction.tell(true);
        assert!(direction.poll_ready(&mut cx).is_ready());
        assert!(direction.poll_ready(&mut cx).is_ready());
    }
}
