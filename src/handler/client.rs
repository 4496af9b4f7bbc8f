//! What a client said of itself when it began: its name, its version, and what it declared that it can do.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::reply::RequestError;
use crate::limits::CLIENT_BYTES_MAX;

/// The program at the other end, as it described itself. None of it is checked.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// The name it gave, or an empty string: foreign text.
    pub name: String,
    /// The version it gave, or an empty string: foreign text.
    pub version: String,
    /// Its capabilities as they came. Few handlers ask for them, so they are parsed when one does.
    declared: Option<Box<RawValue>>,
    capabilities: OnceLock<Value>,
}

impl Client {
    /// Refused above [`CLIENT_BYTES_MAX`] bytes, for all of this is kept as long as the session.
    pub(super) fn new(
        name: String,
        version: String,
        declared: Option<&RawValue>,
    ) -> Result<Client, RequestError> {
        let bytes = name.len() + version.len() + declared.map_or(0, |declared| declared.get().len());
        if bytes > CLIENT_BYTES_MAX {
            return Err(RequestError::invalid(format!(
                "clientInfo and capabilities have more than {CLIENT_BYTES_MAX} bytes together: declare less"
            )));
        }
        Ok(Client { name, version, declared: declared.map(ToOwned::to_owned), capabilities: OnceLock::new() })
    }

    /// The `capabilities` it declared, as JSON; null when it declared none.
    pub fn capabilities(&self) -> &Value {
        self.capabilities.get_or_init(|| {
            let declared = self.declared.as_ref();
            declared.and_then(|declared| serde_json::from_str(declared.get()).ok()).unwrap_or_default()
        })
    }

    /// Whether it declared the capability at this path: `["sampling"]`, or `["elicitation", "url"]` for a
    /// part of one.
    pub(super) fn declares(&self, path: &[&str]) -> bool {
        let found = path.iter().try_fold(self.capabilities(), |value, key| value.get(key));
        found.is_some_and(|value| !value.is_null() && *value != Value::Bool(false))
    }

    /// Whether [`super::Context::elicit`] can put a form to its user. A client that declares `elicitation`
    /// without a mode can show forms (L47: only what was declared may be asked for).
    pub fn takes_forms(&self) -> bool {
        self.declares(&["elicitation"])
            && (self.declares(&["elicitation", "form"]) || !self.declares(&["elicitation", "url"]))
    }

    /// Whether [`super::Context::elicit_url`] can send its user to a web page.
    pub fn takes_urls(&self) -> bool {
        self.declares(&["elicitation", "url"])
    }

    /// Whether [`super::Context::sample`] can ask its model.
    pub fn samples(&self) -> bool {
        self.declares(&["sampling"])
    }

    /// Whether [`super::Context::roots`] can ask for its roots.
    pub fn has_roots(&self) -> bool {
        self.declares(&["roots"])
    }
}

/// How grave a log message is, from the least to the most (RFC 5424, section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum LogLevel {
    /// Details that help to find a mistake.
    Debug,
    /// Normal operation.
    Info,
    /// Normal, but worth a look.
    Notice,
    /// Something may go wrong.
    Warning,
    /// Something went wrong.
    Error,
    /// A part of the server has failed.
    Critical,
    /// Somebody has to act at once.
    Alert,
    /// The server is unusable.
    Emergency,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_client_can_is_what_it_declared() {
        let client = |capabilities: Value| {
            let declared = serde_json::value::to_raw_value(&capabilities).unwrap();
            Client::new(String::new(), String::new(), Some(&declared)).unwrap()
        };
        let forms = |capabilities| client(capabilities).takes_forms();
        assert!(forms(json!({"elicitation": {}})) && forms(json!({"elicitation": {"form": {}, "url": {}}})));
        assert!(!forms(json!({})) && !forms(json!({"elicitation": {"url": {}}})) && !forms(Value::Null));
        assert!(client(json!({"elicitation": {"url": {}}})).takes_urls());
        assert!(!client(json!({"elicitation": {}})).takes_urls());
        assert!(client(json!({"sampling": {}})).samples() && !client(json!({"sampling": null})).samples());
    }
}
