//! Programs that a test needs: what to say without them, waiting for them, and that they end with it. The benches use
//! this file, too.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Says that a test is skipped because something is not there, to the terminal even when it passes; with
/// `BURDOCK_REQUIRE_TOOLS=1`, as in CI, that is a failure.
pub fn skip(what: &str, lacks: &str, remedy: &str) {
    let required = std::env::var_os("BURDOCK_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{what}: {lacks} ({remedy})");
    let _ = writeln!(std::io::stderr(), "\nSKIP {what}: {lacks} ({remedy})\n");
}

/// A command that is killed when the thread that starts it ends: also by SIGKILL to the tests, when nothing is dropped.
/// So start it where the test itself runs.
pub fn bound_to_thread(program: impl AsRef<OsStr>) -> Command {
    if Command::new("setpriv").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Polls `condition` with `step` between until it gives something, or panics with `what`.
pub fn wait_in_steps<T>(
    what: &str,
    at_most: Duration,
    step: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < at_most, "{what}: not within {at_most:?}");
        std::thread::park_timeout(step);
    }
}
