//! A child's stderr on its way to the log, line by line.

use std::task::{Context, Poll, ready};

use super::pipe::PipeReader;
use super::rate::Rate;
use crate::foreign::Foreign;
use crate::limits::{STDERR_LINE_BYTES_MAX, STDERR_LINES_PER_SEC_MAX};
use crate::moment::Moment;

/// A child's stderr.
#[derive(Debug)]
pub(super) struct Stderr {
    pub(super) reader: PipeReader,
    /// The beginning of the current line.
    line: Vec<u8>,
    rate: Rate,
    /// Lines that were not logged since the last one that was.
    dropped: u64,
}

impl Stderr {
    /// What comes out of `reader`.
    pub(super) fn new(reader: PipeReader) -> Stderr {
        Stderr { reader, line: Vec::new(), rate: Rate::new(STDERR_LINES_PER_SEC_MAX), dropped: 0 }
    }

    /// Logs what there is, naming the child `label`. Completes at the end of stderr.
    pub(super) fn poll(&mut self, label: &str, cx: &mut Context<'_>) -> Poll<()> {
        while ready!(self.reader.poll_fill(cx)) {
            let unread = self.reader.unread();
            let end = memchr::memchr(b'\n', unread);
            let text = &unread[..end.unwrap_or(unread.len())];
            // One byte more than is logged: then the log shows that the line was cut.
            let room = (STDERR_LINE_BYTES_MAX + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            let taken = text.len() + usize::from(end.is_some());
            self.reader.take(taken);
            if end.is_some() {
                self.log_line(label);
            }
        }
        // The last line may have no line feed.
        if !self.line.is_empty() {
            self.log_line(label);
        }
        self.log_dropped(label);
        Poll::Ready(())
    }

    fn log_line(&mut self, label: &str) {
        if self.rate.allows(Moment::now()) {
            self.log_dropped(label);
            let line = self.line.trim_ascii_end();
            if !line.is_empty() {
                log::info!(target: "child", "[{label}] {}", Foreign::up_to(line, STDERR_LINE_BYTES_MAX));
            }
        } else {
            self.dropped += 1;
        }
        self.line.clear();
    }

    fn log_dropped(&mut self, label: &str) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            log::info!(target: "child", "[{label}] ({dropped} lines of stderr left out)");
        }
    }
}
