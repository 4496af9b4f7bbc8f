//! burdock puts MCP servers on the network. Each client has a session of its own: with a process of its own
//! where the server is a stdio program, with [`handler`]s where it is written in Rust.
//!
//! The map. ARCHITECTURE.md tells the same at length, with the path of one call.
//!
//! ```text
//!  socket -> http::connection -> mcp (endpoint) -> session::worker -> backend (a child's stdin,
//!                                                                        |  or a handler)
//!  socket <- http::writer, sse <---- reader <---- session::stream <------+
//!
//!                  at the side: registry, admin, metrics, drain
//! ```
//!
//! There is one corridor: a request goes right, and its answer comes back left; only the backend turns data
//! round. The request carries its return address, a bounded channel of events, so that nobody has to look it
//! up.
//!
//! | room | what is there |
//! |---|---|
//! | `main` | takes what the system hands over; the only exit |
//! | `cli` | one file or folder per command: serve, check, token, sessions, traefik |
//! | `embed` | burdock as a library: serves one server of this process over HTTP or stdio |
//! | `server` | starts everything, accepts, and `serve_connection`, a request's whole life |
//! | `drain` | signals, and the order in which a node stops |
//! | `admin` | the second listener: metrics |
//! | `listener` | what both listeners need: bind, the next client, caps |
//! | `connections` | the table of client sockets |
//! | `mcp` | the endpoint: who may call what; the handshake era in `mcp::legacy`, where a session's 404 is decided |
//! | `session` | the table of sessions, their workers, and the event log of each stream |
//! | `registry` | which sessions exist and where, in memory or in Redis |
//! | `logging` | log lines, as text or JSON |
//! | `config` | what was typed and read becomes one checked `Config` |
//! | `principal` | who calls, by bearer token |
//! | `demo` | the server that `burdock serve` shows without arguments |
//! | `handler` | servers written in Rust: what they offer, and the context their handlers are given |
//! | `backend` | what answers: a child process, its pipes, its end, and the watchdog; or a handler |
//! | `conversation` | what is said between a server and its clients: ids, tokens, cancellation, whom a message is for |
//! | `message` | JSON-RPC envelopes; params and results stay raw bytes |
//! | `http` | HTTP/1.1 and server-sent events over any byte stream |
//! | `session_id` | ids of sessions: 128 random bits behind the name of their node |
//! | `authority` | `host[:port]` and the origin of a URL, read in one place |
//! | `small_file` | reads a file of bounded size: a config, tokens |
//! | `version` | what differs between protocol revisions |
//! | `systemd` | a socket passed at start, and how it goes, for a service manager |
//! | `runtime` | the executor and its threads |
//! | `reactor` | which sockets and pipes are ready, told by those threads |
//! | `queue` | a bounded queue that is small while it is empty |
//! | `sweep` | coarse deadlines, without a timer each |
//! | `foreign` | text from outside on its way to a log: escaped and cut |
//! | `metrics` | counters, gauges and histograms |
//! | `budget` | every byte of a message that is held is counted |
//! | `memory` | gives back what is free |
//! | `moment` | a point in time, as a value |
//! | `lock` | takes a mutex, also after a panic |
//! | `limits` | every bound, with its unit and its reason |
//!
//! What holds everywhere (`tests/it/tidy` checks what can be checked):
//!
//! - A room uses only those below it in this table; `backend` and `handler` are one floor.
//! - A session's state has one owner, its worker, which has no lock and waits for nobody.
//! - Every queue is bounded, every wait has a deadline, and the bound is in `limits`.
//! - Inside a living session no limit is an HTTP error: it is a JSON-RPC error with the request's id.
//! - A lost connection cancels nothing; streams end with the final chunk, never by reset.
//! - Every end of a session goes through `session::Sessions::close`; no child outlives its session, nor
//!   burdock.
//! - What comes from outside cannot panic, and reaches a log only through `foreign`.
//!
//! A tag in a comment, such as L44 or S12, numbers a demand of the MCP specification in the list that burdock
//! was built by: L for the handshake era, T for its tasks, S for security. The words beside the tag say what
//! is demanded. The same tag in a test's comment says which demand the test holds.

pub mod admin;
pub mod authority;
pub mod backend;
pub mod budget;
pub mod cli;
pub mod config;
pub mod connections;
pub mod conversation;
pub mod demo;
pub mod drain;
mod embed;
pub mod foreign;
pub mod handler;
pub mod http;
pub mod limits;
pub mod listener;
mod lock;
pub mod logging;
pub mod mcp;
pub mod memory;
pub mod message;
pub mod metrics;
pub mod moment;
pub mod principal;
pub mod queue;
pub mod reactor;
pub mod registry;
pub mod runtime;
pub mod server;
pub mod session;
pub mod session_id;
pub mod small_file;
pub mod sweep;
pub mod systemd;
pub mod version;

/// README, so that its Rust is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;

pub use self::embed::{serve, serve_stdio};
