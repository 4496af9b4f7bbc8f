//! What is known of a client: its name, and what it declared that it can.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::reply::RequestError;
use crate::limits::CLIENT_BYTES_MAX;

/// The other side: a program, and what it can do.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Its name: foreign text.
    pub name: String,
    /// Its version: foreign text.
    pub version: String,
    /// What it declared, as it came. Most handlers never ask, so it is read when one does.
    declared: Option<Box<RawValue>>,
    capabilities: OnceLock<Value>,
}

impl Client {
    /// Refused when it says so much of itself that keeping it for the session would be a burden.
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

    /// What it declared that it can; null when it said nothing.
    pub fn capabilities(&self) -> &Value {
        self.capabilities.get_or_init(|| {
            let declared = self.declared.as_ref();
            declared.and_then(|declared| serde_json::from_str(declared.get()).ok()).unwrap_or_default()
        })
    }

    /// Whether it declared this capability (`sampling`), or a part of one (`elicitation`, `url`).
    pub(super) fn declares(&self, path: &[&str]) -> bool {
        let found = path.iter().try_fold(self.capabilities(), |value, key| value.get(key));
        found.is_some_and(|value| !value.is_null() && *value != Value::Bool(false))
    }

    /// Whether a form can be put to its user. A client that names no mode knows this one (L47).
    pub fn takes_forms(&self) -> bool {
        self.declares(&["elicitation"])
            && (self.declares(&["elicitation", "form"]) || !self.declares(&["elicitation", "url"]))
    }

    /// Whether its user can be sent to a page.
    pub fn takes_urls(&self) -> bool {
        self.declares(&["elicitation", "url"])
    }

    /// Whether its model can be asked.
    pub fn samples(&self) -> bool {
        self.declares(&["sampling"])
    }

    /// Whether it tells its roots.
    pub fn has_roots(&self) -> bool {
        self.declares(&["roots"])
    }
}

/// How grave a log message is (RFC 5424, section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum LogLevel {
    /// For who looks for a mistake.
    Debug,
    /// As usual.
    Info,
    /// As usual, but worth a look.
    Notice,
    /// Something may be wrong.
    Warning,
    /// Something is wrong.
    Error,
    /// A part has failed.
    Critical,
    /// Somebody has to act at once.
    Alert,
    /// Nothing works.
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
