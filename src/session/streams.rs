//! All streams of a session, sans-io: the standalone one, those of POSTs in flight, and those of answered
//! POSTs that are kept for a reader that lost its connection.

use std::collections::{BTreeMap, VecDeque};

use super::census::CallCensus;
use super::stream::{Keep, Pushed, Stream};
use crate::budget::{self, Payload};
use crate::http::{Event, EventId};
use crate::limits::{
    FINISHED_BYTES_MAX, FINISHED_STREAM_AGE, FINISHED_STREAMS_MAX, REPLAY_BYTES_UNDER_PRESSURE,
    REPLAY_EVENTS_UNDER_PRESSURE, REPLY_PATIENCE, RETRY_MS,
};
use crate::metrics::METRICS;
use crate::moment::Moment;
use crate::queue::Sender;

/// The range in which the places of a restored session's standalone stream begin, at random.
const RESTORED_PLACES: std::ops::Range<u64> = 1 << 32..1 << 52;

/// The standalone stream's number.
pub const STANDALONE: u32 = 0;

/// See the module.
#[derive(Debug)]
pub struct Streams {
    standalone: Stream,
    posts: BTreeMap<u32, PostStream>,
    /// POST streams that have ended and wait for a reader to resume, oldest first.
    finished: VecDeque<(u32, Moment)>,
    /// Whether some reader has not been given all there is.
    behind: bool,
    /// Where the requests of POSTs are counted while they have no response; known with the first POST.
    census: Option<CallCensus>,
}

/// The stream of a POST.
#[derive(Debug)]
struct PostStream {
    stream: Stream,
    /// Requests of this POST that have no response yet. A `u32`, so that a node of the map stays small enough
    /// for the sizes that the allocator keeps ready.
    open: u32,
    form: Form,
    since: Moment,
}

impl PostStream {
    /// One of its requests is no longer in flight.
    fn answered(&mut self, census: Option<&CallCensus>) {
        if self.open > 0 {
            self.open -= 1;
            census.into_iter().for_each(|census| census.end(1));
        }
    }
}

/// Where the responses to a POST go.
#[derive(Debug)]
pub struct ReturnAddress {
    /// The number of the POST's stream.
    pub stream: u32,
    /// The reader's other end.
    pub events: Sender<Event>,
    /// How the reply may look.
    pub form: Form,
    /// When the POST arrived.
    pub since: Moment,
    /// Where its requests are counted.
    pub census: CallCensus,
}

/// What the client of a POST reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing but one JSON body.
    Json,
    /// Nothing but an event stream.
    Stream,
    /// JSON or an event stream.
    Either,
}

impl Streams {
    /// The streams of a new session: the standalone one, without a reader.
    #[allow(clippy::new_without_default, reason = "a session begins: not a plain value")]
    pub fn new() -> Streams {
        Streams::beginning_at(1)
    }

    /// The streams of a restored session. The places of the standalone one begin at a random number, so that
    /// no `Last-Event-ID` of the session's former life names one of them. (The numbers of POST streams do so
    /// as well: [`Activity::restored`](super::Activity::restored).)
    pub fn restored() -> Streams {
        Streams::beginning_at(fastrand::u64(RESTORED_PLACES))
    }

    fn beginning_at(place: u64) -> Streams {
        Streams {
            standalone: Stream::beginning_at(STANDALONE, place),
            posts: BTreeMap::new(),
            finished: VecDeque::new(),
            behind: false,
            census: None,
        }
    }

    /// Begins the stream of a POST with `open` requests.
    pub fn open(&mut self, address: ReturnAddress, open: usize) {
        let stream = Stream::with_reader(address.stream, address.events);
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        self.census.get_or_insert(address.census).begin(open);
        self.posts
            .insert(address.stream, PostStream { stream, open, form: address.form, since: address.since });
    }

    /// Attaches a reader to a stream, after an event or after what readers were given already. Returns where
    /// it starts; `None` when there is no such stream (any more).
    pub fn attach(&mut self, number: u32, reader: Sender<Event>, after: Option<u64>) -> Option<EventId> {
        let stream = match number {
            STANDALONE => &mut self.standalone,
            number => &mut self.posts.get_mut(&number)?.stream,
        };
        let (start, pushed) = stream.attach(reader, after);
        self.behind |= pushed == Pushed::Behind;
        Some(start)
    }

