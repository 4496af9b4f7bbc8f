//! Prompts: what clients are told about them, and what they say.

use serde::Serialize;

use super::tool::Content;

/// What clients are told about a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Prompt {
    /// Its name, by which it is asked for.
    pub name: String,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    arguments: Vec<Argument>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Argument {
    name: String,
    description: String,
    required: bool,
}

impl Prompt {
    /// A prompt without arguments.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Prompt {
        Prompt { name: name.into(), description: Some(description.into()), ..Prompt::default() }
    }

    /// Adds an argument that must be there.
    #[must_use]
    pub fn argument(self, name: impl Into<String>, description: impl Into<String>) -> Prompt {
        self.with(name.into(), description.into(), true)
    }

    /// Adds an argument that may be left out.
    #[must_use]
    pub fn optional_argument(self, name: impl Into<String>, description: impl Into<String>) -> Prompt {
        self.with(name.into(), description.into(), false)
    }

    fn with(mut self, name: String, description: String, required: bool) -> Prompt {
        self.arguments.push(Argument { name, description, required });
        self
    }

    pub(super) fn required(&self) -> Vec<String> {
        let required = self.arguments.iter().filter(|argument| argument.required);
        required.map(|argument| argument.name.clone()).collect()
    }
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PromptMessage {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: Content,
}

impl PromptMessage {
    /// The person says this.
    pub fn user(content: Content) -> PromptMessage {
        PromptMessage { role: Role::User, content }
    }

    /// The model says this.
    pub fn assistant(content: Content) -> PromptMessage {
        PromptMessage { role: Role::Assistant, content }
    }
}

/// What a prompt says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PromptResult {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What is said, in order.
    pub messages: Vec<PromptMessage>,
}

impl From<Vec<PromptMessage>> for PromptResult {
    fn from(messages: Vec<PromptMessage>) -> PromptResult {
        PromptResult { description: None, messages }
    }
}

impl From<String> for PromptResult {
    /// The person says it.
    fn from(text: String) -> PromptResult {
        vec![PromptMessage::user(Content::text(text))].into()
    }
}

impl From<&str> for PromptResult {
    /// The person says it.
    fn from(text: &str) -> PromptResult {
        text.to_owned().into()
    }
}
