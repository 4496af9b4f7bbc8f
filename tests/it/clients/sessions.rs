//! A driver that makes many sessions instead of the matrix's steps: connect, list, three calls, close.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::driver::Driver;
use super::{driver_of, logs};

/// All sessions of a driver. The slowest clients start a process for each.
const RUN_TIMEOUT: Duration = Duration::from_secs(180);

/// What one client is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub client: &'static str,
    pub url: String,
    /// A certificate to trust besides those of the system.
    pub authority: PathBuf,
    pub sessions: usize,
    /// Sessions at the same time.
    pub at_once: usize,
    /// For the name of the log.
    pub name: &'static str,
}

/// How it went.
#[derive(Clone, Debug, Deserialize)]
pub struct Tally {
    pub sessions: usize,
    pub calls: usize,
    /// Calls that failed, which is as many sessions: the first failure is a session's last call.
    pub failures: usize,
    pub first: Option<String>,
}

/// Runs the client's driver against the demo at the plan's URL.
pub fn run(plan: &Plan) -> Tally {
    let mut command = driver_of(plan.client);
    command.arg(&plan.url).env("MATRIX_SERVER", "demo").env("MODE", "sessions");
    command.env("SESSIONS", plan.sessions.to_string()).env("AT_ONCE", plan.at_once.to_string());
    // Node adds the first to what it trusts; OpenSSL and rustls, for Python and rmcp, trust the second instead.
    command.env("NODE_EXTRA_CA_CERTS", &plan.authority).env("SSL_CERT_FILE", &plan.authority);
    // Most of the time of a Node program that makes one call goes into compiling it.
    command.env("NODE_COMPILE_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-cache"));
    let driver = Driver::start(command, &logs().join(format!("{}-{}.log", plan.name, plan.client)));
    let line = driver.lines.recv_timeout(RUN_TIMEOUT);
    let line = line.unwrap_or_else(|error| panic!("{plan:?}: {error}; logs: {}", logs().display()));
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{plan:?}: {error}: {line}"))
}
