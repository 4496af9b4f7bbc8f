//! burdock: MCP servers on the network, every client on the node that holds its session.

pub mod backend;
pub mod budget;
pub mod cli;
pub mod config;
pub mod foreign;
pub mod http;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod principal;
pub mod runtime;
pub mod small_file;
pub mod sweep;
