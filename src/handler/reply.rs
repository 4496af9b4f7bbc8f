//! Responses and requests of handlers, written straight into the bytes that are sent.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::budget::Payload;
use crate::message::{INTERNAL_ERROR, INVALID_REQUEST, Id, METHOD_NOT_FOUND};

/// JSON-RPC 2.0: the params are not what the method takes.
pub(super) const INVALID_PARAMS: i32 = -32602;
/// MCP's own code for a resource that does not exist (L54: each kind of mistake has its code).
const RESOURCE_NOT_FOUND: i32 = -32002;

/// Bytes reserved for a response before it is written; most are smaller.
const RESPONSE_ROOM: usize = 256;

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
    member(id, "result", RESPONSE_ROOM, |out| serde_json::to_writer(out, content)).unwrap_or_else(|why| {
        error(id, &RequestError::internal(format!("the result has no JSON form: {why}")))
    })
}

/// The same for a result that is JSON text already.
pub(super) fn result_text(id: &Id, json: &str) -> Payload {
    let write = |out: &mut Vec<u8>| {
        out.extend_from_slice(json.as_bytes());
        Ok(())
    };
    member(id, "result", RESPONSE_ROOM + json.len(), write).unwrap_or_else(|_| Payload::made_here(Vec::new()))
}

/// The error response to request `id`.
pub(super) fn error(id: &Id, error: &RequestError) -> Payload {
    // Text and JSON: it always has a JSON form.
    let write = |out: &mut Vec<u8>| serde_json::to_writer(out, error);
    member(id, "error", RESPONSE_ROOM, write).unwrap_or_else(|_| Payload::made_here(Vec::new()))
}

fn member(
    id: &Id,
    key: &str,
    room: usize,
    write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
) -> serde_json::Result<Payload> {
    let mut bytes = Vec::with_capacity(room);
    bytes.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    serde_json::to_writer(&mut bytes, id)?;
    bytes.extend_from_slice(b",\"");
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(b"\":");
    write(&mut bytes)?;
    bytes.push(b'}');
    Ok(Payload::made_here(bytes))
}

/// A message to the client: a request where there is an `id`, else a notification. `None` when `params` have
/// no JSON form.
pub(super) fn outgoing(id: Option<i64>, method: &str, params: &impl Serialize) -> Option<Payload> {
    #[derive(Serialize)]
    struct Outgoing<'a, P> {
        jsonrpc: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<i64>,
        method: &'a str,
        params: &'a P,
    }
    serde_json::to_vec(&Outgoing { jsonrpc: "2.0", id, method, params }).ok().map(Payload::made_here)
}
