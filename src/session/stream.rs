//! One stream of a session, sans-io: its event log, and the reader it is attached to.
//!
//! Events are numbered from 1 in the order they are pushed. The log is bounded in events and bytes; when it is
//! full the oldest message that nobody waits for goes first. The log is the queue of a reader that is behind; only when a
//! message is shed that it was not given is the reader let go: it loses its connection, and may attach again with the
//! last id it saw (L27).

use std::collections::VecDeque;

use crate::budget::Payload;
use crate::http::{Event, EventId};
use crate::limits::{LARGE_EVENT_BYTES, REPLAY_BYTES_MAX, REPLAY_EVENTS_MAX};
use crate::metrics::METRICS;
use crate::queue::{Refused, Sender};

/// A message in the log.
#[derive(Clone, Debug)]
struct Entry {
    place: u32,
    payload: Payload,
    /// Somebody waits for it: it is a response, or a request of the server.
    keep: bool,
    last: bool,
}

/// How far the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It has all there is.
    Delivered,
    /// Nobody reads: messages wait in the log.
    Logged,
    /// It has no room: messages wait in the log, to be pumped when it has.
    Behind,
}

/// A stream: 0 is the standalone one (GET), others belong to a POST.
#[derive(Debug)]
pub struct Stream {
    number: u32,
    log: VecDeque<Entry>,
    log_bytes: usize,
    next_place: u32,
    /// The last place a reader was given.
    delivered: u32,
    /// Whether the last event was pushed.
    ended: bool,
    reader: Option<Sender<Event>>,
}

impl Stream {
    /// An empty stream without a reader.
    pub fn new(number: u32) -> Stream {
        Stream {
            number,
            log: VecDeque::new(),
            log_bytes: 0,
            next_place: 1,
            delivered: 0,
            ended: false,
            reader: None,
        }
    }

    /// Attaches the reader of a fresh POST.
    pub fn with_reader(number: u32, reader: Sender<Event>) -> Stream {
        Stream { reader: Some(reader), ..Stream::new(number) }
    }

