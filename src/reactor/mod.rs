//! Readiness of sockets and pipes. The threads of the executor themselves wait for it.
//!
//! async-io waits on a thread of its own and arms each descriptor anew for each wait: a context switch and
//! three system calls where one system call is enough (benches/README.md has the numbers). So the descriptors
//! that a request needs are watched here. Each is registered once, edge-triggered, and a thread of the
//! executor that has no task waits for all of them. Timers and signals stay with async-io.
//!
//! A descriptor is watched for room to write only while somebody waits for that. Otherwise Linux would report
//! room in a pipe each time the other end reads, and in a new socket or pipe at once.

mod direction;

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use slab::Slab;

use self::direction::Direction;
use crate::limits::READY_EVENTS_MAX;
use crate::lock::lock;

/// What the reactor knows of a descriptor.
#[derive(Debug, Default)]
struct Watched {
    read: Direction,
    write: Direction,
}

impl Watched {
    fn tell(&self, flags: EventFlags) {
        let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let ended = broken || flags.contains(EventFlags::RDHUP);
        if ended || flags.contains(EventFlags::IN) {
            self.read.tell(ended);
        }
        if broken || flags.contains(EventFlags::OUT) {
            self.write.tell(broken);
        }
    }
}

/// What every descriptor is watched for.
const ALWAYS: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// A socket, pipe or pidfd whose readiness is watched. In each direction one task at a time may wait.
pub struct Source<T> {
    io: T,
    watched: Arc<Watched>,
    key: Key,
    /// Whether it is watched for room to write as well. Only the writing task uses this.
    asks_for_room: AtomicBool,
}

impl<T: AsFd> Source<T> {
    /// Registers `io`, which no longer blocks then. [`crate::runtime::start`] must have been called.
    ///
    /// # Errors
    /// The system's: too many descriptors are watched, or `io` is a file.
    pub fn new(io: T) -> io::Result<Source<T>> {
        rustix::io::ioctl_fionbio(&io, true)?;
        let reactor = REACTOR.get().ok_or_else(|| io::Error::other("no thread runs tasks"))?;
        let watched = Arc::new(Watched::default());
        let key = lock(&reactor.descriptors).insert(&watched);
        let source = Source { io, watched, key, asks_for_room: AtomicBool::new(false) };
        // epoll reports at once what is ready already. Closing the descriptor removes it.
        epoll::add(&reactor.epoll, &source.io, EventData::new_u64(key.0), ALWAYS)?;
        Ok(source)
    }

    /// What was registered.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Completes when something came since it last completed, or nothing more will. It may complete for
    /// nothing.
    ///
    /// To be asked after a read that took all there was: one that found nothing, or filled only a part of its
    /// buffer. That a short read means "nothing is left" is an assumption which edge-triggered epoll needs
    /// (epoll(7)): it holds for TCP, for pipes and for Unix stream sockets without `SO_PASSCRED`. It does not
    /// hold for datagrams, for Unix sockets that pass credentials or descriptors (a read ends where these
    /// change), nor for terminals: whoever watches one of those must read until `EAGAIN`, or call
    /// [`Source::look_again`].
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.watched.read.poll_ready(cx)
    }

    /// See [`Source::poll_readable`].
    pub async fn readable(&self) {
        std::future::poll_fn(|cx| self.poll_readable(cx)).await;
    }

    /// Completes when room to write came since it last completed, or never will come. To be asked after a
    /// write that found none. It may complete for nothing.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.watched.write.poll_ready(cx);
        // The waker is registered before EPOLLOUT is armed, so neither present nor later room is missed. A
        // cancelled wait leaves EPOLLOUT armed; the next wait reuses it, or finds that room was told.
        let waits = polled.is_pending();
        if self.asks_for_room.swap(waits, Ordering::Relaxed) != waits {
            self.ask_for_room(waits);
        }
        polled
    }

    fn ask_for_room(&self, asks: bool) {
        let flags = if asks { ALWAYS | EventFlags::OUT } else { ALWAYS };
        let data = EventData::new_u64(self.key.0);
        // It can fail only for a descriptor that is not watched.
        let asked = REACTOR.get().map(|reactor| epoll::modify(&reactor.epoll, &self.io, data, flags));
        if let Some(Err(error)) = asked {
            log::error!("cannot wait for room to write: {error}");
        }
    }

    /// See [`Source::poll_writable`].
    pub async fn writable(&self) {
        std::future::poll_fn(|cx| self.poll_writable(cx)).await;
    }

    /// Makes the next look find it readable, because the last read may have left something.
    pub fn look_again(&self) {
        self.watched.read.set_ready();
    }
}

