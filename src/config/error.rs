//! Mistakes in what was typed or configured, in words for the user.

use std::fmt;

/// A mistake in what was typed or configured, and its place. The process ends with status 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The command line as a whole.
    Usage(String),
    /// The value of a flag or a variable.
    Typed {
        /// The flag with its dashes, or the variable.
        by: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A place in a file.
    Place {
        /// The file, as it was typed.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The path of keys; empty when it is about the file's form.
        key: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(problem) => f.write_str(problem),
            Error::Typed { by, problem } => write!(f, "{by}: {problem}"),
            Error::Place { file, line, key, problem } if key.is_empty() => {
                write!(f, "{file}:{line}: {problem}")
            }
            Error::Place { file, line, key, problem } => write!(f, "{file}:{line}: {key}: {problem}"),
        }
    }
}

impl std::error::Error for Error {}
