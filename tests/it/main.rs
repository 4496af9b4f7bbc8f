//! All integration tests in one binary: one link, and one table of contents.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is a failed test")]

mod baseline; // What async-h1 does with bytes that burdock serves.
mod legacy; // The handshake era as a raw client sees it, spec row by spec row.
mod static_binary; // The release as it is handed out.
mod support; // What the tests share.
mod tidy; // The house rules.
