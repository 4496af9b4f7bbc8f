//! A worker's life behind the panic fence: it begins with `initialize`, serves, and ends with an answer for everybody
//! who still waits.

use smol::future::{FutureExt as _, or, yield_now};

use super::Ended;
use super::input::{Input, Wake};
use super::opening::{self, Handshake, Heard, Opened, Welcome};
use super::streams::STANDALONE;
use super::worker::Worker;
use crate::backend::{Output, Priority};
use crate::budget::Payload;
use crate::conversation::{Effect, ReplyTo};
use crate::limits::{MEMBERS_PER_TURN, MESSAGE_BYTES_MAX};
use crate::message::{self, BadLine, BatchMember, Line, Message};
use crate::moment::Moment;
use crate::queue::Sender;
use crate::sweep::Deadline;

impl Worker {
    /// Gives the backend its `initialize` and waits for the answer. On [`Opened::Ready`] the session's
    /// version is known to [`super::Activity`], and [`Worker::run`] is next.
    pub async fn open(&mut self, initialize: Box<Message>) -> Opened {
        let to = ReplyTo { client: 0, reply: STANDALONE };
        let begun = self.conversation.hear_client(to, *initialize, Moment::now()).into_iter().next();
        let Some(Effect::ToBackend(outgoing)) = begun else {
            return Opened::Failed(500, "initialize is not a request".into());
        };
        let mut handshake = Handshake::new(outgoing.call().unwrap_or_default());
        if self.setup.backend.send(outgoing, Priority::Request).is_err() {
            return Opened::Failed(502, "the server has ended before it was asked".into());
        }
        let mut deadline = None;
        loop {
            let opened = match self.next_in_time(&mut deadline).await {
                None => Some(handshake.too_late(self.setup.start_deadline.as_secs())),
                Some(wake) => self.hear_early(wake, &mut handshake),
            };
            if let Some(opened) = opened {
                return opened;
            }
            if self.batch.is_some() {
                yield_now().await;
            }
        }
    }

    /// What happens next; `None` when the time to start is over. The deadline is made only when there is
    /// something to wait for: a handler has answered before that.
    async fn next_in_time(&mut self, deadline: &mut Option<Deadline>) -> Option<Wake> {
        let time = self.setup.start_deadline;
        let late = async {
            deadline.get_or_insert_with(|| Deadline::after(time)).wait().await;
            None
        };
        or(async { Some(self.next().await) }, late).await
    }

    /// What happens before `initialize` is answered; `None` when the wait goes on.
    fn hear_early(&mut self, wake: Wake, handshake: &mut Handshake) -> Option<Opened> {
        match wake {
            Wake::Output(output) => self.hear_early_output(output, handshake),
            Wake::Batch => self.hear_early_member(handshake),
            Wake::OutputsClosed => {
                Some(Opened::Failed(502, "the server ended before it answered initialize".into()))
            }
            // The node stops, so the session would be of no use to anybody.
            Wake::InboxClosed | Wake::Input(Input::Retire) => {
                Some(Opened::Failed(503, "this node is stopping".into()))
            }
            Wake::Input(input @ (Input::Post(_) | Input::Attach(_))) => {
                self.early.push_back(input);
                None
            }
            #[cfg(test)]
            Wake::Input(Input::Panic) => panic!("asked to"),
            Wake::Input(Input::Tick) | Wake::Room => None,
        }
    }

    fn hear_early_output(&mut self, output: Output, handshake: &mut Handshake) -> Option<Opened> {
        match output {
            Output::Message(payload) => self.hear_early_line(message::parse_line(payload), handshake),
            Output::Wrapped { line, at } => match message::parse_wrapped(&line, at) {
                Some(line) => self.hear_early_line(line, handshake),
                None => self.hear_early_garbage(line.bytes(), handshake),
            },
            Output::Garbage(line) => self.hear_early_garbage(line.bytes(), handshake),
            Output::TooLong { head, tail, bytes } => {
                let bad = BadLine::too_long(&head, &tail, bytes, MESSAGE_BYTES_MAX);
                self.hear_early_bad_line(bad, handshake)
            }
            Output::Welcome { to, version, payload } => {
                self.setup.activity.set_version(version);
                self.first_response(to, payload).map(|payload| self.ready(payload))
            }
            // A handler's refusal: it was asked nothing else yet.
            Output::Response { to, payload } => self.first_response(to, payload).map(Opened::Refused),
            Output::Exited(exit) => Some(Opened::Failed(502, handshake.too_early(&exit))),
            // Only handlers send the other outputs, and none has been called yet.
            Output::Related { .. } | Output::Unrelated(_) | Output::Detach(_) => None,
        }
    }

