//! Handlers that behave badly, for the tests: `test-handlers ADDR THREADS [FLAG...]`, flags as of `burdock serve`; or
//! `test-handlers two`, two servers in one process.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::ffi::OsString;
use std::time::{Duration, Instant};

use burdock::config::{Config, Environment, Typed};
use burdock::handler::{Context, Elicited, NoArguments, Prompt, Server, ToolError};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize, schemars::JsonSchema)]
struct Block {
    /// How long the thread stands still.
    seconds: f64,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Cling {
    /// Kept by the session, and not by a call that never ends.
    kept: bool,
}

/// Its destructor blocks, and then panics.
#[derive(Default)]
struct Clinging;

impl Drop for Clinging {
    fn drop(&mut self) {
        block_for(2.0);
        panic!("asked to");
    }
}

async fn cling(context: Context, cling: Cling) -> Result<&'static str, ToolError> {
    if cling.kept {
        drop(context.state::<Clinging>());
    } else {
        let _clinging = Clinging;
        std::future::pending::<()>().await;
    }
    Ok("kept")
}

fn block_for(seconds: f64) {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if std::env::args().nth(1).as_deref() == Some("two") {
        return serve_two();
    }
    let (address, threads) = (arguments.next().unwrap(), arguments.next().unwrap());
    let mut config = Config::of_handler(server(), address.parse().unwrap()).unwrap();
    let flags: Vec<OsString> = arguments.map(OsString::from).collect();
    let environment = Environment::new();
    let (flagged, _) = Config::check(&Typed::parse(&flags, &environment).unwrap(), &environment).unwrap();
    (config.node, config.redis) = (flagged.node, flagged.redis);
    config.threads = threads.parse().unwrap();
    burdock::server::run(config, |_, bound| println!("http://{bound}/mcp")).unwrap();
}

/// Says where each serves, and when each has stopped.
fn serve_two() {
    let servers = ["one", "two"].map(|name| {
        std::thread::spawn(move || {
            let address = "127.0.0.1:0".parse().unwrap();
            burdock::serve(server(), address, |url| println!("{name} {url}")).unwrap();
            println!("{name} stopped");
        })
    });
    servers.into_iter().for_each(|server| server.join().unwrap());
}

fn server() -> Server {
    let server = Server::new("handlers", "1")
        .page_entries(2)
        .ask_deadline(Duration::from_millis(300))
        .tool("quick", "Answers at once.", |_context, _: NoArguments| async { Ok("quick") })
        .tool("block", "Blocks its thread.", |_context, block: Block| async move {
            block_for(block.seconds);
            Ok("unblocked")
        })
        .tool("cling", "Goes badly: at the end of the call, or of the session.", cling)
        .tool("panic", "Panics.", |_context, _: NoArguments| async {
            if true { panic!("asked to") } else { Ok("") }
        })
        .tool("impatient", "Waits a little for an answer.", |context: Context, _: NoArguments| async move {
            let schema = json!({"type": "object", "properties": {}});
            match context.elicit("Quick!", schema).await? {
                Elicited::Accepted(_) => Ok("accepted"),
                Elicited::Declined | Elicited::Cancelled => Err(ToolError::new("not accepted")),
            }
        })
        .tool(
            "falling",
            "Reports progress that does not always rise.",
            |context: Context, _: NoArguments| async move {
                for done in [1.0, 3.0, 2.0, 3.0, f64::NAN, 4.0] {
                    context.progress(done, None, None).await;
                }
                Ok("done")
            },
        );
    server.prompt(
        Prompt::new("p", "A prompt.").argument("needed", "Must be there."),
        |_context, arguments| async move { Ok(format!("needed: {}", arguments["needed"])) },
    )
}
