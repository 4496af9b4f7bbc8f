//! A connection at rest: all there is to know about it besides its socket, as data. Another [`Connection`] on
//! the same socket goes on from it as if nothing had happened. Tests and a fuzz target take every stage apart
//! this way; it is there for a program that is to be replaced while its connections go on.

use std::time::Duration;

use smol::io::{AsyncRead, AsyncWrite};

use crate::budget::Share;
use crate::http::body::{BodyDecoder, RequestBody};
use crate::http::connection::{Connection, Deadlines};
use crate::http::head::RequestHead;
use crate::http::sse::{EventId, EventReader};
use crate::http::stage::{AfterWriting, Closing, Outgoing, Stage, Streaming, Undecided, UnfinishedBody};
use crate::metrics::METRICS;

/// See the module.
#[derive(Debug)]
pub struct AtRest {
    /// What was read from the socket and not used yet.
    ahead: Vec<u8>,
    /// The rest of the running deadline.
    time_left: Option<Duration>,
    /// Where in the request's body the next byte belongs.
    decoder: BodyDecoder,
    continue_owed: bool,
    closing: bool,
    stage: RestingStage,
}

/// As [`Stage`], without what only a running process has.
#[derive(Debug)]
enum RestingStage {
    Idle,
    Head,
    Body(RestingBody),
    Waiting(Undecided),
    Streaming(RestingStream),
    Writing {
        /// What is left.
        bytes: Vec<u8>,
        /// How much of it may be written before the deadline is armed again.
        step: usize,
        then: AfterRest,
    },
    Discarding,
    Closing(Closing),
    Closed,
}

/// As [`UnfinishedBody`].
#[derive(Debug)]
struct RestingBody {
    /// The head as text, to be read again.
    head: String,
    content: Vec<u8>,
    counted: usize,
}

/// As [`Streaming`]. A stream's head is always written, or in the bytes that are left.
#[derive(Debug)]
struct RestingStream {
    chunks: bool,
    reader: Box<EventReader>,
    written: Option<EventId>,
}

/// As [`AfterWriting`].
#[derive(Debug)]
enum AfterRest {
    Body(RestingBody),
    Streaming(RestingStream),
    Reply,
    Closing(Closing),
}

impl RestingBody {
    fn of(unfinished: UnfinishedBody) -> RestingBody {
        let UnfinishedBody { head, body, counted } = unfinished;
        RestingBody { head: head.text().to_owned(), content: body.bytes, counted }
    }

    fn wake(self) -> Option<Box<UnfinishedBody>> {
        let head = RequestHead::of_text(&self.head)?;
        let mut share = Share::default();
        if !share.grow_unfinished_to(self.content.len()) {
            share = Share::overdraw(self.content.len());
        }
        let body = RequestBody { bytes: self.content, share };
        Some(Box::new(UnfinishedBody { head, body, counted: self.counted }))
    }
}

impl RestingStream {
    fn of(streaming: Streaming) -> RestingStream {
        let Streaming { chunks, reader, written, _counted } = streaming;
        RestingStream { chunks, reader, written }
    }

    fn wake(self) -> Streaming {
        let RestingStream { chunks, reader, written } = self;
        Streaming { chunks, reader, written, _counted: METRICS.streams.enter() }
    }
}

impl RestingStage {
    /// `None` while the endpoint works on the request.
    fn of(stage: Stage) -> Option<RestingStage> {
        Some(match stage {
            Stage::Answering => return None,
            Stage::Idle => RestingStage::Idle,
            Stage::Head { .. } => RestingStage::Head,
            Stage::Body(unfinished) => RestingStage::Body(RestingBody::of(*unfinished)),
            Stage::Waiting(waiting) => RestingStage::Waiting(waiting),
            Stage::Streaming(streaming) => RestingStage::Streaming(RestingStream::of(streaming)),
            Stage::Writing(outgoing) => RestingStage::writing(*outgoing),
            Stage::Discarding => RestingStage::Discarding,
            Stage::Closing(closing) => RestingStage::Closing(closing),
            Stage::Closed => RestingStage::Closed,
        })
    }

