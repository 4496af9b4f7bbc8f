//! What burdock and its watchdog say to each other: one line of text each.

use std::fmt;

use rustix::process::Pid;

/// The variable that tells the watchdog the nonce of the run. Not a mark: the watchdog must not find itself.
pub(super) const NONCE_NAME: &str = "BURDOCK_WATCHED";
/// The first line of the watchdog: from here on it survives what kills burdock.
pub(super) const READY: &str = "ready";

/// What burdock tells its watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DogNote {
    /// A child was started; its process id is also the id of its group.
    Started(Pid),
    /// The child with this number was reaped and its group killed.
    Ended(Pid, u64),
    /// burdock is about to exit, and all its children are stopped.
    Goodbye,
}

impl fmt::Display for DogNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DogNote::Started(pid) => write!(f, "+{pid}"),
            DogNote::Ended(pid, number) => write!(f, "-{pid} {number}"),
            DogNote::Goodbye => f.write_str("bye"),
        }
    }
}

impl DogNote {
    /// Reads what `Display` wrote. Process ids of 1 and less are refused: signals to those mean something
    /// else.
    pub(super) fn parse(line: &str) -> Option<DogNote> {
        let pid = |text: &str| Pid::from_raw(text.parse().ok().filter(|pid| *pid > 1)?);
        if let Some(started) = line.strip_prefix('+') {
            return Some(DogNote::Started(pid(started)?));
        }
        if let Some((ended, number)) = line.strip_prefix('-').and_then(|rest| rest.split_once(' ')) {
            return Some(DogNote::Ended(pid(ended)?, number.parse().ok()?));
        }
        (line == "bye").then_some(DogNote::Goodbye)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_written() {
        let pid = Pid::from_raw(4711).unwrap();
        for note in [DogNote::Started(pid), DogNote::Ended(pid, 12), DogNote::Goodbye] {
            assert_eq!(DogNote::parse(&note.to_string()), Some(note));
        }
        for line in ["", "+", "+0", "+1", "+-5", "-1 2", "-5", "-5 x", "bye!", "sync"] {
            assert_eq!(DogNote::parse(line), None, "{line}");
        }
    }
}
