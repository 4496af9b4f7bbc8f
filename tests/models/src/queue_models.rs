//! Senders that wait for room, a receiver that waits for items, and ends that go.

use std::future::poll_fn;
use std::task::Poll;

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use crate::Model;
use crate::queue::{Empty, Refused, Sender, bounded};
use crate::room::Room;

pub const ALL: &[Model] = &[
    ("queue_all_items_arrive", all_items_arrive),
    ("queue_never_more_than_its_bound", never_more_than_its_bound),
    ("queue_a_sender_that_gave_up_takes_no_wake_up_along", a_sender_that_gave_up_takes_no_wake_up_along),
    ("queue_closing_ends_all_waits", closing_ends_all_waits),
    ("queue_the_last_sender_ends_the_wait", the_last_sender_ends_the_wait),
    ("queue_a_receiver_that_goes_leaves_nothing", a_receiver_that_goes_leaves_nothing),
    ("queue_what_was_sent_before_a_close_is_received", what_was_sent_before_a_close_is_received),
    ("room_is_told_to_a_sender_that_is_behind", room_is_told_to_a_sender_that_is_behind),
];

fn sends<T: 'static>(sender: Sender<T>, item: T) -> thread::JoinHandle<bool> {
    thread::spawn(move || block_on(sender.send(item)).is_ok())
}

/// Two senders that wait for one place.
fn all_items_arrive() {
    let (sender, receiver) = bounded(1);
    let senders = [sends(sender.clone(), 1), sends(sender, 2)];
    let mut sum = 0;
    while let Some(item) = block_on(receiver.recv()) {
        sum += item;
    }
    assert_eq!(sum, 3);
    senders.into_iter().for_each(|sender| assert!(sender.join().unwrap()));
}

fn never_more_than_its_bound() {
    let (sender, receiver) = bounded(1);
    let tries = [1, 2].map(|item| {
        let sender = sender.clone();
        thread::spawn(move || sender.try_send(item))
    });
    let taken = usize::from(receiver.try_recv().is_ok());
    let sent = tries.into_iter().map(|sent| sent.join().unwrap()).filter(Result::is_ok).count();
    assert!(receiver.len() <= 1);
    assert_eq!(receiver.len() + taken, sent);
    assert!(sent >= 1);
}

/// Of two senders that wait, the first gives up: its deadline passed. The other must be told of the room.
fn a_sender_that_gave_up_takes_no_wake_up_along() {
    let (sender, receiver) = bounded(1);
    sender.try_send(0).unwrap();
    let patient = sends(sender.clone(), 2);
    let impatient = thread::spawn(move || {
        let mut item = Some(1);
        let sent = block_on(poll_fn(|cx| Poll::Ready(sender.poll_send(cx, &mut item).is_ready())));
        usize::from(sent)
    });
    assert_eq!(block_on(receiver.recv()), Some(0));
    let mut items = 1;
    while block_on(receiver.recv()).is_some() {
        items += 1;
    }
    assert!(patient.join().unwrap());
    assert_eq!(items, 2 + impatient.join().unwrap());
}

fn closing_ends_all_waits() {
    let (sender, receiver) = bounded(1);
    sender.try_send(1).unwrap();
    let waits = sends(sender.clone(), 2);
    let closes = thread::spawn(move || sender.close());
    let mut items = Vec::new();
    while let Some(item) = block_on(receiver.recv()) {
        items.push(item);
    }
    assert!(closes.join().unwrap());
    let sent = waits.join().unwrap();
    assert_eq!(items.len(), 1 + usize::from(sent));
    assert_eq!(receiver.try_recv(), Err(Empty::ForEver));
}

fn the_last_sender_ends_the_wait() {
    let (sender, receiver) = bounded::<u8>(1);
    let gone = [sender.clone(), sender].map(|sender| thread::spawn(move || drop(sender)));
    assert_eq!(block_on(receiver.recv()), None);
    gone.into_iter().for_each(|gone| gone.join().unwrap());
}

/// What is in the queue goes with its receiver, however late it is sent; who waits for room is told.
fn a_receiver_that_goes_leaves_nothing() {
    let item = Arc::new(());
    let (sender, receiver) = bounded(1);
    let senders = [sends(sender.clone(), Arc::clone(&item)), sends(sender.clone(), Arc::clone(&item))];
    drop(receiver);
    senders.into_iter().for_each(|sender| _ = sender.join().unwrap());
    assert!(sender.is_closed() && sender.is_empty());
    assert_eq!(Arc::strong_count(&item), 1);
    assert!(matches!(sender.try_send(Arc::clone(&item)), Err(Refused::Closed(_))));
}

fn what_was_sent_before_a_close_is_received() {
    let (sender, receiver) = bounded(2);
    let receives = thread::spawn(move || {
        let mut sum = 0;
        while let Some(item) = block_on(receiver.recv()) {
            sum += item;
        }
        sum
    });
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    sender.close();
    assert_eq!(receives.join().unwrap(), 3);
}

/// A session's worker never waits in `send`: it asks for the word of room, looks once more, and goes on with other
/// things. A reader tells it when the queue is empty.
fn room_is_told_to_a_sender_that_is_behind() {
    let (sender, receiver) = bounded(1);
    let room = Room::default();
    let reader = thread::spawn({
        let room = room.clone();
        move || {
            let mut sum = 0;
            while let Some(item) = block_on(receiver.recv()) {
                sum += item;
                if receiver.is_empty() {
                    room.tell();
                }
            }
            sum
        }
    });
    for item in [1, 2, 3] {
        while sender.try_send(item).is_err() {
            room.want();
            if sender.try_send(item).is_ok() {
                break;
            }
            block_on(room.told());
        }
    }
    drop(sender);
    assert_eq!(reader.join().unwrap(), 6);
}