impl<T: fmt::Debug> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.io).finish()
    }
}

impl<T> Drop for Source<T> {
    fn drop(&mut self) {
        if let Some(reactor) = REACTOR.get() {
            lock(&reactor.descriptors).remove(self.key);
        }
    }
}

/// Which descriptor an event is for: its place in the table, and in the upper half a number that no other
/// descriptor has. An event may have been taken before its descriptor was closed; the number keeps it from
/// being told to the next descriptor that gets the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key(u64);

/// What is watched.
#[derive(Default)]
struct Descriptors {
    places: Slab<(Key, Arc<Watched>)>,
    count: u32,
}

impl Descriptors {
    fn insert(&mut self, watched: &Arc<Watched>) -> Key {
        self.count = self.count.wrapping_add(1);
        let vacant = self.places.vacant_entry();
        // Descriptors are fewer than the lower half can tell.
        let key = Key(u64::from(self.count) << 32 | vacant.key() as u64 & u64::from(u32::MAX));
        vacant.insert((key, Arc::clone(watched)));
        key
    }

    fn get(&self, key: Key) -> Option<&Arc<Watched>> {
        self.places.get(key.place()).filter(|(own, _)| *own == key).map(|(_, watched)| watched)
    }

    fn remove(&mut self, key: Key) {
        self.places.try_remove(key.place());
    }
}

impl Key {
    fn place(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }
}

/// Events that a thread has taken from epoll and must tell.
#[derive(Debug, Default)]
pub struct Events(Vec<(Arc<Watched>, EventFlags)>);

struct Reactor {
    epoll: OwnedFd,
    /// An eventfd. A write to it calls a thread back from waiting.
    call: OwnedFd,
    descriptors: Mutex<Descriptors>,
}

static REACTOR: OnceLock<Reactor> = OnceLock::new();

/// The key of `Reactor::call`, which nobody waits for.
const CALL: u64 = u64::MAX;

