//! One stream of a session, sans-io: its event log, and the readers it is attached to.
//!
//! Events are numbered in the order in which they are pushed. The log is bounded in events and bytes; when it
//! is full, the oldest message that nobody waits for is dropped first. A reader that is behind gets its
//! messages from the log. When a message is dropped that such a reader was not given, the reader loses its
//! connection; it may attach again after the last id it saw (L27).
//!
//! Every message goes to one reader (L25): the newest that lives. Earlier readers stay open and silent: a
//! client that opens two would otherwise throw one out with the other for ever. When the newest goes, the
//! next newest goes on where it stopped.

use std::collections::VecDeque;

use crate::budget::Payload;
use crate::http::{Event, EventId};
use crate::limits::{
    CROWDED_RETRY_MS, LARGE_EVENT_BYTES, REPLAY_ASKS_BYTES_MAX, REPLAY_ASKS_MAX, REPLAY_BYTES_MAX,
    REPLAY_EVENTS_MAX, STREAM_READERS_MAX,
};
use crate::metrics::METRICS;
use crate::queue::{Refused, Sender};

/// How long the log has to keep a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// As long as there is room: it is a notification.
    WhileRoom,
    /// Until it is settled: it is a request of the server, and the server waits for its answer.
    UntilSettled,
    /// Until the stream is forgotten: it is a response, and the client waits for it.
    Always,
}

/// A message in the log.
#[derive(Clone, Debug)]
struct LogEntry {
    place: u64,
    payload: Payload,
    keep: Keep,
    last: bool,
}

/// How far the reader has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It has all there is.
    Delivered,
    /// Nobody reads: messages wait in the log.
    Logged,
    /// The reader has no room. Messages wait in the log and are pumped when it has.
    Behind,
}

/// A stream: 0 is the standalone one (GET), others belong to a POST.
#[derive(Debug)]
pub struct Stream {
    log: VecDeque<LogEntry>,
    next_place: u64,
    /// The last place a reader was given.
    delivered: u64,
    /// The newest, which is given the messages.
    reader: Option<Sender<Event>>,
    /// Boxed, because there rarely are any, and every stream in the map would otherwise have room for them.
    silent: Option<Box<Silent>>,
    number: u32,
    /// A `u32`, so that the stream of a POST stays small enough for the sizes that the allocator keeps ready
    /// (see `streams`).
    log_bytes: u32,
}

/// Readers that were attached before the newest, which is given the messages. The oldest is the first.
#[derive(Debug, Default)]
struct Silent(VecDeque<Sender<Event>>);

impl Stream {
    /// An empty stream without a reader.
    pub fn new(number: u32) -> Stream {
        Stream::beginning_at(number, 1)
    }

    /// An empty stream without a reader, whose first message has this place.
    pub fn beginning_at(number: u32, place: u64) -> Stream {
        Stream {
            log: VecDeque::new(),
            next_place: place,
            delivered: place - 1,
            reader: None,
            silent: None,
            number,
            log_bytes: 0,
        }
    }

    /// Attaches the reader of a fresh POST.
    pub fn with_reader(number: u32, reader: Sender<Event>) -> Stream {
        Stream { reader: Some(reader), ..Stream::new(number) }
    }

    /// Whether somebody reads at the other end.
    pub fn has_reader(&self) -> bool {
        let silent = self.silent.iter().flat_map(|silent| &silent.0);
        self.reader.iter().chain(silent).any(|reader| !reader.is_closed())
    }

    /// Bytes in its log.
    pub fn log_bytes(&self) -> usize {
        self.log_bytes as usize
    }

    /// Whether nothing was pushed yet.
    pub fn untouched(&self) -> bool {
        self.next_place == 1
    }

    /// Whether the last event of the stream was pushed. It stays in the log.
    fn ended(&self) -> bool {
        self.log.back().is_some_and(|newest| newest.last)
    }

    /// Appends a message and gives it to the reader. With `last` the stream ends: the reader, if there is
    /// one, gets this event, and all readers are detached.
    pub fn push(&mut self, payload: Payload, keep: Keep, last: bool) -> Pushed {
        let place = self.next_place;
        self.next_place += 1;
        if keep == Keep::UntilSettled {
            self.bound_asks(payload.len());
        }
        self.log_bytes += payload.len() as u32;
        self.log.push_back(LogEntry { place, payload, keep, last });
        self.pump()
    }

