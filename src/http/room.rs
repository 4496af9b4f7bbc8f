//! How the sender of events hears that a reader has taken what it was given.

use std::future::poll_fn;
#[cfg(not(model))]
use std::sync::Arc;
#[cfg(not(model))]
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

#[cfg(not(model))]
use atomic_waker::AtomicWaker;

// What tests/models tries all interleavings of.
#[cfg(model)]
use crate::loomed::{Arc, AtomicBool, AtomicWaker, Ordering};

/// By this the reader of a queue tells the sender that there is room again. It does so only when the sender
/// wants to know, so that nobody is woken for nothing.
#[derive(Clone, Debug, Default)]
pub struct Room(Arc<Wish>);

#[derive(Debug, Default)]
struct Wish {
    wanted: AtomicBool,
    told: AtomicBool,
    waker: AtomicWaker,
}

impl Room {
    /// From now on the sender wants to know. It must look at the queue once more after this call, for the
    /// reader may have made room before it.
    pub fn want(&self) {
        self.0.wanted.store(true, Ordering::SeqCst);
    }

    /// Completes when there is room, for the sender that wanted to know.
    pub async fn told(&self) {
        poll_fn(|cx| {
            self.0.waker.register(cx.waker());
            if self.0.told.swap(false, Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    pub(super) fn tell(&self) {
        if self.0.wanted.swap(false, Ordering::SeqCst) {
            self.0.told.store(true, Ordering::SeqCst);
            self.0.waker.wake();
        }
    }
}
