//! A Redis of our own: a socket in the scratch folder, nothing on disk, on the core of the load.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::machine::Cores;
use crate::server::spawn_on;

/// From its start to its socket.
const READY_DEADLINE: Duration = Duration::from_secs(5);
/// Between two looks for it.
const STEP: Duration = Duration::from_millis(5);

/// See the module. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    socket: PathBuf,
}

impl Redis {
    /// Starts it. `None` when the machine has none.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(scratch: &Path, cores: Cores) -> Result<Option<Redis>, Failure> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            return Ok(None);
        }
        let socket = scratch.join("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
        command.arg("--dir").arg(scratch).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let redis = Redis { child: spawn_on(&mut command, cores.load)?, socket };
        let begun = Instant::now();
        while UnixStream::connect(&redis.socket).is_err() {
            if begun.elapsed() > READY_DEADLINE {
                return Err("redis-server does not listen".into());
            }
            std::thread::sleep(STEP);
        }
        Ok(Some(redis))
    }

    /// What burdock is told.
    pub fn flags(&self) -> Vec<OsString> {
        let mut url = OsString::from("unix://");
        url.push(&self.socket);
        vec!["--node".into(), "n1".into(), "--redis".into(), url, "--redis-required".into()]
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
