//! One stream of a session, sans-io: its event log, and the reader it is attached to.
//!
//! Events are numbered from 1 in the order they are pushed. The log is bounded in events and bytes; when it is
//! full the oldest message that nobody waits for goes first. A reader that does not keep up is let go: it loses its
//! connection, not its events, for it may attach again with the last id it saw (L27).

use std::collections::VecDeque;

use async_channel::{Sender, TrySendError};

use crate::budget::Payload;
use crate::http::{Event, EventId};
use crate::limits::{REPLAY_BYTES_MAX, REPLAY_EVENTS_MAX};

/// A message in the log.
#[derive(Clone, Debug)]
struct Entry {
    place: u32,
    payload: Payload,
    /// Somebody waits for it: it is a response, or a request of the server.
    keep: bool,
    last: bool,
}

/// What became of a pushed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// A reader has it.
    Delivered,
    /// Nobody reads: it waits in the log.
    Logged,
    /// The reader did not keep up and was let go; the message waits in the log.
    ReaderLetGo,
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
        let entry = Entry { place, payload, keep, last };
        let event = self.event(&entry);
        self.log.push_back(entry);
        let pushed = self.hand_over(event);
        if pushed == Pushed::Delivered {
            self.delivered = place;
        }
        if last {
            self.reader = None;
        }
        pushed
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

    fn hand_over(&mut self, event: Event) -> Pushed {
        let Some(reader) = &self.reader else { return Pushed::Logged };
        match reader.try_send(event) {
            Ok(()) => Pushed::Delivered,
            Err(TrySendError::Closed(_)) => {
                self.reader = None;
                Pushed::Logged
            }
            Err(TrySendError::Full(_)) => {
                self.reader = None;
                Pushed::ReaderLetGo
            }
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
                self.log_bytes -= entry.payload.len();
                dropped += 1;
            }
        }
        dropped
    }

    /// Attaches `reader` in place of the one there was (which is let go) and returns what it has to be given
    /// first: everything after `after`, or what no reader was given yet, and the place it starts from.
    pub fn attach(&mut self, reader: Sender<Event>, after: Option<u32>) -> (VecDeque<Event>, EventId) {
        let from = after.unwrap_or(self.delivered).min(self.next_place - 1);
        let backlog: VecDeque<Event> =
            self.log.iter().filter(|entry| entry.place > from).map(|entry| self.event(entry)).collect();
        self.delivered = self.next_place - 1;
        self.reader = if self.ended { None } else { Some(reader) };
        (backlog, EventId { stream: self.number, place: from })
    }

    /// Lets the reader go with a word on when to come back, which also makes the reply a stream if it was none yet.
    pub fn let_go(&mut self, retry_ms: u32) {
        let come_back = Event { id: None, retry_ms: Some(retry_ms), data: None, last: false };
        // A reader without room is behind, so its reply is a stream already.
        let _ = self.hand_over(come_back);
        self.reader = None;
    }

    /// Lets the reader go: its connection ends the stream gracefully.
    pub fn detach(&mut self) {
        self.reader = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_channel::{Receiver, bounded};
    use proptest::prelude::*;

    fn payload(text: &str) -> Payload {
        Payload::made_here(text.as_bytes().to_vec())
    }

    fn texts(events: impl IntoIterator<Item = Event>) -> Vec<String> {
        events.into_iter().map(|event| String::from_utf8(event.data.unwrap().to_vec()).unwrap()).collect()
    }

    #[test]
    fn what_nobody_read_waits_for_the_first_reader() {
        let mut stream = Stream::new(0);
        assert_eq!(stream.push(payload("a"), false, false), Pushed::Logged);
        let (reader, _events) = bounded(4);
        let (backlog, start) = stream.attach(reader, None);
        assert_eq!((texts(backlog), start.place), (vec!["a".into()], 0));
        let (reader, events) = bounded(4);
        let (backlog, start) = stream.attach(reader, None);
        assert_eq!((backlog.len(), start.place), (0, 1));
        assert_eq!(stream.push(payload("b"), false, false), Pushed::Delivered);
        assert_eq!(texts([events.try_recv().unwrap()]), ["b"]);
    }

    #[test]
    fn a_slow_reader_is_let_go_and_resumes() {
        let (reader, events) = bounded(1);
        let mut stream = Stream::with_reader(3, reader);
        assert_eq!(stream.push(payload("a"), false, false), Pushed::Delivered);
        assert_eq!(stream.push(payload("b"), false, false), Pushed::ReaderLetGo);
        assert_eq!(stream.push(payload("c"), true, true), Pushed::Logged);
        assert_eq!(events.try_recv().unwrap().id, Some(EventId { stream: 3, place: 1 }));
        assert!(events.is_closed());
        let (reader, rest) = bounded(1);
        let (backlog, _) = stream.attach(reader, Some(1));
        assert_eq!(texts(backlog), ["b", "c"]);
        assert!(rest.is_closed(), "an ended stream has no reader");
    }

    #[test]
    fn a_response_is_shed_last() {
        let mut stream = Stream::new(1);
        stream.push(payload("response"), true, false);
        for _ in 0..10 {
            stream.push(payload("note"), false, false);
        }
        assert_eq!(stream.shed_to(3, 1000), 8);
        assert_eq!(stream.shed_to(0, 0), 2);
        let (reader, _events) = bounded(1);
        assert_eq!(texts(stream.attach(reader, Some(0)).0), ["response"]);
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
            let mut reader: Option<(VecDeque<Event>, Receiver<Event>, u32)> = None;
            for step in steps {
                match step {
                    Step::Push => {
                        pushed += 1;
                        stream.push(payload(&pushed.to_string()), false, false);
                    }
                    Step::Attach | Step::Resume(_) => {
                        let after = if let Step::Resume(place) = step { Some(place.min(pushed)) } else { None };
                        let (sender, events) = bounded(3);
                        let (backlog, start) = stream.attach(sender, after);
                        prop_assert!(after.is_none_or(|after| start.place == after));
                        reader = Some((backlog, events, start.place));
                    }
                    Step::Drop => reader = None,
                    Step::Read => {
                        let Some((backlog, events, seen)) = &mut reader else { continue };
                        if let Some(event) = backlog.pop_front().or_else(|| events.try_recv().ok()) {
                            let place = event.id.unwrap().place;
                            prop_assert_eq!(place, *seen + 1, "lost or twice");
                            prop_assert_eq!(texts([event])[0].clone(), place.to_string());
                            *seen = place;
                        }
                    }
                }
            }
            let (sender, _events) = bounded(1);
            prop_assert_eq!(stream.attach(sender, Some(0)).0.len() as u32, pushed);
        }
    }
}
