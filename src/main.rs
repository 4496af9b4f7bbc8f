//! The program `burdock`: takes arguments and environment from the system, and is the only place that exits.

use std::ffi::OsString;
use std::process::ExitCode;

use burdock::backend::{descriptors, watchdog};
use burdock::cli;
use burdock::config::Environment;

fn main() -> ExitCode {
    // Before anything is opened: the descriptors that burdock was started with are not for its children.
    descriptors::shut_inheritance();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Only burdock starts this command, so no help mentions it.
    if arguments.first().is_some_and(|command| command == "watchdog") {
        return watchdog::main();
    }
    cli::run(&arguments, &environment())
}

/// The environment as text. What is not UTF-8 gets replacement characters: a path with such bytes is then
/// reported as missing, and not ignored as if it were unset.
fn environment() -> Environment {
    let text = |part: OsString| part.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}
