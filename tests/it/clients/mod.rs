//! The real `@modelcontextprotocol/server-everything`, started by `npx` behind burdock, and eight real clients:
//! a matrix of client by step, and the same against the demo. The drivers and their pinned versions are in `tests/clients`.

mod driver;
mod forwarder;
pub mod sessions; // The same clients, many sessions each: what the cluster's tests run.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::skip;
use driver::{Cell, Row};
use forwarder::Forwarder;

/// What every client is expected to do, and why where a cell is not plain `ok`:
///
/// - `resumed`: every connection was cut in the middle of a call (`dropped` by FIN, `reset` by RST), the client
///   came back with `Last-Event-ID` and the call's result arrived.
/// - `no-DELETE`: mcp-remote and the Inspector leave their sessions to the idle timeout.
/// - `cannot`: the Inspector's command line makes one call per process and prints its result only. Vercel's AI SDK
///   (`ai_sdk`) gives a model the tools, and neither asks for progress nor resumes a call; it reads no event that does
///   not say `event: message`.
const EXPECTED: &str = "
client      connect  list  call  progress  notification  elicitation  sampling  dropped  reset    close
ts1         ok       ok    ok    ok        ok            ok           ok        resumed  resumed  ok
ts2         ok       ok    ok    ok        ok            ok           ok        resumed  resumed  ok
py1         ok       ok    ok    ok        ok            ok           ok        resumed  resumed  ok
py2         ok       ok    ok    ok        ok            ok           ok        resumed  resumed  ok
rmcp        ok       ok    ok    ok        ok            ok           ok        resumed  resumed  ok
mcp_remote  ok       ok    ok    ok        ok            ok           ok        resumed  resumed  no-DELETE
inspector   ok       ok    ok    cannot    cannot        cannot       cannot    cannot   cannot   no-DELETE
ai_sdk      ok       ok    ok    cannot    cannot        ok           cannot    cannot   cannot   ok
";

/// The same against the demo, which asks for no sampling.
fn expected_of_demo() -> String {
    let sampling = EXPECTED.lines().nth(1).unwrap().split_whitespace().position(|step| step == "sampling");
    let cannot = |line: &str| {
        let mut cells: Vec<&str> = line.split_whitespace().collect();
        cells[sampling.unwrap()] = "cannot";
        cells.join(" ")
    };
    EXPECTED
        .lines()
        .skip(1)
        .enumerate()
        .map(|(row, line)| if row == 0 { line.to_owned() } else { cannot(line) })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Drivers that run at the same time: each waits most of its time, but starts with a burst.
const AT_ONCE: usize = 3;
/// burdock listens at once; the first child starts with the first session.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// From each SIGTERM until burdock must be gone: the first drains, the second ends what is left.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn real_clients_walk_the_matrix() {
    if !tools_are_installed("client matrix") {
        return;
    }
    let command = ["--", "npx", "-y", "@modelcontextprotocol/server-everything"];
    matrix("everything", Server::start("everything", &command), EXPECTED);
    matrix("demo", Server::start("demo", &[]), &expected_of_demo());
}

fn matrix(name: &str, server: Server, expected: &str) {
    let rows = walk_all(name, server.address);
    let table = render(&rows);
    say(&format!("\n{name}:{table}"));
    say(&notes(&rows));
    assert_eq!(words(&table), words(expected), "{name}: not as expected; logs: {}", logs().display());
    server.stop();
}

/// Runs all drivers, at most [`AT_ONCE`] together, each through a forwarder of its own; in the table's order.
fn walk_all(name: &str, server: SocketAddr) -> Vec<(&'static str, Row)> {
    let rows = some_at_once(&all(), |client| walk(name, client, server));
    all().into_iter().zip(rows).collect()
}

/// The clients in the table's order.
pub fn all() -> Vec<&'static str> {
    EXPECTED.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect()
}

/// Runs all jobs, at most [`AT_ONCE`] together; what they gave, in their order.
pub fn some_at_once<J: Sync, T: Send>(jobs: &[J], run: impl Fn(&J) -> T + Sync) -> Vec<T> {
    let next = Mutex::new(jobs.iter().enumerate());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((place, job)) = { next.lock().unwrap().next() } {
                    let given = run(job);
                    done.lock().unwrap().push((place, given));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, given)| given).collect()
}

fn walk(name: &str, client: &str, server: SocketAddr) -> Row {
    let forwarder = Forwarder::start(server).unwrap();
    let mut command = driver_of(client);
    command.arg(format!("http://{}/mcp", forwarder.address()));
    command.env("MATRIX_SERVER", name);
    driver::run(command, &forwarder, &logs().join(format!("{name}-{client}.log")))
}