    fn writing(outgoing: Outgoing) -> RestingStage {
        let bytes = outgoing.rest().flatten().copied().collect();
        let step = outgoing.step_end.saturating_sub(outgoing.written);
        let then = match outgoing.then {
            AfterWriting::Body(unfinished) => AfterRest::Body(RestingBody::of(*unfinished)),
            AfterWriting::Streaming(streaming) => AfterRest::Streaming(RestingStream::of(streaming)),
            AfterWriting::Reply { .. } => AfterRest::Reply,
            AfterWriting::Closing(closing) => AfterRest::Closing(closing),
        };
        RestingStage::Writing { bytes, step, then }
    }

    /// `None` when a head cannot be read again: it was not written down by [`RestingStage::of`].
    fn wake(self) -> Option<Stage> {
        Some(match self {
            RestingStage::Idle => Stage::Idle,
            RestingStage::Head => Stage::Head { scanned: 0 },
            RestingStage::Body(body) => Stage::Body(body.wake()?),
            RestingStage::Waiting(waiting) => Stage::Waiting(waiting),
            RestingStage::Streaming(stream) => Stage::Streaming(stream.wake()),
            RestingStage::Writing { bytes, step, then } => {
                let then = match then {
                    AfterRest::Body(body) => AfterWriting::Body(body.wake()?),
                    AfterRest::Streaming(stream) => AfterWriting::Streaming(stream.wake()),
                    AfterRest::Reply => AfterWriting::Reply { _ended: None },
                    AfterRest::Closing(closing) => AfterWriting::Closing(closing),
                };
                let outgoing =
                    Outgoing { front: bytes, beside: None, back: b"", written: 0, step_end: step, then };
                Stage::Writing(Box::new(outgoing))
            }
            RestingStage::Discarding => Stage::Discarding,
            RestingStage::Closing(closing) => Stage::Closing(closing),
            RestingStage::Closed => Stage::Closed,
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes the connection apart. No future of it may be left. `None`, and the connection is lost, where a
    /// future was dropped between a request's body and its reply (see [`Connection::can_rest`]).
    pub fn rest(self) -> Option<(S, AtRest)> {
        let Connection { socket, ahead, deadline, stage, body, continue_owed, closing, .. } = self;
        let at_rest = AtRest {
            ahead: ahead.unread().to_vec(),
            time_left: deadline.left(),
            decoder: body,
            continue_owed,
            closing,
            stage: RestingStage::of(stage)?,
        };
        Some((socket, at_rest))
    }

    /// Whether the connection can be taken apart: always, but between a request's body and its reply.
    pub fn can_rest(&self) -> bool {
        !matches!(self.stage, Stage::Answering)
    }

    /// A connection that goes on from `at_rest`. The caller must make the socket look for bytes that came
    /// meanwhile. `None` when no connection can be in this state.
    pub fn resume(socket: S, at_rest: AtRest, deadlines: Deadlines) -> Option<Connection<S>> {
        let AtRest { ahead, time_left, decoder, continue_owed, closing, stage } = at_rest;
        let mut connection = Connection::with_deadlines(socket, deadlines);
        connection.ahead.put(&ahead)?;
        connection.body = decoder;
        (connection.continue_owed, connection.closing) = (continue_owed, closing);
        connection.stage = stage.wake()?;
        match time_left {
            Some(left) => connection.deadline.arm(left),
            None => connection.deadline.disarm(),
        }
        Some(connection)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};
    use std::io::{self, IoSlice};
    use std::pin::{Pin, pin};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;
    use crate::budget::{Edit, Payload};
    use crate::http::{Disconnected, Event, Opening, Reply};
    use crate::limits::COPIED_BODY_BYTES_MAX;
    use crate::queue::{self, Sender};

    const LONG: Duration = Duration::from_secs(60);
    const DEADLINES: Deadlines = Deadlines {
        idle: LONG,
        head: LONG,
        body: LONG,
        body_bytes_per_sec_min: 1,
        write: LONG,
        linger: LONG,
    };

    /// What the other end has sent and got; the test is the other end.
    #[derive(Debug, Default)]
    struct Wire {
        sent: VecDeque<u8>,
        /// Whether nothing more will be sent.
        ended: bool,
        got: Vec<u8>,
        /// How much it takes.
        room: usize,
        shut: bool,
    }

    #[derive(Clone, Debug, Default)]
    struct TestSocket(Arc<Mutex<Wire>>);

    impl AsyncRead for TestSocket {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
            let mut wire = self.0.lock().unwrap();
            let count = wire.sent.len().min(into.len());
            if count == 0 && !wire.ended {
                return Poll::Pending;
            }
            into.iter_mut().zip(wire.sent.drain(..count)).for_each(|(into, byte)| *into = byte);
            Poll::Ready(Ok(count))
        }
    }

    impl AsyncWrite for TestSocket {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let mut wire = self.0.lock().unwrap();
            assert!(!wire.shut, "written after the end");
            let count = bytes.len().min(wire.room);
            if count == 0 {
                return Poll::Pending;
            }
            wire.room -= count;
            wire.got.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let joined: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            self.poll_write(cx, &joined)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.lock().unwrap().shut = true;
            Poll::Ready(Ok(()))
        }
    }

    /// What happens to a connection from outside.
    #[derive(Clone, Debug)]
    enum Step {
        Sends(Vec<u8>),
        /// The other end takes so much, and no more until it is said again.
        Takes(usize),
        /// Something is said on the stream that was opened last.
        Says(u64, usize, bool),
        Ends,
    }

    /// The endpoint of these tests, and what it has done.
    #[derive(Debug, Default)]
    struct Endpoint {
        served: Mutex<Vec<String>>,
        feed: Mutex<Option<Sender<Event>>>,
    }

    fn event(place: u64, size: usize, last: bool) -> Event {
        let data = Payload::made_here(vec![b'x'; size]).edited(&[Edit { place: 3..4, by: b"EDIT" }]);
        Event { id: Some(EventId { stream: 1, place: place as _ }), retry_ms: None, data: Some(data), last }
    }

    impl Endpoint {
        fn answer(&self, head: &RequestHead, body: RequestBody) -> Reply {
            let served = format!("{} {}", head.path(), String::from_utf8_lossy(&body.bytes));
            self.served.lock().unwrap().push(served);
            let first = Some(Event {
                id: Some(EventId { stream: 1, place: 0 }),
                retry_ms: None,
                data: None,
                last: false,
            });
            match head.path() {
                "/stream" => self.events(Opening::Stream { first }),
                "/either" => self.events(Opening::Either { patience: LONG, first }),
                "/json" => self.events(Opening::Json),
                "/large" => {
                    let large = Payload::made_here(vec![b'a'; COPIED_BODY_BYTES_MAX + 9]);
                    Reply::json(200, large.edited(&[Edit { place: 7..9, by: b"in the middle" }]))
                }
                _ => {
                    Reply::json(200, Payload::made_here(body.bytes)).header("X-Path", head.path().to_owned())
                }
            }
        }

        fn events(&self, opening: Opening) -> Reply {
            let (feed, live) = queue::bounded(16);
            *self.feed.lock().unwrap() = Some(feed);
            let backlog = VecDeque::new();
            Reply::events(EventReader { opening, backlog, live, keep_alive_comment: LONG, room: None })
        }
    }

    async fn serve(connection: &mut Connection<TestSocket>, endpoint: &Endpoint) -> Result<(), Disconnected> {
        connection.write_on().await?;
        while let Some(head) = connection.read_head().await? {
            let reply = match head.path() {
                "/lazy" => Reply::text(404, "not read"),
                _ => {
                    let body = connection.read_body(&head, 4096).await?;
                    endpoint.answer(&head, body)
                }
            };
            connection.write_reply(head.asked(), reply).await?;
        }
        Ok(())
    }

    /// What is seen from outside: the bytes, what was served, and how it ended.
    #[derive(Debug, PartialEq, Eq)]
    struct Outcome {
        got: String,
        shut: bool,
        served: Vec<String>,
        ended: Option<Result<(), Disconnected>>,
    }

    fn apply(step: &Step, wire: &Mutex<Wire>, endpoint: &Endpoint) {
        let mut wire = wire.lock().unwrap();
        match step {
            Step::Sends(bytes) => wire.sent.extend(bytes),
            Step::Takes(room) => wire.room = *room,
            Step::Says(place, size, last) => {
                if let Some(feed) = &*endpoint.feed.lock().unwrap() {
                    let _ = feed.try_send(event(*place, *size, *last));
                }
            }
            Step::Ends => wire.ended = true,
        }
    }

    /// Serves one connection to which the steps happen. After each step in `cuts` the future is dropped, the
    /// connection taken apart, and a new one goes on.
    fn run(steps: &[Step], cuts: impl Fn(usize) -> bool, entered: &mut BTreeSet<&'static str>) -> Outcome {
        let (socket, endpoint) = (TestSocket::default(), Endpoint::default());
        let wire = Arc::clone(&socket.0);
        let mut connection = Connection::with_deadlines(socket, DEADLINES);
        let mut steps = steps.iter().enumerate();
        let mut ended = None;
        while ended.is_none() && steps.len() > 0 {
            {
                let mut serving = pin!(serve(&mut connection, &endpoint));
                for (at, step) in steps.by_ref() {
                    apply(step, &wire, &endpoint);
                    match serving.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(how) => ended = Some(how),
                        Poll::Pending if !cuts(at) => continue,
                        Poll::Pending => {}
                    }
                    break;
                }
            }
            if ended.is_none() && steps.len() > 0 {
                connection = entered_anew(connection, entered);
            }
        }
        let wire = wire.lock().unwrap();
        let served = endpoint.served.lock().unwrap().clone();
        Outcome { got: without_dates(&wire.got), shut: wire.shut, served, ended }
    }

