//! Bytes to request heads and back.

/// Placeholder.
#[derive(Debug)]
pub struct RequestHead;
/// Placeholder.
#[derive(Debug)]
pub struct Method;