    /// Attaches a reader after an event; when there is no such stream (any more), or no event is named, the
    /// reader gets what comes on the standalone stream. Returns where it starts, and whether that is after
    /// the event.
    pub fn attach_or_go_on(&mut self, after: Option<EventId>, reader: Sender<Event>) -> (EventId, bool) {
        let named = after.filter(|id| id.stream == STANDALONE || self.posts.contains_key(&id.stream));
        let stream = match named {
            Some(EventId { stream, .. }) if stream != STANDALONE => self.posts.get_mut(&stream),
            _ => None,
        };
        let stream = stream.map_or(&mut self.standalone, |post| &mut post.stream);
        let (start, pushed) = stream.attach(reader, named.map(|id| id.place));
        self.behind |= pushed == Pushed::Behind;
        (start, named.is_some())
    }

    /// Whether some reader has not been given all there is.
    pub fn behind(&self) -> bool {
        self.behind
    }

    /// Gives readers that were behind what they have room for.
    pub fn pump(&mut self) {
        let posts = self.posts.values_mut().map(|post| &mut post.stream);
        // Every stream is pumped: no short cut at the first that is behind.
        self.behind = posts
            .chain([&mut self.standalone])
            .filter_map(|stream| (stream.pump() == Pushed::Behind).then_some(()))
            .count()
            > 0;
    }

    /// Whether somebody reads this stream.
    pub fn has_reader(&self, number: u32) -> bool {
        match number {
            STANDALONE => self.standalone.has_reader(),
            number => self.posts.get(&number).is_some_and(|post| post.stream.has_reader()),
        }
    }

    /// Whether somebody reads any stream.
    pub fn any_reader(&self) -> bool {
        self.standalone.has_reader() || self.posts.values().any(|post| post.stream.has_reader())
    }

    /// Whether this POST's stream can take more than its response, which has not come yet.
    pub fn takes_messages(&self, number: u32) -> bool {
        self.posts.get(&number).is_some_and(|post| post.form != Form::Json && post.open > 0)
    }

    /// Puts a message on a stream; on the standalone one when there is no such stream. Returns where it
    /// stands. `keep` is for a request of the server, which is not shed before it is settled.
    pub fn deliver(&mut self, number: u32, message: Payload, keep: bool) -> EventId {
        let (number, stream) = match self.posts.get_mut(&number) {
            Some(post) => (number, &mut post.stream),
            None => (STANDALONE, &mut self.standalone),
        };
        let keep = if keep { Keep::UntilSettled } else { Keep::WhileRoom };
        self.behind |= stream.push(message, keep, false) == Pushed::Behind;
        METRICS.events_shed_total.add(stream.shed() as u64);
        EventId { stream: number, place: stream.newest() }
    }

    /// The server no longer waits for an answer to the request that was delivered there: the log need not
    /// keep it. Every request has to be settled, or its stream's log fills with what nobody wants.
    pub fn settle(&mut self, at: EventId) {
        let stream = match at.stream {
            STANDALONE => Some(&mut self.standalone),
            number => self.posts.get_mut(&number).map(|post| &mut post.stream),
        };
        if let Some(stream) = stream {
            stream.settle(at.place);
            METRICS.events_shed_total.add(stream.shed() as u64);
        }
    }

    /// Ends the connection of a POST's reader gracefully; it resumes the stream by GET. A reader that takes
    /// nothing but one JSON body stays.
    pub fn let_go(&mut self, number: u32) {
        if let Some(post) = self.posts.get_mut(&number).filter(|post| post.form != Form::Json) {
            // From now on the reply is an event stream, however soon the response comes.
            post.form = Form::Stream;
            post.stream.let_go(RETRY_MS);
        }
    }

    /// Puts a response on its POST's stream; the last one ends the stream (L17).
    pub fn respond(&mut self, number: u32, response: Payload, now: Moment) {
        let Some(post) = self.posts.get_mut(&number) else { return };
        post.answered(self.census.as_ref());
        let last = post.open == 0;
        // If so, the reply is one JSON body. Its client has no event id to resume after, so nothing need be
        // kept.
        let soon = now.since(post.since) < REPLY_PATIENCE;
        let whole = last && post.form == Form::Either && post.stream.untouched() && soon;
        let pushed = post.stream.push(response, Keep::Always, last);
        self.behind |= pushed == Pushed::Behind;
        METRICS.events_shed_total.add(post.stream.shed() as u64);
        match (last, whole && pushed == Pushed::Delivered || post.form == Form::Json) {
            (true, true) => drop(self.posts.remove(&number)),
            (true, false) => self.finish(number, now),
            (false, _) => {}
        }
    }

