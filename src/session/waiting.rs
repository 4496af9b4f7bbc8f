//! How a worker waits: for its client and its backend in turns, and for readers that are behind.

use std::pin::Pin;
use std::task::{Context, Poll};

use smol::future::{or, poll_fn};

use super::input::Wake;
use super::worker::Worker;
use crate::limits::{BEHIND_PATIENCE, EARLY_INPUTS_MAX};
use crate::moment::Moment;

impl Worker {
    /// What happens next. The client and the backend take turns, so that neither can starve the other.
    pub(super) async fn next(&mut self) -> Wake {
        match self.behind_since {
            None => poll_fn(|cx| self.poll_next(cx)).await,
            // Boxed, because it is rare and every session's future would otherwise be large enough for it.
            Some(since) => Box::pin(self.next_while_behind(since)).await,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        self.backend_first = !self.backend_first;
        if self.backend_first {
            match self.poll_output(cx) {
                Poll::Ready(next) => Poll::Ready(next),
                Poll::Pending => self.poll_input(cx),
            }
        } else {
            match self.poll_input(cx) {
                Poll::Ready(next) => Poll::Ready(next),
                Poll::Pending => self.poll_output(cx),
            }
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if self.early.len() >= EARLY_INPUTS_MAX {
            // Not ready yet: what comes now waits in the inbox. Its end is seen all the same.
            return self.setup.inbox.poll_closed(cx).map(|()| Wake::InboxClosed);
        }
        let input = self.setup.inbox.poll_recv(cx);
        input.map(|input| input.map_or(Wake::InboxClosed, Wake::Input))
    }

    fn poll_output(&self, cx: &mut Context<'_>) -> Poll<Wake> {
        if self.batch.is_some() {
            return Poll::Ready(Wake::Batch);
        }
        let output = self.setup.backend.outputs().poll_recv(cx);
        output.map(|output| output.map_or(Wake::OutputsClosed, Wake::Output))
    }

    /// Back-pressure: while a reader is behind, nothing is read from the backend for a moment, so that its
    /// log does not fill. A reader that does not read at all holds up nobody.
    async fn next_while_behind(&mut self, since: Moment) -> Wake {
        let room = self.setup.room.clone();
        let room = async {
            room.told().await;
            Wake::Room
        };
        let mut patience = BEHIND_PATIENCE.checked_sub(since.elapsed()).map(async_io::Timer::after);
        let next = poll_fn(|cx| {
            if patience.as_mut().is_some_and(|patience| Pin::new(patience).poll(cx).is_pending()) {
                return self.poll_input(cx);
            }
            patience = None;
            self.poll_next(cx)
        });
        or(room, next).await
    }

    /// Gives readers that are behind what they have room for; they tell when there is more.
    pub(super) fn pump(&mut self) {
        if self.streams.behind() {
            // First `want`, then the pump: the pump sees a reader that has room by now, and a reader that
            // makes room later tells.
            self.setup.room.want();
            self.streams.pump();
        }
        self.behind_since = match self.streams.behind() {
            true => Some(self.behind_since.unwrap_or_else(Moment::now)),
            false => None,
        };
    }
}
