//! burdock as a service: what it tells the service manager, sockets that it is passed, and the units of
//! `deploy/systemd`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
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
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
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
    let there = succeeds(Command::new(program).arg("--version"));
    if !there {
        skip(what, &format!("no {program}"), &format!("apt-get install {package}"));
    }
    there
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
    let status = manager.hears("STATUS=stopping, no new sessions: 1 session, ", extended);
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

/// An abstract address (`@...`), as sd_notify(3) has it too.
#[test]
fn a_service_manager_without_a_file() {
    let name = format!("burdock-notify-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut manager = Manager { socket, folder: Folder::new("abstract"), told: Vec::new() };
    let mut burdock = Burdock::serve_with(&[], |command| {
        command.env("NOTIFY_SOCKET", format!("@{name}"));
    });
    manager.hears("READY=1", 0);
    burdock.signal("-INT");
    manager.hears("STOPPING=1", 0);
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
    let threads = || std::fs::read_dir(format!("/proc/{}/task", burdock.process.id())).unwrap().count();
    let some = threads();
    wait_for("three more attempts", SOON, || {
        (burdock.log().matches("the service manager was not told").count() > 3).then_some(())
    });
    assert!(threads() <= some, "a thread for each word that nobody reads: {some} -> {}", threads());
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
    for part in
        ["serving on a socket that was passed", "--listen 127.0.0.1:9 is not used: a socket on 127.0.0.1:"]
    {
        wait_for(part, SOON, || activated.burdock.log().contains(part).then_some(()));
    }
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
    wait_for("a warning", SOON, || allowed.log().contains("everyone who can reach").then_some(()));
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

/// Every variable that the units and the example name is one that burdock knows.
#[test]
fn the_variables_of_the_units_are_known() {
    let known = burdock::config::Flag::ALL.map(burdock::config::Flag::variable);
    let folder = repository().join("deploy/systemd");
    for file in ["burdock@.service", "burdock@.service.d/credentials.conf", "burdock.env.example"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let names = text.match_indices("BURDOCK_").map(|(at, _)| {
            let end = text[at..].find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            text[at..at + end.unwrap_or(text.len() - at)].to_owned()
        });
        let names: Vec<String> = names.collect();
        assert!(!names.is_empty(), "{file} names none");
        for name in names {
            assert!(known.contains(&name), "{file}: {name}");
        }
    }
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

// --- Children under the unit ------------------------------------------------------------------------------------------

/// A server in JavaScript that says what it sees of its sandbox; it compiles, asks for interfaces and writes to HOME.
const NODE_SERVER: &str = r#"
const fs = require("fs"), os = require("os");
fs.writeFileSync(os.homedir() + "/written", "x");
os.networkInterfaces();
let elsewhere = "writable";
try { fs.accessSync("/usr", fs.constants.W_OK); } catch (error) { elsewhere = error.code; }
let sum = 0;
const double = eval("(x) => x * 2");
for (let i = 0; i < 200000; i += 1) sum += double(i);
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method } = JSON.parse(line);
  if (id === undefined) return;
  const status = fs.readFileSync("/proc/self/status", "utf8");
  const result = method === "initialize"
    ? { protocolVersion: "2025-11-25", capabilities: {}, serverInfo: { name: "node", version: "1" } }
    : { content: [{ type: "text", text: [os.homedir(), elsewhere, status].join("\n") }] };
  console.log(JSON.stringify({ jsonrpc: "2.0", id, result }));
});
"#;

/// Makes the file system read-only but for `$0`, and runs a command.
const READ_ONLY: &str = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@""#;

/// What puts a command under the unit's filter of system calls.
fn filter() -> [String; 3] {
    let path = |path: &str| repository().join(path).to_str().unwrap().to_owned();
    ["python3".to_owned(), path("tests/systemd/confine.py"), path("deploy/systemd/burdock@.service")]
}

