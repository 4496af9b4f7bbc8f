//! What was typed: flags and `BURDOCK_` variables, as text. Defaults are filled in and values checked later.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;

use lexopt::Arg;

use super::error::Error;
use super::flags::{Description, Flag, Takes, VARIABLES};
use super::nearest::hint;
use crate::backend::mark::MARK_NAME;

/// The environment burdock was started in.
pub type Environment = BTreeMap<String, String>;

/// A value and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The flag with its dashes, or the variable.
    pub by: String,
    /// The value.
    pub text: String,
}

impl Given {
    /// An error about it.
    pub fn error(&self, problem: impl std::fmt::Display) -> Error {
        Error::Typed { by: self.by.clone(), problem: problem.to_string() }
    }
}

/// All that was typed after `burdock serve`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    values: BTreeMap<Flag, Vec<Given>>,
    /// What stood after `--`.
    pub command: Option<Vec<String>>,
    /// `--help` was among it.
    pub help: bool,
    /// The address of a socket that a service manager passed at start. It outranks `--listen`.
    pub passed: Option<SocketAddr>,
    /// What is odd but harmless, in words for the user.
    pub warnings: Vec<String>,
}

impl Typed {
    /// Reads arguments (without `burdock serve`) and environment; a flag outranks its variable.
    ///
    /// # Errors
    /// An argument that is not known, lacks its value, or is there twice.
    pub fn parse(arguments: &[OsString], environment: &Environment) -> Result<Typed, Error> {
        let mut typed = Typed::default();
        let flags = match arguments.iter().position(|argument| argument == "--") {
            None => arguments,
            Some(at) => {
                typed.command = Some(command(&arguments[at + 1..])?);
                &arguments[..at]
            }
        };
        typed.flags(flags)?;
        typed.variables(environment);
        Ok(typed)
    }

    /// Nothing typed, and a socket on `listen`.
    pub fn on(listen: SocketAddr) -> Typed {
        Typed { passed: Some(listen), ..Typed::default() }
    }

    /// The value of a flag that takes one.
    pub fn one(&self, flag: Flag) -> Option<&Given> {
        self.all(flag).first()
    }

    /// All values of a flag.
    pub fn all(&self, flag: Flag) -> &[Given] {
        self.values.get(&flag).map(Vec::as_slice).unwrap_or_default()
    }

