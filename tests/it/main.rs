//! All integration tests in one binary.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is a failed test")]

mod http_wire;
