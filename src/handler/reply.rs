//! The responses of handlers, and the errors in them.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::budget::Payload;
use crate::message::{self, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, Id, METHOD_NOT_FOUND};

/// MCP's own code for a resource that does not exist (L54: each kind of mistake has its code).
const RESOURCE_NOT_FOUND: i32 = -32002;

/// A JSON-RPC error with which a request is answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestError {
    code: i32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl RequestError {
    /// An error with a code of your own. JSON-RPC 2.0, section 5.1, reserves -32768 to -32000.
    pub fn new(code: i32, message: impl Into<String>) -> RequestError {
        RequestError { code, message: message.into(), data: None }
    }

    /// The params or arguments are wrong: code -32602.
    pub fn invalid(message: impl Into<String>) -> RequestError {
        RequestError::new(INVALID_PARAMS, message)
    }

    /// There is no resource under this URI: code -32002, with the URI as data.
    pub fn not_found(uri: &str) -> RequestError {
        let error = RequestError::new(RESOURCE_NOT_FOUND, "there is no such resource");
        error.with_data(serde_json::json!({"uri": uri}))
    }

    /// Something went wrong in the server: code -32603.
    pub fn internal(message: impl Into<String>) -> RequestError {
        RequestError::new(INTERNAL_ERROR, message)
    }

    /// Adds the member `data`: whatever may help the client.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> RequestError {
        self.data = Some(data);
        self
    }

    pub(super) fn method_not_found() -> RequestError {
        RequestError::new(METHOD_NOT_FOUND, "this server has no such method")
    }

    pub(super) fn invalid_request(message: &str) -> RequestError {
        RequestError::new(INVALID_REQUEST, message)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for RequestError {}

/// The response to request `id` with this result. A result that has no JSON form becomes an error response.
pub(super) fn result(id: &Id, content: &impl Serialize) -> Payload {
    message::response(id, "result", |out| serde_json::to_writer(out, content)).unwrap_or_else(|why| {
        error(id, &RequestError::internal(format!("the result has no JSON form: {why}")))
    })
}

/// The error response to request `id`.
pub(super) fn error(id: &Id, error: &RequestError) -> Payload {
    // Text and JSON: it always has a JSON form.
    let response = message::response(id, "error", |out| serde_json::to_writer(out, error));
    response.unwrap_or_else(|_| Payload::made_here(Vec::new()))
}
