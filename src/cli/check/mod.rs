//! `burdock check URL`: a client's tour of any MCP endpoint, and what it found.
//!
//! The tour asks what a handshake-era client needs (spec rows are named in the findings) and whether the
//! stateless era is spoken. It begins one session, and ends it. A finding is good, bad, or a note; only bad
//! ones make the command fail.

mod client;
mod tour;

use std::ffi::OsString;
use std::fmt::Write as _;

use serde::Serialize;

use self::client::{HttpClient, Url};
use super::{Failure, VERSION, print};

/// The help of the command.
pub const HELP: &str = "\
Talks to an MCP endpoint as a client does, and says what works.

Usage: burdock check URL [OPTIONS]

Options:
  --token-file FILE  a file with the bearer token to send (not in argv, where others see it)
  --tool NAME        a tool to call; without it one named `echo` is called if there is one
  --arguments JSON   its arguments ({\"text\": \"hello\", \"message\": \"hello\"})
  --json             the report as JSON
  -h, --help         this text

One session is begun and ended. Exit status: 0 when nothing is wrong, 1 when something is, 2 for a usage mistake.

Example:
  burdock check http://127.0.0.1:8080/mcp
";

/// What was typed after `burdock check`.
#[derive(Debug)]
struct CheckArguments {
    url: Url,
    text: String,
    token: Option<String>,
    tool: Option<String>,
    arguments: serde_json::Value,
    json: bool,
}

/// One thing the tour looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// What was looked at.
    step: &'static str,
    /// Whether it is as clients need it.
    verdict: Verdict,
    /// What was seen.
    seen: String,
    /// How long the answer took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    millis: Option<f64>,
}

/// The verdict on what was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As clients need it.
    Good,
    /// Allowed, and worth knowing.
    Note,
    /// Clients will fail on it.
    Bad,
}

#[derive(Serialize)]
struct CheckReport<'a> {
    url: &'a str,
    checked_by: &'static str,
    ok: bool,
    findings: &'a [Finding],
}

/// Checks, and reports.
///
/// # Errors
/// A usage failure for what was typed; a failure when something is wrong with the endpoint.
pub fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let Some(asked) = parse(arguments)? else { return print(HELP) };
    let client = HttpClient::new(asked.url.clone(), asked.token.clone());
    let findings = tour::tour(client, asked.tool.as_deref(), &asked.arguments);
    let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    print(&if asked.json { json(&asked.text, bad == 0, &findings) } else { text(&asked.text, &findings) })?;
    match bad {
        0 => Ok(()),
        1 => Err(Failure::Failed("1 thing is wrong".into())),
        bad => Err(Failure::Failed(format!("{bad} things are wrong"))),
    }
}

/// `None` when help was asked for.
fn parse(arguments: &[OsString]) -> Result<Option<CheckArguments>, Failure> {
    use lexopt::prelude::{Long, Short, Value};
    let mut parser = lexopt::Parser::from_args(arguments.iter().cloned());
    let (mut url, mut token, mut tool, mut given, mut json) = (None, None, None, None, false);
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("json") => json = true,
            Long("token-file") => token = Some(read_token(&value(&mut parser)?)?),
            Long("tool") => tool = Some(value(&mut parser)?),
            Long("arguments") => given = Some(read_arguments(&value(&mut parser)?)?),
            Value(text) if url.is_none() => url = Some(text.to_string_lossy().into_owned()),
            other => return Err(usage(other.unexpected())),
        }
    }
    let text = url.ok_or_else(|| usage("check what? Give the endpoint's URL"))?;
    let url = Url::parse(&text).map_err(|problem| usage(format_args!("{text}: {problem}")))?;
    let arguments = given.unwrap_or_else(|| serde_json::json!({"text": "hello", "message": "hello"}));
    Ok(Some(CheckArguments { url, text, token, tool, arguments, json }))
}

fn usage(problem: impl std::fmt::Display) -> Failure {
    Failure::Usage(format!("{problem} (burdock help check says more)"))
}

fn value(parser: &mut lexopt::Parser) -> Result<String, Failure> {
    Ok(parser.value().map_err(usage)?.to_string_lossy().into_owned())
}

fn read_arguments(text: &str) -> Result<serde_json::Value, Failure> {
    match serde_json::from_str(text) {
        Ok(arguments @ serde_json::Value::Object(_)) => Ok(arguments),
        Ok(_) => Err(usage("--arguments: a JSON object is wanted")),
        Err(error) => Err(usage(format_args!("--arguments: {error}"))),
    }
}

fn read_token(path: &str) -> Result<String, Failure> {
    let (text, _) = crate::small_file::read(path.as_ref())
        .map_err(|problem| Failure::Usage(format!("{path}: {problem}")))?;
    let token = text.trim();
    if token.is_empty() || token.contains(|byte: char| !byte.is_ascii_graphic()) {
        return Err(Failure::Usage(format!(
            "{path}: not one token: the file must have the token itself and nothing else (that of burdock serve has \
             names and hashes, which are no use here)"
        )));
    }
    Ok(token.to_owned())
}

fn text(url: &str, findings: &[Finding]) -> String {
    let mut text = format!("{url}\n");
    for finding in findings {
        let sign = match finding.verdict {
            Verdict::Good => "ok  ",
            Verdict::Note => "note",
            Verdict::Bad => "BAD ",
        };
        let millis = finding.millis.map(|millis| format!("  {millis:.1} ms")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {sign}  {:<22} {}{millis}", finding.step, finding.seen);
    }
    text
}

fn json(url: &str, ok: bool, findings: &[Finding]) -> String {
    let report = CheckReport { url, checked_by: VERSION, ok, findings };
    serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
}
