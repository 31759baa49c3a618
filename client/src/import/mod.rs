//! Reads other programs' files as records.
//!
//! Never: a file stopped at by one broken row, or a value changed on the way; numbers keep their digits.

pub mod pomodoro;

/// A row that can't be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The line that it begins on, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// Why nothing of a file can be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It has no line of column names.
    #[error("the file has no line with the names of its columns")]
    NoHeader,
    /// Columns are missing.
    #[error("the file has no column {}", .0.join(", "))]
    Columns(Vec<&'static str>),
}
