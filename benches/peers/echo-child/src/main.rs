//! A small stdio MCP server, compiled: what is measured with it is the gateway in front of it.
//!
//! It finds the method and the id by searching the line, which is enough for the load generator's own messages and for
//! no others.

use std::io::{self, BufRead, Write};

const INITIALIZED: &str = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"echo-child","version":"1"}}"#;
const TOOLS: &str = r#"{"tools":[{"name":"echo","description":"Says what it is told.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}}]}"#;

fn main() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let (mut line, mut answer) = (String::new(), String::new());
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        answer.clear();
        if answer_to(&line, &mut answer) {
            output.write_all(answer.as_bytes())?;
            output.flush()?;
        }
    }
}

/// Writes the answer; false when there is none to give.
fn answer_to(line: &str, answer: &mut String) -> bool {
    let (Some(id), Some(method)) = (value(line, "\"id\":"), text(line, "\"method\":")) else { return false };
    let result = match method {
        "initialize" => INITIALIZED.to_owned(),
        "tools/list" => TOOLS.to_owned(),
        "tools/call" => {
            let text = text(line, "\"text\":").unwrap_or_default();
            format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]}}"#)
        }
        _ => "{}".to_owned(),
    };
    for part in ["{\"jsonrpc\":\"2.0\",\"id\":", id, ",\"result\":", &result, "}\n"] {
        answer.push_str(part);
    }
    true
}

/// What stands after `key`, up to the next comma or brace: a number, or a text without either.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = line.split_once(key)?.1.trim_start();
    rest.split([',', '}']).next()
}

/// The text after `key`, without escapes.
fn text<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_once(key)?.1.trim_start().strip_prefix('"')?.split('"').next()
}
