//! Three nodes behind a real Traefik: who is sent where, and what clients notice of a crash and of a deploy.
//!
//! Traefik is `.tools/traefik/bin/traefik`, installed by `tests/clients/install`. Every cluster has ports and a folder
//! of its own, and all of its processes end with it.

mod authority; // Certificates for the TLS entry point.
mod crash; // A node is killed under load.
mod deploy; // All nodes are replaced one by one under load.
mod files; // Traefik's files, with this test's addresses in them.
mod graphql; // What else is behind the same address.
mod load; // Clients on raw sockets that call all the time.
mod nodes; // The three nodes.
mod real_clients; // Eight of them, fifty sessions each.
mod routes; // Cookie, pin and the default pool.
mod suite; // MCP's official suite, through Traefik.
mod traefik; // The real Traefik.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clients::tools_are_installed;
use crate::redis_server::{RedisServer, redis_server};
use crate::support::{SOON, skip, wait_for};
use graphql::GraphQl;
use nodes::Nodes;
use traefik::Traefik;

/// Which file Traefik is given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Pins by session id; what `burdock traefik` prints.
    Improved,
    /// Sticky cookie only.
    CookieOnly,
}

/// Three nodes with their Redis, three other servers, and Traefik in front; Traefik ends first, Redis last.
pub(crate) struct Cluster {
    pub(crate) traefik: Traefik,
    pub(crate) nodes: Nodes,
    _others: Vec<GraphQl>,
    redis: RedisServer,
}

impl Cluster {
    /// Starts all of it; `arguments` are those of every `burdock serve`. The name is for its folder and for saying
    /// so when tools are missing, which fails where they are required.
    pub(crate) fn start(name: &str, form: Form, arguments: &[&str]) -> Option<Cluster> {
        if !tools_are_installed(name) || !openssl_is_installed(name) {
            return None;
        }
        let redis = redis_server(name)?;
        let nodes = Nodes::start(&[&["--redis", &redis.url()], arguments].concat());
        let others: Vec<GraphQl> = ["g1", "g2", "g3"].map(GraphQl::start).into();
        let traefik = Traefik::start(name, &files::dynamic(form, &nodes, &others));
        Some(Cluster { traefik, nodes, _others: others, redis })
    }

    /// Waits until Redis has a record of these sessions and of no others.
    pub(crate) fn wait_for_records(&self, mut ids: Vec<&str>) {
        ids.sort_unstable();
        wait_for("a record of each living session, and no other", SOON, || {
            let found = self.redis.keys("mcp:session:*");
            found
                .iter()
                .map(|key| key.trim_start_matches("mcp:session:"))
                .eq(ids.iter().copied())
                .then_some(())
        });
    }
}

fn openssl_is_installed(what: &str) -> bool {
    let openssl = Command::new("openssl").arg("version").stdout(Stdio::null()).status();
    let found = openssl.is_ok_and(|status| status.success());
    if !found {
        skip(what, "no openssl", "apt-get install openssl");
    }
    found
}

/// Tests that keep both cores busy or measure time hold this, so that they do not run at the same time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A loopback port that nobody listens on. It is below the range of outgoing connections, so that none of those takes
/// it while its server is down.
fn free_port() -> SocketAddr {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    loop {
        let port = fastrand::u16(12_000..32_000);
        if given.insert(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
}

/// A folder of one test's own, removed with it unless the test fails.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let unique = format!("{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster").join(unique);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
