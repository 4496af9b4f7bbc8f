//! Prompts: how they are described to clients, and the messages they yield.

use serde::Serialize;

use super::tool::Content;

/// A prompt, as clients are told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Prompt {
    /// The name by which clients ask for it.
    pub name: String,
    /// The name that people are shown, where it is another one.
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
    /// A prompt without arguments; `description` says what it is for.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Prompt {
        Prompt { name: name.into(), description: Some(description.into()), ..Prompt::default() }
    }

    /// Adds an argument that every request must have: without it the handler is not called.
    #[must_use]
    pub fn argument(self, name: impl Into<String>, description: impl Into<String>) -> Prompt {
        self.with(name.into(), description.into(), true)
    }

    /// Adds an argument that a request may leave out.
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

/// Who says a message of a prompt.
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
    /// What they say.
    pub content: Content,
}

impl PromptMessage {
    /// A message of the person.
    pub fn user(content: Content) -> PromptMessage {
        PromptMessage { role: Role::User, content }
    }

    /// A message of the model.
    pub fn assistant(content: Content) -> PromptMessage {
        PromptMessage { role: Role::Assistant, content }
    }
}

/// What a prompt yields: the beginning of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PromptResult {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The messages, in the order in which they are said.
    pub messages: Vec<PromptMessage>,
}

impl From<Vec<PromptMessage>> for PromptResult {
    fn from(messages: Vec<PromptMessage>) -> PromptResult {
        PromptResult { description: None, messages }
    }
}

impl From<String> for PromptResult {
    /// One message, said by the person.
    fn from(text: String) -> PromptResult {
        vec![PromptMessage::user(Content::text(text))].into()
    }
}

impl From<&str> for PromptResult {
    /// One message, said by the person.
    fn from(text: &str) -> PromptResult {
        text.to_owned().into()
    }
}
