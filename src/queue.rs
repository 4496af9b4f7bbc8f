//! A bounded queue that costs next to nothing while it is empty.
//!
//! async-channel allocates its whole ring at once, and over 600 bytes besides. A session has several queues
//! that are empty nearly always, and each call makes one (benches/README.md has the numbers). This queue is a
//! deque behind a lock that is held for a moment, and a lone item, as nearly all are, does not even need the
//! deque. There may be many senders, but only one receiver that waits.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
#[cfg(not(model))]
use std::sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(model))]
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

// What tests/models tries all interleavings of.
#[cfg(model)]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(model)]
use loom::sync::{Arc, Mutex, MutexGuard};

use crate::lock::lock;

struct Channel<T> {
    state: Mutex<QueueState<T>>,
    senders: AtomicUsize,
}

struct QueueState<T> {
    /// The oldest item, when it was put into an empty queue.
    first: Option<T>,
    /// What came after it.
    more: VecDeque<T>,
    bound: usize,
    closed: bool,
    /// Senders that wait for room.
    waiting: Vec<Waker>,
    /// The waker of the receiver, when it waits. It is under the same lock as the items: the receiver cannot
    /// miss an item that comes between its look and its wait, so one look is enough.
    receiver: Option<Waker>,
}

impl<T> QueueState<T> {
    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// Puts an item in; gives it back when there is no room.
    fn put(&mut self, item: T) -> Result<(), T> {
        match self.len() {
            0 if self.bound > 0 => self.first = Some(item),
            len if len < self.bound => self.more.push_back(item),
            _ => return Err(item),
        }
        Ok(())
    }

    /// The same, whether there is room or not.
    fn put_above(&mut self, item: T) {
        match self.len() {
            0 => self.first = Some(item),
            _ => self.more.push_back(item),
        }
    }

    /// Keeps the receiver's waker; returns the one there was.
    fn wait(&mut self, waker: &Waker) -> Option<Waker> {
        match &self.receiver {
            Some(known) if known.will_wake(waker) => None,
            _ => self.receiver.replace(waker.clone()),
        }
    }

    fn take(&mut self) -> Option<T> {
        self.first.take().or_else(|| {
            let item = self.more.pop_front()?;
            if self.more.is_empty() {
                self.more = VecDeque::new();
            }
            Some(item)
        })
    }
}

impl<T> Channel<T> {
    fn state(&self) -> MutexGuard<'_, QueueState<T>> {
        lock(&self.state)
    }

    fn close(&self) -> bool {
        let (was_open, waiting, receiver) = {
            let mut state = self.state();
            let was_open = !std::mem::replace(&mut state.closed, true);
            (was_open, std::mem::take(&mut state.waiting), state.receiver.take())
        };
        waiting.into_iter().chain(receiver).for_each(Waker::wake);
        was_open
    }

    fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn len(&self) -> usize {
        self.state().len()
    }

    /// The oldest item. The error says whether one may still come; if so, the next one wakes `waker`.
    fn take(&self, waker: Option<&Waker>) -> Result<T, Empty> {
        // Declared before the lock is taken, so dropped after it is released: a waker may be the last thing
        // that holds a task, whose drop may run anybody's code.
        let _former;
        let (item, waiting) = {
            let mut state = self.state();
            let Some(item) = state.take() else {
                if state.closed {
                    return Err(Empty::ForEver);
                }
                _former = waker.and_then(|waker| state.wait(waker));
                return Err(Empty::ForNow);
            };
            (item, std::mem::take(&mut state.waiting))
        };
        // Wake every waiting sender: the first may have been cancelled and would swallow the wake-up.
        waiting.into_iter().for_each(Waker::wake);
        Ok(item)
    }
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// There may be something later.
    ForNow,
    /// The queue is closed.
    ForEver,
}

/// Why an item was not put in. The item is given back in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// There is no room.
    Full(T),
    /// Nobody will take it.
    Closed(T),
}

