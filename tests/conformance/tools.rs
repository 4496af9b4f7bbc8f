//! The tools of the suite.

use std::time::Duration;

use async_io::Timer;
use burdock::handler::{
    Content, Contents, Context, Elicited, LogLevel, NoArguments, Server, Tool, ToolError,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{PNG, WAV};

/// Between two messages of a tool that sends several.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Deserialize, schemars::JsonSchema)]
struct Sampling {
    /// What the model is asked.
    prompt: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Elicitation {
    /// What the user is told.
    message: String,
}

pub(crate) fn add(server: Server) -> Server {
    add_asking(add_telling(add_contents(server)))
}

/// Tools that answer at once.
fn add_contents(server: Server) -> Server {
    server
        .tool("test_simple_text", "Answers with text.", |_context, _: NoArguments| async {
            Ok("This is a simple text response for testing.")
        })
        .tool("test_image_content", "Answers with an image.", |_context, _: NoArguments| async {
            Ok(Content::image(PNG, "image/png"))
        })
        .tool("test_audio_content", "Answers with sound.", |_context, _: NoArguments| async {
            Ok(Content::audio(WAV, "audio/wav"))
        })
        .tool("test_embedded_resource", "Answers with a resource.", |_context, _: NoArguments| async {
            let contents = Contents::text("This is an embedded resource content.").mime_type("text/plain");
            Ok(Content::resource("test://embedded-resource", contents))
        })
        .tool("test_multiple_content_types", "Answers with a mixture.", |_context, _: NoArguments| async {
            let contents = Contents::text(r#"{"test":"data","value":123}"#).mime_type("application/json");
            Ok(vec![
                Content::text("Multiple content types test:"),
                Content::image(PNG, "image/png"),
                Content::resource("test://mixed-content-resource", contents),
            ])
        })
        .tool("test_error_handling", "Fails.", |_context, _: NoArguments| async {
            Err::<String, _>(ToolError::new("This tool intentionally returns an error for testing"))
        })
        .tool_with(
            Tool::new("json_schema_2020_12_tool", "Has a schema with much in it.", schema_2020_12()),
            |_context, arguments: Value| async move {
                Ok(format!("JSON Schema 2020-12 tool called with: {arguments}"))
            },
        )
}

/// Tools that say something before they answer.
fn add_telling(server: Server) -> Server {
    server
        .tool("test_tool_with_logging", "Logs.", |context: Context, _: NoArguments| async move {
            for text in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                context.log(LogLevel::Info, text).await;
                Timer::after(PAUSE).await;
            }
            Ok("Tool with logging executed successfully")
        })
        .tool("test_tool_with_progress", "Reports progress.", |context: Context, _: NoArguments| async move {
            for done in [0.0, 50.0, 100.0] {
                context.progress(done, Some(100.0), Some(&format!("Completed step {done} of 100"))).await;
                Timer::after(PAUSE).await;
            }
            Ok("Tool with progress executed successfully")
        })
        .tool(
            "test_reconnection",
            "Lets its client hang up.",
            |context: Context, _: NoArguments| async move {
                Timer::after(PAUSE).await;
                context.detach().await;
                Timer::after(PAUSE * 2).await;
                Ok("Reconnection test completed successfully")
            },
        )
}

/// Tools that ask the client.
fn add_asking(server: Server) -> Server {
    server
        .tool("test_sampling", "Asks the model.", |context: Context, sampling: Sampling| async move {
            let answer = context
                .sample(json!({
                    "messages": [{"role": "user", "content": {"type": "text", "text": sampling.prompt}}],
                    "maxTokens": 100,
                }))
                .await?;
            Ok(format!("LLM response: {}", answer["content"]["text"].as_str().unwrap_or("No response")))
        })
        .tool("test_elicitation", "Asks the user.", |context: Context, ask: Elicitation| async move {
            let schema = json!({
                "type": "object",
                "properties": {
                    "username": {"type": "string", "description": "User's response"},
                    "email": {"type": "string", "description": "User's email address"},
                },
                "required": ["username", "email"],
            });
            Ok(outcome("User response", context.elicit(&ask.message, schema).await?))
        })
        .tool(
            "test_elicitation_sep1034_defaults",
            "Asks with defaults.",
            |context: Context, _: NoArguments| async move {
                let message = "Please review and update the form fields with defaults";
                Ok(outcome("Elicitation completed", context.elicit(message, form_with_defaults()).await?))
            },
        )
        .tool(
            "test_elicitation_sep1330_enums",
            "Asks for choices.",
            |context: Context, _: NoArguments| async move {
                let message = "Please select options from the enum fields";
                Ok(outcome("Elicitation completed", context.elicit(message, form_with_choices()).await?))
            },
        )
}

fn outcome(what: &str, elicited: Elicited) -> String {
    let (action, content) = match elicited {
        Elicited::Accepted(content) => ("accept", content),
        Elicited::Declined => ("decline", json!({})),
        Elicited::Cancelled => ("cancel", json!({})),
    };
    format!("{what}: action={action}, content={content}")
}

fn form_with_defaults() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "User name", "default": "John Doe"},
            "age": {"type": "integer", "description": "User age", "default": 30},
            "score": {"type": "number", "description": "User score", "default": 95.5},
            "status": {
                "type": "string",
                "description": "User status",
                "enum": ["active", "inactive", "pending"],
                "default": "active",
            },
            "verified": {"type": "boolean", "description": "Verification status", "default": true},
        },
        "required": [],
    })
}

fn form_with_choices() -> Value {
    let titled = json!([
        {"const": "value1", "title": "First Option"},
        {"const": "value2", "title": "Second Option"},
        {"const": "value3", "title": "Third Option"},
    ]);
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {
                "type": "array",
                "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
            },
            "titledMulti": {"type": "array", "items": {"anyOf": titled}},
        },
        "required": [],
    })
}

fn schema_2020_12() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            },
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}
