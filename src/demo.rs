//! The demo: the server that `burdock serve` runs when it is given none, and an example of one made with
//! handlers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_io::Timer;
use serde::Deserialize;
use serde_json::json;

use crate::handler::{Context, Elicited, NoArguments, Prompt, Resource, Server, ToolError};
use crate::limits::DEMO_SECONDS_MAX;

/// The resource that shows [`CounterState`].
const COUNT: &str = "demo://count";

#[derive(Deserialize, schemars::JsonSchema)]
struct Echo {
    /// What to say.
    text: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Slow {
    /// How long to take, in seconds.
    seconds: f64,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct AskUser {
    /// What to ask the person in front of the client.
    question: Option<String>,
}

/// How often a session has called the tool `counter`.
#[derive(Debug, Default)]
struct CounterState(AtomicU64);

/// The demo server.
pub fn server() -> Server {
    Server::new("demo", env!("CARGO_PKG_VERSION"))
        .title("burdock's demo")
        .instructions(
            "Shows what an MCP server behind burdock can do. `counter` counts for each session by itself.",
        )
        .logging()
        .subscriptions()
        .tool("echo", "Says what it is told.", |_context: Context, echo: Echo| async move { Ok(echo.text) })
        .tool("counter", "Counts the calls of this session.", counter)
        .tool("slow", "Takes its time, and tells how far it is.", slow)
        .tool("ask", "Asks the person in front of the client.", ask)
        .tool("notify", "Tells the client that the list of tools has changed.", notify)
        .resource(
            Resource::new(COUNT, "count")
                .description("How often this session has called `counter`. Subscribe to it, then count.")
                .mime_type("text/plain"),
            |context: Context| async move {
                Ok(context.state::<CounterState>().0.load(Ordering::Relaxed).to_string())
            },
        )
        .prompt(
            Prompt::new("greet", "A greeting.").argument("name", "Who is greeted."),
            |_context, arguments| async move {
                let name = arguments.get("name").map_or("somebody", String::as_str);
                Ok(format!("Greet {name} in one friendly sentence."))
            },
        )
}

async fn counter(context: Context, _: NoArguments) -> Result<String, ToolError> {
    let count = context.state::<CounterState>().0.fetch_add(1, Ordering::Relaxed) + 1;
    context.resource_updated(COUNT).await;
    Ok(count.to_string())
}

async fn slow(context: Context, Slow { seconds }: Slow) -> Result<String, ToolError> {
    if !(0.0..=DEMO_SECONDS_MAX).contains(&seconds) {
        return Err(ToolError::new(format!("seconds must be from 0 to {DEMO_SECONDS_MAX}")));
    }
    let steps = (seconds * 2.0).ceil().max(1.0);
    let pause = Duration::from_secs_f64(seconds / steps);
    let mut step = 0.0;
    while step < steps {
        Timer::after(pause).await;
        step += 1.0;
        context.progress(step, Some(steps), Some("still at it")).await;
    }
    Ok(format!("took {seconds} s"))
}

async fn ask(context: Context, AskUser { question }: AskUser) -> Result<String, ToolError> {
    let question = question.unwrap_or_else(|| "What is your name?".to_owned());
    let schema = json!({
        "type": "object",
        "properties": {"answer": {"type": "string", "description": "Your answer."}},
        "required": ["answer"],
    });
    Ok(match context.elicit(&question, schema).await? {
        Elicited::Accepted(form) => format!("They said: {}", form["answer"].as_str().unwrap_or("nothing")),
        Elicited::Declined => "They said no.".to_owned(),
        Elicited::Cancelled => "They did not say.".to_owned(),
    })
}

async fn notify(context: Context, _: NoArguments) -> Result<&'static str, ToolError> {
    context.notify_tools_changed().await;
    Ok("told")
}
