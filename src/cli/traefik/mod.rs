//! `burdock traefik`: prints the file by which a Traefik in front of several nodes sends each client to its
//! node.

mod file;

use std::ffi::OsString;

use self::file::File;
use super::{Failure, print};
use crate::authority::{AuthorityError, Origin};
use crate::config::nearest::hint;
use crate::limits::NODE_NAME_BYTES_MAX;
use crate::session_id::is_node_name;

/// The help of the command.
pub const HELP: &str = "\
Prints Traefik's dynamic file (YAML, for Traefik 3.7.8 or later) for nodes of burdock behind one URL:
each client stays on the node that holds its session.

Usage: burdock traefik --node NAME=URL... [OPTIONS]

Options:
  --node NAME=URL...   a node: its name as in burdock serve --node, and how Traefik reaches it,
                       as http://10.0.0.1:8080. Once per node, or several with blanks between
  --other URL...       servers for all other traffic, in turn: a GraphQL API on the same name.
                       Without them Traefik answers 404 to whatever is not MCP's
  --other-health PATH  ask each of those at PATH whether it serves, every second; 200 to 399 is yes.
                       Without it none is asked (PATH would be a guess, and a wrong one stops them
                       all): one that is down is skipped as long as it refuses connections
  -h, --help           this text

Write a URL always in the same way: the cookie of clients that have no session yet is made from its
text, so another text for the same node moves them. Install the file with mv (Traefik reads a file
while it is being written), from the same folder:

  burdock traefik --node n1=http://10.0.0.1:8080 n2=http://10.0.0.2:8080 \\
    --other http://10.0.0.4:4000 > /etc/traefik/mcp.yml.new &&
  mv /etc/traefik/mcp.yml.new /etc/traefik/mcp.yml

Each line of the file says why it is there. deploy/README.md tells the rest: the static file, what
becomes of a node that stops, and who answers which 404.
";

/// What the options are called, for hints.
const OPTIONS: [&str; 4] = ["--node", "--other", "--other-health", "--help"];

/// Prints the file.
///
/// # Errors
/// A usage failure for what was typed; otherwise stdout cannot be written.
pub fn run(arguments: &[OsString]) -> Result<(), Failure> {
    match parse(arguments)? {
        Some(file) => print(&file.text()),
        None => print(HELP),
    }
}

/// `None` when help was asked for.
fn parse(arguments: &[OsString]) -> Result<Option<File>, Failure> {
    use lexopt::prelude::{Long, Short};
    let mut parser = lexopt::Parser::from_args(arguments.iter().cloned());
    let mut file = File::default();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("node") => values(&mut parser)?.iter().try_for_each(|text| add_node(&mut file, text))?,
            Long("other") => values(&mut parser)?.iter().try_for_each(|text| add_other(&mut file, text))?,
            Long("other-health") if file.other_health.is_none() => {
                file.other_health = Some(health_path(&text(parser.value().map_err(usage)?)?)?);
            }
            Long("other-health") => return Err(usage("--other-health: given twice")),
            Long(name) => {
                let name = format!("--{name}");
                let hint = hint(&name, OPTIONS);
                return Err(usage(format_args!("there is no option {name}{hint}")));
            }
            other => return Err(usage(other.unexpected())),
        }
    }
    if file.nodes.is_empty() {
        return Err(usage("there is no node: --node n1=http://10.0.0.1:8080"));
    }
    if file.others.is_empty() && file.other_health.is_some() {
        return Err(usage("--other-health: goes with --other URL"));
    }
    Ok(Some(file))
}

fn usage(problem: impl std::fmt::Display) -> Failure {
    Failure::Usage(format!("{problem} (burdock help traefik says more)"))
}

fn text(value: OsString) -> Result<String, Failure> {
    value.into_string().map_err(|value| usage(format_args!("{}: is not UTF-8 text", value.display())))
}

/// The values of an option: those up to the next option, or several with commas between.
fn values(parser: &mut lexopt::Parser) -> Result<Vec<String>, Failure> {
    let values: Vec<OsString> = parser.values().map_err(usage)?.collect();
    let mut texts = Vec::new();
    for value in values {
        texts.extend(text(value)?.split(',').map(|part| part.trim().to_owned()));
    }
    Ok(texts)
}

fn add_node(file: &mut File, text: &str) -> Result<(), Failure> {
    let wrong = |problem: String| usage(format_args!("--node {text:?}: {problem}"));
    let Some((name, url)) = text.split_once('=') else {
        return Err(wrong("must be NAME=URL, as in n1=http://10.0.0.1:8080".to_owned()));
    };
    if !is_node_name(name) {
        return Err(wrong(format!(
            "the name must be as in burdock serve --node: lower case letters and digits, a letter first, at \
             most {NODE_NAME_BYTES_MAX}"
        )));
    }
    let place = Place::of(url).map_err(wrong)?;
    if file.nodes.iter().any(|(known, _)| known == name) {
        return Err(wrong(format!("there is a node {name} already")));
    }
    if let Some((known, _)) = file.nodes.iter().find(|(_, known)| Place::of(known).as_ref() == Ok(&place)) {
        return Err(wrong(format!("this is where node {known} is; each node has an address of its own")));
    }
    file.nodes.push((name.to_owned(), url.to_owned()));
    Ok(())
}

fn add_other(file: &mut File, url: &str) -> Result<(), Failure> {
    let wrong = |problem: String| usage(format_args!("--other {url:?}: {problem}"));
    let place = Place::of(url).map_err(wrong)?;
    if file.others.iter().any(|known| Place::of(known).as_ref() == Ok(&place)) {
        return Err(wrong("given twice; it would get twice its share".to_owned()));
    }
    file.others.push(url.to_owned());
    Ok(())
}

