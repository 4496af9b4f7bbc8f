//! Completion: what a client can propose while a person types an argument.

use serde::Serialize;

use super::resource::Variables;
use crate::limits::COMPLETION_VALUES_MAX;

/// What the argument that is being typed belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The prompt of this name.
    Prompt(String),
    /// A resource: the text of its URI template, or its URI.
    Resource(String),
}

/// An argument that is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completing {
    /// The prompt or the resource template that has the argument.
    pub reference: Reference,
    /// The argument's name.
    pub argument: String,
    /// What the person has typed so far.
    pub value: String,
    /// The other arguments of the same prompt or template that have a value already, by name.
    pub others: Variables,
}

/// Proposals for an argument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    values: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    has_more: bool,
}

impl Completion {
    /// Proposes these values, the best first. The client is given the first 100 of them (the protocol's own
    /// bound), and how many there are.
    pub fn new<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Completion {
        let mut values: Vec<String> = values.into_iter().map(Into::into).collect();
        let total = values.len();
        values.truncate(COMPLETION_VALUES_MAX);
        Completion { has_more: total > values.len(), total: Some(total), values }
    }
}
