//! The nodes n1, n2 and n3: ports that stay theirs, so that one that was stopped or killed can come back.

use std::net::SocketAddr;
use std::process::ExitStatus;

use super::free_port;
use crate::support::{Burdock, Client, SOON, wait_for};

/// Their names, which session ids begin with.
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// All nodes, each ended on drop.
pub(crate) struct Nodes(pub(crate) Vec<Node>);

/// One node; down between [`Node::kill`] or [`Node::ended`] and [`Node::start`].
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    arguments: Vec<String>,
    process: Option<Burdock>,
}

impl Nodes {
    /// Starts `burdock serve --node NAME ARGUMENTS` for each.
    pub(crate) fn start(arguments: &[&str]) -> Nodes {
        let mut nodes = Nodes(NAMES.iter().map(|name| Node::down(name, arguments)).collect());
        nodes.0.iter_mut().for_each(Node::start);
        nodes
    }

    /// The name of the node that a session's id begins with.
    pub(crate) fn of(id: &str) -> &'static str {
        let prefix = id.split('-').next().unwrap();
        NAMES.iter().find(|name| **name == prefix).unwrap_or_else(|| panic!("whose session is {id}?"))
    }
}

impl Node {
    fn down(name: &'static str, arguments: &[&str]) -> Node {
        let address = free_port();
        let listen = address.to_string();
        let own = ["serve", "--listen", &listen, "--node", name, "--trusted-proxy", "127.0.0.1/32"];
        let arguments = own.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        Node { name, address, arguments, process: None }
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let binary = env!("CARGO_BIN_EXE_burdock");
        self.process = Some(Burdock::run(binary, &arguments, |command| {
            // Hundreds of sessions at debug would be most of the work.
            command.env("BURDOCK_LOG", "info");
        }));
        wait_for("a ready node", SOON, || self.is_ready().then_some(()));
    }

    fn is_ready(&self) -> bool {
        let mut client = Client::connect(self.address);
        client.request("GET", "/health/ready", &[], "");
        client.response().status == 200
    }

    /// `kill -9`; its sockets are closed when this returns.
    pub(crate) fn kill(&mut self) {
        let mut burdock = self.process.take().expect("the node is up");
        burdock.process.kill().unwrap();
        burdock.process.wait().unwrap();
    }

    /// SIGTERM: the node begins to drain.
    pub(crate) fn drain(&self) {
        self.process.as_ref().expect("the node is up").signal("-TERM");
    }

    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut().expect("the node was up").process.try_wait().unwrap();
        if status.is_some() {
            self.process = None;
        }
        status
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A node of a cluster takes its time when it is asked to stop; its watchdog ends the children of a killed one.
        if let Some(burdock) = &mut self.process {
            let _ = burdock.process.kill();
            let _ = burdock.process.wait();
        }
    }
}
