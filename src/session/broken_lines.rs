//! What a worker makes of lines of its backend that are no messages by themselves.

use super::worker::Worker;
use crate::message::{BadLine, Line};

impl Worker {
    /// A line that is no message by itself may begin one, or go on with it. One that names its call, or ends the only
    /// one, is all that comes of that message.
    pub(super) fn take_broken_line(&mut self, mut bad: BadLine) {
        let ends_a_call = !bad.answers.is_empty() || bad.nameless && self.conversation.calls() == 1;
        let line = bad.line.take().filter(|_| !ends_a_call && bad.asks.is_none());
        self.take_bad_line(bad);
        let joined = match line {
            Some(line) => self.fragments.add(line.bytes()),
            None => self.fragments.give_up(),
        };
        self.take_joined(joined);
    }

    pub(super) fn take_garbage(&mut self, line: &[u8]) {
        self.log.garbage(line);
        let joined = self.fragments.add(line);
        self.take_joined(joined);
    }

    /// What was put together of several lines.
    pub(super) fn take_joined(&mut self, joined: Option<Line>) {
        match joined {
            Some(Line::One(message)) => self.take_backend_message(message),
            Some(Line::Bad(bad)) => self.take_bad_line(bad),
            Some(Line::Batch(_)) | None => {}
        }
    }
}
