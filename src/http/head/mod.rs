//! Bytes to request heads and reply heads to bytes, sans-io.
//!
//! httparse reads the grammar; this file adds what a server has to be strict about: line ends, sizes, the
//! target, Host, and how the body is framed (RFC 9112, sections 2 to 6). What it refuses, it refuses with a
//! status and a sentence. Two servers that disagree about where a request ends can be played against each
//! other, so nothing ambiguous is repaired here.

mod fields;
mod grammar;
mod parse;
mod reply;
mod request;
mod target;

pub use fields::{Field, Framing};
pub use parse::{ParsedHead, parse};
pub use reply::{ReplyFraming, ReplyHead};
pub use request::{Asked, Method, RequestHead};
