//! burdock: MCP servers on the network, every client on the node that holds its session.

pub mod admin;
pub mod backend;
pub mod budget;
pub mod cli;
pub mod config;
pub mod drain;
pub mod foreign;
pub mod http;
pub mod limits;
pub mod logging;
pub mod mcp;
pub mod message;
pub mod metrics;
pub mod principal;
pub mod registry;
pub mod runtime;
pub mod server;
pub mod session;
pub mod small_file;
pub mod sweep;
pub mod version;
