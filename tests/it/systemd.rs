//! burdock as a service: what it tells the service manager, sockets that it is passed, and the units of
//! `deploy/systemd`.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::clients::path_with_node;
use crate::redis_server::free_port;
use crate::support::*;

const LATEST: &str = "2025-11-25";

/// The exposure that `systemd-analyze security` may find, times ten.
const EXPOSURE_MAX: &str = "25";

/// A directory of a test's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("burdock-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a program is there; said loudly when not, and a failure in CI.
fn has(what: &str, program: &str, package: &str) -> bool {
    if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
        return true;
    }
    let required = std::env::var_os("BURDOCK_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{what} needs {program}: apt-get install {package}");
    let _ = writeln!(std::io::stderr(), "\nSKIP {what}: no {program} (apt-get install {package})\n");
    false
}

// --- What it tells ----------------------------------------------------------------------------------------------------

/// Stands in for the service manager: the socket it listens at, and all it was told so far.
struct Manager {
    socket: UnixDatagram,
    folder: Folder,
    /// `NAME=value` lines in their order.
    told: Vec<String>,
}

impl Manager {
    fn new() -> Manager {
        let folder = Folder::new("notify");
        let socket = UnixDatagram::bind(folder.0.join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Manager { socket, folder, told: Vec::new() }
    }

    fn path(&self) -> PathBuf {
        self.folder.0.join("notify")
    }

    fn listen(&mut self) {
        let mut datagram = [0; 4096];
        if let Ok(length) = self.socket.recv(&mut datagram) {
            self.told.extend(String::from_utf8_lossy(&datagram[..length]).lines().map(str::to_owned));
        }
    }

    /// Waits until a line that begins like this was told, after the first `skip` lines; returns its place.
    fn hears(&mut self, beginning: &str, skip: usize) -> usize {
        let begun = Instant::now();
        loop {
            let found = self.told.iter().skip(skip).position(|line| line.starts_with(beginning));
            if let Some(found) = found {
                return skip + found;
            }
            assert!(begun.elapsed() < SOON, "no {beginning}: {:?}", self.told);
            self.listen();
        }
    }
}

/// READY when it serves, WATCHDOG at half the period all the while, STOPPING at the signal, and while it drains more
/// time again and again with how it goes.
#[test]
fn the_service_manager_hears_how_it_goes() {
    let mut manager = Manager::new();
    let path = manager.path();
    let mut burdock = Burdock::serve_with(&["--node", "n1", "--drain-timeout", "60s"], |command| {
        command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "200000");
    });
    let ready = manager.hears("READY=1", 0);
    assert_eq!(manager.told[ready + 1], format!("STATUS=node n1: listening on {}", burdock.address));
    let watchdog = manager.hears("WATCHDOG=1", ready);
    let begun = Instant::now();
    let second = manager.hears("WATCHDOG=1", watchdog + 1);
    manager.hears("WATCHDOG=1", second + 1);
    // Two periods at most, on a machine that is busy; ten times what is due.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    let mut client = burdock.client();
    client.request("GET", "/health/ready", &[], "");
    assert_eq!(client.response().status, 200);
    let session = burdock.session(LATEST);
    burdock.signal("-TERM");
    let stopping = manager.hears("STOPPING=1", second);
    let extended = manager.hears("EXTEND_TIMEOUT_USEC=30000000", stopping);
    let status = manager.hears("STATUS=stopping, no new sessions: 1 sessions", extended);
    manager.hears("EXTEND_TIMEOUT_USEC=30000000", extended + 1);
    manager.hears("WATCHDOG=1", status);
    assert_eq!(session.delete().status, 204);
    assert_eq!(burdock.wait().code(), Some(0));
}

/// WATCHDOG_USEC that is meant for another process is not heeded.
#[test]
fn the_watchdog_of_another_process() {
    let mut manager = Manager::new();
    let path = manager.path();
    let mut burdock = Burdock::serve_with(&[], |command| {
        command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    });
    let ready = manager.hears("READY=1", 0);
    burdock.signal("-INT");
    manager.hears("STOPPING=1", ready);
    assert!(!manager.told.iter().any(|line| line.starts_with("WATCHDOG")), "{:?}", manager.told);
    assert_eq!(burdock.wait().code(), Some(0));
}

