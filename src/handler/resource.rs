//! Resources: what clients are told about them, and what is in them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::base64;

/// Names and their values: the variables of a URI, the arguments of a prompt.
pub type Variables = BTreeMap<String, String>;

/// What clients are told about a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Where it is.
    pub uri: String,
    /// Its name.
    pub name: String,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is in it, for the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its media type; contents that name none have it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
}

impl Resource {
    /// A resource under this URI.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Resource {
        Resource { uri: uri.into(), name: name.into(), ..Resource::default() }
    }

    /// Says what is in it.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Resource {
        self.description = Some(text.into());
        self
    }

    /// Says its media type.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Resource {
        self.mime_type = Some(mime_type.into());
        self
    }
}

/// What clients are told about the resources of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceTemplate {
    /// Where they are: `note://{id}/text` (RFC 6570, level 1).
    pub uri_template: String,
    /// Their name.
    pub name: String,
    /// Their name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is in them, for the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Their media type; contents that name none have it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
}

impl ResourceTemplate {
    /// Resources under the URIs of this template.
    pub fn new(uri_template: impl Into<String>, name: impl Into<String>) -> ResourceTemplate {
        let (uri_template, name) = (uri_template.into(), name.into());
        ResourceTemplate { uri_template, name, ..ResourceTemplate::default() }
    }

    /// Says what is in them.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> ResourceTemplate {
        self.description = Some(text.into());
        self
    }

    /// Says their media type.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> ResourceTemplate {
        self.mime_type = Some(mime_type.into());
        self
    }
}

/// What is in a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<String>,
    #[serde(flatten)]
    body: ContentsBody,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum ContentsBody {
    Text(String),
    /// In base64.
    Blob(String),
}

impl Contents {
    /// Text.
    pub fn text(text: impl Into<String>) -> Contents {
        Contents { uri: String::new(), mime_type: None, body: ContentsBody::Text(text.into()) }
    }

    /// Bytes.
    pub fn blob(bytes: &[u8]) -> Contents {
        Contents { uri: String::new(), mime_type: None, body: ContentsBody::Blob(base64::encode(bytes)) }
    }

    /// Says their media type, in place of the resource's.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Contents {
        self.mime_type = Some(mime_type.into());
        self
    }

    /// The contents of the resource at `uri`.
    #[must_use]
    pub(super) fn at(mut self, uri: String) -> Contents {
        self.uri = uri;
        self
    }

    /// With the resource's media type, unless they have their own.
    pub(super) fn or_mime_type(mut self, mime_type: Option<&String>) -> Contents {
        self.mime_type = self.mime_type.or_else(|| mime_type.cloned());
        self
    }
}

impl From<String> for Contents {
    fn from(text: String) -> Contents {
        Contents::text(text)
    }
}

impl From<&str> for Contents {
    fn from(text: &str) -> Contents {
        Contents::text(text)
    }
}