/// Makes the reactor, once.
///
/// # Errors
/// The system's.
pub fn start() -> io::Result<()> {
    if REACTOR.get().is_some() {
        return Ok(());
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    // Edge-triggered: each write is reported once, and nobody has to read it.
    epoll::add(&epoll, &call, EventData::new_u64(CALL), EventFlags::IN | EventFlags::ET)?;
    let _ = REACTOR.set(Reactor { epoll, call, descriptors: Mutex::default() });
    Ok(())
}

/// Waits for events, at most `timeout`, and wakes the tasks that wait for them. `back` is called when the
/// wait is over, before any task is woken. Any number of threads may wait: the kernel gives an event to the
/// one that came last.
pub fn wait(taken: &mut Events, timeout: Option<&Timespec>, back: impl FnOnce()) {
    let Some(reactor) = REACTOR.get() else { return };
    let mut room = [MaybeUninit::<Event>::uninit(); READY_EVENTS_MAX];
    let waited = epoll::wait(&reactor.epoll, &mut room[..], timeout);
    back();
    match waited {
        Ok((events, _)) => {
            let descriptors = lock(&reactor.descriptors);
            for event in events {
                let (flags, data) = (event.flags, event.data);
                taken.0.extend(descriptors.get(Key(data.u64())).map(|entry| (Arc::clone(entry), flags)));
            }
        }
        Err(Errno::INTR) => {}
        Err(error) => log::error!("cannot wait for sockets: {error}"),
    }
    taken.tell();
}

impl Events {
    /// Without the lock: a wake may drop a task, and with it a source, which takes the lock.
    pub(crate) fn tell(&mut self) {
        while let Some((entry, flags)) = self.0.pop() {
            entry.tell(flags);
        }
    }
}

/// Calls a thread back from waiting, now or when it next waits.
pub fn call() {
    if let Some(reactor) = REACTOR.get() {
        // It can fail only after four billion billion calls.
        let _ = rustix::io::write(&reactor.call, &1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use smol::future::block_on;

    use super::*;

    #[test]
    fn an_event_of_a_closed_descriptor_is_told_to_nobody() {
        let (mut descriptors, one, two) = (Descriptors::default(), Arc::default(), Arc::default());
        let old = descriptors.insert(&one);
        descriptors.remove(old);
        let new = descriptors.insert(&two);
        assert_eq!(old.place(), new.place(), "places are used again");
        assert!(descriptors.get(old).is_none());
        assert!(descriptors.get(new).is_some_and(|entry| Arc::ptr_eq(entry, &two)));
        assert!(descriptors.get(Key(CALL)).is_none());
    }

    #[test]
    fn half_a_close_ends_reading_only() {
        let entry = Watched::default();
        entry.tell(EventFlags::IN | EventFlags::RDHUP);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        (0..2).for_each(|_| assert!(entry.read.poll_ready(&mut cx).is_ready()));
        assert!(entry.write.poll_ready(&mut cx).is_pending());
    }

    /// Both kinds of what is written to: the end to write, and the other one, which blocks.
    fn both_kinds() -> [(Source<OwnedFd>, OwnedFd); 2] {
        crate::runtime::start_for_tests();
        let (out, into) = std::io::pipe().unwrap();
        let (one, other) = UnixStream::pair().unwrap();
        [(Source::new(into.into()).unwrap(), out.into()), (Source::new(one.into()).unwrap(), other.into())]
    }

    /// Writes until there is no room.
    fn fill(source: &Source<OwnedFd>) {
        while rustix::io::write(source.get_ref(), &[0; 4096]).is_ok() {}
    }

    /// Reads all there is: a socket has room for a writer when it is nearly empty.
    fn empty(from: &OwnedFd) {
        let mut rest = rustix::io::ioctl_fionread(from).unwrap();
        while rest > 0 {
            rest -= rustix::io::read(from, &mut vec![0; 64 * 1024]).unwrap() as u64;
        }
    }

    /// Long enough for what is told to be told.
    fn moment() {
        block_on(async_io::Timer::after(Duration::from_millis(100)));
    }

    #[test]
    fn room_is_told_to_who_waits_for_it_and_to_nobody_else() {
        for (source, other) in both_kinds() {
            moment();
            assert!(!source.watched.write.is_ready(), "told that there is room at first");
            fill(&source);
            std::thread::scope(|scope| {
                let wait = scope.spawn(|| block_on(source.writable()));
                moment();
                assert!(!wait.is_finished(), "there is no room");
                empty(&other);
                wait.join().unwrap();
            });
            assert!(rustix::io::write(source.get_ref(), b"x").is_ok(), "there is room");
            fill(&source);
            // More words may have been on their way when the wait ended.
            moment();
            source.watched.write.forget();
            empty(&other);
            moment();
            assert!(!source.watched.write.is_ready(), "told again when nobody waited");
        }
    }

    #[test]
    fn room_that_came_before_the_wait_is_told() {
        for (source, other) in both_kinds() {
            fill(&source);
            empty(&other);
            block_on(source.writable());
        }
    }

    #[test]
    fn an_end_is_told_to_who_waits_for_room_and_to_who_comes_later() {
        for (source, other) in both_kinds() {
            fill(&source);
            std::thread::scope(|scope| {
                let wait = scope.spawn(|| block_on(source.writable()));
                moment();
                drop(other);
                wait.join().unwrap();
            });
            block_on(source.writable());
        }
        for (source, other) in both_kinds() {
            drop(other);
            moment();
            block_on(source.writable());
            assert!(!source.asks_for_room.load(Ordering::SeqCst), "nobody has to ask");
        }
    }

    #[test]
    fn a_writer_that_is_always_too_fast_loses_nothing() {
        const BYTES: usize = 32 * 1024 * 1024;
        for (source, other) in both_kinds() {
            let write = async move {
                let mut written = 0;
                while written < BYTES {
                    match rustix::io::write(source.get_ref(), &[0; 8192]) {
                        Ok(bytes) => written += bytes,
                        Err(Errno::AGAIN) => source.writable().await,
                        Err(error) => panic!("{error}"),
                    }
                }
                written
            };
            let writer = crate::runtime::spawn(write);
            let (mut read, mut room) = (0, vec![0; 64 * 1024]);
            loop {
                match rustix::io::read(&other, &mut room[..]).unwrap() {
                    0 => break,
                    bytes => read += bytes,
                }
            }
            assert_eq!(block_on(writer), read);
        }
    }

    #[test]
    fn the_exit_of_a_process_is_told() {
        drop(both_kinds());
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let source = Source::new(pidfd).unwrap();
        moment();
        assert!(source.poll_readable(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
        drop(child.stdin.take());
        block_on(source.readable());
        assert!(child.try_wait().unwrap().is_some());
    }
}