    /// Whether somebody reads at the other end.
    pub fn has_reader(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| !reader.is_closed())
    }

    /// Bytes in its log.
    pub fn log_bytes(&self) -> usize {
        self.log_bytes
    }

    /// Whether nothing was pushed yet.
    pub fn untouched(&self) -> bool {
        self.next_place == 1
    }

    /// Appends a message and hands it to the reader. `keep` protects it from being shed; `last` ends the
    /// stream: the reader, if any, gets the event and is let go.
    pub fn push(&mut self, payload: Payload, keep: bool, last: bool) -> Pushed {
        let place = self.take_place();
        self.ended |= last;
        self.log_bytes += payload.len();
        self.log.push_back(Entry { place, payload, keep, last });
        self.pump()
    }

    /// Hands the reader what it has not been given, as far as it has room. A large message waits until it has nothing
    /// else, so that what a slow reader holds is bounded in bytes.
    pub fn pump(&mut self) -> Pushed {
        while let Some(reader) = &self.reader {
            let Some(entry) = self.next_for_reader() else {
                if self.ended {
                    self.reader = None;
                }
                return Pushed::Delivered;
            };
            let large = entry.payload.len() > LARGE_EVENT_BYTES;
            if large && !reader.is_empty() && !reader.is_closed() {
                return Pushed::Behind;
            }
            let place = entry.place;
            match reader.try_send(self.event(entry)) {
                Ok(()) => self.delivered = place,
                Err(Refused::Closed(_)) => self.reader = None,
                Err(Refused::Full(_)) => return Pushed::Behind,
            }
        }
        Pushed::Logged
    }

    fn next_for_reader(&self) -> Option<&Entry> {
        let newest = self.log.back().filter(|newest| newest.place > self.delivered)?;
        // As nearly always: the reader had all there was before.
        if newest.place == self.delivered + 1 {
            return Some(newest);
        }
        self.log.get(self.log.partition_point(|entry| entry.place <= self.delivered))
    }

    /// The next place. After four billion it begins anew, with an empty log.
    fn take_place(&mut self) -> u32 {
        let place = self.next_place;
        self.next_place = place.checked_add(1).unwrap_or_else(|| {
            self.log.clear();
            (self.log_bytes, self.delivered) = (0, 0);
            1
        });
        place
    }

    fn event(&self, entry: &Entry) -> Event {
        Event {
            id: Some(EventId { stream: self.number, place: entry.place }),
            retry_ms: None,
            data: Some(entry.payload.clone()),
            last: entry.last,
        }
    }

    /// Brings the log within its bounds; returns how many messages were dropped.
    pub fn shed(&mut self) -> usize {
        self.shed_to(REPLAY_EVENTS_MAX, REPLAY_BYTES_MAX)
    }

    /// Drops the oldest messages that nobody waits for until at most `events` and `bytes` are left.
    pub fn shed_to(&mut self, events: usize, bytes: usize) -> usize {
        let mut dropped = 0;
        while self.log.len() > events || self.log_bytes > bytes {
            let Some(oldest) = self.log.iter().position(|entry| !entry.keep) else { break };
            if let Some(entry) = self.log.remove(oldest) {
                // Its reader would miss this one: it is let go, and may come back for what is left.
                if entry.place > self.delivered && self.reader.take().is_some() {
                    METRICS.slow_readers_total.add_one();
                }
                self.log_bytes -= entry.payload.len();
                dropped += 1;
            }
        }
        dropped
    }

    /// Attaches `reader` in place of the one there was (which is let go). It is given everything after `after`, or
    /// what no reader was given yet. Returns where it starts, and how far it is.
    pub fn attach(&mut self, reader: Sender<Event>, after: Option<u32>) -> (EventId, Pushed) {
        let from = after.unwrap_or(self.delivered).min(self.next_place - 1);
        self.delivered = from;
        self.reader = Some(reader);
        (EventId { stream: self.number, place: from }, self.pump())
    }

    /// Lets the reader go with a word on when to come back, which also makes the reply a stream if it was none yet.
    pub fn let_go(&mut self, retry_ms: u32) {
        let come_back = Event { id: None, retry_ms: Some(retry_ms), data: None, last: false };
        if let Some(reader) = self.reader.take() {
            // A reader without room is behind, so its reply is a stream already.
            let _ = reader.try_send(come_back);
        }
    }

    /// Lets the reader go: its connection ends the stream gracefully.
    pub fn detach(&mut self) {
        self.reader = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Receiver, bounded};
    use proptest::prelude::*;

    fn payload(text: &str) -> Payload {
        Payload::made_here(text.as_bytes().to_vec())
    }

    fn texts(events: impl IntoIterator<Item = Event>) -> Vec<String> {
        events.into_iter().map(|event| String::from_utf8(event.data.unwrap().to_vec()).unwrap()).collect()
    }

    fn received(events: &Receiver<Event>) -> Vec<String> {
        texts(std::iter::from_fn(|| events.try_recv().ok()))
    }

    #[test]
    fn what_nobody_read_waits_for_the_first_reader() {
        let mut stream = Stream::new(0);
        assert_eq!(stream.push(payload("a"), false, false), Pushed::Logged);
        let (reader, events) = bounded(4);
        let (start, pushed) = stream.attach(reader, None);
        assert_eq!((received(&events), start.place, pushed), (vec!["a".into()], 0, Pushed::Delivered));
        let (reader, events) = bounded(4);
        assert_eq!(stream.attach(reader, None).0.place, 1);
        assert_eq!(stream.push(payload("b"), false, false), Pushed::Delivered);
        assert_eq!(received(&events), ["b"]);
    }

    #[test]
    fn a_reader_that_is_behind_is_given_the_rest() {
        let (reader, events) = bounded(1);
        let mut stream = Stream::with_reader(3, reader);
        assert_eq!(stream.push(payload("a"), false, false), Pushed::Delivered);
        assert_eq!(stream.push(payload("b"), false, false), Pushed::Behind);
        assert_eq!(stream.push(payload("c"), true, true), Pushed::Behind);
        assert_eq!(received(&events), ["a"]);
        assert_eq!(stream.pump(), Pushed::Behind);
        assert_eq!(received(&events), ["b"]);
        assert_eq!(stream.pump(), Pushed::Delivered);
        assert_eq!(received(&events), ["c"]);
        assert!(events.is_closed(), "an ended stream has no reader");
    }

    #[test]
    fn a_large_message_waits_for_an_empty_queue() {
        let (reader, events) = bounded(8);
        let mut stream = Stream::with_reader(3, reader);
        let large = "x".repeat(LARGE_EVENT_BYTES + 1);
        assert_eq!(stream.push(payload(&large), false, false), Pushed::Delivered);
        assert_eq!(stream.push(payload(&large), false, false), Pushed::Behind);
        assert_eq!(events.len(), 1);
        events.try_recv().unwrap();
        assert_eq!(stream.pump(), Pushed::Delivered);
    }

    #[test]
    fn a_reader_that_would_miss_a_message_is_let_go() {
        let (reader, events) = bounded(1);
        let mut stream = Stream::with_reader(3, reader);
        for _ in 0..4 {
            stream.push(payload("n"), false, false);
        }
        assert_eq!(stream.shed_to(3, 1000), 1);
        assert!(stream.has_reader(), "the one it was given went first");
        assert_eq!(stream.shed_to(2, 1000), 1);
        assert!(!stream.has_reader() && events.is_closed());
    }

    #[test]
    fn what_is_waited_for_is_shed_last() {
        let mut stream = Stream::new(1);
        stream.push(payload("response"), true, false);
        for _ in 0..10 {
            stream.push(payload("note"), false, false);
        }
        assert_eq!(stream.shed_to(3, 1000), 8);
        assert_eq!(stream.shed_to(0, 0), 2);
        let (reader, events) = bounded(1);
        stream.attach(reader, Some(0));
        assert_eq!(received(&events), ["response"]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Attach,
        Resume(u32),
        Drop,
        Read,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Push),
            1 => Just(Step::Attach),
            1 => (0..20u32).prop_map(Step::Resume),
            1 => Just(Step::Drop),
            3 => Just(Step::Read),
        ]
    }

    proptest! {
        /// Against a plain list: whoever resumes after the last event it read misses nothing and sees nothing twice.
        #[test]
        fn prop_no_loss_and_no_duplicate_inside_the_bound(steps in prop::collection::vec(step(), 0..80)) {
            let mut stream = Stream::new(0);
            let mut pushed = 0u32;
            let mut reader: Option<(Receiver<Event>, u32)> = None;
            for step in steps {
                match step {
                    Step::Push => {
                        pushed += 1;
                        stream.push(payload(&pushed.to_string()), false, false);
                    }
                    Step::Attach | Step::Resume(_) => {
                        let after = if let Step::Resume(place) = step { Some(place.min(pushed)) } else { None };
                        let (sender, events) = bounded(3);
                        let (start, _) = stream.attach(sender, after);
                        prop_assert!(after.is_none_or(|after| start.place == after));
                        reader = Some((events, start.place));
                    }
                    Step::Drop => reader = None,
                    Step::Read => {
                        let Some((events, seen)) = &mut reader else { continue };
                        if let Ok(event) = events.try_recv() {
                            let place = event.id.unwrap().place;
                            prop_assert_eq!(place, *seen + 1, "lost or twice");
                            prop_assert_eq!(texts([event])[0].clone(), place.to_string());
                            *seen = place;
                        } else {
                            prop_assert_eq!(*seen, pushed, "an empty queue before the end");
                        }
                        stream.pump();
                    }
                }
            }
            let (sender, events) = bounded(100);
            stream.attach(sender, Some(0));
            prop_assert_eq!(events.len() as u32, pushed);
        }
    }
}