    fn entered_anew(
        connection: Connection<TestSocket>,
        entered: &mut BTreeSet<&'static str>,
    ) -> Connection<TestSocket> {
        let (socket, at_rest) = connection.rest().expect("this endpoint answers at once");
        entered.insert(match &at_rest.stage {
            RestingStage::Idle => "idle",
            RestingStage::Head => "head",
            RestingStage::Body(_) => "body",
            RestingStage::Waiting(Undecided { watched: false, .. }) => "waiting",
            RestingStage::Waiting(_) => "waiting, watched",
            RestingStage::Streaming(_) => "streaming",
            RestingStage::Writing { then: AfterRest::Body(_), .. } => "writing, body",
            RestingStage::Writing { then: AfterRest::Streaming(_), .. } => "writing, streaming",
            RestingStage::Writing { then: AfterRest::Reply, .. } => "writing, reply",
            RestingStage::Writing { then: AfterRest::Closing(_), .. } => "writing, closing",
            RestingStage::Discarding => "discarding",
            RestingStage::Closing(_) => "closing",
            RestingStage::Closed => "closed",
        });
        Connection::resume(socket, at_rest, DEADLINES).expect("its own state")
    }

    fn without_dates(bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect()
    }

    const CHUNKED: &str = "POST /chunks HTTP/1.1\r\nHost: n1\r\nExpect: 100-continue\r\nX: \u{e4}\r\n\
        Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
    const ECHO: &str = "POST /echo HTTP/1.1\r\nHost: n1\r\nContent-Length: 11\r\n\r\nhello again";
    const LAZY: &str = "POST /lazy HTTP/1.1\r\nHost: n1\r\nContent-Length: 20\r\n\r\n12345678901234567890";
    const BROKEN: &str = "POST /x HTTP/1.1\r\nHost: n1\r\nContent-Length: +1\r\n\r\nrest";

