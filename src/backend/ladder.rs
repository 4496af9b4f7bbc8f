//! The end of a child, sans-io: when its stdin is closed, when its group gets SIGTERM and SIGKILL, when it is
//! reaped, and what the worker is told about it.
//!
//! The child's task tells the ladder what happened and what time it is, and does the [`Act`]s that come back,
//! in their order. The ladder is a plain value: a child can be put down on any rung and taken up again.

use std::time::Duration;

use super::output::Exit;
use crate::limits::{CHILD_EOF_GRACE, CHILD_KILL_GRACE, CHILD_REST_WAIT};
use crate::moment::Moment;

/// Why a child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The worker asked for it.
    Asked,
    /// Its stdout ended: it can answer nothing any more.
    StdoutClosed,
    /// It closed its stdin: it can be asked nothing any more.
    StdinClosed,
    /// It wrote a line without end.
    EndlessLine,
}

/// What happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// The worker wants it stopped.
    StopAsked,
    /// No more messages will come for it, and all that came are written.
    AllWritten,
    /// It closed its stdin.
    StdinClosed,
    /// Its stdout was read to the end.
    StdoutClosed,
    /// A line on its stdout had no end: its stdout is read no further.
    EndlessLine,
    /// The process has exited. It is a zombie, and its ids stay its own, until it is reaped.
    Exited,
}

/// What the child's task has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Write no more and close the child's stdin.
    CloseStdin,
    /// SIGTERM to the process group.
    Terminate,
    /// SIGKILL to the process group.
    Kill,
    /// SIGKILL did not end the process: the kernel holds it. The worker is told the end now, and the process
    /// is reaped when it goes.
    GiveUp,
    /// SIGKILL to what is left of the process group, then reap the process. Nothing comes after it.
    Reap,
}

/// How far down the ladder a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rung {
    /// It serves.
    Serving,
    /// It is to stop. What was queued for it before is still written, until then.
    Flushing(Moment),
    /// Its stdin is closed. It may end by itself until then.
    InputEnded(Moment),
    /// SIGTERM was sent. It may clean up until then.
    Terminated(Moment),
    /// SIGKILL was sent. The kernel has until then to end it.
    Killed(Moment),
    /// The kernel holds it.
    Held,
    /// It has exited. What is left in its pipes, and its group, have until then.
    Exited(Moment),
    /// It is reaped.
    Reaped,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ladder {
    /// From SIGTERM to SIGKILL.
    term_grace: Duration,
    rung: Rung,
    /// Why the child is stopped. What came first stands.
    cause: Option<Cause>,
    /// Stdout is read no further.
    stdout_ended: bool,
    /// A line had no end: there is no point in asking this child to end.
    is_endless: bool,
    /// SIGTERM was sent.
    terminated: bool,
    /// SIGKILL was sent.
    killed: bool,
    /// When the child's pipes are read no further, once it has exited or is given up.
    rest_until: Option<Moment>,
}

impl Ladder {
    /// A child that serves, and gets `term_grace` between SIGTERM and SIGKILL.
    pub(super) fn new(term_grace: Duration) -> Ladder {
        Ladder {
            term_grace,
            rung: Rung::Serving,
            cause: None,
            stdout_ended: false,
            is_endless: false,
            terminated: false,
            killed: false,
            rest_until: None,
        }
    }

    /// Takes what happened. Some of it leads to an act at once, all of it may bring [`Ladder::due`] forward.
    pub(super) fn take(&mut self, happened: Happened, now: Moment) -> Option<Act> {
        match happened {
            Happened::StopAsked => {
                if self.rung == Rung::Serving {
                    self.cause.get_or_insert(Cause::Asked);
                    self.rung = Rung::Flushing(now + CHILD_EOF_GRACE);
                }
                None
            }
            Happened::AllWritten => self.end_input(Cause::Asked, now),
            Happened::StdinClosed => self.end_input(Cause::StdinClosed, now),
            Happened::StdoutClosed => {
                self.stdout_ended = true;
                match self.rung {
                    // It was asked to stop, and may still handle the messages that are queued for it.
                    Rung::Flushing(_) => None,
                    _ => self.end_input(Cause::StdoutClosed, now),
                }
            }
            Happened::EndlessLine => {
                (self.stdout_ended, self.is_endless) = (true, true);
                self.end_input(Cause::EndlessLine, now)
            }
            Happened::Exited => {
                self.exited(now);
                None
            }
        }
    }