    /// The place of the message that was pushed last; 0 when there was none.
    pub fn newest(&self) -> u64 {
        self.next_place - 1
    }

    /// Nobody waits for the request at `place` any more: from now on it may be dropped like a notification.
    pub fn settle(&mut self, place: u64) {
        let at = self.log.partition_point(|entry| entry.place < place);
        if self.log.get(at).is_some_and(|entry| entry.place == place) {
            self.settle_at(at);
        }
    }

    fn settle_at(&mut self, at: usize) {
        if let Some(entry) = self.log.get_mut(at).filter(|entry| entry.keep == Keep::UntilSettled) {
            entry.keep = Keep::WhileRoom;
        }
    }

    /// The requests in the log that are not settled: how many, their bytes, and where the oldest is.
    fn asks(&self) -> (usize, usize, Option<usize>) {
        let asks = self.log.iter().enumerate().filter(|(_, entry)| entry.keep == Keep::UntilSettled);
        asks.fold((0, 0, None), |(count, bytes, oldest), (at, entry)| {
            (count + 1, bytes + entry.payload.len(), oldest.or(Some(at)))
        })
    }

    /// Makes room for one more request that waits for its answer. Beyond the bound the oldest ones lose their
    /// protection: a client that answers none of so many will not answer those either.
    fn bound_asks(&mut self, more: usize) {
        while let (count, bytes, Some(oldest)) = self.asks()
            && (count >= REPLAY_ASKS_MAX || bytes + more > REPLAY_ASKS_BYTES_MAX)
        {
            self.settle_at(oldest);
        }
    }

