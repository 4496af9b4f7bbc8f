//! Runs one client's driver, a program that prints one JSON line for each step, and reads off its row.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::forwarder::{Cut, Forwarder};

/// A driver's whole run. The slowest takes a quarter of this on an idle machine.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);
/// Lines that wait between the reader of a program's output and whoever looks at them.
const LINES: usize = 64;

/// One line of a driver.
#[derive(Debug, Deserialize)]
struct Line {
    step: String,
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    note: String,
    cannot: Option<String>,
    how: Option<String>,
}

/// One cell of the matrix: the word that the expected table holds, and what the driver said to it.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) mark: &'static str,
    pub(crate) note: String,
}

/// A client's cells by step.
pub(crate) type Row = BTreeMap<String, Cell>;

/// Runs `command` to its end, at most [`RUN_TIMEOUT`]. What it says on stderr goes to `log`.
pub(crate) fn run(command: Command, forwarder: &Forwarder, log: &Path) -> Row {
    let driver = Driver::start(command, log);
    read_row(&driver.lines, forwarder)
}

/// A driver's process; its whole group is ended on drop.
pub(crate) struct Driver {
    child: Child,
    pub(crate) lines: Receiver<String>,
}

impl Driver {
    /// What it says on stderr goes to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Driver {
        let stderr = File::create(log).expect("create the driver's log");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let lines = lines_of(&mut child);
        Driver { child, lines }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The driver itself has ended, or has had its time; its helpers (mcp-remote, the Inspector) share the group.
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The lines of a child's stdout, read by a thread of their own so that waiting for one can have a deadline.
pub(crate) fn lines_of(child: &mut Child) -> Receiver<String> {
    let stdout = child.stdout.take().expect("stdout is piped");
    let (sender, lines) = sync_channel(LINES);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Reading goes on when nobody listens any more: a full pipe would stop the child.
            let _ = sender.send(line);
        }
    });
    lines
}

fn read_row(lines: &Receiver<String>, forwarder: &Forwarder) -> Row {
    let deadline = Instant::now() + RUN_TIMEOUT;
    let mut row = Row::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(text) => take_line(&text, &mut row, forwarder),
            Err(RecvTimeoutError::Disconnected) => return row,
            Err(RecvTimeoutError::Timeout) => {
                let note = format!("the driver had not ended after {RUN_TIMEOUT:?}");
                row.insert("run".into(), Cell { mark: "FAILED", note });
                return row;
            }
        }
    }
}

fn take_line(text: &str, row: &mut Row, forwarder: &Forwarder) {
    let line: Line = match serde_json::from_str(text) {
        Ok(line) => line,
        Err(error) => {
            let note = format!("not a step line ({error}): {text}");
            row.insert("run".into(), Cell { mark: "FAILED", note });
            return;
        }
    };
    if let Some(how) = &line.how {
        let how = if how == "rst" { Cut::Rst } else { Cut::Fin };
        let open = forwarder.cut(how);
        assert!(open > 0, "there was no connection to cut");
        return;
    }
    let cell = cell_of(&line, forwarder);
    row.insert(line.step, cell);
}

/// The driver says whether the step went well; how it did so is seen from the wire where that matters.
fn cell_of(line: &Line, forwarder: &Forwarder) -> Cell {
    let seen = forwarder.seen();
    let note = line.cannot.clone().unwrap_or_else(|| line.note.clone());
    let mark = match line.step.as_str() {
        _ if line.cannot.is_some() => "cannot",
        _ if !line.ok => "FAILED",
        "notification" if seen.logs_on_get.load(Ordering::Relaxed) == 0 => "not-on-GET",
        // Each cut sets the count back, so that the second one cannot live on the first one's resumption.
        "dropped" | "reset" if seen.resumptions.swap(0, Ordering::Relaxed) > 0 => "resumed",
        "close" if seen.deletes.load(Ordering::Relaxed) == 0 => "no-DELETE",
        _ => "ok",
    };
    Cell { mark, note }
}