/// A service manager that does not read holds up nothing for long.
#[test]
fn a_deaf_service_manager() {
    let manager = Manager::new();
    let path = manager.path();
    let begun = Instant::now();
    let mut burdock = Burdock::serve_with(&[], |command| {
        command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "2000");
    });
    // Its queue is full by now: the watchdog's words come every millisecond.
    let session = burdock.session(LATEST);
    assert_eq!(session.delete().status, 204);
    wait_for("a full queue", SOON, || {
        burdock.log().contains("the service manager was not told").then_some(())
    });
    assert_eq!(burdock.session(LATEST).delete().status, 204);
    burdock.signal("-INT");
    assert_eq!(burdock.wait().code(), Some(0));
    assert!(begun.elapsed() < SOON);
}

/// Children hear nothing of the service manager and have no descriptor of burdock's; nor has the watchdog process.
#[test]
fn children_know_nothing_of_the_service_manager() {
    let Some(mut activated) = Activated::start("children", &["--", &test_child()]) else { return };
    let session = activated.burdock.session(LATEST);
    let surroundings = session.call(1, "env", json!({}));
    let text = surroundings["result"]["content"][0]["text"].as_str().unwrap();
    for name in ["LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"] {
        assert!(!text.contains(name), "{text}");
    }
    let inode = listening_inode(activated.burdock.address);
    let holders = holders_of(inode);
    assert_eq!(holders, [activated.burdock.process.id()], "others hold the listening socket");
    activated.burdock.signal("-INT");
    assert_eq!(activated.burdock.wait().code(), Some(0));
}

/// The inode of the socket that listens on a port of 127.0.0.1 (`/proc/net/tcp`, proc(5)).
fn listening_inode(address: SocketAddr) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{:04X}", address.port());
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(1) == Some(&&*local) && words.get(3) == Some(&"0A")).then(|| words[9].parse().unwrap())
    };
    table.lines().find_map(row).expect("a listening socket")
}

/// The processes that have a socket open.
fn holders_of(inode: u64) -> Vec<u32> {
    let wanted = format!("socket:[{inode}]");
    let all = std::fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
            open.is_ok_and(|mut open| {
                open.any(|link| {
                    link.is_ok_and(|link| {
                        std::fs::read_link(link.path()).is_ok_and(|to| to == Path::new(&wanted))
                    })
                })
            })
        })
        .collect()
}

// --- Sockets that are passed -----------------------------------------------------------------------------------------

/// A burdock that systemd-socket-activate has started at the first connection.
struct Activated {
    burdock: Burdock,
    first: Response,
}

impl Activated {
    /// `None` when there is no systemd-socket-activate.
    fn start(what: &str, arguments: &[&str]) -> Option<Activated> {
        has(what, "systemd-socket-activate", "systemd").then(|| {
            let address = format!("127.0.0.1:{}", free_port());
            let first = std::thread::spawn({
                let address: SocketAddr = address.parse().unwrap();
                move || knock(address)
            });
            // It hands on no variables but those it is told to.
            let activate =
                ["-E", "BURDOCK_LOG=debug", "-l", &address, env!("CARGO_BIN_EXE_burdock"), "serve"];
            let burdock = Burdock::run("systemd-socket-activate", &[&activate, arguments].concat(), |_| {});
            assert_eq!(burdock.address.to_string(), address);
            Activated { burdock, first: first.join().unwrap() }
        })
    }
}

/// The first request to a port, as soon as somebody listens there.
fn knock(address: SocketAddr) -> Response {
    wait_for("the port", SOON, || TcpStream::connect(address).ok());
    let mut client = Client::connect(address);
    client.request("GET", "/health/live", &[], "");
    client.response()
}

