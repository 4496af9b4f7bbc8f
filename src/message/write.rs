//! Writes the messages that burdock itself sends.

use serde::Serialize;

use super::Id;
use super::envelope::DETACH;
use crate::budget::Payload;

#[derive(Serialize)]
struct ErrorMessage<'a> {
    jsonrpc: &'static str,
    id: &'a Id,
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<ErrorData<'a>>,
}

/// Why there is no such session: the `data` of the error in a 404.
#[derive(Debug, Serialize)]
pub struct ErrorData<'a> {
    /// `unknown`, `closed`, `elsewhere`, `lost` or `registry-unreachable`.
    pub reason: &'static str,
    /// The node the session is or was on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<&'a str>,
}

/// An error response.
pub fn error(id: &Id, code: i32, text: &str, data: Option<ErrorData<'_>>) -> Payload {
    let message = ErrorMessage { jsonrpc: "2.0", id, error: ErrorObject { code, message: text, data } };
    Payload::made_here(serde_json::to_vec(&message).unwrap_or_default())
}

/// A [`DETACH`] notification.
pub fn detach(id: &Id) -> Payload {
    let text = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{DETACH}\",\"params\":{{\"requestId\":{id}}}}}");
    Payload::made_here(text.into_bytes())
}

/// A response with an empty result: the answer to `ping` (L43).
pub fn empty_result(id: &Id) -> Payload {
    Payload::made_here(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}").into_bytes())
}
