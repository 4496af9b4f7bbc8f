//! All integration tests in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a helper is a failed test as well")]

mod child;
