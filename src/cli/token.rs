//! `burdock token NAME`: makes a bearer token.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lexopt::Arg;

use super::{Failure, complain, print};
use crate::principal::{self, NewToken, Principal, TokenFile};

/// The help of the command.
pub const HELP: &str = "\
Makes a bearer token for somebody who may call, for burdock serve --token-file FILE.

Usage: burdock token NAME [--append FILE]

The token is printed on stdout, this once; how to use it is said on stderr. The token file
has one line per token, NAME sha256:HEX: the hash only. A name may have several tokens, so
that a new one can be handed out before the old one's line is removed.

Options:
      --append FILE  add the line to FILE, made for its owner only when there is none
  -h, --help         this text

Example:
  TOKEN=$(burdock token alice --append tokens)
";

/// What was typed.
#[derive(Debug, Default)]
struct TokenArguments {
    name: Option<String>,
    append: Option<PathBuf>,
    help: bool,
}

/// Makes a token, as `arguments` say.
///
/// # Errors
/// A usage failure for what was typed; otherwise the token file or stdout cannot be written.
pub fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let typed = parse(arguments).map_err(|error| Failure::Usage(error.to_string()))?;
    if typed.help {
        return print(HELP);
    }
    let Some(name) = &typed.name else {
        return Err(Failure::Usage("whose token? burdock token NAME [--append FILE]".to_owned()));
    };
    let principal = Principal::new(name).map_err(Failure::Usage)?;
    let new = NewToken::make(&principal).map_err(|error| Failure::Failed(error.to_string()))?;
    let failed = |error: principal::TokenFileError| Failure::Failed(error.to_string());
    let file = typed.append.as_deref().map(TokenFile::open).transpose().map_err(failed)?;
    show(&new)?;
    if let Some(file) = file {
        file.keep(&new).map_err(failed)?;
    }
    complain(what_next(&new, typed.append.as_deref()));
    Ok(())
}

/// Writes the token to stdout. A reader that has gone away is a failure here, unlike for a help text: the
/// token is shown this once, so nobody would have it.
fn show(new: &NewToken) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", new.token).and_then(|()| out.flush()).map_err(|error| {
        Failure::Failed(format!("nobody could be shown the token, so it is of no use: stdout: {error}"))
    })
}

fn parse(arguments: &[OsString]) -> Result<TokenArguments, lexopt::Error> {
    let mut typed = TokenArguments::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => typed.help = true,
            Arg::Long("append") if typed.append.is_none() => typed.append = Some(parser.value()?.into()),
            Arg::Value(name) if typed.name.is_none() => {
                typed.name = Some(name.to_string_lossy().into_owned())
            }
            Arg::Long(_) | Arg::Short(_) | Arg::Value(_) => return Err(argument.unexpected()),
        }
    }
    Ok(typed)
}

fn what_next(new: &NewToken, appended: Option<&Path>) -> String {
    let file = match appended {
        Some(path) => format!("Its line is in {0}; serve with --token-file {0}", path.display()),
        None => format!("Its line for the token file (--token-file FILE, mode 0600):\n\n  {}\n", new.line),
    };
    format!(
        "\nThis token is not shown again; clients send it as the header\n\n  Authorization: Bearer TOKEN\n\n{file}\n\
         burdock reads the file when it starts.\n"
    )
}