    fn end_input(&mut self, cause: Cause, now: Moment) -> Option<Act> {
        self.cause.get_or_insert(cause);
        let is_open = matches!(self.rung, Rung::Serving | Rung::Flushing(_));
        if is_open {
            self.rung = Rung::InputEnded(now + CHILD_EOF_GRACE);
        }
        is_open.then_some(Act::CloseStdin)
    }

    fn exited(&mut self, now: Moment) {
        if matches!(self.rung, Rung::Exited(_) | Rung::Reaped) {
            return;
        }
        let is_cleaning_up = self.terminated && !self.killed;
        let rest = now + if is_cleaning_up { self.term_grace } else { CHILD_REST_WAIT };
        // Nothing more is read from a process that was given up.
        let rest = if self.rung == Rung::Held { now } else { rest };
        self.rest_until.get_or_insert(rest);
        self.rung = Rung::Exited(rest);
    }

    /// The next act whose time has come. To be asked until there is none, after each event and at each
    /// deadline.
    pub(super) fn due(&mut self, now: Moment) -> Option<Act> {
        match self.rung {
            Rung::Flushing(until) if until <= now => self.end_input(Cause::Asked, now),
            Rung::InputEnded(until) if until <= now || self.is_endless => Some(self.signal(now)),
            Rung::Terminated(until) if until <= now || self.is_endless => {
                self.killed = true;
                self.rung = Rung::Killed(now + CHILD_KILL_GRACE);
                Some(Act::Kill)
            }
            Rung::Killed(until) if until <= now => {
                self.rung = Rung::Held;
                self.rest_until = Some(now + CHILD_REST_WAIT);
                Some(Act::GiveUp)
            }
            Rung::Exited(until) if until <= now || self.stdout_ended => {
                self.rung = Rung::Reaped;
                Some(Act::Reap)
            }
            _ => None,
        }
    }

    /// The first signal after the end of input.
    fn signal(&mut self, now: Moment) -> Act {
        if self.is_endless {
            self.killed = true;
            self.rung = Rung::Killed(now + CHILD_KILL_GRACE);
            return Act::Kill;
        }
        self.terminated = true;
        self.rung = Rung::Terminated(now + self.term_grace);
        Act::Terminate
    }

    /// When [`Ladder::due`] or [`Ladder::is_rest_over`] is to be asked next, if nothing happens before.
    pub(super) fn deadline(&self, now: Moment) -> Option<Moment> {
        let rung = match self.rung {
            Rung::Flushing(until)
            | Rung::InputEnded(until)
            | Rung::Terminated(until)
            | Rung::Killed(until)
            | Rung::Exited(until) => Some(until),
            Rung::Serving | Rung::Held | Rung::Reaped => None,
        };
        rung.into_iter().chain(self.rest_until).filter(|until| *until > now).min()
    }

    /// Whether the deadline may pass a little late. So it is for the first waits, in which nearly every child
    /// ends within a moment.
    pub(super) fn is_deadline_coarse(&self) -> bool {
        matches!(self.rung, Rung::Flushing(_) | Rung::InputEnded(_))
    }

    /// Whether the process has exited or was given up: its pipes hold only a rest now.
    pub(super) fn has_rest(&self) -> bool {
        self.rest_until.is_some()
    }

    /// Whether the child's pipes are read no further: a grandchild may hold them open for ever.
    pub(super) fn is_rest_over(&self, now: Moment) -> bool {
        self.rest_until.is_some_and(|until| until <= now)
    }

    /// Whether the process was given up and has not exited since.
    pub(super) fn is_held(&self) -> bool {
        self.rung == Rung::Held
    }

    /// Whether the process is reaped.
    pub(super) fn is_reaped(&self) -> bool {
        self.rung == Rung::Reaped
    }