    fn hear_early_garbage(&mut self, line: &[u8], handshake: &mut Handshake) -> Option<Opened> {
        self.log.garbage(line);
        handshake.hear_garbage(line).map(|why| Opened::Failed(502, why))
    }

    fn hear_early_line(&mut self, line: Line, handshake: &mut Handshake) -> Option<Opened> {
        match line {
            Line::One(message) => self.hear_early_message(message, handshake),
            Line::Bad(bad) => self.hear_early_bad_line(bad, handshake),
            Line::Batch(batch) => {
                self.batch = Some(batch);
                None
            }
        }
    }

    fn hear_early_message(&mut self, message: Message, handshake: &mut Handshake) -> Option<Opened> {
        let answer = match handshake.hear(&message) {
            Heard::Answer(answer) => answer,
            Heard::Hopeless(why) => return Some(Opened::Failed(502, why)),
            Heard::Other => {
                let could_not_read = opening::could_not_read(message.payload.bytes());
                self.take_backend_message(message);
                return (self.conversation.calls() == 0).then_some(Opened::Failed(502, could_not_read));
            }
        };
        let mut effects = self.conversation.hear_backend(message, Moment::now()).into_iter();
        match (effects.next()?, answer) {
            (_, Err(why)) => Some(Opened::Failed(502, why)),
            (Effect::Respond { response, .. }, Ok(Welcome::Refused)) => Some(Opened::Refused(response)),
            (Effect::Respond { response, .. }, Ok(Welcome::Agreed(version))) => {
                self.setup.activity.set_version(version);
                Some(self.ready(response))
            }
            (_, Ok(_)) => None,
        }
    }

    fn hear_early_bad_line(&mut self, bad: BadLine, handshake: &mut Handshake) -> Option<Opened> {
        if opening::is_printed_object(&bad.head) {
            self.log.garbage(&bad.head);
            return None;
        }
        let hopeless = handshake.hear_bad_line(&bad);
        self.take_bad_line(bad);
        hopeless.map(|why| Opened::Failed(502, why))
    }

    /// A batch may have the answer among its members.
    fn hear_early_member(&mut self, handshake: &mut Handshake) -> Option<Opened> {
        for _ in 0..MEMBERS_PER_TURN {
            let opened = match self.next_member()? {
                BatchMember::Message(message) => self.hear_early_message(message, handshake),
                BatchMember::Bad(bad) => self.hear_early_bad_line(bad, handshake),
                BatchMember::Nothing => None,
            };
            if opened.is_some() {
                return opened;
            }
        }
        None
    }

    /// The response to `initialize`, from a handler.
    fn first_response(&mut self, to: u64, response: Payload) -> Option<Payload> {
        match self.conversation.respond(to, response).into_iter().next()? {
            Effect::Respond { response, .. } => Some(response),
            _ => None,
        }
    }

    fn ready(&mut self, answer: Payload) -> Opened {
        if self.restored {
            let initialized = self.conversation.say(Message::initialized());
            self.give_backend(initialized);
        }
        Opened::Ready(answer)
    }
}

/// Runs a worker's life behind the panic fence (invariant 12): whatever happens, waiting clients are
/// answered.
pub(super) async fn live(mut worker: Box<Worker>, initialize: Box<Message>, opened: Sender<Opened>) -> Ended {
    let life = std::panic::AssertUnwindSafe(async {
        // Boxed: it goes when the session is open, and the task of every session would keep the room for it.
        match Box::pin(worker.open(initialize)).await {
            Opened::Ready(answer) => {
                // The client has gone and never got the session's id, so nobody can find the session.
                if opened.try_send(Opened::Ready(answer)).is_err() {
                    return Ended::Abandoned;
                }
                drop(opened);
                worker.run().await
            }
            failed => {
                let _ = opened.try_send(failed);
                Ended::NotStarted
            }
        }
    });
    let ended = life.catch_unwind().await.unwrap_or(Ended::Panicked);
    let finishing = std::panic::AssertUnwindSafe(async { worker.finish(&ended) });
    if finishing.catch_unwind().await.is_err() { Ended::Panicked } else { ended }
}
