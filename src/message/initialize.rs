//! What burdock reads of `initialize` and its answer, and the one thing it changes there.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::{Message, Parsed};
use super::parse::parse;
use super::places::ByteSpan;
use super::text::unquote;
use crate::budget::Share;

/// What burdock reads of an `initialize` request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Initialize {
    /// `protocolVersion`, when it is a string.
    pub version: Option<String>,
    /// `clientInfo.name` and `.version`, for the log: foreign text.
    pub client: String,
}

/// Its members stay raw here, so that one of a wrong type, which the backend may refuse, hides no other.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct InitializeParams<'a> {
    #[serde(borrow)]
    protocol_version: Option<&'a RawValue>,
    #[serde(borrow)]
    client_info: Option<&'a RawValue>,
}

impl InitializeParams<'_> {
    fn of(message: &Message) -> InitializeParams<'_> {
        message.params().and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct ClientInfo {
    name: Option<String>,
    version: Option<String>,
}

/// Reads an `initialize` request. What is missing or of another type is left empty: the backend judges it.
pub fn initialize(message: &Message) -> Initialize {
    let params = InitializeParams::of(message);
    let version = params.protocol_version.and_then(unquote).map(Cow::into_owned);
    let client = match params.client_info.and_then(|info| serde_json::from_str(info.get()).ok()) {
        Some(ClientInfo { name: Some(name), version: Some(version) }) => [&*name, " ", &version].concat(),
        Some(ClientInfo { name, version }) => name.or(version).unwrap_or_default(),
        None => String::new(),
    };
    Initialize { version, client }
}

/// The same `initialize` with another `protocolVersion`; every other byte stays. `None` when it has none.
pub fn with_version(message: &Message, version: &str) -> Option<Message> {
    let whole = message.payload.bytes();
    let old = ByteSpan::of(InitializeParams::of(message).protocol_version?.get(), whole)?.range();
    let bytes = [&whole[..old.start], &serde_json::to_vec(version).ok()?, &whole[old.end..]].concat();
    match parse(bytes, Share::overdraw(whole.len())) {
        Ok(Parsed::One(message)) => Some(message),
        Ok(Parsed::Batch(_)) | Err(_) => None,
    }
}

/// `result.protocolVersion` of the answer to `initialize`.
pub fn negotiated_version(message: &Message) -> Option<String> {
    version_in(message.payload.bytes())
}

/// The same, in whatever form the answer is.
pub(super) fn version_in(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct InitializeAnswer {
        result: Option<ResultVersion>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ResultVersion {
        protocol_version: Option<String>,
    }
    serde_json::from_slice::<InitializeAnswer>(line).ok()?.result?.protocol_version
}

/// The code of an error response.
pub fn error_code(message: &Message) -> Option<i64> {
    #[derive(Deserialize)]
    struct ErrorAnswer {
        error: Option<AnswerError>,
    }
    #[derive(Deserialize)]
    struct AnswerError {
        code: i64,
    }
    Some(serde_json::from_slice::<ErrorAnswer>(message.payload.bytes()).ok()?.error?.code)
}
