//! The way from a child's task to its worker.

use std::convert::Infallible;
use std::task::{Context, Poll};

use super::output::Output;
use crate::queue::{Receiver, Sender};

/// The task's ends of the worker's queues.
#[derive(Debug)]
pub(super) struct Outlet {
    /// The session's short id, for the log.
    pub(super) label: String,
    pub(super) outputs: Sender<Output>,
    /// Carries nothing: its closing is the order to stop.
    pub(super) stopped: Receiver<Infallible>,
}

impl Outlet {
    /// Completes when the worker wants the child stopped, or has dropped its handle.
    pub(super) fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stopped.poll_recv(cx).map(|_| ())
    }

    /// See [`Outlet::poll_stopped`].
    pub(super) async fn stop_asked(&self) {
        std::future::poll_fn(|cx| self.poll_stopped(cx)).await;
    }

    /// Whether the worker wants the child stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_closed()
    }

    /// Hands the output in `slot` to the worker and waits for room: so a child that writes too fast waits in its own
    /// `write`. A worker that wants the child stopped may read no more: then what finds no room is dropped.
    pub(super) fn poll_deliver(&self, slot: &mut Option<Output>, cx: &mut Context<'_>) -> Poll<()> {
        if slot.is_none() {
            return Poll::Ready(());
        }
        let delivered = self.outputs.poll_send(cx, slot);
        if delivered.is_pending() && !self.is_stopped() {
            return Poll::Pending;
        }
        *slot = None;
        Poll::Ready(())
    }
}
