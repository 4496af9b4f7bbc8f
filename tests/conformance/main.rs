//! The server that MCP's official suite is run against: `conformance --listen ADDR` or `conformance --stdio`.
//!
//! Names and texts are the suite's; what each is for stands in its scenarios.

mod prompts;
mod resources;
mod tools;

use std::error::Error;
use std::io::Write as _;

use burdock::handler::{Completion, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--stdio"] => Ok(burdock::serve_stdio(server())?),
        ["--listen", address] => burdock::serve(server(), address.parse()?, announce),
        _ => Err("usage: conformance --listen ADDR:PORT | --stdio".into()),
    }
}

fn announce(url: &str) {
    // Nobody reads it: that is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "{url}");
}

fn server() -> Server {
    let server = Server::new("burdock-conformance", env!("CARGO_PKG_VERSION"))
        .title("burdock's conformance server")
        .logging()
        .subscriptions()
        .completion(|_context, completing| async move {
            let values = ["test", "testing", "paris", "park", "party"];
            Ok(Completion::new(values.into_iter().filter(|value| value.starts_with(&completing.value))))
        });
    prompts::add(resources::add(tools::add(server)))
}

/// A red dot: an image of one pixel.
const PNG: &[u8] = include_bytes!("dot.png");
/// Silence: a header and two samples.
const WAV: &[u8] = include_bytes!("silence.wav");