    /// Gives the reader the messages that it was not given yet, as far as it has room. A large message waits
    /// until the reader's queue is empty, so that the bytes that wait for a slow reader are bounded.
    pub fn pump(&mut self) -> Pushed {
        while let Some(reader) = &self.reader {
            let Some(entry) = self.next_for_reader() else {
                if self.ended() {
                    self.detach();
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
                Err(Refused::Closed(_)) => self.next_reader_takes_over(),
                Err(Refused::Full(_)) => return Pushed::Behind,
            }
        }
        Pushed::Logged
    }

    /// The newest reader is gone: the newest of those that waited for it is given the messages.
    fn next_reader_takes_over(&mut self) {
        self.reader = None;
        let Some(Silent(waiting)) = self.silent.as_deref_mut() else { return };
        while self.reader.is_none()
            && let Some(next) = waiting.pop_back()
        {
            self.reader = Some(next).filter(|reader| !reader.is_closed());
        }
        if waiting.is_empty() {
            self.silent = None;
        }
    }

    /// A reader that is no longer the newest waits silently. When too many wait, the one that has waited
    /// longest is ended.
    fn wait_silently(&mut self, former: Sender<Event>) {
        let Silent(waiting) = &mut **self.silent.get_or_insert_default();
        waiting.push_back(former);
        waiting.retain(|reader| !reader.is_closed());
        while waiting.len() >= STREAM_READERS_MAX {
            let Some(longest) = waiting.pop_front() else { break };
            tell_to_come_back(&longest, CROWDED_RETRY_MS);
        }
        if waiting.is_empty() {
            self.silent = None;
        }
    }

    fn next_for_reader(&self) -> Option<&LogEntry> {
        let newest = self.log.back().filter(|newest| newest.place > self.delivered)?;
        // Nearly always this is the one: the reader was given everything before it.
        if newest.place == self.delivered + 1 {
            return Some(newest);
        }
        self.log.get(self.log.partition_point(|entry| entry.place <= self.delivered))
    }

    fn event(&self, entry: &LogEntry) -> Event {
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
        while self.log.len() > events || self.log_bytes() > bytes {
            let Some(oldest) = self.log.iter().position(|entry| entry.keep == Keep::WhileRoom) else { break };
            if let Some(entry) = self.log.remove(oldest) {
                // The reader would miss this message, so it loses its connection. It may come back for what
                // is left.
                if entry.place > self.delivered && self.reader.is_some() {
                    METRICS.slow_readers_total.add_one();
                    self.next_reader_takes_over();
                }
                self.log_bytes -= entry.payload.len() as u32;
                dropped += 1;
            }
        }
        dropped
    }

    /// Attaches `reader`, which gets the messages from now on: everything after `after`, or what no reader
    /// was given yet. A place that this stream never had (it may be from a session's former life) counts as
    /// before all messages. Returns where the reader starts, and how far it has got.
    pub fn attach(&mut self, reader: Sender<Event>, after: Option<u64>) -> (EventId, Pushed) {
        let from = match after {
            Some(after) if after > self.newest() => 0,
            Some(after) => after,
            None => self.delivered,
        };
        self.delivered = from;
        if let Some(former) = self.reader.replace(reader) {
            self.wait_silently(former);
        }
        (EventId { stream: self.number, place: from }, self.pump())
    }

    /// Detaches the readers and tells them when to come back. That also makes the reply an event stream, if
    /// it was none yet.
    pub fn let_go(&mut self, retry_ms: u32) {
        let silent = self.silent.take().into_iter().flat_map(|silent| silent.0);
        self.reader.take().into_iter().chain(silent).for_each(|reader| tell_to_come_back(&reader, retry_ms));
    }

    /// Detaches the readers: their connections end the streams gracefully.
    pub fn detach(&mut self) {
        (self.reader, self.silent) = (None, None);
    }

    /// Gives the reader the rest of the log, even above the bound of its queue: the stream is about to be
    /// forgotten, and nobody will pump it any more. The rest was in the log, so it is bounded. If the last
    /// event is not in it, the readers are told to come back after `retry_ms`, if that is given.
    pub fn hand_over(&mut self, retry_ms: Option<u32>) {
        while let (Some(reader), Some(entry)) = (&self.reader, self.next_for_reader()) {
            let place = entry.place;
            match reader.force(self.event(entry)) {
                Ok(()) => self.delivered = place,
                Err(_) => self.next_reader_takes_over(),
            }
        }
        match retry_ms {
            Some(retry_ms) if !self.ended() => self.let_go(retry_ms),
            _ => self.detach(),
        }
    }
}

/// The last thing a reader is told. It may be behind, so this goes above the bound of its queue.
fn tell_to_come_back(reader: &Sender<Event>, retry_ms: u32) {
    let come_back = Event { id: None, retry_ms: Some(retry_ms), data: None, last: false };
    let _ = reader.force(come_back);
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
        assert_eq!(stream.push(payload("a"), Keep::WhileRoom, false), Pushed::Logged);
        let (reader, events) = bounded(4);
        let (start, pushed) = stream.attach(reader, None);
        assert_eq!((received(&events), start.place, pushed), (vec!["a".into()], 0, Pushed::Delivered));
        let (reader, events) = bounded(4);
        assert_eq!(stream.attach(reader, None).0.place, 1);
        assert_eq!(stream.push(payload("b"), Keep::WhileRoom, false), Pushed::Delivered);
        assert_eq!(received(&events), ["b"]);
    }

    #[test]
    fn a_reader_that_is_behind_is_given_the_rest() {
        let (reader, events) = bounded(1);
        let mut stream = Stream::with_reader(3, reader);
        assert_eq!(stream.push(payload("a"), Keep::WhileRoom, false), Pushed::Delivered);
        assert_eq!(stream.push(payload("b"), Keep::WhileRoom, false), Pushed::Behind);
        assert_eq!(stream.push(payload("c"), Keep::Always, true), Pushed::Behind);
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
        assert_eq!(stream.push(payload(&large), Keep::WhileRoom, false), Pushed::Delivered);
        assert_eq!(stream.push(payload(&large), Keep::WhileRoom, false), Pushed::Behind);
        assert_eq!(events.len(), 1);
        events.try_recv().unwrap();
        assert_eq!(stream.pump(), Pushed::Delivered);
    }

    #[test]
    fn a_reader_that_would_miss_a_message_is_let_go() {
        let (reader, events) = bounded(1);
        let mut stream = Stream::with_reader(3, reader);
        for _ in 0..4 {
            stream.push(payload("n"), Keep::WhileRoom, false);
        }
        assert_eq!(stream.shed_to(3, 1000), 1);
        assert!(stream.has_reader(), "the one it was given went first");
        assert_eq!(stream.shed_to(2, 1000), 1);
        assert!(!stream.has_reader() && events.is_closed());
    }

