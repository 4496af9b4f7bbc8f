//! What a handler can ask its client for, and how the client's answers are read.

use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::RequestError;

/// What a person did with a form or a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Elicited {
    /// They sent this; an empty object for a link.
    Accepted(Value),
    /// They said no.
    Declined,
    /// They did not decide.
    Cancelled,
}

/// A folder or file the client works on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Root {
    /// Where it is: a `file://` URI.
    pub uri: String,
    /// Its name.
    pub name: Option<String>,
}

/// Why the client did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// It did not declare that it can: it was not asked.
    NotSupported,
    /// It took too long; it was told that nobody waits any more.
    TimedOut,
    /// Too many questions wait for it already.
    TooMany,
    /// Its session is over.
    Over,
    /// It answered with an error.
    Refused {
        /// The error's code.
        code: i64,
        /// The error's text.
        message: String,
    },
    /// Its answer is not what the protocol says.
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
