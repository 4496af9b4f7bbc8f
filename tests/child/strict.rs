//! Servers made with zod schemas: what the schema of MCP's envelope does not allow is dropped without a word.

use serde_json::{Map, Value};

/// The largest number that JavaScript keeps as it is.
const SAFE: f64 = 9_007_199_254_740_991.0;

/// Whether such a server would take the message.
pub(crate) fn allows(message: &str) -> bool {
    let allowed = serde_json::from_str::<Value>(message)
        .ok()
        .and_then(|message| message.as_object().map(envelope))
        .unwrap_or(false);
    if !allowed {
        eprintln!("dropped {message}");
    }
    allowed
}

fn envelope(message: &Map<String, Value>) -> bool {
    let members: &[&str] = match (message.contains_key("method"), message.contains_key("result")) {
        (true, _) => &["jsonrpc", "id", "method", "params"],
        (false, true) => &["jsonrpc", "id", "result"],
        (false, false) => &["jsonrpc", "id", "error"],
    };
    message.keys().all(|key| members.contains(&key.as_str()))
        && message.get("jsonrpc").is_some_and(|version| version == "2.0")
        && message.get("id").is_none_or(id)
        && message.get("method").is_none_or(Value::is_string)
        && message.get("params").is_none_or(params)
        && message.get("result").is_none_or(Value::is_object)
        && message.get("error").is_none_or(Value::is_object)
}

/// A string or a whole number that JavaScript can tell from its neighbours.
fn id(id: &Value) -> bool {
    id.is_string() || id.as_f64().is_some_and(|number| number.fract() == 0.0 && number.abs() <= SAFE)
}

fn params(params: &Value) -> bool {
    params.is_object()
        && params.get("_meta").is_none_or(|meta| meta.is_object() && meta.get("progressToken").is_none_or(id))
}