fn health_path(path: &str) -> Result<String, Failure> {
    // These would end the quotes, or begin a template of Traefik's.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"'\"\\`{}#<>^|".contains(&byte);
    if path.starts_with('/') && !path.starts_with("//") && path.bytes().all(plain) {
        return Ok(path.to_owned());
    }
    Err(usage(format_args!(
        "--other-health {path:?}: must be a path like /health or /graphql?query=%7Bid%7D"
    )))
}

/// Where a URL leads. Different texts for one place are equal here.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    secure: bool,
    host: String,
    port: u16,
}

impl Place {
    /// Reads `http://HOST[:PORT]`; nothing that needs to be quoted passes.
    fn of(url: &str) -> Result<Place, String> {
        const ALLOWED: &str = "must be a URL like http://10.0.0.1:8080 or http://[fd00::1]:8080";
        const PORTS: &str = "its port must be from 1 to 65535";
        let (origin, rest) = Origin::split(url).map_err(|error| match error {
            AuthorityError::User => "goes without user and password; Traefik does not use them",
            AuthorityError::LargePort(_) => PORTS,
            _ => ALLOWED,
        })?;
        if !matches!(origin.scheme, "http" | "https") {
            return Err(format!("{ALLOWED}, with http or https"));
        }
        if !rest.is_empty() {
            return Err(
                "goes without what follows the port; Traefik passes on the path of each request".into()
            );
        }
        // An empty port is valid, but one place is to be written in one way.
        let port = origin.port().filter(|port| *port > 0 && !url.ends_with(':')).ok_or(PORTS)?;
        let (secure, host) = (origin.scheme == "https", origin.authority.host.to_ascii_lowercase());
        Ok(Place { secure, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        match parse(&arguments) {
            Err(Failure::Usage(problem)) => problem,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (arguments, expected) in [
            (&[][..], "there is no node"),
            (&["--other", "http://h"], "there is no node"),
            (&["--node"], "missing argument"),
            (&["--node", "http://h:1"], "must be NAME=URL"),
            (&["--node", "N1=http://h:1"], "the name must be"),
            (&["--node", "n-1=http://h:1"], "the name must be"),
            (&["--node", "abcdefghijklmnopq=http://h:1"], "the name must be"),
            (&["--node", "=http://h:1"], "the name must be"),
            (&["--node", "n1=h:1"], "must be a URL"),
            (&["--node", "n1=ftp://h:1"], "http or https"),
            (&["--node", "n1=http://"], "must be a URL"),
            (&["--node", "n1=http://h:1/"], "what follows the port"),
            (&["--node", "n1=http://h:1/mcp"], "what follows the port"),
            (&["--node", "n1=http://u:p@h:1"], "user and password"),
            (&["--node", "n1=http://h:0"], "1 to 65535"),
            (&["--node", "n1=http://h:65536"], "1 to 65535"),
            (&["--node", "n1=http://h:+1"], "must be a URL"),
            (&["--node", "n1=http://h:"], "1 to 65535"),
            (&["--node", "n1=http://fd00::1"], "must be a URL"),
            (&["--node", "n1=http://[fd00]:1"], "must be a URL"),
            (&["--node", "n1=http://h'x:1"], "must be a URL"),
            (&["--node", "n1=http://{{env}}:1"], "must be a URL"),
            (&["--node", "n1=http://h\n:1"], "must be a URL"),
            (&["--node", "n1=http://a", "n1=http://b"], "a node n1 already"),
            (&["--node", "n1=http://a", "--node", "n2=http://A:80"], "where node n1 is"),
            (&["--node", "n1=http://a", "--other", "http://b", "http://b:80"], "given twice"),
            (&["--node", "n1=http://a", "--other-health", "/x"], "goes with --other"),
            (&["--node", "n1=http://a", "--other", "http://b", "--other-health", "x"], "must be a path"),
            (&["--node", "n1=http://a", "--other", "http://b", "--other-health", "//x"], "must be a path"),
            (&["--node", "n1=http://a", "--other", "http://b", "--other-health", "/'x"], "must be a path"),
            (&["--node", "n1=http://a", "--other", "http://b", "--other-health", "/{x"], "must be a path"),
            (&["--node", "n1=http://a", "n2"], "must be NAME=URL"),
            (&["--nodes", "n1=http://a"], "did you mean --node?"),
            (&["n1=http://a"], "unexpected argument"),
        ] {
            let problem = problem(arguments);
            assert!(problem.contains(expected), "{arguments:?}: {problem}");
        }
    }

    #[test]
    fn many_values_may_be_given_in_three_ways() {
        let parsed = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            parse(&arguments).unwrap().unwrap()
        };
        let blanks =
            parsed(&["--node", "n1=http://a", "n2=https://[::1]:2", "--other", "http://b", "http://c"]);
        let again = parsed(&[
            "--node",
            "n1=http://a",
            "--other",
            "http://b",
            "--node=n2=https://[::1]:2",
            "--other",
            "http://c",
        ]);
        let commas = parsed(&["--node=n1=http://a,n2=https://[::1]:2", "--other", "http://b,http://c"]);
        assert_eq!(blanks, again);
        assert_eq!(blanks, commas);
        assert_eq!((blanks.nodes.len(), blanks.others.len()), (2, 2));
        assert!(parse(&["--help".into()]).unwrap().is_none());
    }
}
