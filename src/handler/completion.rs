//! Completion: what an argument may become while a person types it.

use serde::Serialize;

use super::resource::Variables;
use crate::limits::COMPLETION_VALUES_MAX;

/// What an argument belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The prompt of this name.
    Prompt(String),
    /// The resource template, by its text.
    Resource(String),
}

/// What is to be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completing {
    /// What the argument belongs to.
    pub reference: Reference,
    /// The argument's name.
    pub argument: String,
    /// What was typed so far.
    pub value: String,
    /// Arguments that are settled already.
    pub others: Variables,
}

/// What it may become.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    values: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    has_more: bool,
}

impl Completion {
    /// These values, the best first. Clients are given the first hundred, and the number of all.
    pub fn new<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Completion {
        let mut values: Vec<String> = values.into_iter().map(Into::into).collect();
        let total = values.len();
        values.truncate(COMPLETION_VALUES_MAX);
        Completion { has_more: total > values.len(), total: Some(total), values }
    }
}
