//! What handlers get when they ask their client for something, and how its responses are read.

use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::RequestError;

/// What the client's user did with a form or a link that a handler sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Elicited {
    /// They accepted. The value is what they filled into the form, unchecked; for a link it is an empty
    /// object.
    Accepted(Value),
    /// They refused.
    Declined,
    /// They closed the form without a decision.
    Cancelled,
}

/// A folder or file that the client works on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Root {
    /// Where it is: a `file://` URI.
    pub uri: String,
    /// Its name for people, where the client gave one.
    pub name: Option<String>,
}

/// Why a handler that asked its client got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// The client did not declare this capability, so it was not asked.
    NotSupported,
    /// The client did not answer within [`super::Server::ask_deadline`]. It was told that nobody waits any
    /// more.
    TimedOut,
    /// The session has as many unanswered questions as it may have (64).
    TooMany,
    /// The session ended before the client answered.
    Over,
    /// The client answered with a JSON-RPC error.
    Refused {
        /// The error's `code`.
        code: i64,
        /// The error's `message`: foreign text.
        message: String,
    },
    /// The client answered with something that the protocol does not allow here.
    Unreadable,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::NotSupported => {
                f.write_str("the client cannot be asked this: it did not declare that it can")
            }
            AskError::TimedOut => f.write_str("the client did not answer in time"),
            AskError::TooMany => f.write_str("too many questions wait for the client"),
            AskError::Over => f.write_str("the client's session is over"),
            AskError::Refused { code, message } => write!(f, "the client refused: {message} ({code})"),
            AskError::Unreadable => f.write_str("the client's answer is not what the protocol says"),
        }
    }
}

impl std::error::Error for AskError {}

impl From<AskError> for RequestError {
    fn from(error: AskError) -> RequestError {
        RequestError::internal(error.to_string())
    }
}

/// Reads the result of `elicitation/create`.
pub(super) fn elicited(answer: Value) -> Result<Elicited, AskError> {
    #[derive(Deserialize)]
    struct ElicitResult {
        action: ElicitAction,
        #[serde(default)]
        content: Value,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum ElicitAction {
        Accept,
        Decline,
        Cancel,
    }
    match serde_json::from_value(answer) {
        Ok(ElicitResult { action: ElicitAction::Accept, content: Value::Null }) => {
            Ok(Elicited::Accepted(json!({})))
        }
        Ok(ElicitResult { action: ElicitAction::Accept, content }) => Ok(Elicited::Accepted(content)),
        Ok(ElicitResult { action: ElicitAction::Decline, .. }) => Ok(Elicited::Declined),
        Ok(ElicitResult { action: ElicitAction::Cancel, .. }) => Ok(Elicited::Cancelled),
        Err(_) => Err(AskError::Unreadable),
    }
}

/// Reads a client's response to a request of a handler.
pub(super) fn read_answer(answer: &[u8]) -> Result<Value, AskError> {
    #[derive(Deserialize)]
    struct AskResponse {
        result: Option<Value>,
        error: Option<AskRefusal>,
    }
    #[derive(Deserialize)]
    struct AskRefusal {
        code: i64,
        message: String,
    }
    match serde_json::from_slice(answer) {
        Ok(AskResponse { error: Some(AskRefusal { code, message }), .. }) => {
            Err(AskError::Refused { code, message })
        }
        Ok(AskResponse { result: Some(result), error: None }) => Ok(result),
        Ok(AskResponse { result: None, error: None }) | Err(_) => Err(AskError::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_a_form() {
        let read = |answer| elicited(answer);
        assert_eq!(
            read(json!({"action": "accept", "content": {"a": 1}})),
            Ok(Elicited::Accepted(json!({"a": 1})))
        );
        assert_eq!(read(json!({"action": "decline"})), Ok(Elicited::Declined));
        assert_eq!(read(json!({"action": "cancel"})), Ok(Elicited::Cancelled));
        assert_eq!(read(json!({"action": "other"})), Err(AskError::Unreadable));
    }

    #[test]
    fn answers_are_results_or_refusals() {
        assert_eq!(read_answer(br#"{"result":{"a":1}}"#), Ok(serde_json::json!({"a": 1})));
        let refused = read_answer(br#"{"error":{"code":-1,"message":"no"}}"#);
        assert_eq!(refused, Err(AskError::Refused { code: -1, message: "no".into() }));
        assert_eq!(read_answer(b"{}"), Err(AskError::Unreadable));
        assert_eq!(read_answer(br#"{"error":5}"#), Err(AskError::Unreadable));
    }
}
