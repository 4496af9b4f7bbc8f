//! The tools of `rmcp-echo` as burdock handlers: `burdock-echo PORT [FLAG...]`, flags as of `burdock serve`.
//!
//! Only for what the demo of the burdock program does not offer: telling all sessions at once.

use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

use burdock::config::{Config, Environment, Typed};
use burdock::handler::{Context, NoArguments, Server, ToolError};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Text {
    /// What to say.
    text: String,
}

/// Who is told by `broadcast`.
static JOINED: Mutex<Vec<Context>> = Mutex::new(Vec::new());

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let port = arguments.next().and_then(|port| port.into_string().ok()).ok_or("usage: burdock-echo PORT")?;
    let flags: Vec<OsString> = arguments.collect();
    burdock::server::run(config(port.parse()?, &flags)?, |_, _| ())?;
    Ok(())
}

fn config(port: u16, flags: &[OsString]) -> Result<Config, String> {
    let environment = Environment::new();
    let typed = Typed::parse(flags, &environment).map_err(|error| error.to_string())?;
    let (flagged, _) = Config::check(&typed, &environment).map_err(|error| error.to_string())?;
    let mut config =
        Config::of_handler(server(), ([127, 0, 0, 1], port).into()).map_err(|error| error.to_string())?;
    (config.access, config.sessions, config.threads) = (flagged.access, flagged.sessions, flagged.threads);
    Ok(config)
}

fn server() -> Server {
    Server::new("echo", "1")
        .tool("echo", "Says what it is told.", |_context: Context, echo: Text| async move { Ok(echo.text) })
        .tool("join", "This session is told by broadcast from now on.", join)
        .tool("broadcast", "Tells every joined session that the list of tools has changed.", broadcast)
}

async fn join(context: Context, _: NoArguments) -> Result<&'static str, ToolError> {
    JOINED.lock().unwrap_or_else(PoisonError::into_inner).push(context);
    Ok("joined")
}

async fn broadcast(_: Context, _: NoArguments) -> Result<String, ToolError> {
    let joined = JOINED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for context in &joined {
        context.notify_tools_changed().await;
    }
    Ok(joined.len().to_string())
}
