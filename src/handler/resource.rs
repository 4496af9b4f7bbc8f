//! Resources: how they are described to clients, and what is in them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::base64;

/// Names and their values: the variables of a URI (percent-decoded), or the arguments of a prompt.
pub type Variables = BTreeMap<String, String>;

/// What clients are told about resources: where they are (`P`), and what is in them.
///
/// [`Resource`] is one resource under a fixed URI, [`ResourceTemplate`] all those under the URIs of a
/// template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described<P> {
    /// Where it is, or where they are.
    #[serde(flatten)]
    pub place: P,
    /// The name that programs use.
    pub name: String,
    /// The name that people are shown, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is in it, for the model to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type, such as `text/plain`. It is also that of [`Contents`] that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
}

/// A resource under a fixed URI, as clients are told of it.
pub type Resource = Described<Uri>;

/// The resources under the URIs of a template, as clients are told of them.
pub type ResourceTemplate = Described<UriTemplate>;

/// The URI of a [`Resource`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Uri {
    /// An absolute URI (RFC 3986), by which the resource is read.
    pub uri: String,
}

/// The URIs of a [`ResourceTemplate`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UriTemplate {
    /// A URI in which `{name}` stands for a part without slashes, as in `note://{id}/text` (RFC 6570, level
    /// 1).
    pub uri_template: String,
}

impl Resource {
    /// A resource under this URI.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Resource {
        Resource { place: Uri { uri: uri.into() }, name: name.into(), ..Resource::default() }
    }
}

impl ResourceTemplate {
    /// The resources under the URIs of this template.
    pub fn new(uri_template: impl Into<String>, name: impl Into<String>) -> ResourceTemplate {
        let place = UriTemplate { uri_template: uri_template.into() };
        ResourceTemplate { place, name: name.into(), ..ResourceTemplate::default() }
    }
}

impl<P> Described<P> {
    /// Says what is in it, for the model to read.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Described<P> {
        self.description = Some(text.into());
        self
    }

    /// Says the media type, such as `text/plain`.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Described<P> {
        self.mime_type = Some(mime_type.into());
        self
    }
}

/// What is in a resource: text or bytes.
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
    /// A resource whose contents are text.
    pub fn text(text: impl Into<String>) -> Contents {
        Contents { uri: String::new(), mime_type: None, body: ContentsBody::Text(text.into()) }
    }

    /// A resource whose contents are bytes. They are sent in base64.
    pub fn blob(bytes: &[u8]) -> Contents {
        Contents { uri: String::new(), mime_type: None, body: ContentsBody::Blob(base64::encode(bytes)) }
    }

    /// Says the media type of these contents, in place of the resource's.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_told_as_the_protocol_has_them() {
        let resource = Resource::new("n://a", "a").description("A note.").mime_type("text/plain");
        assert_eq!(
            serde_json::to_string(&resource).unwrap(),
            r#"{"uri":"n://a","name":"a","description":"A note.","mimeType":"text/plain"}"#
        );
        let notes =
            ResourceTemplate { title: Some("Notes".into()), ..ResourceTemplate::new("n://{id}", "notes") };
        assert_eq!(
            serde_json::to_string(&notes).unwrap(),
            r#"{"uriTemplate":"n://{id}","name":"notes","title":"Notes"}"#
        );
    }
}
