//! The command: the only place that takes what the system hands over, and the only exit.

use std::ffi::OsString;
use std::process::ExitCode;

use burdock::backend::{descriptors, watchdog};
use burdock::cli;
use burdock::config::Environment;

fn main() -> ExitCode {
    // First of all: what burdock was started with is not for its children.
    descriptors::shut_inheritance();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Only burdock itself starts this one: it is in no help.
    if arguments.first().is_some_and(|command| command == "watchdog") {
        return watchdog::main();
    }
    cli::run(&arguments, &environment())
}

/// The environment as text. What is not UTF-8 is kept with replacement characters, so that a path in it is reported
/// as missing and not taken for unset.
fn environment() -> Environment {
    let text = |part: OsString| part.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}
