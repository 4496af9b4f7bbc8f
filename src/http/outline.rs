//! What a reply's head needs besides its body.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::SystemTime;

use crate::http::head::{ReplyFraming, ReplyHead};
use crate::http::{Header, Status};
use crate::metrics::METRICS;
use crate::sweep;

/// Headers of every event stream: no cache keeps it, no proxy recodes it or holds it back.
pub(super) const STREAM_HEADERS: [Header; 2] =
    [("Cache-Control", Cow::Borrowed("no-cache, no-transform")), ("X-Accel-Buffering", Cow::Borrowed("no"))];

/// See the module.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) status: Status,
    pub(super) headers: Vec<Header>,
    /// Whether the connection ends after the reply.
    pub(super) close: bool,
    /// Whether a body would be taken for the next reply (HEAD).
    pub(super) body_left_out: bool,
    /// Whether the client knows chunks.
    pub(super) chunks: bool,
}

impl Outline {
    pub(super) fn encode_into(&self, out: &mut Vec<u8>, content_type: Option<&str>, framing: ReplyFraming) {
        with_date(|date| {
            let head = ReplyHead { status: self.status, date, content_type, framing, close: self.close };
            head.encode_into(out, &self.headers);
        });
    }

    /// Counts the reply in the metric of its status class.
    pub(super) fn count(&self) {
        match self.status.0 {
            400..500 => METRICS.requests_client_error_total.add_one(),
            500.. => METRICS.requests_server_error_total.add_one(),
            _ => METRICS.requests_ok_total.add_one(),
        }
    }
}

/// Calls `write` with the value of the Date header. Each thread makes that text anew only when the sweep has
/// made a step, so that a reply asks no clock.
fn with_date<T>(write: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static DATE: RefCell<(u32, String)> = const { RefCell::new((0, String::new())) };
    }
    let step = sweep::swept_steps();
    DATE.with_borrow_mut(|(made, text)| {
        if *made != step || text.is_empty() {
            (*made, *text) = (step, httpdate::fmt_http_date(SystemTime::now()));
        }
        write(text)
    })
}
