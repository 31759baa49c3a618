//! What `conflicts` is given.
//!
//! Never: a way to settle one that is not named.

use clap::{Args, Subcommand};

use super::Record;

#[derive(Debug, Args)]
pub(crate) struct Conflicts {
    #[command(subcommand)]
    pub(crate) command: Option<ConflictsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConflictsCommand {
    /// Show them
    #[command(after_help = "Example:\n  cloudsync conflicts list --json")]
    List,
    /// Give this device's edit up and keep the current version
    #[command(
        after_help = "Examples:\n  cloudsync conflicts drop timer_session s1\n  cloudsync conflicts drop timer_session s1 --lost 5d8cade4b57348c6bf63d8c0f5032e2496c37a55d6c1277a71b01f827f5bef5f"
    )]
    Drop(DropConflict),
    /// Write this device's edit onto the current version
    #[command(
        after_help = "As `put … --onto current` with what the edit says: whatever else of the record is in conflict is settled with it.\n\nExamples:\n  cloudsync conflicts keep timer_session s1\n  cloudsync conflicts keep timer_session s1 --lost 5d8cade4b57348c6bf63d8c0f5032e2496c37a55d6c1277a71b01f827f5bef5f"
    )]
    Keep(KeepConflict),
}

#[derive(Debug, Args)]
pub(crate) struct DropConflict {
    #[command(flatten)]
    pub(crate) record: Record,
    /// A version that a rewind of the server lost, as `conflicts` names it: it is given up instead of an edit
    #[arg(long, value_name = "HASH")]
    pub(crate) lost: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct KeepConflict {
    #[command(flatten)]
    pub(crate) record: Record,
    /// A version that a rewind of the server lost, as `conflicts` names it: it is written instead of an edit
    #[arg(long, value_name = "HASH")]
    pub(crate) lost: Option<String>,
}