/// What of the unit this machine lets a test have besides HOME and no_new_privs.
#[derive(Clone, Copy)]
struct Confinement {
    /// No capabilities.
    root: bool,
    /// A file system that is read-only but for the directory of temporary files.
    mounts: bool,
}

impl Confinement {
    fn here() -> Confinement {
        let root = rustix::process::geteuid().is_root();
        let temporary = std::env::temp_dir();
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", READ_ONLY]).arg(temporary).args(["sh", "-c", "! test -w /usr"]);
        Confinement { root, mounts: root && succeeds(&mut unshare) }
    }

    /// `burdock serve -- SERVER` under the filter, the privileges and the HOME of the unit: an empty directory.
    fn command(self, home: &Folder, server: &[&str]) -> Command {
        let mut words: Vec<&str> = Vec::new();
        let temporary = home.0.parent().unwrap().to_str().unwrap();
        if self.mounts {
            words.extend(["unshare", "--mount", "sh", "-c", READ_ONLY, temporary]);
        }
        words.extend(["setpriv", "--no-new-privs"]);
        if self.root {
            words.extend(["--bounding-set=-all", "--inh-caps=-all"]);
        }
        let filter = filter();
        words.extend(filter.iter().map(String::as_str));
        words.extend([env!("CARGO_BIN_EXE_burdock"), "serve", "--listen", "127.0.0.1:0", "--"]);
        words.extend(server);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear();
        command.envs([("HOME", home.0.as_os_str()), ("PATH", path_with_node().as_ref())]);
        command.env("BURDOCK_LOG", "debug").stdin(Stdio::null());
        command
    }
}

/// Whether the tools are there that a child's confinement takes.
fn can_confine(what: &str) -> bool {
    let tools = [
        ("setpriv", "util-linux"),
        ("node", "nodejs"),
        ("python3", "python3"),
        ("systemd-analyze", "systemd"),
    ];
    if !tools.iter().all(|(program, package)| has(what, program, package)) {
        return false;
    }
    let [python, script, unit] = filter();
    let filtered = succeeds(Command::new(python).args([&script, &unit, "true"]));
    if !filtered {
        skip(what, "no filter of system calls here", "python3 tests/systemd/confine.py says why");
    }
    filtered
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A server in node runs with what the unit gives it: its system calls, no new privileges, no capabilities, a
/// read-only system and an empty HOME to write to.
#[test]
fn node_runs_as_under_the_unit() {
    if !can_confine("node under the unit") {
        return;
    }
    let (home, confinement) = (Folder::new("home"), Confinement::here());
    let burdock = Burdock::start(confinement.command(&home, &["node", "-e", NODE_SERVER]));
    let session = burdock.session(LATEST);
    let answer = session.call(1, "any", json!({}));
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with(home.0.to_str().unwrap()), "{text}");
    assert!(text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2"), "{text}");
    assert!(!confinement.root || text.contains("CapEff:\t0000000000000000"), "{text}");
    assert!(!confinement.mounts || text.contains("\nEROFS\n"), "{text}");
    assert!(home.0.join("written").exists());
}

/// The real server, started by npx as an operator would, with the cache of npm in the empty HOME.
#[test]
fn npx_runs_as_under_the_unit() {
    let what = "npx under the unit";
    let clients = repository().join("tests/clients");
    if !can_confine(what) {
        return;
    }
    if !clients.join("node_modules/@modelcontextprotocol/server-everything").is_dir() {
        return skip(what, "no server-everything", "tests/clients/install");
    }
    let home = Folder::new("home");
    let mut command =
        Confinement::here().command(&home, &["npx", "-y", "@modelcontextprotocol/server-everything"]);
    // npx takes the pinned server from node_modules here.
    command.current_dir(clients);
    let burdock = Burdock::start(command);
    let session = burdock.session(LATEST);
    let answer = session.call(1, "echo", json!({"message": "x"}));
    assert_eq!(answer["result"]["content"][0]["text"], "Echo: x");
    assert!(home.0.join(".npm").is_dir(), "npm keeps its cache elsewhere");
}
