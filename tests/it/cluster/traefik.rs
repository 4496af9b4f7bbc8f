//! A real Traefik on ports of its own: a plain entry point, one with TLS, and its API.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Folder, authority, files, free_port};
use crate::support::{Client, bound_to_thread, wait_for};

/// From its start until all is up; it is a large binary, and checks each server once.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Killed on drop; its log is shown when the test fails.
pub(crate) struct Traefik {
    process: Child,
    folder: Folder,
    ports: Ports,
    /// What it was seen to lack at its start.
    lacking: String,
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) api: SocketAddr,
}

impl Traefik {
    /// Starts it with `dynamic` as its dynamic file, and waits until all that it names is up.
    pub(crate) fn start(name: &str, dynamic: &str) -> Traefik {
        let folder = Folder::new(name);
        authority::make(&folder.0);
        let ports = Ports { plain: free_port(), tls: free_port(), api: free_port() };
        std::fs::write(folder.file("dynamic.yml"), format!("{dynamic}\n{}", files::tls(&folder.0))).unwrap();
        std::fs::write(folder.file("static.yml"), files::fixed(&folder.0, ports)).unwrap();
        let process = spawn(&folder);
        let mut traefik = Traefik { process, folder, ports, lacking: String::new() };
        traefik.wait_until_all_is_up();
        traefik
    }

    /// Waits until every router is enabled and every server is up.
    pub(crate) fn wait_until_all_is_up(&mut self) {
        wait_for("Traefik with all routers and servers up", START_TIMEOUT, || {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "Traefik ended: {ended:?}");
            let state = self.state();
            self.lacking = state.clone().err().unwrap_or_default();
            state.ok()
        });
    }

    /// Where clients connect without TLS.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.ports.plain
    }

    /// Where clients connect with TLS.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.ports.tls
    }

    /// The certificate that clients have to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.file("authority.pem")
    }

    /// `Ok` when everything from the file is enabled and every server up.
    fn state(&self) -> Result<(), String> {
        if std::net::TcpStream::connect(self.ports.api).is_err() {
            return Err("its API does not listen yet".to_owned());
        }
        let mut client = Client::connect(self.ports.api);
        client.request("GET", "/api/rawdata", &[], "");
        let response = client.response();
        if response.status != 200 {
            return Err(format!("its API answers {}", response.status));
        }
        let state = response.json();
        let of_file = |kind: &str| -> Vec<(String, Value)> {
            let all = state[kind].as_object().cloned().unwrap_or_default();
            all.into_iter().filter(|(name, _)| name.ends_with("@file")).collect()
        };
        let (routers, services) = (of_file("routers"), of_file("services"));
        if routers.is_empty() || services.is_empty() {
            return Err("its dynamic file is not read yet".to_owned());
        }
        for (name, thing) in routers.iter().chain(&services) {
            if thing["status"] != "enabled" {
                return Err(format!("{name}: {thing}"));
            }
            let servers = thing["serverStatus"].as_object().cloned().unwrap_or_default();
            if let Some((server, status)) = servers.iter().find(|(_, status)| *status != "UP") {
                return Err(format!("{name}: {server} is {status}"));
            }
        }
        Ok(())
    }
}

fn spawn(folder: &Folder) -> Child {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/traefik/bin/traefik");
    let log = File::create(folder.file("traefik.log")).unwrap();
    // It does not fork, and stays in our process group: what ends the tests from outside ends it, too.
    bound_to_thread(program)
        .arg(format!("--configFile={}", folder.file("static.yml").display()))
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Traefik {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.file("traefik.log")).unwrap_or_default();
            let folder = self.folder.0.display();
            eprintln!("--- Traefik's log; files in {folder}; lacking: {:?} ---\n{log}", self.lacking);
        }
    }
}
