//! The command line: picks the command, prints its failure and gives the exit status.

pub mod check;
pub mod serve;
pub mod sessions;
pub mod token;
pub mod traefik;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::Environment;
use crate::config::nearest::hint;

/// The name and version, as `--version` prints it.
pub const VERSION: &str = concat!("burdock ", env!("CARGO_PKG_VERSION"));

const HELP: &str = "\
burdock puts stdio MCP servers on the network: one process per session, one HTTP endpoint for all.

Usage: burdock COMMAND

Commands:
  serve         serve a command, the servers of an mcp.json, or a demo, over HTTP
  check URL     talk to an MCP endpoint as a client and say what works
  token NAME    make a bearer token for somebody who may call
  sessions      show, close and prune the sessions of a cluster
  traefik       print Traefik's file for several nodes behind one URL
  help COMMAND  what a command can do

Options:
  -h, --help     this text
  -V, --version  the version

To begin with:
  burdock serve
  burdock serve -- npx -y @modelcontextprotocol/server-everything
";

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// What was typed or configured is wrong: exit status 2.
    Usage(String),
    /// What was asked for could not be done: exit status 1.
    Failed(String),
}

/// The commands of burdock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subcommand {
    Serve,
    Check,
    Token,
    Sessions,
    Traefik,
}

impl Subcommand {
    const ALL: [Subcommand; 5] =
        [Subcommand::Serve, Subcommand::Check, Subcommand::Token, Subcommand::Sessions, Subcommand::Traefik];

    fn name(self) -> &'static str {
        match self {
            Subcommand::Serve => "serve",
            Subcommand::Check => "check",
            Subcommand::Token => "token",
            Subcommand::Sessions => "sessions",
            Subcommand::Traefik => "traefik",
        }
    }

    fn help(self) -> String {
        match self {
            Subcommand::Serve => serve::help(),
            Subcommand::Check => check::HELP.to_owned(),
            Subcommand::Token => token::HELP.to_owned(),
            Subcommand::Sessions => sessions::HELP.to_owned(),
            Subcommand::Traefik => traefik::HELP.to_owned(),
        }
    }

    fn named(name: &str) -> Result<Subcommand, Failure> {
        Subcommand::ALL.into_iter().find(|command| command.name() == name).ok_or_else(|| {
            let hint = hint(name, Subcommand::ALL.map(Subcommand::name));
            Failure::Usage(format!("there is no command {name}{hint} (burdock --help lists all)"))
        })
    }
}

/// Runs the command that was typed (`arguments` without the program's own name) to its end.
pub fn run(arguments: &[OsString], environment: &Environment) -> ExitCode {
    match dispatch(arguments, environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(problem)) => {
            complain(format_args!("burdock: {problem}\n"));
            ExitCode::from(2)
        }
        Err(Failure::Failed(problem)) => {
            complain(format_args!("burdock: {problem}\n"));
            ExitCode::from(1)
        }
    }
}

fn dispatch(arguments: &[OsString], environment: &Environment) -> Result<(), Failure> {
    let Some((first, rest)) = arguments.split_first() else {
        complain(HELP);
        return Err(Failure::Usage("there is no command".to_owned()));
    };
    let Some(first) = first.to_str() else {
        return Err(Failure::Usage("the command is not UTF-8 text".to_owned()));
    };
    match first {
        "-h" | "--help" => print(HELP),
        "-V" | "--version" => print(&format!("{VERSION}\n")),
        "help" => help(rest),
        flag if flag.starts_with('-') => Err(Failure::Usage(format!(
            "a command comes first, as in: burdock serve {flag} ... (burdock --help lists all)"
        ))),
        name => match Subcommand::named(name)? {
            Subcommand::Serve => serve::run(rest, environment),
            Subcommand::Check => check::run(rest),
            Subcommand::Token => token::run(rest),
            Subcommand::Sessions => sessions::run(rest, environment),
            Subcommand::Traefik => traefik::run(rest),
        },
    }
}

fn help(arguments: &[OsString]) -> Result<(), Failure> {
    match arguments {
        [] => print(HELP),
        [flag, ..] if flag == "--help" || flag == "-h" => print(HELP),
        // As in `help sessions close`: the help of a command has all of it.
        [name, ..] => print(&Subcommand::named(&name.to_string_lossy())?.help()),
    }
}

/// Writes to stdout. A reader that has gone away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes to stderr. When even that fails there is nobody left to tell.
fn complain(text: impl Display) {
    let _ = write!(io::stderr().lock(), "{text}");
}