    /// The newest reader is given the messages; when it goes the next older one goes on where it stopped.
    #[test]
    fn older_readers_wait_and_take_over() {
        let mut stream = Stream::new(0);
        let mut attach = || {
            let (reader, events) = bounded(4);
            stream.attach(reader, None);
            events
        };
        let (of_first, of_second, of_third, of_fourth) = (attach(), attach(), attach(), attach());
        stream.push(payload("a"), Keep::WhileRoom, false);
        assert_eq!(received(&of_fourth), ["a"]);
        drop((of_fourth, of_third));
        assert!(stream.has_reader());
        stream.push(payload("b"), Keep::WhileRoom, false);
        assert_eq!(received(&of_second), ["b"]);
        drop(of_second);
        stream.push(payload("c"), Keep::WhileRoom, false);
        assert_eq!(received(&of_first), ["c"]);
        assert!(stream.silent.is_none());
        drop(of_first);
        assert!(!stream.has_reader());
        assert_eq!(stream.push(payload("d"), Keep::WhileRoom, false), Pushed::Logged);
    }

    #[test]
    fn one_reader_too_many_ends_the_one_that_waited_longest() {
        let mut stream = Stream::new(0);
        let mut readers: Vec<Receiver<Event>> = Vec::new();
        for _ in 0..=STREAM_READERS_MAX {
            let (reader, events) = bounded(1);
            stream.attach(reader, None);
            readers.push(events);
        }
        assert_eq!(readers[0].try_recv().unwrap().retry_ms, Some(CROWDED_RETRY_MS));
        assert!(readers[0].is_closed() && readers[1..].iter().all(|reader| !reader.is_closed()));
        // One that is gone makes room.
        drop(readers.remove(2));
        let (reader, _events) = bounded(1);
        stream.attach(reader, None);
        assert!(readers[1..].iter().all(|reader| !reader.is_closed()));
    }

    /// When a stream ends, no reader of it stays open.
    #[test]
    fn the_last_event_lets_all_readers_go() {
        let (first, of_first) = bounded(2);
        let mut stream = Stream::with_reader(3, first);
        let (second, of_second) = bounded(2);
        stream.attach(second, Some(0));
        stream.push(payload("response"), Keep::Always, true);
        assert_eq!((received(&of_first), received(&of_second)), (vec![], vec!["response".to_owned()]));
        assert!(of_first.is_closed() && of_second.is_closed());
    }

    /// The review's B3: a reader that was behind when its session ended never heard of it.
    #[test]
    fn a_reader_that_is_behind_at_the_end_is_handed_the_rest() {
        let (reader, events) = bounded(1);
        let mut stream = Stream::with_reader(3, reader);
        for text in ["a", "b", "c"] {
            stream.push(payload(text), Keep::WhileRoom, false);
        }
        stream.push(payload("error"), Keep::Always, true);
        stream.hand_over(Some(5));
        let rest: Vec<Event> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        assert!(rest.last().is_some_and(|event| event.last) && events.is_closed());
        assert_eq!(texts(rest), ["a", "b", "c", "error"]);
    }

    #[test]
    fn a_reader_without_a_last_event_is_told_when_to_come_back() {
        let (reader, events) = bounded(1);
        let mut stream = Stream::with_reader(0, reader);
        stream.push(payload("a"), Keep::WhileRoom, false);
        stream.push(payload("b"), Keep::WhileRoom, false);
        stream.hand_over(Some(5));
        let rest: Vec<Event> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        assert_eq!((rest.len(), rest[2].retry_ms), (3, Some(5)));
    }

    /// Attack M1: a restored session took an id of its former life for one of this.
    #[test]
    fn a_place_of_a_former_life_is_before_everything() {
        let mut stream = Stream::beginning_at(0, 1 << 40);
        stream.push(payload("a"), Keep::UntilSettled, false);
        for former in [0, 10, (1 << 40) - 1, (1 << 40) + 1, u64::MAX] {
            let (reader, events) = bounded(2);
            stream.attach(reader, Some(former));
            assert_eq!(received(&events), ["a"], "after {former}");
        }
        let (reader, events) = bounded(2);
        assert_eq!(stream.attach(reader, Some(1 << 40)).0.place, 1 << 40);
        assert!(events.is_empty());
    }

