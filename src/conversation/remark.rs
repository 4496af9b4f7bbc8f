//! What a conversation has to say to whoever reads the log.

use std::borrow::Cow;
use std::fmt;

use crate::foreign::Foreign;
use crate::message::Id;

/// See the module. Its text is safe to print. The user of the conversation decides how often that may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// A line of the backend is no message, and ended no call.
    NoMessage {
        /// Its beginning.
        line: Vec<u8>,
        /// What is wrong with it.
        why: Cow<'static, str>,
        /// It was meant as an answer.
        is_answer: bool,
        /// Calls that wait.
        waiting: usize,
    },
    /// A line of the backend could not be read, and ended the calls that it named.
    Failed {
        /// Its beginning.
        line: Vec<u8>,
        /// What is wrong with it.
        why: Cow<'static, str>,
        /// How many.
        calls: usize,
    },
    /// The backend could not read a message, and does not say which one.
    CouldNotRead {
        /// Its error.
        error: Vec<u8>,
        /// Calls that wait.
        waiting: usize,
    },
    /// An answer to nothing.
    AnswerToNothing {
        /// What it says that it answers.
        id: Option<Id>,
        /// Whose answer it is.
        by: Side,
        /// Requests of the other side that wait.
        waiting: usize,
    },
    /// What a notification names fits several requests, so it was dropped.
    Ambiguous {
        /// Its method.
        method: &'static str,
        /// What it names.
        id: Id,
        /// Who sent it.
        by: Side,
    },
    /// What a notification names is over or never was, so it was dropped.
    Late {
        /// Its method.
        method: &'static str,
        /// What it names.
        id: Id,
        /// Who sent it.
        by: Side,
    },
    /// The answer to a call that was cancelled.
    LateAnswer(u64),
}

/// One of two that talk to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The backend.
    Backend,
    /// A client.
    Client,
}

impl Remark {
    /// Whether nothing is wrong: such races cannot be avoided.
    pub fn is_everyday(&self) -> bool {
        matches!(self, Remark::Late { .. } | Remark::LateAnswer(_))
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Backend => "the server",
            Side::Client => "the client",
        })
    }
}

/// "2 requests wait", for whoever wonders why.
struct StillWaiting(usize);

impl fmt::Display for StillWaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no request waits"),
            1 => f.write_str("1 request waits"),
            more => write!(f, "{more} requests wait"),
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::NoMessage { line, why, is_answer, waiting } => {
                let what =
                    if *is_answer { "an answer that cannot be read" } else { "a line that is not JSON-RPC" };
                let waiting = StillWaiting(*waiting);
                write!(f, "the server's stdout has {what} ({why}; {waiting}): {}", Foreign(line))
            }
            Remark::Failed { line, why, calls } => {
                let s = if *calls == 1 { "" } else { "s" };
                write!(
                    f,
                    "an answer of the server ended {calls} call{s} with an error, for {why}: {}",
                    Foreign(line)
                )
            }
            Remark::CouldNotRead { error, waiting } => {
                let waiting = StillWaiting(*waiting);
                write!(f, "the server could not read a message ({waiting}): {}", Foreign(error))
            }
            Remark::AnswerToNothing { id: Some(id), by, waiting } => {
                write!(f, "{by} answered {}, which nobody asked ({})", shown(id), StillWaiting(*waiting))
            }
            Remark::AnswerToNothing { id: None, by, waiting } => {
                write!(f, "{by} sent an answer without an id ({})", StillWaiting(*waiting))
            }
            Remark::Ambiguous { method, id, by } => {
                write!(f, "dropped {method} of {by}: {} fits several requests", shown(id))
            }
            Remark::Late { method, id, by } => {
                write!(f, "dropped {method} of {by}: {} is over or never was", shown(id))
            }
            Remark::LateAnswer(number) => write!(f, "dropped the answer to {number}, which was cancelled"),
        }
    }
}

/// An id for people to read: it is text from outside.
fn shown(id: &Id) -> String {
    Foreign(id.to_string().as_bytes()).to_string()
}