    /// A request of this POST gets no response, because it was cancelled (L44). If it was the last one, the
    /// stream ends. `instead` is for a client that resumes the stream all the same: without it some would ask
    /// for ever.
    pub fn leave_unanswered(&mut self, number: u32, instead: Payload, now: Moment) {
        let Some(post) = self.posts.get_mut(&number) else { return };
        post.answered(self.census.as_ref());
        if post.open == 0 {
            post.stream.detach();
            post.stream.push(instead, Keep::Always, true);
            self.finish(number, now);
        }
    }

    /// Keeps an ended stream for a reader that lost its connection, within bounds.
    fn finish(&mut self, number: u32, now: Moment) {
        self.finished.push_back((number, now));
        while self.finished.len() > FINISHED_STREAMS_MAX || self.finished_bytes() > FINISHED_BYTES_MAX {
            self.forget_oldest_finished();
        }
    }

    fn finished_bytes(&self) -> usize {
        let finished = self.finished.iter().filter_map(|(number, _)| self.posts.get(number));
        finished.map(|post| post.stream.log_bytes()).sum()
    }

    /// Forgets the POST stream that ended first; a reader that is behind gets its rest, the response, all the
    /// same.
    fn forget_oldest_finished(&mut self) {
        if let Some(mut post) = self.take_oldest_finished() {
            post.stream.hand_over(None);
        }
    }

    fn take_oldest_finished(&mut self) -> Option<PostStream> {
        let (oldest, _) = self.finished.pop_front()?;
        self.posts.remove(&oldest)
    }

    /// Forgets ended streams that nobody has resumed for long.
    pub fn forget_old(&mut self, now: Moment) {
        while self.finished.front().is_some_and(|(_, at)| now.since(*at) >= FINISHED_STREAM_AGE) {
            self.forget_oldest_finished();
        }
    }

    /// The process holds too much: drops notifications first, then finished streams, whose readers may never
    /// come back.
    pub fn shed_under_pressure(&mut self) {
        let streams = self.posts.values_mut().map(|post| &mut post.stream).chain([&mut self.standalone]);
        let shed: usize = streams
            .map(|stream| stream.shed_to(REPLAY_EVENTS_UNDER_PRESSURE, REPLAY_BYTES_UNDER_PRESSURE))
            .sum();
        METRICS.events_shed_total.add(shed as u64);
        while budget::pressure() && !self.finished.is_empty() {
            drop(self.take_oldest_finished());
        }
    }

    /// The session is over. Every reader, also one that is behind, gets what it was not given yet, and is
    /// told to come back after `retry_ms`, if that is given. Then its stream ends gracefully.
    pub fn end(&mut self, retry_ms: Option<u32>) {
        let posts = self.posts.values_mut().map(|post| &mut post.stream);
        posts.chain([&mut self.standalone]).for_each(|stream| stream.hand_over(retry_ms));
        if let Some(census) = &self.census {
            census.end(self.posts.values().map(|post| post.open).sum());
        }
        self.posts.clear();
        self.finished.clear();
    }
}

