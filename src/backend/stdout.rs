//! A child's stdout on its way to the worker, line by line.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_io::Timer;

use super::lines::{Discarded, LineStep, Lines};
use super::noise::{Looks, look};
use super::output::Output;
use super::pipe::PipeReader;
use super::rate::Rate;
use crate::budget::{Payload, Share};
use crate::limits::{
    FOREIGN_TEXT_BYTES_MAX, FRAGMENT_BYTES_MAX, FRAGMENT_LINES_AFTER_BRACE, FRAGMENT_LINES_MAX,
    GARBAGE_LINES_PER_SEC_MAX, LINE_BUDGET_WAIT, SWEEP_STEP,
};
use crate::metrics::METRICS;
use crate::moment::Moment;
use crate::queue::{Receiver, Sender};

/// A child's stdout.
#[derive(Debug)]
pub(super) struct Stdout {
    pub(super) reader: PipeReader,
    lines: Lines,
    garbage: Rate,
    /// So many lines may still belong to an object that was begun on a line before.
    continued: usize,
    /// What the worker had no room for.
    undelivered: Option<Output>,
    /// Since when the current line waits for a share of the byte budget, and when to ask for it again.
    starved: Option<(Moment, Timer)>,
    /// How it ended, once nothing more is read.
    end: Option<StdoutEnd>,
}

/// How stdout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StdoutEnd {
    /// There is nothing more to read.
    Closed,
    /// A line has no end.
    Endless,
}

impl Stdout {
    /// What comes out of `reader`.
    pub(super) fn new(reader: PipeReader) -> Stdout {
        Stdout {
            reader,
            lines: Lines::default(),
            garbage: Rate::new(GARBAGE_LINES_PER_SEC_MAX),
            continued: 0,
            undelivered: None,
            starved: None,
            end: None,
        }
    }

    /// Hands the worker what stdout has, as far as the worker's queue has room. Completes when stdout has
    /// ended and all of it is handed over.
    pub(super) fn poll(&mut self, outlet: &Outlet, cx: &mut Context<'_>) -> Poll<StdoutEnd> {
        loop {
            ready!(outlet.poll_deliver(&mut self.undelivered, cx));
            if let Some(end) = self.end {
                return Poll::Ready(end);
            }
            self.undelivered = ready!(self.poll_output(outlet, cx));
        }
    }

    /// One step towards the next output.
    fn poll_output(&mut self, outlet: &Outlet, cx: &mut Context<'_>) -> Poll<Option<Output>> {
        if self.reader.is_drained()
            && let step @ LineStep::Line(..) = self.lines.pause()
        {
            return Poll::Ready(self.output(step));
        }
        if !ready!(self.reader.poll_fill(cx)) {
            self.end = Some(StdoutEnd::Closed);
            let step = self.lines.finish();
            return Poll::Ready(self.output(step));
        }
        let (taken, step) = self.lines.feed(self.reader.unread());
        if let LineStep::BudgetSpent = step {
            return self.poll_starved(outlet, cx).map(|()| None);
        }
        self.starved = None;
        self.reader.take(taken);
        Poll::Ready(self.output(step))
    }

    /// Waits for others to give back some of the byte budget. After `LINE_BUDGET_WAIT`, or when nobody waits
    /// for the line any more, the line is given up.
    fn poll_starved(&mut self, outlet: &Outlet, cx: &mut Context<'_>) -> Poll<()> {
        let now = Moment::now();
        let (since, again) = self.starved.get_or_insert_with(|| (now, Timer::after(SWEEP_STEP)));
        if outlet.is_stopped() || now.since(*since) >= LINE_BUDGET_WAIT {
            self.starved = None;
            self.lines.give_up();
            return Poll::Ready(());
        }
        ready!(Pin::new(&mut *again).poll(cx));
        again.set_after(SWEEP_STEP);
        Poll::Ready(())
    }

    fn output(&mut self, step: LineStep) -> Option<Output> {
        match step {
            LineStep::More | LineStep::BudgetSpent => None,
            LineStep::Line(line, share) => self.line(line, share),
            LineStep::TooLong(line) => Some(too_long(line)),
            LineStep::Endless(line) => {
                self.end = Some(StdoutEnd::Endless);
                Some(too_long(line))
            }
        }
    }

    fn line(&mut self, mut line: Vec<u8>, share: Share) -> Option<Output> {
        match look(&line) {
            Looks::Blank => None,
            Looks::Json(place) => {
                line.truncate(place.end);
                line.drain(..place.start);
                self.begin_object(&line);
                Some(Output::Message(Payload::new(line, share)))
            }
            Looks::Wrapped(at) => {
                METRICS.garbage_lines_total.add_one();
                Some(Output::Wrapped { line: Payload::new(line, share), at })
            }
            Looks::Garbage => {
                METRICS.garbage_lines_total.add_one();
                if self.continued > 0 {
                    self.continued -= 1;
                    line.truncate(FRAGMENT_BYTES_MAX);
                    return Some(Output::Garbage(Payload::new(line, share)));
                }
                line.truncate(FOREIGN_TEXT_BYTES_MAX);
                line.shrink_to_fit();
                let is_told = self.garbage.allows(Moment::now());
                is_told.then(|| Output::Garbage(Payload::made_here(line)))
            }
        }
    }

    /// An object that does not end on its line goes on with lines that look like garbage. One that seems to end there
    /// may have been cut behind a brace of its own.
    fn begin_object(&mut self, line: &[u8]) {
        match line {
            [b'{', .., b'}'] => self.continued = self.continued.max(FRAGMENT_LINES_AFTER_BRACE),
            [b'{', ..] => self.continued = FRAGMENT_LINES_MAX,
            _ => {}
        }
    }
}

fn too_long(Discarded { head, tail, bytes }: Discarded) -> Output {
    Output::TooLong { head, tail, bytes }
}

/// The task's ends of the worker's queues.
#[derive(Debug)]
pub(super) struct Outlet {
    /// The session's short id, for the log.
    pub(super) label: String,
    pub(super) outputs: Sender<Output>,
    /// Carries nothing: its closing is the order to stop.
    pub(super) stopped: Receiver<Infallible>,
}

impl Outlet {
    /// Completes when the worker wants the child stopped, or has dropped its handle.
    pub(super) fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stopped.poll_recv(cx).map(|_| ())
    }

    /// See [`Outlet::poll_stopped`].
    pub(super) async fn stop_asked(&self) {
        std::future::poll_fn(|cx| self.poll_stopped(cx)).await;
    }

    /// Whether the worker wants the child stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_closed()
    }

    /// Hands the output in `slot` to the worker and waits for room: so a child that writes too fast waits in
    /// its own `write`. A worker that wants the child stopped may read no more: then what finds no room is
    /// dropped.
    pub(super) fn poll_deliver(&self, slot: &mut Option<Output>, cx: &mut Context<'_>) -> Poll<()> {
        if slot.is_none() {
            return Poll::Ready(());
        }
        let delivered = self.outputs.poll_send(cx, slot);
        if delivered.is_pending() && !self.is_stopped() {
            return Poll::Pending;
        }
        *slot = None;
        Poll::Ready(())
    }
}