/// The end where items go in. The last one to be dropped closes the queue.
pub struct Sender<T>(Arc<Channel<T>>);

/// The end where items come out. What is left in a queue goes with it.
pub struct Receiver<T>(Arc<Channel<T>>);

/// A queue of at most `bound` items.
pub fn bounded<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    let state = QueueState {
        first: None,
        more: VecDeque::new(),
        bound,
        closed: false,
        waiting: Vec::new(),
        receiver: None,
    };
    let shared = Arc::new(Channel { state: Mutex::new(state), senders: AtomicUsize::new(1) });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Puts an item in; never waits.
    ///
    /// # Errors
    /// [`Refused`], with the item.
    pub fn try_send(&self, item: T) -> Result<(), Refused<T>> {
        let receiver = {
            let mut state = self.0.state();
            if state.closed {
                return Err(Refused::Closed(item));
            }
            state.put(item).map_err(Refused::Full)?;
            state.receiver.take()
        };
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        Ok(())
    }

    /// Puts an item in, whether there is room or not: for the last words of a sender that goes away.
    ///
    /// # Errors
    /// The item, when the queue was closed.
    pub fn force(&self, item: T) -> Result<(), T> {
        let receiver = {
            let mut state = self.0.state();
            if state.closed {
                return Err(item);
            }
            state.put_above(item);
            state.receiver.take()
        };
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        Ok(())
    }

    /// Puts an item in, as soon as there is room.
    ///
    /// # Errors
    /// The item, when the queue was closed.
    pub async fn send(&self, item: T) -> Result<(), T> {
        let mut item = Some(item);
        poll_fn(|cx| self.poll_send(cx, &mut item)).await
    }

    /// See [`Sender::send`]: the item in `slot`, which is taken out of it when this completes.
    ///
    /// # Errors
    /// The item, when the queue was closed.
    pub fn poll_send(&self, cx: &mut Context<'_>, slot: &mut Option<T>) -> Poll<Result<(), T>> {
        let Some(item) = slot.take() else { return Poll::Ready(Ok(())) };
        let receiver = {
            let mut state = self.0.state();
            if state.closed {
                return Poll::Ready(Err(item));
            }
            if let Err(item) = state.put(item) {
                // Once for each task: one that is polled for other reasons, again and again, must not fill
                // the list.
                if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.waiting.push(cx.waker().clone());
                }
                *slot = Some(item);
                return Poll::Pending;
            }
            state.receiver.take()
        };
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes no more items; what is in the queue can still be taken. False when it was closed already.
    pub fn close(&self) -> bool {
        self.0.close()
    }

    /// Whether an item would be refused for good.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// How many items are in the queue.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is in the queue.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Receiver<T> {
    /// The oldest item, if there is one.
    ///
    /// # Errors
    /// [`Empty`].
    pub fn try_recv(&self) -> Result<T, Empty> {
        self.0.take(None)
    }

    /// The oldest item, as soon as there is one; `None` when there will be none. One task at a time may wait.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.0.take(Some(cx.waker())) {
            Ok(item) => Poll::Ready(Some(item)),
            Err(Empty::ForEver) => Poll::Ready(None),
            Err(Empty::ForNow) => Poll::Pending,
        }
    }

    /// Ready when the queue is closed, whatever is left in it: for a receiver that takes nothing at the
    /// moment.
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Dropped behind the lock: a waker may be the last thing that holds a task.
        let _former;
        let mut state = self.0.state();
        if state.closed {
            return Poll::Ready(());
        }
        _former = state.wait(cx.waker());
        Poll::Pending
    }

    /// See [`Receiver::poll_recv`].
    pub async fn recv(&self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Takes no more items; what is in the queue can still be taken.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether no more items come, but for those in the queue.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Takes no more items, and drops those in the queue.
    pub fn close_and_clear(&self) {
        self.close();
        self.clear();
    }

    /// Drops what is in the queue. Only after it was closed: senders that wait for room are not woken here.
    fn clear(&self) {
        // Not under the lock: dropping an item may run anybody's code.
        let items = {
            let mut state = self.0.state();
            (state.first.take(), std::mem::take(&mut state.more))
        };
        drop(items);
    }

    /// How many items are in the queue.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is in the queue.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.close();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close_and_clear();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({} items)", self.0.len())
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({} items)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future::{block_on, zip};

    #[test]
    fn items_come_out_in_order_and_never_more_than_the_bound_wait() {
        let (sender, receiver) = bounded(2);
        assert_eq!((sender.try_send(1), sender.try_send(2)), (Ok(()), Ok(())));
        assert_eq!(sender.try_send(3), Err(Refused::Full(3)));
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(1), Ok(2)));
        assert_eq!(receiver.try_recv(), Err(Empty::ForNow));
    }

    #[test]
    fn what_is_forced_in_comes_last_and_above_the_bound() {
        let (sender, receiver) = bounded(1);
        sender.try_send(1).unwrap();
        sender.force(2).unwrap();
        assert_eq!(sender.try_send(3), Err(Refused::Full(3)));
        drop(sender);
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(1), Ok(2)));
        let (sender, receiver) = bounded(1);
        drop(receiver);
        assert_eq!(sender.force(1), Err(1));
    }

    #[test]
    fn a_sender_waits_for_room() {
        let (sender, receiver) = bounded(1);
        let send = async {
            for number in 0..100 {
                sender.send(number).await.unwrap();
            }
        };
        let take = async {
            for number in 0..100 {
                assert_eq!(receiver.recv().await, Some(number));
            }
        };
        block_on(zip(send, take));
    }

    #[test]
    fn threads_lose_nothing() {
        let (sender, receiver) = bounded(3);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    block_on(async {
                        for number in 0..10_000_u64 {
                            sender.send(number).await.unwrap();
                        }
                    });
                })
            })
            .collect();
        drop(sender);
        let mut sum = 0;
        block_on(async {
            while let Some(number) = receiver.recv().await {
                sum += number;
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(sum, 4 * (0..10_000).sum::<u64>());
    }

    #[test]
    fn the_last_sender_closes_and_what_is_left_is_taken() {
        let (sender, receiver) = bounded(2);
        let other = sender.clone();
        drop(sender);
        other.try_send("last").unwrap();
        drop(other);
        assert!(receiver.is_closed());
        assert_eq!(block_on(receiver.recv()), Some("last"));
        assert_eq!(block_on(receiver.recv()), None);
    }

    #[test]
    fn a_receiver_that_goes_takes_its_items_along() {
        let item = Arc::new(());
        let (sender, receiver) = bounded(2);
        sender.try_send(Arc::clone(&item)).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(matches!(sender.try_send(item), Err(Refused::Closed(_))));
    }

    #[test]
    fn closing_ends_a_wait_for_room() {
        let (sender, receiver) = bounded(1);
        sender.try_send(1).unwrap();
        let wait = async { sender.send(2).await };
        let close = async { receiver.close() };
        assert_eq!(block_on(zip(wait, close)).0, Err(2));
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!(receiver.try_recv(), Err(Empty::ForEver));
    }

    #[test]
    fn a_receiver_that_takes_nothing_sees_the_end() {
        let (sender, receiver) = bounded(1);
        sender.try_send(1).unwrap();
        let see = poll_fn(|cx| receiver.poll_closed(cx));
        block_on(zip(see, async { drop(sender) }));
        assert_eq!(receiver.try_recv(), Ok(1));
    }

    #[test]
    fn an_empty_queue_holds_nothing() {
        let (sender, receiver) = bounded(64);
        (0..64).for_each(|number| sender.try_send(number).unwrap());
        while receiver.try_recv().is_ok() {}
        assert_eq!(receiver.0.state().more.capacity(), 0);
    }
}
