//! A server that is measured: started on its core, and killed whatever happens.

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::machine::Cores;
use crate::requests::Requests;
use crate::single::Single;
use crate::{Failure, usage};

/// From the start of a server to its first answer.
const READY_DEADLINE: Duration = Duration::from_secs(20);
/// Between two attempts to connect.
const CONNECT_STEP: Duration = Duration::from_micros(200);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The burdock program with its demo, or handlers where the demo is not enough.
    Burdock,
    /// The same with its registry in memory, in turns with the next.
    BurdockMemory,
    /// The same with Redis as its registry.
    BurdockRedis,
    /// rmcp with `TCP_NODELAY`.
    Rmcp,
    /// The same with jemalloc.
    RmcpJemalloc,
    /// Fixed answers.
    Floor,
    /// The gateway of that name, on Node.
    Supergateway,
}

impl Who {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Who::Burdock => "burdock",
            Who::BurdockMemory => "burdock memory",
            Who::BurdockRedis => "burdock redis",
            Who::Rmcp => "rmcp",
            Who::RmcpJemalloc => "rmcp jemalloc",
            Who::Floor => "floor",
            Who::Supergateway => "supergateway",
        }
    }
}

/// How to start one: the program, and what it is given besides its port.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Who it is.
    pub who: Who,
    /// What is run.
    pub program: PathBuf,
    /// Its arguments; `PORT` in them is replaced.
    pub arguments: Vec<OsString>,
    /// The bearer token that its clients send.
    pub token: Option<String>,
    /// Where its stderr goes; nowhere when there is none.
    pub log: Option<PathBuf>,
}

/// One that runs.
#[derive(Debug)]
pub struct Server {
    spec: Spec,
    child: Child,
    cores: Cores,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// The requests that are sent to it.
    pub requests: Requests,
    /// When it was started.
    pub begun: Instant,
}

impl Server {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(spec: &Spec, cores: Cores) -> Result<Server, Failure> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let begun = Instant::now();
        let child = spawn(spec, port, cores)?;
        let requests = Requests::new(port, spec.token.as_deref());
        let mut server = Server { spec: spec.clone(), child, cores, port, requests, begun };
        server.until_listening()?;
        Ok(server)
    }

    /// Another one of the kind.
    ///
    /// # Errors
    /// When it does not start.
    pub fn another(&self) -> Result<Server, Failure> {
        Server::start(&self.spec, self.cores)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its CPU time so far, its children's not included.
    pub fn cpu(&self) -> Duration {
        usage::cpu(self.pid())
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn single(&self) -> Result<Single, Failure> {
        Single::connect(self.port, &self.requests)
    }

    /// `kill -9` and a new start on the same port.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.kill();
        self.begun = Instant::now();
        self.child = spawn(&self.spec, self.port, self.cores)?;
        self.until_listening()
    }

    fn until_listening(&mut self) -> Result<(), Failure> {
        while self.begun.elapsed() < READY_DEADLINE {
            if self.single().is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!(
                    "{:?} ended: {status} (PEERS_LOGS=DIR keeps its log)",
                    self.spec.program
                )
                .into());
            }
            std::thread::sleep(CONNECT_STEP);
        }
        Err(format!("{:?} does not listen", self.spec.program).into())
    }

    fn kill(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        usage::reap_orphans();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(spec: &Spec, port: u16, cores: Cores) -> Result<Child, Failure> {
    let port = port.to_string();
    let replaced = |argument: &OsString| match argument.to_str() {
        Some(text) => OsString::from(text.replace("PORT", &port)),
        None => argument.clone(),
    };
    let log = match &spec.log {
        Some(path) => Stdio::from(File::options().create(true).append(true).open(path)?),
        None => Stdio::null(),
    };
    let mut command = Command::new(&spec.program);
    // supergateway ends when its stdin does; this end of it is kept by the child's handle.
    command.args(spec.arguments.iter().map(replaced)).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    for (name, _) in std::env::vars_os() {
        // A setting of the user's must not get into the measurement.
        if name.to_str().is_some_and(|name| name.starts_with("BURDOCK_")) {
            command.env_remove(name);
        }
    }
    spawn_on(&mut command, cores.server)
}

/// Starts a program on one core; it is killed when this process ends, however that comes.
///
/// # Errors
/// When the program cannot be started.
pub fn spawn_on(command: &mut Command, core: usize) -> Result<Child, Failure> {
    let mut set = CpuSet::new();
    set.set(core);
    // SAFETY: after the fork there are two system calls, no allocation and no lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            sched_setaffinity(None, &set)?;
            Ok(())
        });
    }
    command.spawn().map_err(|error| format!("cannot start {:?}: {error}", command.get_program()).into())
}
