//! Placeholder: see http/mod.rs.
