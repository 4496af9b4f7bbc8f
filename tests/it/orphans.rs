//! No orphan, ever: whatever children start, nothing of it is left after a session or after burdock itself.
//!
//! Every process of a test is found by its HOME, which only this test has.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::*;

const LATEST: &str = "2025-11-25";

/// By turns: a plain child; one with a grandchild in its group that ignores everything; one with a double-forked
/// grandchild in a session of its own that ignores everything and holds no pipe.
const SCRIPT: &str = r#"
case $(( $$ % 3 )) in
  1) (trap '' HUP TERM INT; exec sleep 1000) & ;;
  2) setsid sh -c '(trap "" HUP TERM INT; exec sleep 1000 </dev/null >/dev/null 2>&1) & exit 0' ;;
esac
exec "$0"
"#;

struct Home(std::path::PathBuf);

impl Home {
    fn new(name: &str) -> Home {
        let path = std::env::temp_dir().join(format!("burdock-orphans-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Home(path)
    }

    /// The processes of this home that are not burdock or its watchdog.
    fn processes(&self) -> Vec<(u32, String)> {
        let mark = format!("HOME={}", self.0.display());
        let all = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        all.filter_map(|pid: u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
            let ours = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
            (ours && !name.starts_with("burdock")).then_some((pid, name))
        })
        .collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn serve(home: &Home, flags: &[&str]) -> Burdock {
    let child = test_child();
    let arguments: Vec<&str> = [flags, &["--log", "warn", "--", "sh", "-c", SCRIPT, &child]].concat();
    Burdock::serve_with(&arguments, |command| {
        command.env("HOME", &home.0);
    })
}

/// Begins `count` sessions over a few connections at a time and forgets them.
fn abandon(burdock: &Burdock, count: usize) {
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let address = burdock.address;
            scope.spawn(move || {
                for _ in (worker..count).step_by(8) {
                    Session::begin(address, "/mcp", LATEST, &[]);
                }
            });
        }
    });
}

/// 1,000 abandoned sessions: all children and grandchildren end with their session.
#[test]
fn abandoned_sessions_leave_no_process() {
    let home = Home::new("abandoned");
    let burdock = serve(&home, &["--idle-timeout", "3s", "--max-sessions", "1100"]);
    abandon(&burdock, 1000);
    assert!(!home.processes().is_empty(), "nothing was there to be left behind");
    wait_for("the end of every process", Duration::from_secs(60), || {
        home.processes().is_empty().then_some(())
    });
}

/// The same at the end of burdock.
#[test]
fn sigterm_leaves_no_process() {
    let home = Home::new("sigterm");
    let mut burdock = serve(&home, &[]);
    abandon(&burdock, 40);
    assert!(home.processes().len() > 50);
    burdock.signal("-TERM");
    assert_eq!(burdock.wait().code(), Some(0));
    assert_eq!(home.processes(), []);
}

fn gone_within_two_seconds(home: &Home) {
    let killed = Instant::now();
    loop {
        let left = home.processes();
        if left.is_empty() {
            return;
        }
        assert!(killed.elapsed() < Duration::from_secs(2), "left after 2 s: {left:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// `kill -9` of burdock with 50 sessions.
#[test]
fn kill_9_leaves_no_process() {
    let home = Home::new("kill9");
    let mut burdock = serve(&home, &[]);
    abandon(&burdock, 50);
    assert!(home.processes().len() > 60);
    burdock.process.kill().unwrap();
    burdock.process.wait().unwrap();
    gone_within_two_seconds(&home);
    assert!(!Path::new(&format!("/proc/{}", burdock.process.id())).exists());
}

/// `kill -9` in the middle of spawning, at times that differ.
#[test]
fn kill_9_while_spawning_leaves_no_process() {
    for round in 0..8 {
        let home = Home::new(&format!("spawning{round}"));
        let mut burdock = serve(&home, &[]);
        let address = burdock.address;
        let clients: Vec<_> = (0..50)
            .map(|_| {
                let mut client = Client::connect(address);
                client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
                client
            })
            .collect();
        std::thread::park_timeout(Duration::from_millis(5 + 17 * round));
        burdock.process.kill().unwrap();
        burdock.process.wait().unwrap();
        drop(clients);
        gone_within_two_seconds(&home);
    }
}