fn driver_of(client: &str) -> Command {
    let tools = root().join(".tools");
    let (program, script) = match client {
        "rmcp" => (tools.join("rmcp/release/client-rmcp"), None),
        "py1" | "py2" => (tools.join(client).join("bin/python"), Some(format!("{client}.py"))),
        _ => (node_dir().join("node"), Some(format!("{client}.mjs"))),
    };
    let mut command = Command::new(program);
    command.args(script.map(|script| clients_dir().join(script)));
    command.env("PATH", path_with_node()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// burdock with a server.
struct Server {
    burdock: Child,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str, command: &[&str]) -> Self {
        let stderr = File::create(logs().join(format!("{name}-burdock.log"))).unwrap();
        let mut burdock = Command::new(env!("CARGO_BIN_EXE_burdock"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(command)
            // npx takes the pinned server from node_modules here, and must not ask a registry about it.
            .current_dir(clients_dir())
            .env("npm_config_offline", "true")
            .env("PATH", path_with_node())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let lines = driver::lines_of(&mut burdock);
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(address) = address_in(&line) {
                        return Self { burdock, address };
                    }
                }
                Err(error) => {
                    let _ = burdock.kill();
                    let _ = burdock.wait();
                    panic!("burdock named no address ({error}); logs: {}", logs().display());
                }
            }
        }
    }

    /// Ends burdock as an operator does; sessions that their clients left behind need the second signal.
    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.burdock);
        for _ in 0..2 {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            if let Some(status) = wait_until(STOP_TIMEOUT, || self.burdock.try_wait().unwrap()) {
                assert!(status.success(), "burdock ended with {status}; logs: {}", logs().display());
                return;
            }
        }
        panic!("burdock outlived two SIGTERM; logs: {}", logs().display());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // For a test that failed half-way; after stop() there is nothing left to kill.
        let _ = self.burdock.kill();
        let _ = self.burdock.wait();
    }
}

/// The address in a line that holds `http://ADDRESS/mcp`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let (address, _) = rest.split_once("/mcp")?;
    address.parse().ok()
}

/// Polls until `ready` gives something or the time is over.
fn wait_until<T>(timeout: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Says so when the tools are not installed; in CI (`BURDOCK_REQUIRE_TOOLS=1`) that is a failure.
pub fn tools_are_installed(what: &str) -> bool {
    let install = clients_dir().join("install");
    let found = Command::new(&install).arg("--check").output().expect("run tests/clients/install");
    if found.status.success() {
        return true;
    }
    let missing = String::from_utf8_lossy(&found.stderr).trim().replace('\n', ", ");
    skip(what, &format!("tools are missing: {missing}"), "tests/clients/install");
    false
}

fn render(rows: &[(&'static str, Row)]) -> String {
    let mut table = String::from("\n");
    let steps: Vec<&str> = EXPECTED.lines().nth(1).unwrap().split_whitespace().skip(1).collect();
    let _ = write!(table, "{:<12}", "client");
    let _ =
        writeln!(table, "{}", steps.iter().map(|step| format!("{step:<14}")).collect::<String>().trim_end());
    for (client, row) in rows {
        let marks = steps.iter().map(|step| row.get(*step).map_or("missing", |cell| cell.mark));
        let marks = marks.map(|mark| format!("{mark:<14}")).collect::<String>();
        let _ = writeln!(table, "{client:<12}{}", marks.trim_end());
    }
    table
}

/// What the drivers said, a line for each cell that says more than `ok`.
fn notes(rows: &[(&'static str, Row)]) -> String {
    let mut text = String::from("\n");
    for (client, row) in rows {
        for (step, Cell { mark, note }) in row.iter().filter(|(_, cell)| !cell.note.is_empty()) {
            let _ = writeln!(text, "{client:<12}{step:<14}{mark:<11}{note}");
        }
    }
    text
}

fn words(table: &str) -> Vec<Vec<&str>> {
    table.lines().filter(|line| !line.is_empty()).map(|line| line.split_whitespace().collect()).collect()
}

/// To the terminal even when the test passes: cargo captures what the print macros say.
pub fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn clients_dir() -> PathBuf {
    root().join("tests/clients")
}

/// The pinned Node, a package like the others.
pub fn node_dir() -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    clients_dir().join(format!("node_modules/node-linux-{arch}/bin"))
}

pub fn path_with_node() -> String {
    format!("{}:{}", node_dir().display(), std::env::var("PATH").unwrap_or_default())
}

/// Where the drivers' and burdock's stderr of this run are.
fn logs() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