    /// What the worker is told about the end.
    pub(super) fn outcome(&self, death: Option<Death>) -> Exit {
        outcome(self.cause, self.terminated || self.killed, death)
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// It exited with this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What the worker is told about the end of a child that was stopped for `cause`, was `signalled` by us, and
/// died like that, if it did.
fn outcome(cause: Option<Cause>, signalled: bool, death: Option<Death>) -> Exit {
    match (cause, death) {
        (Some(Cause::Asked), _) | (_, None) => Exit::Stopped,
        (Some(Cause::EndlessLine), _) => Exit::EndlessLine,
        (Some(Cause::StdoutClosed | Cause::StdinClosed), _) if signalled => Exit::PipeClosed,
        // We sent no signal, so it ended by itself: it closed its pipes because it was exiting.
        (_, Some(Death::Status(status))) => Exit::Status(status),
        (_, Some(Death::Signal(signal))) => Exit::Signal(signal),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERM_GRACE: Duration = Duration::from_secs(3);
    const EVENTS: [Happened; 6] = [
        Happened::StopAsked,
        Happened::AllWritten,
        Happened::StdinClosed,
        Happened::StdoutClosed,
        Happened::EndlessLine,
        Happened::Exited,
    ];

    fn ladder() -> Ladder {
        Ladder::new(TERM_GRACE)
    }

    /// Lets time pass from deadline to deadline until there is none. Returns the acts and their times.
    fn descend(ladder: &mut Ladder, mut now: Moment) -> Vec<(Act, u64)> {
        let mut acts = Vec::new();
        loop {
            while let Some(act) = ladder.due(now) {
                acts.push((act, now.millis()));
            }
            let Some(next) = ladder.deadline(now) else { return acts };
            assert!(next > now);
            now = next;
        }
    }

    #[test]
    fn a_child_that_ignores_everything_is_given_up_at_last() {
        let mut ladder = ladder();
        assert_eq!(descend(&mut ladder, Moment::ZERO), [], "a child that serves has no deadline");
        assert_eq!(ladder.take(Happened::StopAsked, Moment::ZERO), None);
        let (eof, term, kill) = (
            CHILD_EOF_GRACE.as_millis() as u64,
            TERM_GRACE.as_millis() as u64,
            CHILD_KILL_GRACE.as_millis() as u64,
        );
        let acts = descend(&mut ladder, Moment::ZERO);
        let expected = [
            (Act::CloseStdin, eof),
            (Act::Terminate, 2 * eof),
            (Act::Kill, 2 * eof + term),
            (Act::GiveUp, 2 * eof + term + kill),
        ];
        assert_eq!(acts, expected);
        assert!(ladder.is_held() && ladder.has_rest());
        assert_eq!(ladder.outcome(None), Exit::Stopped);
        // The dead network disk is back: the process goes, and is reaped.
        let late = Moment::from_millis(1_000_000);
        assert_eq!(ladder.take(Happened::Exited, late), None);
        assert_eq!((ladder.due(late), ladder.due(late), ladder.is_reaped()), (Some(Act::Reap), None, true));
    }

    #[test]
    fn what_is_queued_is_written_before_stdin_is_closed() {
        let mut ladder = ladder();
        assert_eq!(ladder.take(Happened::StopAsked, Moment::ZERO), None);
        assert_eq!(ladder.take(Happened::StdoutClosed, Moment::ZERO), None, "it may read without a word");
        assert_eq!(ladder.take(Happened::AllWritten, Moment::ZERO), Some(Act::CloseStdin));
        assert_eq!(ladder.take(Happened::StdinClosed, Moment::ZERO), None, "once is enough");
        assert_eq!(ladder.outcome(Some(Death::Status(0))), Exit::Stopped);
    }

    #[test]
    fn a_line_without_end_is_answered_with_a_kill() {
        for before in [None, Some(Happened::StopAsked), Some(Happened::AllWritten)] {
            let mut ladder = ladder();
            let closes_now = before != Some(Happened::AllWritten);
            before.map(|before| ladder.take(before, Moment::ZERO));
            assert_eq!(ladder.take(Happened::EndlessLine, Moment::ZERO).is_some(), closes_now);
            assert_eq!(ladder.due(Moment::ZERO), Some(Act::Kill));
            let expected = if before.is_none() { Exit::EndlessLine } else { Exit::Stopped };
            assert_eq!(ladder.outcome(Some(Death::Signal(9))), expected, "what came first stands");
        }
    }

    #[test]
    fn the_rest_of_an_exited_childs_output_is_awaited_but_not_for_ever() {
        let mut ladder = ladder();
        assert_eq!(ladder.take(Happened::Exited, Moment::ZERO), None);
        assert_eq!(ladder.due(Moment::ZERO), None);
        let rest = Moment::ZERO + CHILD_REST_WAIT;
        assert_eq!(ladder.deadline(Moment::ZERO), Some(rest));
        assert!(!ladder.is_rest_over(Moment::ZERO) && ladder.is_rest_over(rest));
        let mut other = ladder;
        assert_eq!(ladder.due(rest), Some(Act::Reap));
        assert_eq!(other.take(Happened::StdoutClosed, Moment::ZERO), None);
        assert_eq!(
            other.due(Moment::ZERO),
            Some(Act::Reap),
            "at the end of stdout there is nothing to wait for"
        );
        assert_eq!(other.outcome(Some(Death::Status(3))), Exit::Status(3), "it closed stdout by exiting");
    }

    #[test]
    fn a_group_that_was_asked_to_end_gets_its_grace_after_its_leader_is_gone() {
        let mut ladder = ladder();
        ladder.take(Happened::AllWritten, Moment::ZERO);
        let term = Moment::ZERO + CHILD_EOF_GRACE;
        assert_eq!(ladder.due(term), Some(Act::Terminate));
        ladder.take(Happened::Exited, term);
        assert_eq!(ladder.deadline(term), Some(term + TERM_GRACE));
    }

    #[test]
    fn outcomes() {
        use Cause::{Asked, EndlessLine, StdinClosed, StdoutClosed};
        use Death::{Signal, Status};
        let rows = [
            (None, false, Some(Status(0)), Exit::Status(0)),
            (None, false, Some(Signal(9)), Exit::Signal(9)),
            (None, true, None, Exit::Stopped),
            (Some(Asked), false, Some(Status(1)), Exit::Stopped),
            (Some(Asked), true, Some(Signal(15)), Exit::Stopped),
            (Some(EndlessLine), true, Some(Signal(9)), Exit::EndlessLine),
            (Some(EndlessLine), false, Some(Status(0)), Exit::EndlessLine),
            (Some(EndlessLine), true, None, Exit::Stopped),
            (Some(StdoutClosed), false, Some(Status(2)), Exit::Status(2)),
            (Some(StdoutClosed), true, Some(Signal(15)), Exit::PipeClosed),
            (Some(StdinClosed), false, Some(Signal(11)), Exit::Signal(11)),
            (Some(StdinClosed), true, Some(Status(0)), Exit::PipeClosed),
        ];
        for (cause, signalled, death, expected) in rows {
            assert_eq!(outcome(cause, signalled, death), expected, "{cause:?} {signalled} {death:?}");
        }
    }

    proptest! {
        /// Whatever happens in whatever order, the acts come in the order of the ladder, each once; a child
        /// that was stopped is reaped or given up in bounded time; and no signal is sent to a group whose
        /// leader is reaped.
        #[test]
        fn prop_every_child_that_is_stopped_comes_to_its_end(
            steps in prop::collection::vec((0..EVENTS.len(), 0..4_000u64), 1..12),
        ) {
            let (mut ladder, mut now, mut acts) = (ladder(), Moment::ZERO, Vec::new());
            let mut exited = false;
            for (event, millis) in &steps {
                now = now + Duration::from_millis(*millis);
                while let Some(act) = ladder.due(now) { acts.push(act) }
                let happened = EVENTS[*event];
                exited |= happened == Happened::Exited;
                acts.extend(ladder.take(happened, now));
                while let Some(act) = ladder.due(now) { acts.push(act) }
            }
            let begun = now;
            acts.extend(descend(&mut ladder, now).iter().map(|(act, _)| *act));
            let longest = CHILD_EOF_GRACE * 2 + TERM_GRACE + CHILD_KILL_GRACE + CHILD_REST_WAIT;
            prop_assert!(ladder.deadline(begun + longest).is_none());
            let rank = |act: &Act| [Act::CloseStdin, Act::Terminate, Act::Kill, Act::GiveUp, Act::Reap].iter().position(|other| other == act);
            prop_assert!(acts.windows(2).all(|pair| rank(&pair[0]) < rank(&pair[1])), "{acts:?}");
            prop_assert_eq!(ladder.is_reaped(), exited);
            prop_assert_eq!(acts.contains(&Act::Reap), exited);
            prop_assert!(exited || ladder.is_held(), "{:?}", ladder);
        }
    }
}