/// The request that made systemd start burdock is answered, and so are those that follow.
#[test]
fn the_first_connection_starts_it() {
    let Some(mut activated) = Activated::start("activation", &["--listen", "127.0.0.1:9"]) else { return };
    assert_eq!(activated.first.status, 200);
    let session = activated.burdock.session(LATEST);
    assert_eq!(session.delete().status, 204);
    let log = activated.burdock.log();
    assert!(log.contains("serving on a socket that was passed"), "{log}");
    assert!(log.contains("--listen 127.0.0.1:9 is not used: a socket on 127.0.0.1:"), "{log}");
    activated.burdock.signal("-INT");
    assert_eq!(activated.burdock.wait().code(), Some(0));
}

/// `burdock serve` with `passed` as descriptor 3 and `count` said of it, as sd_listen_fds(3) has it.
fn with_passed(passed: OwnedFd, count: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ exec "$@""#;
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_burdock"), "serve"]).args(arguments);
    command.stdin(passed).env("LISTEN_FDS", count.to_string()).env("BURDOCK_LOG", "debug");
    command
}

fn serve_on(listener: &TcpListener, arguments: &[&str]) -> Burdock {
    Burdock::start(with_passed(listener.try_clone().unwrap().into(), 1, arguments))
}

/// While burdock restarts its socket stays open: whoever connects waits, and is served by the next one.
#[test]
fn the_port_stays_open_across_a_restart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut before = serve_on(&listener, &[]);
    assert_eq!(before.address, address);
    assert_eq!(before.session(LATEST).delete().status, 204);
    before.signal("-TERM");
    assert_eq!(before.wait().code(), Some(0));
    let mut waiting: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
    for client in &mut waiting {
        client.request("GET", "/health/live", &[], "");
    }
    let _after = serve_on(&listener, &[]);
    for client in &mut waiting {
        assert_eq!(client.response().status, 200);
    }
}

/// The exit status and what was said of a burdock that refuses to serve.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A socket on a public address wants tokens, as `--listen` does, whatever `--listen` says.
#[test]
fn a_public_socket_without_tokens_is_refused() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let passed = || listener.try_clone().unwrap().into();
    let (status, text) = refused(with_passed(passed(), 1, &["--listen", "127.0.0.1:0"]));
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("the socket that was passed, on 0.0.0.0:"), "{text}");
    assert!(text.contains("--token-file"), "{text}");
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let allowed = with_passed(passed(), 1, &["--insecure-public", "--public-url", &url]);
    let mut allowed = Burdock::start(allowed);
    assert!(allowed.log().contains("everyone who can reach"), "{}", allowed.log());
    allowed.signal("-INT");
    assert_eq!(allowed.wait().code(), Some(0));
}

/// What burdock cannot serve on is said, not served on.
#[test]
fn sockets_of_no_use_are_refused() {
    let folder = Folder::new("passed");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let unix = UnixListener::bind(folder.0.join("socket")).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for (passed, count, part) in [
        (OwnedFd::from(listener.try_clone().unwrap()), 2, "2 sockets were passed"),
        (connection.into(), 1, "does not listen"),
        (unix.into(), 1, "no TCP socket"),
        (file.into(), 1, "no TCP socket"),
    ] {
        let (status, text) = refused(with_passed(passed, count, &[]));
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains(part) && text.contains("LISTEN_FDS"), "{text}");
    }
}

// --- The units --------------------------------------------------------------------------------------------------------

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The units as they are in the repository, but for burdock's path: the one that was built is on every machine.
fn units(folder: &Folder) -> [PathBuf; 2] {
    let from = repository().join("deploy/systemd");
    let drop_ins = folder.0.join("burdock@.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::copy(from.join("burdock@.service.d/credentials.conf"), drop_ins.join("credentials.conf"))
        .unwrap();
    ["burdock@.service", "burdock@.socket"].map(|unit| {
        let text = std::fs::read_to_string(from.join(unit)).unwrap();
        let path = folder.0.join(unit);
        std::fs::write(&path, text.replace("/usr/local/bin/burdock", env!("CARGO_BIN_EXE_burdock"))).unwrap();
        path
    })
}

/// What `systemd-analyze` says, and whether it is content.
fn analyze(arguments: &[&str], units: &[PathBuf]) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).args(units).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// No word of complaint from `systemd-analyze verify`, which does complain when there is something.
#[test]
fn the_units_are_sound() {
    if !has("units", "systemd-analyze", "systemd") {
        return;
    }
    let folder = Folder::new("units");
    let units = units(&folder);
    assert_eq!(analyze(&["verify"], &units), (true, String::new()));
    let text = std::fs::read_to_string(&units[0]).unwrap();
    std::fs::write(&units[0], text.replace("KillMode=mixed", "KilMode=mixed")).unwrap();
    assert!(analyze(&["verify"], &units).1.contains("KilMode"), "verify finds nothing");
}