    #[test]
    fn what_is_waited_for_is_shed_last() {
        let mut stream = Stream::new(1);
        stream.push(payload("response"), Keep::Always, false);
        for _ in 0..10 {
            stream.push(payload("note"), Keep::WhileRoom, false);
        }
        assert_eq!(stream.shed_to(3, 1000), 8);
        assert_eq!(stream.shed_to(0, 0), 2);
        let (reader, events) = bounded(1);
        stream.attach(reader, Some(0));
        assert_eq!(received(&events), ["response"]);
    }

    /// The review's B1: nothing released the requests of a server that were answered.
    #[test]
    fn a_settled_request_is_shed_as_any_other_message() {
        let mut stream = Stream::new(0);
        for _ in 0..10 * REPLAY_EVENTS_MAX {
            stream.push(payload("ping"), Keep::UntilSettled, false);
            stream.settle(stream.newest());
            stream.shed();
        }
        assert_eq!((stream.log.len(), stream.asks()), (REPLAY_EVENTS_MAX, (0, 0, None)));
        stream.push(payload("note"), Keep::WhileRoom, false);
        stream.shed();
        let (reader, events) = bounded(1);
        stream.attach(reader, Some(stream.newest() - 1));
        assert_eq!(received(&events), ["note"], "a new notification cannot be replayed");
    }

    #[test]
    fn requests_that_nobody_answers_are_bounded_in_number_and_bytes() {
        let mut stream = Stream::new(0);
        for _ in 0..2 * REPLAY_ASKS_MAX {
            stream.push(payload("ask"), Keep::UntilSettled, false);
        }
        assert_eq!(stream.asks(), (REPLAY_ASKS_MAX, 3 * REPLAY_ASKS_MAX, Some(REPLAY_ASKS_MAX)));
        let large = "x".repeat(REPLAY_ASKS_BYTES_MAX / 2);
        for _ in 0..3 {
            stream.push(payload(&large), Keep::UntilSettled, false);
        }
        assert_eq!(stream.asks(), (2, REPLAY_ASKS_BYTES_MAX, Some(2 * REPLAY_ASKS_MAX + 1)));
        stream.shed_to(0, 0);
        assert_eq!(stream.log_bytes(), REPLAY_ASKS_BYTES_MAX);
    }

    /// The review's B5: a stream whose 32-bit places came to their end was silent from then on.
    #[test]
    fn a_stream_goes_on_after_four_billion_messages() {
        let (reader, events) = bounded(4);
        let mut stream = Stream::with_reader(0, reader);
        (stream.next_place, stream.delivered) = (u64::from(u32::MAX), u64::from(u32::MAX) - 1);
        for text in ["a", "b", "c"] {
            assert_eq!(stream.push(payload(text), Keep::WhileRoom, false), Pushed::Delivered);
        }
        let places: Vec<u64> = std::iter::from_fn(|| events.try_recv().ok()?.id).map(|id| id.place).collect();
        assert_eq!(places, [u64::from(u32::MAX), 1 << 32, (1 << 32) + 1]);
        let (reader, events) = bounded(4);
        stream.attach(reader, Some(1 << 32));
        assert_eq!(received(&events), ["c"]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Attach,
        Resume(u64),
        Drop,
        Read,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Push),
            1 => Just(Step::Attach),
            1 => (0..20u64).prop_map(Step::Resume),
            1 => Just(Step::Drop),
            3 => Just(Step::Read),
        ]
    }

    proptest! {
        /// Against a plain list: whoever resumes after the last event it read misses nothing and sees nothing
        /// twice.
        #[test]
        fn prop_no_loss_and_no_duplicate_inside_the_bound(steps in prop::collection::vec(step(), 0..80)) {
            let mut stream = Stream::new(0);
            let mut pushed = 0u64;
            let mut reader: Option<(Receiver<Event>, u64)> = None;
            for step in steps {
                match step {
                    Step::Push => {
                        pushed += 1;
                        stream.push(payload(&pushed.to_string()), Keep::WhileRoom, false);
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
            prop_assert_eq!(events.len() as u64, pushed);
        }
    }
}
