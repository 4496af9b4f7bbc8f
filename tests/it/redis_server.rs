//! A real redis-server, on a port of its own, in a directory of its own; killed on drop.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{SOON, bound_to_thread, skip, wait_for};

/// Redis listens here; stopped, killed and started again by tests.
pub struct RedisServer {
    pub port: u16,
    pub folder: PathBuf,
    process: Option<Child>,
}

/// `None`, said loudly, when there is no redis-server; in CI that is a failure.
pub fn redis_server(what: &str) -> Option<RedisServer> {
    if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok() {
        return Some(RedisServer::start());
    }
    skip(what, "no redis-server", "apt-get install redis-server");
    None
}

impl RedisServer {
    fn start() -> RedisServer {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("burdock-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut server = RedisServer { port: free_port(), folder, process: None };
        server.restart();
        server
    }

    /// Starts it (again) on the same port with whatever dump is in its folder.
    pub fn restart(&mut self) {
        let child = bound_to_thread("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--dir", self.folder.to_str().unwrap(), "--unixsocket"])
            .arg(self.folder.join("redis.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(child);
        wait_for("redis-server", SOON, || {
            redis::Client::open(self.url())
                .unwrap()
                .get_connection()
                .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection))
                .ok()
        });
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A connection of the test's own.
    pub fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// All keys that match, sorted. (For tests: burdock itself never says KEYS.)
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut self.connection()).unwrap();
        keys.sort();
        keys
    }

    /// How often a command was called, by INFO commandstats.
    pub fn calls(&self, command: &str) -> u64 {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut self.connection()).unwrap();
        let prefix = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&prefix));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }

    pub fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("redis-server runs");
        let status = Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// `kill -9`, and reaped.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    port
}