    fn flags(&mut self, arguments: &[OsString]) -> Result<(), Error> {
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(|error| Error::Usage(error.to_string()))? {
            match argument {
                Arg::Long("help") | Arg::Short('h') => self.help = true,
                Arg::Long(name) => {
                    let name = name.to_owned();
                    let Some(flag) = Flag::by_name(&name) else {
                        return Err(unknown_flag(&name, &mut parser));
                    };
                    let text = match flag.describe().takes {
                        Takes::Nothing => "true".to_owned(),
                        Takes::One | Takes::Many => value(&mut parser, flag)?,
                    };
                    self.give(flag, format!("--{name}"), &text)?;
                }
                Arg::Short(letter) => return Err(Error::Usage(format!("there is no flag -{letter}"))),
                Arg::Value(value) => {
                    let value = value.display();
                    return Err(Error::Usage(format!(
                        "unexpected argument {value}; a command to serve comes after --: burdock serve -- {value}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn variables(&mut self, environment: &Environment) {
        // The mark is there when burdock runs under burdock.
        let ours = environment.iter().filter(|(name, _)| name.starts_with(VARIABLES) && *name != MARK_NAME);
        for (name, text) in ours {
            let Some(flag) = Flag::ALL.into_iter().find(|flag| flag.variable() == *name) else {
                let known = Flag::ALL.map(Flag::variable);
                let hint = hint(name, known.iter().map(String::as_str));
                self.warnings.push(format!("the variable {name} means nothing to burdock{hint}"));
                continue;
            };
            // Compose files and units hand on variables that nobody has set as empty ones.
            if self.values.contains_key(&flag) || text.is_empty() {
                continue;
            }
            let given = split(flag, text).map(|text| Given { by: name.clone(), text }).collect();
            self.values.insert(flag, given);
        }
    }

    fn give(&mut self, flag: Flag, by: String, text: &str) -> Result<(), Error> {
        let given = self.values.entry(flag).or_default();
        if flag.describe().takes == Takes::One && !given.is_empty() {
            return Err(Error::Typed { by, problem: "given twice".to_owned() });
        }
        given.extend(split(flag, text).map(|text| Given { by: by.clone(), text }));
        Ok(())
    }
}

/// The values in `text`: several with commas between when the flag takes many.
fn split(flag: Flag, text: &str) -> impl Iterator<Item = String> {
    let many = flag.describe().takes == Takes::Many;
    let parts: Vec<&str> = if many { text.split(',').map(str::trim).collect() } else { vec![text] };
    parts.into_iter().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn value(parser: &mut lexopt::Parser, flag: Flag) -> Result<String, Error> {
    let Description { name, value, .. } = flag.describe();
    let error = |problem: String| Error::Typed { by: format!("--{name}"), problem };
    let text = parser.value().map_err(|_| error(format!("needs a value: --{name} {value}")))?;
    text.into_string().map_err(|_| error("is not UTF-8 text".to_owned()))
}

/// The error about an unknown flag. Many servers have `--port`, so the error for that one says where the port
/// goes.
fn unknown_flag(name: &str, parser: &mut lexopt::Parser) -> Error {
    if name == "port" {
        let port = parser.value().ok().and_then(|value| value.to_str()?.parse::<u16>().ok());
        let port = port.map_or("PORT".to_owned(), |port| port.to_string());
        return Error::Usage(format!(
            "there is no flag --port; the port goes with its address: --listen 127.0.0.1:{port}"
        ));
    }
    let known = Flag::ALL.map(|flag| format!("--{}", flag.describe().name));
    let typed = format!("--{name}");
    let hint = hint(&typed, known.iter().map(String::as_str));
    Error::Usage(format!("there is no flag {typed}{hint}"))
}

fn command(words: &[OsString]) -> Result<Vec<String>, Error> {
    let text = |word: &OsString| {
        let error = || Error::Usage(format!("after --: {} is not UTF-8 text", word.display()));
        word.to_str().map(str::to_owned).ok_or_else(error)
    };
    let words: Vec<String> = words.iter().map(text).collect::<Result<_, _>>()?;
    match words.first() {
        None => Err(Error::Usage("there is no command after --".to_owned())),
        Some(program) if program.is_empty() => Err(Error::Usage("the command after -- is empty".to_owned())),
        Some(_) => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Typed, Error> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Typed::parse(&arguments, &environment)
    }

    fn texts(typed: &Typed, flag: Flag) -> Vec<&str> {
        typed.all(flag).iter().map(|given| given.text.as_str()).collect()
    }

    #[test]
    fn every_flag_is_listed_once() {
        let mut names: Vec<_> = Flag::ALL.map(|flag| flag.describe().name).into();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Flag::ALL.len());
        assert!(Flag::ALL.into_iter().all(|flag| Flag::by_name(flag.describe().name) == Some(flag)));
        assert_eq!(Flag::KeepAliveComment.variable(), "BURDOCK_KEEP_ALIVE_COMMENT");
    }

    #[test]
    fn flags_outrank_variables() {
        let typed = parse(
            &["--node", "n1", "--allow-host=a,b", "--allow-host", "c"],
            &[
                ("BURDOCK_NODE", "n2"),
                ("BURDOCK_ALLOW_HOST", "d"),
                ("BURDOCK_LOG", "debug"),
                ("BURDOCK_ADMIN", ""),
            ],
        )
        .unwrap();
        assert_eq!(texts(&typed, Flag::Node), ["n1"]);
        assert_eq!(texts(&typed, Flag::AllowHost), ["a", "b", "c"]);
        assert_eq!(
            typed.one(Flag::Log),
            Some(&Given { by: "BURDOCK_LOG".to_owned(), text: "debug".to_owned() })
        );
        assert_eq!(typed.one(Flag::Admin), None);
        assert!(typed.warnings.is_empty());
    }

    #[test]
    fn a_list_in_a_variable_has_commas() {
        let typed = parse(&[], &[("BURDOCK_TRUSTED_PROXY", "10.0.0.1, 10.0.0.2")]).unwrap();
        assert_eq!(texts(&typed, Flag::TrustedProxy), ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn what_stands_after_the_dashes_is_the_command() {
        let typed = parse(&["--node", "a", "--", "npx", "-y", "--", "--help"], &[]).unwrap();
        assert_eq!(typed.command.as_deref(), Some(&["npx", "-y", "--", "--help"].map(str::to_owned)[..]));
        assert!(!typed.help);
        assert!(parse(&["--help", "--", "x"], &[]).unwrap().help);
    }

    #[test]
    fn unknown_variables_are_told_and_the_run_mark_is_not() {
        let typed = parse(&[], &[("BURDOCK_RUN", "x"), ("BURDOCK_NODES", "x"), ("BURDOCKY", "x")]).unwrap();
        assert_eq!(
            typed.warnings,
            ["the variable BURDOCK_NODES means nothing to burdock; did you mean BURDOCK_NODE?"]
        );
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for (arguments, expected) in [
            (&["--lisen", "x"][..], "there is no flag --lisen; did you mean --listen?"),
            (&["--redi", "x"], "there is no flag --redi; did you mean --redis?"),
            (&["-x"], "there is no flag -x"),
            (
                &["--port", "9000"],
                "there is no flag --port; the port goes with its address: --listen 127.0.0.1:9000",
            ),
            (
                &["--port=x"],
                "there is no flag --port; the port goes with its address: --listen 127.0.0.1:PORT",
            ),
            (&["--port"], "there is no flag --port; the port goes with its address: --listen 127.0.0.1:PORT"),
            (&["--listen"], "--listen: needs a value: --listen ADDR:PORT"),
            (&["--listen", "a", "--listen", "b"], "--listen: given twice"),
            (&["npx"], "unexpected argument npx; a command to serve comes after --: burdock serve -- npx"),
            (&["--"], "there is no command after --"),
            (&["--", ""], "the command after -- is empty"),
        ] {
            assert_eq!(parse(arguments, &[]).unwrap_err().to_string(), expected, "{arguments:?}");
        }
        assert!(parse(&["--insecure-public=yes"], &[]).is_err());
    }
}
