//! The watchdog: a process beside burdock that kills what burdock started when burdock itself is killed, and
//! the grandchildren that have left their group when a child ends.
//!
//! It is the same binary with the subcommand `watchdog` ([`main`]), connected by two pipes. burdock writes
//! notes, one line each (`notes.rs`); the watchdog answers `ready` once, and the number of each ended child
//! whose processes are gone. When burdock dies, however it dies, the pipe closes. When the watchdog dies,
//! burdock starts a new one and tells it everything that still matters (`keeper.rs`). Without a watchdog
//! (unit tests) children still die with their group.

mod dog;
mod keeper;
mod notes;
mod process;
mod strays;

pub(in crate::backend) use self::keeper::{ended, started};
pub use self::keeper::{start, stop};
pub use self::process::main;