impl Drop for Streams {
    /// What was not answered will not be: as after a panic.
    fn drop(&mut self) {
        if let Some(census) = &self.census {
            census.end(self.posts.values().map(|post| post.open).sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Receiver, bounded};
    use proptest::prelude::*;
    use std::time::Duration;

    use crate::limits::REPLAY_EVENTS_MAX;

    fn open(streams: &mut Streams, number: u32, requests: usize, now: Moment) -> Receiver<Event> {
        let (events, live) = bounded(8);
        streams.open(
            ReturnAddress {
                stream: number,
                events,
                form: Form::Either,
                since: now,
                census: CallCensus::default(),
            },
            requests,
        );
        live
    }

    fn payload(bytes: usize) -> Payload {
        Payload::made_here(vec![b'x'; bytes])
    }

    fn resumes(streams: &mut Streams, number: u32) -> Option<usize> {
        let (reader, live) = bounded(2 * REPLAY_EVENTS_MAX);
        streams.attach(number, reader, Some(0)).map(|_| live.len())
    }

    #[test]
    fn a_quick_response_leaves_nothing_behind() {
        let (mut streams, now) = (Streams::new(), Moment::now());
        let live = open(&mut streams, 1, 1, now);
        streams.respond(1, payload(1), now);
        assert!(live.try_recv().unwrap().last);
        assert_eq!(resumes(&mut streams, 1), None);
    }

    #[test]
    fn a_late_response_waits_for_a_lost_reader_and_then_goes() {
        let (mut streams, now) = (Streams::new(), Moment::now());
        drop(open(&mut streams, 1, 1, now));
        let later = now + REPLY_PATIENCE;
        streams.respond(1, payload(1), later);
        assert_eq!(resumes(&mut streams, 1), Some(1));
        streams.forget_old(later + (FINISHED_STREAM_AGE - Duration::from_millis(1)));
        assert_eq!(resumes(&mut streams, 1), Some(1));
        streams.forget_old(later + FINISHED_STREAM_AGE);
        assert_eq!(resumes(&mut streams, 1), None);
    }

    #[test]
    fn a_reader_that_was_let_go_is_told_when_to_come_back_and_finds_the_response() {
        let (mut streams, now) = (Streams::new(), Moment::now());
        let live = open(&mut streams, 1, 1, now);
        streams.let_go(1);
        let come_back = live.try_recv().unwrap();
        assert_eq!((come_back.id, come_back.retry_ms), (None, Some(RETRY_MS)));
        assert!(come_back.data.is_none() && live.is_closed());
        // It resumes before the response comes, and is lost again.
        let (reader, resumed) = bounded(1);
        streams.attach(1, reader, Some(0)).unwrap();
        assert!(resumed.is_empty());
        streams.respond(1, payload(1), now);
        assert!(resumed.try_recv().unwrap().last);
        assert_eq!(resumes(&mut streams, 1), Some(1), "the response was not kept");
    }

    #[test]
    fn a_batch_ends_with_its_last_response() {
        let (mut streams, now) = (Streams::new(), Moment::now());
        let live = open(&mut streams, 1, 3, now);
        streams.respond(1, payload(1), now);
        streams.leave_unanswered(1, payload(1), now);
        assert!(!live.try_recv().unwrap().last);
        streams.respond(1, payload(1), now);
        assert!(live.try_recv().unwrap().last && live.is_closed());
    }

    #[test]
    fn what_is_kept_for_lost_readers_is_bounded() {
        let (mut streams, now) = (Streams::new(), Moment::now());
        for number in 1..=100 {
            drop(open(&mut streams, number, 1, now));
            streams.respond(number, payload(FINISHED_BYTES_MAX / 4), now);
        }
        assert_eq!(streams.posts.len(), 4);
        for number in 101..=200 {
            drop(open(&mut streams, number, 1, now));
            streams.respond(number, payload(1), now);
        }
        assert_eq!(streams.posts.len(), FINISHED_STREAMS_MAX);
    }

    #[test]
    fn messages_without_their_stream_go_to_the_standalone_one() {
        let mut streams = Streams::new();
        streams.deliver(7, payload(1), false);
        assert_eq!(resumes(&mut streams, STANDALONE), Some(1));
    }

    #[test]
    fn a_server_request_outlasts_a_flood() {
        let mut streams = Streams::new();
        streams.deliver(STANDALONE, payload(7), true);
        for _ in 0..2 * REPLAY_EVENTS_MAX {
            streams.deliver(STANDALONE, payload(1), false);
        }
        let (reader, live) = bounded(2 * REPLAY_EVENTS_MAX);
        streams.attach(STANDALONE, reader, None).unwrap();
        assert_eq!(live.len(), REPLAY_EVENTS_MAX);
        assert_eq!(live.try_recv().unwrap().data.map(|data| data.len()), Some(7));
    }

    #[test]
    fn a_quick_response_to_a_client_of_event_streams_can_be_resumed() {
        let (mut streams, now) = (Streams::new(), Moment::now());
        let (events, live) = bounded(8);
        streams.open(
            ReturnAddress {
                stream: 1,
                events,
                form: Form::Stream,
                since: now,
                census: CallCensus::default(),
            },
            1,
        );
        streams.respond(1, payload(1), now);
        drop(live);
        assert_eq!(resumes(&mut streams, 1), Some(1));
    }

    /// Whoever waits for a number of calls waits for those of its own sessions, and for each of them just
    /// once.
    #[test]
    fn calls_are_counted_while_they_have_no_response() {
        let (mut streams, now) = (Streams::new(), Moment::now());
        let census = CallCensus::default();
        let open = |streams: &mut Streams, stream, requests| {
            let (events, live) = bounded(8);
            let census = census.clone();
            streams.open(ReturnAddress { stream, events, form: Form::Either, since: now, census }, requests);
            live
        };
        let _live = (open(&mut streams, 1, 3), open(&mut streams, 2, 1), open(&mut streams, 3, 1));
        assert_eq!(census.calls(), 5);
        streams.respond(1, payload(1), now);
        streams.leave_unanswered(1, payload(1), now);
        streams.respond(2, payload(1), now);
        streams.respond(2, payload(1), now);
        assert_eq!(census.calls(), 2);
        streams.end(None);
        assert_eq!(census.calls(), 0);
        let _live = open(&mut streams, 4, 2);
        drop(streams);
        assert_eq!(census.calls(), 0);
    }

    /// So that a node of the map is no larger than what glibc keeps at hand per thread (1,032 bytes).
    #[test]
    fn the_stream_of_a_post_is_small() {
        assert!(size_of::<PostStream>() <= 88, "{} bytes", size_of::<PostStream>());
    }

    /// A reader that is behind while many calls of its session end is not cut off from its response.
    #[test]
    fn a_stream_that_is_forgotten_hands_its_reader_the_rest() {
        let (mut streams, now) = (Streams::new(), Moment::now());
        let live = open(&mut streams, 1, 1, now);
        for _ in 0..20 {
            streams.deliver(1, payload(2), false);
        }
        streams.respond(1, payload(1), now);
        assert!(streams.behind());
        for number in 2..=1 + FINISHED_STREAMS_MAX as u32 {
            drop(open(&mut streams, number, 1, now));
            streams.respond(number, payload(1), now);
        }
        let read: Vec<Event> = std::iter::from_fn(|| live.try_recv().ok()).collect();
        assert!(read.len() == 21 && read[20].last && live.is_closed());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Open { requests: usize, read: bool },
        Respond(usize),
        LeaveUnanswered(usize),
        Deliver(usize),
        Ask(usize),
        Settle(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..4usize, any::<bool>()).prop_map(|(requests, read)| Step::Open { requests, read }),
            (0..8usize).prop_map(Step::Respond),
            (0..8usize).prop_map(Step::LeaveUnanswered),
            (0..8usize).prop_map(Step::Deliver),
            (0..8usize).prop_map(Step::Ask),
            (0..4usize).prop_map(Step::Settle),
            (0..2000u64).prop_map(Step::Wait),
        ]
    }

    /// A POST as its client knows it.
    struct Known {
        number: u32,
        live: Option<Receiver<Event>>,
        open: usize,
        responses: usize,
    }

    proptest! {
        /// Whoever reads gets every response and one end; whoever does not finds the responses when it
        /// resumes.
        #[test]
        fn prop_every_response_is_read_or_kept(steps in prop::collection::vec(step(), 0..60)) {
            let (mut streams, mut now) = (Streams::new(), Moment::now());
            let mut known: Vec<Known> = Vec::new();
            let mut asks: Vec<EventId> = Vec::new();
            for step in steps {
                match step {
                    Step::Open { requests, read } if known.len() < FINISHED_STREAMS_MAX => {
                        let number = known.len() as u32 + 1;
                        let (events, live) = bounded(200);
                        streams.open(ReturnAddress { stream: number, events, form: Form::Either, since: now, census: CallCensus::default() }, requests);
                        known.push(Known { number, live: read.then_some(live), open: requests, responses: 0 });
                    }
                    Step::Respond(at) => if let Some(post) = known.get_mut(at).filter(|post| post.open > 0) {
                        streams.respond(post.number, payload(1), now);
                        post.open -= 1;
                        post.responses += 1;
                    },
                    Step::LeaveUnanswered(at) => if let Some(post) = known.get_mut(at).filter(|post| post.open > 0) {
                        streams.leave_unanswered(post.number, payload(1), now);
                        post.open -= 1;
                    },
                    Step::Deliver(at) => {
                        streams.deliver(at as u32, payload(2), false);
                    }
                    Step::Ask(at) => asks.push(streams.deliver(at as u32, payload(3), true)),
                    Step::Settle(at) if at < asks.len() => streams.settle(asks.swap_remove(at)),
                    Step::Settle(_) => {}
                    Step::Wait(millis) => now = now + Duration::from_millis(millis),
                    Step::Open { .. } => {}
                }
            }
            for post in known {
                let read: Vec<Event> = post.live.iter().flat_map(|live| std::iter::from_fn(|| live.try_recv().ok())).collect();
                let responses = read.iter().filter(|event| event.data.as_ref().is_some_and(|data| data.len() == 1)).count();
                if post.live.is_some() {
                    prop_assert_eq!(responses, post.responses);
                    prop_assert!(read.iter().rev().skip(1).all(|event| !event.last), "an event after the last");
                } else if let Some(kept) = resumes(&mut streams, post.number) {
                    prop_assert!(kept >= post.responses);
                } else {
                    prop_assert!(post.responses > 0 && post.open == 0, "a stream in flight is gone");
                }
            }
            // When the server waits for nothing any more, no log is held by a request of it.
            asks.into_iter().for_each(|ask| streams.settle(ask));
            streams.standalone.shed_to(0, 0);
            prop_assert_eq!(streams.standalone.log_bytes(), 0, "a request outlives its answer");
        }
    }
}