/// `systemd-analyze security`: an exposure of 2.5 or less.
#[test]
fn the_service_is_confined() {
    if !has("units", "systemd-analyze", "systemd") {
        return;
    }
    let folder = Folder::new("units");
    let [service, _] = units(&folder);
    let limit = format!("--threshold={EXPOSURE_MAX}");
    let security = ["security", "--offline=true", "--no-pager", &limit];
    let (sound, text) = analyze(&security, std::slice::from_ref(&service));
    assert!(sound && text.contains("Overall exposure level"), "{text}");
    let unconfined = std::fs::read_to_string(&service).unwrap().replace("SystemCallFilter=", "#");
    std::fs::write(&service, unconfined.replace("CapabilityBoundingSet=", "#")).unwrap();
    assert!(!analyze(&security, &[service]).0, "nothing is too much for it");
}

/// A token file that systemd has put into the credentials directory by an access list, whose mask looks like
/// permissions of the group.
#[test]
fn a_token_file_among_the_credentials() {
    let folder = Folder::new("credentials");
    let tokens = folder.0.join("tokens");
    let made = Command::new(env!("CARGO_BIN_EXE_burdock"))
        .args(["token", "ann", "--append", tokens.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(made.status.success());
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o440)).unwrap();
    let serve = ["--token-file", tokens.to_str().unwrap()];
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_burdock"));
    elsewhere.args(["serve", "--listen", "127.0.0.1:0"]).args(serve);
    let (status, text) = refused(elsewhere);
    assert!(status == Some(2) && text.contains("open to others"), "{text}");
    let burdock = Burdock::serve_with(&serve, |command| {
        command.env("CREDENTIALS_DIRECTORY", &folder.0);
    });
    let mut client = burdock.client();
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    assert_eq!(client.response().status, 401);
}

/// A server in one line of JavaScript that answers each request with what it sees of its sandbox.
const NODE_SERVER: &str = r#"
const fs = require("fs"), os = require("os");
fs.writeFileSync(os.homedir() + "/written", "x");
os.networkInterfaces();
eval("(x) => x * 2")(21);
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method } = JSON.parse(line);
  if (id === undefined) return;
  const status = fs.readFileSync("/proc/self/status", "utf8");
  const result = method === "initialize"
    ? { protocolVersion: "2025-11-25", capabilities: {}, serverInfo: { name: "node", version: "1" } }
    : { content: [{ type: "text", text: os.homedir() + "\n" + status }] };
  console.log(JSON.stringify({ jsonrpc: "2.0", id, result }));
});
"#;

/// The state directory, empty as at the first start.
fn confined(home: &Folder, server: &[&str]) -> Burdock {
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs"]);
    // Without capabilities, where there are any to be given up.
    if rustix::process::geteuid().is_root() {
        command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    }
    command.args([env!("CARGO_BIN_EXE_burdock"), "serve", "--listen", "127.0.0.1:0", "--"]).args(server);
    command.env_clear().envs([("HOME", home.0.as_os_str()), ("PATH", path_with_node().as_ref())]);
    command.env("BURDOCK_LOG", "debug").current_dir(&home.0);
    Burdock::start(command)
}

/// A server in node runs with what the unit gives it: no new privileges, no capabilities, an empty HOME to write to.
#[test]
fn node_runs_as_under_the_unit() {
    let what = "node under the unit";
    if !(has(what, "setpriv", "util-linux") && has(what, "node", "nodejs")) {
        return;
    }
    let home = Folder::new("home");
    let burdock = confined(&home, &["node", "-e", NODE_SERVER]);
    let session = burdock.session(LATEST);
    let answer = session.call(1, "any", json!({}));
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with(home.0.to_str().unwrap()) && text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
    assert!(home.0.join("written").exists());
}
