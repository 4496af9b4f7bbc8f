//! The command.

use std::process::ExitCode;

fn main() -> ExitCode {
    burdock::backend::descriptors::shut_inheritance();
    if std::env::args().nth(1).as_deref() == Some("watchdog") {
        return burdock::backend::watchdog::main();
    }
    ExitCode::SUCCESS
}
