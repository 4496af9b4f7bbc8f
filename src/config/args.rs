//! What was typed: flags and `BURDOCK_` variables, as text, with nothing filled in and nothing judged.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;

use lexopt::Arg;

use super::error::Error;
use super::nearest::hint;
use crate::backend::mark::MARK_NAME;

/// The environment burdock was started in.
pub type Environment = BTreeMap<String, String>;

/// What the names of burdock's variables begin with.
const PREFIX: &str = "BURDOCK_";

/// The flags of `burdock serve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is named after its flag; `describe` says what it does")]
pub enum Flag {
    Config,
    Default,
    Listen,
    PublicUrl,
    Admin,
    Node,
    TokenFile,
    AllowHost,
    AllowOrigin,
    TrustedProxy,
    InsecurePublic,
    MaxSessions,
    IdleTimeout,
    KeepAliveComment,
    DrainTimeout,
    RetireWindow,
    Redis,
    RedisFile,
    RedisRequired,
    Advertise,
    Threads,
    Log,
    LogFormat,
}

/// How many values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// None: it is there or not.
    Nothing,
    /// One, and it may be given once.
    One,
    /// One or more with commas between, and it may be repeated.
    Many,
}

/// What there is to say about a flag.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Which it is.
    pub flag: Flag,
    /// Its name without dashes.
    pub name: &'static str,
    /// What stands for its value in the help.
    pub value: &'static str,
    /// How many values it takes.
    pub takes: Takes,
    /// Its help; a line feed begins a new line.
    pub help: &'static str,
}

/// The flags, in the order of [`Flag`]'s variants, which is that of the help.
const DESCRIPTIONS: [Description; 23] = [
    row(Flag::Config, "config", "FILE", Takes::One, "servers, as in the mcp.json that MCP hosts read"),
    row(Flag::Default, "default", "NAME", Takes::One, "the server that is at /mcp too (the only one)"),
    row(Flag::Listen, "listen", "ADDR:PORT", Takes::One, "where clients connect (127.0.0.1:8080)"),
    row(Flag::PublicUrl, "public-url", "URL", Takes::One, "how clients reach burdock, without /mcp"),
    row(
        Flag::Admin,
        "admin",
        "ADDR:PORT",
        Takes::One,
        "metrics, on a listener of their own; also unix:/PATH (none)",
    ),
    row(Flag::Node, "node", "NAME", Takes::One, "this process's name in session ids (local)"),
    row(Flag::TokenFile, "token-file", "FILE", Takes::One, "who may call; burdock token NAME makes a token"),
    row(Flag::AllowHost, "allow-host", "NAME", Takes::Many, "a name clients may call burdock by"),
    row(
        Flag::AllowOrigin,
        "allow-origin",
        "ORIGIN",
        Takes::Many,
        "a web page's origin: https://app.example.com",
    ),
    row(Flag::TrustedProxy, "trusted-proxy", "NET", Takes::Many, "whose forwarded headers count: 10.0.0.0/8"),
    row(
        Flag::InsecurePublic,
        "insecure-public",
        "",
        Takes::Nothing,
        "allow an address or public URL that others can reach,\nwithout tokens",
    ),
    row(Flag::MaxSessions, "max-sessions", "COUNT", Takes::One, "sessions at once (by the machine's memory)"),
    row(
        Flag::IdleTimeout,
        "idle-timeout",
        "TIME",
        Takes::One,
        "close a session nobody uses for so long (30m)",
    ),
    row(
        Flag::KeepAliveComment,
        "keep-alive-comment",
        "TIME",
        Takes::One,
        "pause between comments on a silent stream (15s)",
    ),
    row(Flag::DrainTimeout, "drain-timeout", "TIME", Takes::One, "at SIGTERM, wait so long for calls (10s)"),
    row(
        Flag::RetireWindow,
        "retire-window",
        "TIME",
        Takes::One,
        "after that, end the sessions of a cluster's node\nspread over so long (30s)",
    ),
    row(
        Flag::Redis,
        "redis",
        "URL",
        Takes::One,
        "share with other nodes which sessions exist:\nredis://HOST/ or unix:///PATH",
    ),
    row(
        Flag::RedisFile,
        "redis-file",
        "FILE",
        Takes::One,
        "a file with that URL and nothing else: a password\nis no argument",
    ),
    row(
        Flag::RedisRequired,
        "redis-required",
        "",
        Takes::Nothing,
        "do not start while Redis is out of reach",
    ),
    row(
        Flag::Advertise,
        "advertise",
        "URL",
        Takes::One,
        "how other nodes reach this one, for burdock sessions",
    ),
    row(Flag::Threads, "threads", "COUNT", Takes::One, "threads that serve (as many as there are cores)"),
    row(
        Flag::Log,
        "log",
        "FILTER",
        Takes::One,
        "error, warn, info, debug, trace or off, also\nby module: warn,burdock::http=debug (info)",
    ),
    row(Flag::LogFormat, "log-format", "FORM", Takes::One, "text or json (text)"),
];

const fn row(
    flag: Flag,
    name: &'static str,
    value: &'static str,
    takes: Takes,
    help: &'static str,
) -> Description {
    Description { flag, name, value, takes, help }
}

impl Flag {
    /// All flags, in the order of the help.
    pub const ALL: [Flag; 23] = {
        let mut flags = [Flag::Config; 23];
        let mut index = 0;
        while index < flags.len() {
            flags[index] = DESCRIPTIONS[index].flag;
            index += 1;
        }
        flags
    };

    /// Its name, what it takes and its help.
    pub fn describe(self) -> Description {
        DESCRIPTIONS[self as usize]
    }

    /// Its variable: `BURDOCK_` and the name in capitals.
    pub fn variable(self) -> String {
        format!("{PREFIX}{}", self.describe().name.replace('-', "_").to_ascii_uppercase())
    }

    fn by_name(name: &str) -> Option<Flag> {
        Flag::ALL.into_iter().find(|flag| flag.describe().name == name)
    }
}

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
    /// The address of a socket that was passed at start: it takes the place of `--listen`. Not typed, but said.
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

    /// Nothing but an address to listen on.
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
        let ours = environment.iter().filter(|(name, _)| name.starts_with(PREFIX) && *name != MARK_NAME);
        for (name, text) in ours {
            let Some(flag) = Flag::ALL.into_iter().find(|flag| flag.variable() == *name) else {
                let known: Vec<String> = Flag::ALL.map(Flag::variable).into();
                let hint = hint(name, known.iter().map(String::as_str));
                self.warnings.push(format!("the variable {name} means nothing to burdock{hint}"));
                continue;
            };
            // Compose files and units pass on empty variables for what nobody has set.
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

/// The error about a flag that is not there. `--port` is what many servers have, and no slip of the finger.
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
        assert!(Flag::ALL.into_iter().all(|flag| flag.describe().flag == flag));
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
