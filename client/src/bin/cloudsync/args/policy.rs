//! What `policy` is given.
//!
//! Never: a word for a policy that records do not have.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Policy {
    /// Whose; without it, all that were set
    pub(crate) collection: Option<String>,
    /// The one to set; without it, the one in force is shown
    #[arg(value_enum)]
    pub(crate) policy: Option<PolicyName>,
}

/// As it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum PolicyName {
    /// A conflict, for a person to settle: what is in force where none was set
    Reject,
    /// The later one is current, by its stamp; history has both
    LastWriteWins,
}
