//! What `import` and `export` take.
//!
//! Never: a format that is guessed from a file's name.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// CSV with X.words, word_cnt, description, DONE, date, estimate and actual
    Pomodoro,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// What kind of file it is
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// Also rows whose records were deleted since
    #[arg(long)]
    pub(crate) deleted: bool,
    /// The file
    pub(crate) file: PathBuf,
}

/// What an export is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Columns collection, id, version, state and value (JSON)
    Csv,
    /// One array of the objects of list --json
    Json,
    /// The objects of list --json, one a line
    Jsonl,
    /// The CSV of timer sessions that import reads
    Pomodoro,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// What to write
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
    /// Into that file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Deleted records as well
    #[arg(long)]
    pub(crate) deleted: bool,
    /// Only this collection
    pub(crate) collection: Option<String>,
}
