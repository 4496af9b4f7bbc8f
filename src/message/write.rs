//! Writes the messages that burdock itself sends.

use serde::Serialize;

use super::Id;
use super::envelope::DETACH;
use crate::budget::Payload;

/// Bytes reserved for a response before it is written; most are smaller.
const RESPONSE_ROOM: usize = 256;

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

/// The response to request `id`. `write` appends the value of its member `outcome`: `result` or `error`.
///
/// # Errors
/// Those of `write`.
pub fn response(
    id: &Id,
    outcome: &str,
    write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
) -> serde_json::Result<Payload> {
    let mut bytes = Vec::with_capacity(RESPONSE_ROOM);
    bytes.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    serde_json::to_writer(&mut bytes, id)?;
    bytes.extend_from_slice(b",\"");
    bytes.extend_from_slice(outcome.as_bytes());
    bytes.extend_from_slice(b"\":");
    write(&mut bytes)?;
    bytes.push(b'}');
    Ok(Payload::made_here(bytes))
}

/// A request where there is an `id`, else a notification.
///
/// # Errors
/// `params` have no JSON form.
pub fn request(id: Option<i64>, method: &str, params: &impl Serialize) -> serde_json::Result<Payload> {
    #[derive(Serialize)]
    struct RequestMessage<'a, P> {
        jsonrpc: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<i64>,
        method: &'a str,
        params: &'a P,
    }
    serde_json::to_vec(&RequestMessage { jsonrpc: "2.0", id, method, params }).map(Payload::made_here)
}

/// A message whose parts always have a JSON form: ids, texts and numbers.
fn sure(message: serde_json::Result<Payload>) -> Payload {
    message.unwrap_or_else(|_| Payload::made_here(Vec::new()))
}

/// An error response.
pub fn error(id: &Id, code: i32, text: &str, data: Option<ErrorData<'_>>) -> Payload {
    let error = ErrorObject { code, message: text, data };
    sure(response(id, "error", |out| serde_json::to_writer(out, &error)))
}

/// A [`DETACH`] notification.
pub fn detach(id: &Id) -> Payload {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct DetachParams<'a> {
        request_id: &'a Id,
    }
    sure(request(None, DETACH, &DetachParams { request_id: id }))
}

/// A response with an empty result: the answer to `ping` (L43).
pub fn empty_result(id: &Id) -> Payload {
    result_text(id, "{}")
}

/// A response whose result is this JSON text.
pub fn result_text(id: &Id, json: &str) -> Payload {
    sure(response(id, "result", |out| {
        out.reserve(json.len() + 1);
        out.extend_from_slice(json.as_bytes());
        Ok(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(payload: Payload) -> String {
        String::from_utf8(payload.to_vec()).unwrap()
    }

    #[test]
    fn messages_made_here_look_as_json_rpc_has_them() {
        let id = Id::of_text(r#""a\u0062""#).unwrap();
        assert_eq!(text(empty_result(&id)), r#"{"jsonrpc":"2.0","id":"a\u0062","result":{}}"#);
        assert_eq!(
            text(error(&Id::from(7), -32603, "no", None)),
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"no"}}"#
        );
        let data = ErrorData { reason: "lost", node: Some("n1") };
        assert_eq!(
            text(error(&Id::from(7), -32600, "no", Some(data))),
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"no","data":{"reason":"lost","node":"n1"}}}"#
        );
        assert_eq!(
            text(detach(&id)),
            r#"{"jsonrpc":"2.0","method":"notifications/burdock/detach","params":{"requestId":"a\u0062"}}"#
        );
        assert_eq!(
            text(request(Some(3), "roots/list", &serde_json::json!({})).unwrap()),
            r#"{"jsonrpc":"2.0","id":3,"method":"roots/list","params":{}}"#
        );
    }
}
