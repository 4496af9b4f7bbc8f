//! All integration tests in one binary: one link, and one table of contents.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(unreachable_pub, reason = "`pub` is for the other modules of this binary")]

mod bad_input; // What is typed or configured wrongly: a message that helps, and the exit status.
mod baseline; // What async-h1 does with bytes that burdock serves.
mod behind; // Readers that are behind when their session ends.
mod bytes; // Params and results arrive as the bytes they were.
mod check; // `burdock check` against good and bad endpoints.
mod child; // Children and the watchdog, at the level of the library.
mod clients; // Eight real clients against a real server behind burdock: a matrix of client by step.
mod cluster; // Three nodes behind a real Traefik: routes, real clients, a crash, a rolling deploy.
mod conformance; // MCP's official suite, against a server of ours in its own process and behind burdock.
mod drain; // How a node of a cluster stops: the grace, the waiting, the retirement.
mod faults; // Children that misbehave: a clear answer, and nothing left behind.
mod handler; // Servers written in Rust: the demo, and some that behave badly.
mod http_wire; // Raw bytes in, raw bytes out: every refusal of the wire, and that a good request still works.
mod ids; // Ids and progress tokens of clients and servers that treat them badly.
mod legacy; // The handshake era as a raw client sees it, spec row by spec row.
mod lines; // What servers write instead of good lines, and clients instead of good messages.
mod listener; // At the caps of connections and descriptors.
mod mangled; // A property: a mangled answer ends its call, and no other.
mod memory; // Bounded, whatever clients and children do.
mod orphans; // Nothing of what children start is left, whatever ends.
mod redis_server; // A real redis-server.
mod registry; // What stands in Redis, who hears what on the wrong node, and Redis misbehaving.
mod regression; // What fuzzing and reviews found.
mod scripted; // A session whose server says what the test dictates.
mod sessions; // Principals, caps, idle expiry, health, metrics, stop.
mod sessions_command; // `burdock sessions` with a real Redis.
mod static_binary; // The release as it is handed out.
mod streams; // Event streams as the clients of the field need them.
mod support; // What the tests share.
mod systemd; // As a service: what it tells, sockets that it is passed, and the units.
mod tidy; // The house rules.
mod tools;
mod traefik_command; // `burdock traefik`: what it prints, and what it refuses.
