//! All integration tests in one binary: one link, and one table of contents.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is a failed test")]

mod bad_input; // What is typed or configured wrongly: a message that helps, and the exit status.
mod baseline; // What async-h1 does with bytes that burdock serves.
mod faults; // Children that misbehave: a clear answer, and nothing left behind.
mod legacy; // The handshake era as a raw client sees it, spec row by spec row.
mod sessions; // Principals, caps, idle expiry, health, metrics, stop.
mod static_binary; // The release as it is handed out.
mod support; // What the tests share.
mod tidy; // The house rules.
