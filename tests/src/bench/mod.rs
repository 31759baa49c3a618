//! What `cargo xtask bench` measures: one file a workload, each against the real node in a process of its own, beside
//! what this very machine can do at all.
//!
//! Never: a figure without its floor, or one from another run.

pub mod b1;
pub mod disk;
pub mod hop;
pub mod machine;
pub mod report;
pub mod stats;
pub mod w1;

use std::path::PathBuf;

use crate::node::Wire;

/// The carriers that are measured.
pub const WIRES: [Wire; 2] = [Wire::Quic, Wire::Wss];

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Every measurement is made so often, one after the other.
    pub rounds: u32,
    /// Samples of each measurement in a round.
    pub samples: u32,
    /// Where the node's data and the floor's file are.
    pub folder: PathBuf,
}

/// What can be measured. A new one is a file, a line here, and one in [`run`](Self::run).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Durable push → received by the user's other device, at light load.
    W1,
    /// A push while a backup is made.
    B1,
}

impl Workload {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 2] = [Self::W1, Self::B1];

    /// As it is called on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::B1 => "b1",
        }
    }

    /// Measures it.
    pub async fn run(self, effort: &Effort) -> anyhow::Result<report::Section> {
        match self {
            Self::W1 => Box::pin(w1::run(effort)).await,
            Self::B1 => Box::pin(b1::run(effort)).await,
        }
    }
}
