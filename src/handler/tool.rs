//! Tools: how they are described to clients, and what they answer.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::base64;
use super::reply::RequestError;
use super::resource::Contents;

/// A tool, as clients are told of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// The name by which clients call it.
    pub name: String,
    /// The name that people are shown, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it does, for the model to read.
    pub description: String,
    /// The JSON Schema of its arguments. They are an object.
    pub input_schema: Value,
    /// The JSON Schema of its structured result, if it has one. That is an object as well (L55: the protocol
    /// wants one).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Hints on what it does to the world.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
}

impl Tool {
    /// A tool with a schema for its arguments. `"type": "object"` is added where the schema names no type,
    /// for clients insist on it.
    pub fn new(name: impl Into<String>, description: impl Into<String>, mut input_schema: Value) -> Tool {
        if let Some(schema) = input_schema.as_object_mut() {
            schema.entry("type").or_insert(json!("object"));
        }
        Tool {
            name: name.into(),
            title: None,
            description: description.into(),
            input_schema,
            output_schema: None,
            annotations: None,
        }
    }
}

/// Hints on what a tool does to the world: promises of the server, which clients may show. `None` says
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotations {
    /// It changes nothing.
    #[serde(skip_serializing_if = "Option::is_none", rename = "readOnlyHint")]
    pub read_only: Option<bool>,
    /// It may change or delete what is there, and does not only add.
    #[serde(skip_serializing_if = "Option::is_none", rename = "destructiveHint")]
    pub destructive: Option<bool>,
    /// A second call with the same arguments changes nothing more.
    #[serde(skip_serializing_if = "Option::is_none", rename = "idempotentHint")]
    pub idempotent: Option<bool>,
    /// It deals with things outside of the server, such as the web.
    #[serde(skip_serializing_if = "Option::is_none", rename = "openWorldHint")]
    pub open_world: Option<bool>,
}

/// The arguments of a tool that takes none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
pub struct NoArguments {}

/// A piece of a tool's result, or what one message of a prompt says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    #[serde(rename_all = "camelCase")]
    Image {
        /// Its bytes in base64.
        data: String,
        /// Its media type.
        mime_type: Cow<'static, str>,
    },
    /// Sound.
    #[serde(rename_all = "camelCase")]
    Audio {
        /// Its bytes in base64.
        data: String,
        /// Its media type.
        mime_type: Cow<'static, str>,
    },
    /// A resource, with what is in it.
    Resource {
        /// The contents, with their URI.
        resource: Contents,
    },
    /// A link: the client can read the resource when it wants to.
    #[serde(rename_all = "camelCase")]
    ResourceLink {
        /// The resource's URI.
        uri: String,
        /// The resource's name.
        name: String,
        /// The resource's media type.
        #[serde(skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
    },
}

impl Content {
    /// Text.
    pub fn text(text: impl Into<String>) -> Content {
        Content::Text { text: text.into() }
    }

    /// An image, from its bytes and their media type, such as `image/png`.
    pub fn image(bytes: &[u8], mime_type: &'static str) -> Content {
        Content::Image { data: base64::encode(bytes), mime_type: mime_type.into() }
    }

    /// Sound, from its bytes and their media type, such as `audio/wav`.
    pub fn audio(bytes: &[u8], mime_type: &'static str) -> Content {
        Content::Audio { data: base64::encode(bytes), mime_type: mime_type.into() }
    }

    /// The resource at `uri`, with its contents.
    pub fn resource(uri: &str, contents: impl Into<Contents>) -> Content {
        Content::Resource { resource: contents.into().at(uri.to_owned()) }
    }
}

/// What a tool answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    /// What the model reads.
    pub content: Vec<Content>,
    /// The same for programs: an object that fits the tool's output schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured_content: Option<Value>,
    /// Whether the tool failed, and `content` says why.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

/// A structured result of a tool: a value whose JSON form is an object. Clients that know only text get that
/// JSON as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> From<Json<T>> for ToolResult {
    /// A value that has no JSON form, or whose form is no object, becomes a failed result: the tool has a
    /// bug.
    fn from(Json(value): Json<T>) -> ToolResult {
        match serde_json::to_value(value) {
            Ok(value @ Value::Object(_)) => ToolResult {
                content: vec![Content::text(value.to_string())],
                structured_content: Some(value),
                is_error: false,
            },
            Ok(_) => ToolResult::failed("the tool's structured result is no object".to_owned()),
            Err(error) => ToolResult::failed(format!("the tool's result has no JSON form: {error}")),
        }
    }
}

impl ToolResult {
    fn failed(text: String) -> ToolResult {
        ToolResult { content: vec![Content::text(text)], structured_content: None, is_error: true }
    }
}

impl From<Vec<Content>> for ToolResult {
    fn from(content: Vec<Content>) -> ToolResult {
        ToolResult { content, ..ToolResult::default() }
    }
}

impl From<Content> for ToolResult {
    fn from(content: Content) -> ToolResult {
        vec![content].into()
    }
}

impl From<String> for ToolResult {
    fn from(text: String) -> ToolResult {
        Content::text(text).into()
    }
}

impl From<&str> for ToolResult {
    fn from(text: &str) -> ToolResult {
        Content::text(text).into()
    }
}

/// Why a tool did not do what it was asked for.
///
/// `?` turns any error into [`ToolError::Told`] with the error's own words. For that `ToolError` itself must
/// not be a [`std::error::Error`].
#[derive(Clone, Debug, PartialEq)]
pub enum ToolError {
    /// For the model, which may try something else: the call has a result with `isError`.
    Told(String),
    /// For the client: the call is answered with a JSON-RPC error.
    Request(RequestError),
}

impl ToolError {
    /// A failure that the model is told of, in these words.
    pub fn new(text: impl Into<String>) -> ToolError {
        ToolError::Told(text.into())
    }
}

impl<E: std::error::Error + 'static> From<E> for ToolError {
    fn from(error: E) -> ToolError {
        ToolError::Told(error.to_string())
    }
}

/// What the client is sent for the outcome of a handler.
pub(super) fn settle(outcome: Result<ToolResult, ToolError>) -> Result<ToolResult, RequestError> {
    match outcome {
        Ok(result) => Ok(result),
        Err(ToolError::Told(text)) => Ok(ToolResult::failed(text)),
        Err(ToolError::Request(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(result: impl Into<ToolResult>) -> String {
        serde_json::to_string(&result.into()).unwrap()
    }

    #[test]
    fn results_look_as_the_protocol_has_them() {
        assert_eq!(written("a"), r#"{"content":[{"type":"text","text":"a"}]}"#);
        assert_eq!(
            written(Content::image(b"f", "image/png")),
            r#"{"content":[{"type":"image","data":"Zg==","mimeType":"image/png"}]}"#
        );
        assert_eq!(
            written(Content::resource("u:1", "text")),
            r#"{"content":[{"type":"resource","resource":{"uri":"u:1","text":"text"}}]}"#
        );
        assert_eq!(
            written(Json(json!({"a": 1}))),
            r#"{"content":[{"type":"text","text":"{\"a\":1}"}],"structuredContent":{"a":1}}"#
        );
        assert!(written(Json(1)).contains(r#""isError":true"#));
        let failed = settle(Err(ToolError::new("no"))).unwrap();
        assert_eq!(written(failed), r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#);
    }

    #[test]
    fn a_schema_without_type_is_one_of_an_object() {
        assert_eq!(Tool::new("t", "d", json!({})).input_schema, json!({"type": "object"}));
    }
}
