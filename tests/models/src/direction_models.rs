//! Readiness that threads tell and one task asks for.

use std::future::poll_fn;

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::Model;
use crate::direction::Direction;

pub const ALL: &[Model] = &[
    ("direction_what_came_is_found", what_came_is_found),
    ("direction_two_threads_tell", two_threads_tell),
    ("direction_an_end_stays", an_end_stays),
    ("direction_a_wait_given_up_loses_nothing", a_wait_given_up_loses_nothing),
];

/// A descriptor: bytes that came, and the word of them.
#[derive(Default)]
struct Pipe {
    bytes: AtomicUsize,
    direction: Direction,
}

impl Pipe {
    /// The kernel, and the thread that takes its event.
    fn write(&self) {
        self.bytes.fetch_add(1, Ordering::Relaxed);
        self.direction.tell(false);
    }

    /// As all of burdock reads: all there is, and only then the wait.
    fn read(&self, wanted: usize) {
        let mut read = 0;
        loop {
            read += self.bytes.swap(0, Ordering::Relaxed);
            if read == wanted {
                return;
            }
            block_on(poll_fn(|cx| self.direction.poll_ready(cx)));
        }
    }
}

fn what_came_is_found() {
    let pipe = Arc::new(Pipe::default());
    let writer = thread::spawn({
        let pipe = Arc::clone(&pipe);
        move || (0..2).for_each(|_| pipe.write())
    });
    pipe.read(2);
    writer.join().unwrap();
}

/// Two events of one descriptor, taken by two threads.
fn two_threads_tell() {
    let pipe = Arc::new(Pipe::default());
    let writers = [0, 1].map(|_| {
        let pipe = Arc::clone(&pipe);
        thread::spawn(move || pipe.write())
    });
    pipe.read(2);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

/// The end and an earlier event, told in any order: every look from then on finds the end.
fn an_end_stays() {
    let direction = Arc::new(Direction::default());
    let tellers = [false, true].map(|over| {
        let direction = Arc::clone(&direction);
        thread::spawn(move || direction.tell(over))
    });
    (0..3).for_each(|_| block_on(poll_fn(|cx| direction.poll_ready(cx))));
    tellers.into_iter().for_each(|teller| teller.join().unwrap());
}

/// A task that stopped waiting, and another wait later: a deadline passed in between.
fn a_wait_given_up_loses_nothing() {
    let pipe = Arc::new(Pipe::default());
    let writer = thread::spawn({
        let pipe = Arc::clone(&pipe);
        move || pipe.write()
    });
    let mut is_ready = false;
    block_on(poll_fn(|cx| {
        is_ready = pipe.direction.poll_ready(cx).is_ready();
        std::task::Poll::Ready(())
    }));
    pipe.read(1);
    writer.join().unwrap();
}
