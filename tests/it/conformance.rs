//! MCP's official conformance suite against the server in `tests/conformance`: by itself, and as a child behind
//! burdock. Judged by the exit status and by each check the suite wrote down, for its printed counts are no proof.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::clients::{node_dir, tools_are_installed};
use crate::support::{Burdock, example};

/// What is run, and how many scenarios write down checks at least: fewer, and the suite has tested something else.
const RUNS: [(&[&str], usize); 3] = [
    (&["--requirements", "2025-11-25"], 30),
    (&["--spec-version", "2025-06-18"], 20),
    (&["--spec-version", "2025-03-26"], 1),
];

#[test]
fn the_suite_passes_in_process() {
    if tools_are_installed("conformance suite") {
        let server = Burdock::run(example("conformance"), &["--listen", "127.0.0.1:0"], |_| {});
        run_all(server.address, "in-process");
    }
}

#[test]
fn the_suite_passes_behind_burdock() {
    if tools_are_installed("conformance suite") {
        let server = Burdock::serve(&["--", &example("conformance"), "--stdio"]);
        run_all(server.address, "behind-burdock");
    }
}

/// The suite against the endpoint at `address`; the name is for its folder.
pub fn run_all(address: SocketAddr, name: &str) {
    for (arguments, scenarios) in RUNS {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance").join(name).join(arguments[1]);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        run(address, arguments, &folder);
        judge(&folder, scenarios, arguments.contains(&"--requirements"));
    }
}

fn run(address: SocketAddr, arguments: &[&str], folder: &Path) {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let output = Command::new(node_dir().join("node"))
        .arg(suite.join("node_modules/@modelcontextprotocol/conformance/dist/index.js"))
        .args(["server", "--url", &format!("http://{address}/mcp"), "-o"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
}

/// No check failed or warned, and the one of resuming a stream was really made.
fn judge(folder: &Path, scenarios: usize, polling: bool) {
    let files = checks_below(folder);
    assert!(files.len() >= scenarios, "{} scenarios in {}", files.len(), folder.display());
    let mut resumed = false;
    for file in &files {
        let checks: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        for check in &checks {
            let status = check["status"].as_str().unwrap();
            assert!(matches!(status, "SUCCESS" | "INFO"), "{}: {check:#}", file.display());
            resumed |= check["id"] == "server-sse-disconnect-resume" && status == "SUCCESS";
        }
    }
    assert!(resumed || !polling, "no stream was resumed; see {}", folder.display());
}

fn checks_below(folder: &Path) -> Vec<PathBuf> {
    let scenarios = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("checks.json"));
    scenarios.filter(|file| file.exists()).collect()
}
