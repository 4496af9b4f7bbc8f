//! What a backend takes and gives: a floor of its own, below the handlers and the children.

use crate::budget::Payload;
use crate::version::Version;

/// What a message to a backend may use of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A new request: refused when the queue is nearly full.
    Request,
    /// An answer or a notification: may use the slots kept for it.
    Other,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The backend does not read: its queue is full.
    Full,
    /// The backend has ended or is ending.
    Closed,
}

/// What comes out of a backend.
#[derive(Debug)]
pub enum Output {
    /// One line or message that begins like JSON: not parsed yet, no line feed in it.
    Message(Payload),
    /// The result of this `initialize`, made here: it need not be parsed.
    Welcome {
        /// The request's number.
        to: u64,
        /// The `protocolVersion` in it.
        version: Version,
        /// The response.
        payload: Payload,
    },
    /// The response to this request of the client, made here, too.
    Response {
        /// The request's number.
        to: u64,
        /// The response.
        payload: Payload,
    },
    /// A notification or server request that belongs to this request of the client.
    Related {
        /// The request's number.
        to: u64,
        /// The message.
        payload: Payload,
    },
    /// A notification that belongs to no request of the client, made here: it need not be parsed.
    Unrelated(Payload),
    /// The stream of this request may end before its response: its client is to resume it.
    Detach(u64),
    /// A line of text with a JSON object in it that mentions `"jsonrpc"`: a message behind something else, or
    /// a log line about one. Not parsed yet.
    Wrapped {
        /// The whole line.
        line: Payload,
        /// Where the object begins.
        at: usize,
    },
    /// A line on stdout that cannot be JSON-RPC: its first bytes, for messages, or the whole of it when it may
    /// belong to an object that was begun on a line before.
    Garbage(Payload),
    /// A line longer than `MESSAGE_BYTES_MAX` (or than the byte budget had room for) was thrown away. Told at
    /// its end, or when so much came that no end is to be expected.
    TooLong {
        /// Its first bytes, at most `TOO_LONG_HEAD_BYTES`.
        head: Vec<u8>,
        /// Its last bytes, at most `TOO_LONG_TAIL_BYTES`.
        tail: Vec<u8>,
        /// How long it was, as far as it came.
        bytes: usize,
    },
    /// The end: nothing comes after it. The process has been reaped.
    Exited(Exit),
}

/// How a backend ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It never ran; why, in words for the user.
    NotStarted(String),
    /// It exited by itself with this status.
    Status(i32),
    /// A signal that we did not send ended it.
    Signal(i32),
    /// It was stopped by us.
    Stopped,
    /// It was stopped because it had closed its stdin or stdout.
    PipeClosed,
    /// It was killed because a line on its stdout had no end.
    EndlessLine,
    /// A handler panicked.
    Panicked,
}

impl Exit {
    /// In words, for a client that still waits and for the log.
    pub fn describe(&self) -> String {
        match self {
            Exit::NotStarted(why) => format!("the server could not be started: {why}"),
            Exit::Status(status) => format!("the server exited with status {status}"),
            Exit::Signal(signal) => format!("the server was ended by signal {signal}"),
            Exit::Stopped => "the server was stopped".into(),
            Exit::PipeClosed => "the server closed its stdin or stdout and was stopped".into(),
            Exit::EndlessLine => "the server wrote a line without end and was killed".into(),
            Exit::Panicked => "an internal error ended the session".into(),
        }
    }
}