    /// A request in pieces, and what happens behind it.
    fn script(request: &str, piece: usize, room: usize, events: &[(usize, bool)]) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, bytes) in request.as_bytes().chunks(piece).enumerate() {
            steps.push(Step::Sends(bytes.to_vec()));
            steps.extend((at % 3 == 2).then_some(Step::Takes(room)));
        }
        for (place, (size, last)) in events.iter().enumerate() {
            steps.push(Step::Says(place as u64 + 1, *size, *last));
            steps.extend((0..5).map(|_| Step::Takes(room)));
        }
        steps.extend((0..5).map(|_| Step::Takes(room)));
        steps.extend([Step::Takes(1 << 20), Step::Takes(0)]);
        steps
    }

    /// All kinds of replies, on one connection.
    fn everything(piece: usize, room: usize) -> Vec<Step> {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: n1\r\n\r\n");
        let large = COPIED_BODY_BYTES_MAX + 100;
        let mut steps = script(CHUNKED, piece, room, &[]);
        steps.extend(script(ECHO, piece, room, &[]));
        steps.extend(script(&get("/large"), piece, room, &[]));
        steps.extend(script(&get("/stream"), piece, room, &[(10, false), (large, false), (large, true)]));
        steps.extend(script(&get("/either"), piece, room, &[(50, true)]));
        steps.extend(script(&get("/either"), piece, room, &[(5, false), (50, true)]));
        steps.extend(script(&get("/json"), piece, room, &[(5, false), (5, false), (large, true)]));
        steps.extend(script(LAZY, piece, room, &[]));
        steps.extend(script(BROKEN, piece, room, &[]));
        steps.extend([Step::Sends(b"more".to_vec()), Step::Ends, Step::Takes(1)]);
        steps
    }

    #[test]
    fn every_stage_is_entered_in_the_middle() {
        let mut entered = BTreeSet::new();
        for (piece, room, stride) in [(1, 10, 17), (7, 3000, 3)] {
            let steps = everything(piece, room);
            let whole = run(&steps, |_| false, &mut entered);
            assert_eq!(whole.ended, Some(Err(Disconnected::Refused(crate::http::Status(400)))));
            assert_eq!(whole.served.len(), 7, "{:?}", whole.served);
            assert_eq!(run(&steps, |_| true, &mut entered), whole, "cut at every step");
            for cut in (0..steps.len()).step_by(stride) {
                let outcome = run(&steps, |at| at == cut, &mut entered);
                assert!(outcome == whole, "cut after {:?}: {outcome:?}\nwhole: {whole:?}", steps[cut]);
            }
        }
        let all = [
            "body",
            "closing",
            "discarding",
            "head",
            "idle",
            "streaming",
            "waiting",
            "waiting, watched",
            "writing, body",
            "writing, closing",
            "writing, reply",
            "writing, streaming",
        ];
        assert_eq!(entered.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_deadline_goes_on() {
        let connection = Connection::with_deadlines(TestSocket::default(), DEADLINES);
        connection.deadline.arm(LONG / 2);
        let (socket, at_rest) = connection.rest().unwrap();
        let left = at_rest.time_left.unwrap();
        assert!(
            left <= LONG / 2 + Duration::from_secs(1) && left >= LONG / 2 - Duration::from_secs(1),
            "{left:?}"
        );
        let woken = Connection::resume(socket, at_rest, DEADLINES).unwrap();
        assert!(woken.deadline.left().unwrap() <= left + Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn prop_a_cut_is_not_seen(
            piece in 1..200usize,
            room in 1..5000usize,
            cuts in prop::collection::btree_set(0..600usize, 0..40),
        ) {
            let steps = everything(piece, room);
            let whole = run(&steps, |_| false, &mut BTreeSet::new());
            prop_assert_eq!(run(&steps, |at| cuts.contains(&at), &mut BTreeSet::new()), whole);
        }
    }
}
