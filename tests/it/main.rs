//! All integration tests in one binary: one link, and one table of contents.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is a failed test")]

mod legacy; // The handshake era as a raw client sees it, spec row by spec row.
mod regression; // What fuzzing and reviews found.
mod support; // What the tests share.
