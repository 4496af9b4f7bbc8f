//! How each of the servers is started, and for which modes there is which.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::server::{Spec, Who};

/// More than any mode has; burdock gives one principal half of it.
const SESSIONS_MAX: &str = "50000";

/// The name of a scratch folder, before the number of its process.
const SCRATCH: &str = "burdock-peers-";

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// burdock's static release.
    pub burdock: PathBuf,
    /// The folder of the other compiled ones.
    pub peers: PathBuf,
    /// supergateway's script, when it is installed.
    pub supergateway: Option<PathBuf>,
    /// A folder for what is made on the way.
    pub scratch: PathBuf,
    /// Where servers log to, when somebody asks.
    pub logs: Option<PathBuf>,
    token: String,
    token_file: PathBuf,
}

impl Fleet {
    /// Makes the scratch folder and burdock's token.
    ///
    /// # Errors
    /// When burdock makes none.
    pub fn new(burdock: PathBuf, peers: PathBuf, supergateway: Option<PathBuf>) -> Result<Fleet, Failure> {
        // A short path: that of a Unix socket has 107 bytes at most.
        let scratch = std::env::temp_dir().join(format!("{SCRATCH}{}", std::process::id()));
        sweep();
        DirBuilder::new().mode(0o700).create(&scratch)?;
        let token_file = scratch.join("tokens");
        let output = Command::new(&burdock).args(["token", "peers", "--append"]).arg(&token_file).output()?;
        let token = String::from_utf8(output.stdout)?.trim().to_owned();
        if token.is_empty() {
            return Err(format!("burdock token: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let logs = std::env::var_os("PEERS_LOGS").map(PathBuf::from);
        if let Some(logs) = &logs {
            std::fs::create_dir_all(logs)
                .map_err(|error| format!("PEERS_LOGS, {}: {error}", logs.display()))?;
        }
        Ok(Fleet { burdock, peers, supergateway, scratch, logs, token, token_file })
    }

    /// The child of stdio gateways.
    pub fn child(&self) -> PathBuf {
        self.peers.join("echo-child")
    }

    /// burdock with its demo, and these flags besides.
    pub fn burdock(&self, who: Who, flags: &[OsString]) -> Spec {
        let mut arguments = vec!["serve".into(), "--listen".into(), "127.0.0.1:PORT".into()];
        arguments.extend(self.burdock_flags());
        arguments.extend_from_slice(flags);
        self.spec(who, self.burdock.clone(), arguments, true)
    }

    /// burdock in front of the compiled child.
    pub fn burdock_stdio(&self) -> Spec {
        self.burdock(Who::Burdock, &["--".into(), self.child().into()])
    }

    /// burdock's library with handlers that the demo does not have.
    pub fn burdock_echo(&self) -> Spec {
        let mut arguments = vec!["PORT".into()];
        arguments.extend(self.burdock_flags());
        self.spec(Who::Burdock, self.peers.join("burdock-echo"), arguments, true)
    }

    /// One thread, because there is one core; a token, as on any address but loopback.
    fn burdock_flags(&self) -> Vec<OsString> {
        let mut flags: Vec<OsString> =
            ["--threads", "1", "--max-sessions", SESSIONS_MAX, "--token-file"].map(OsString::from).to_vec();
        flags.push(self.token_file.clone().into());
        flags
    }

    /// rmcp, with one allocator or the other.
    pub fn rmcp(&self, who: Who) -> Spec {
        let name = if who == Who::RmcpJemalloc { "rmcp-echo-jemalloc" } else { "rmcp-echo" };
        self.spec(who, self.peers.join(name), vec!["PORT".into()], false)
    }

    /// The floor.
    pub fn floor(&self) -> Spec {
        self.spec(Who::Floor, self.peers.join("floor"), vec!["PORT".into()], false)
    }

    /// The compiled child so many times, one after the other, with no gateway before it.
    pub fn bare_children(&self, count: u32) -> Command {
        let mut command = Command::new(self.peers.join("floor"));
        command.arg("children").arg(self.child()).arg(count.to_string());
        command
    }

    /// supergateway in front of the compiled child, with a process per session as burdock does it.
    pub fn supergateway(&self) -> Option<Spec> {
        let mut arguments: Vec<OsString> = vec![self.supergateway.as_ref()?.into(), "--stdio".into()];
        arguments.push(self.child().into());
        arguments.extend(
            ["--outputTransport", "streamableHttp", "--stateful", "--port", "PORT", "--logLevel", "none"]
                .map(OsString::from),
        );
        Some(self.spec(Who::Supergateway, PathBuf::from("node"), arguments, false))
    }

    /// All that have the tools of the demo, burdock first.
    pub fn all(&self) -> Vec<Spec> {
        vec![
            self.burdock(Who::Burdock, &[]),
            self.rmcp(Who::Rmcp),
            self.rmcp(Who::RmcpJemalloc),
            self.floor(),
        ]
    }

    fn spec(&self, who: Who, program: PathBuf, arguments: Vec<OsString>, token: bool) -> Spec {
        let log = self.logs.as_ref().map(|logs| logs.join(format!("{}.log", who.name().replace(' ', "-"))));
        Spec { who, program, arguments, token: token.then(|| self.token.clone()), log }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Only tokens that nobody else knows and a socket are in it.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Removes the scratch folders of runs that were killed.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // It is another user's, then.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The size of a program's file in MB.
///
/// # Errors
/// When there is no such file.
pub fn file_megabytes(path: &Path) -> Result<f64, Failure> {
    Ok(fs::metadata(path)?.len() as f64 / 1e6)
}
