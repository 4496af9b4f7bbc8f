//! One socket.

/// Placeholder.
#[derive(Debug)]
pub struct Connection;
