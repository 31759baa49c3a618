//! What `cargo xtask bench` measures: one file or folder a workload, each against the real node in a process of its own, beside
//! what this very machine can do at all.
//!
//! Never: a figure without its floor, or one from another run.

pub mod b1;
pub mod cores;
pub mod cpu;
pub mod disk;
pub mod document;
pub mod fixture;
pub mod hop;
pub mod line;
pub mod machine;
pub mod pushes;
pub mod report;
pub mod seat;
pub mod stats;
pub mod w1;
pub mod w1b;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use self::cores::Cores;
use self::report::Section;
use crate::node::Wire;

/// The carriers of [`w1`].
pub const WIRES: [Wire; 2] = [Wire::Quic, Wire::Wss];

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Every measurement is made so often, one after the other.
    pub rounds: u32,
    /// Samples of each measurement in a round, where it is of single things.
    pub samples: u32,
    /// Where the node's data and the floors' files are; empty.
    pub folder: PathBuf,
}

/// What can be measured. A new one is a file, and a line in each of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Durable push → received by the user's other device, at light load.
    W1,
    /// Durable pushes a second.
    W1b,
    /// A push while a backup is made.
    B1,
}

impl Workload {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 3] = [Self::W1, Self::W1b, Self::B1];

    /// As it is called on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W1b => "w1b",
            Self::B1 => "b1",
        }
    }

    /// By its name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name().eq_ignore_ascii_case(name))
    }

    /// When it is given up.
    #[must_use]
    pub const fn time_max(self) -> Duration {
        let minutes = match self {
            Self::W1 | Self::B1 => 5,
            Self::W1b => 10,
        };
        Duration::from_secs(60 * minutes)
    }

    /// Measures it.
    pub fn run(self, effort: &Effort) -> anyhow::Result<Section> {
        let (effort, cores, time_max) = (effort.clone(), Cores::here()?, self.time_max());
        match self {
            Self::W1 => anywhere(in_time(time_max, w1::run(&effort))),
            Self::B1 => anywhere(in_time(time_max, b1::run(&effort))),
            Self::W1b => cores.run(move || in_time(time_max, w1b::run(effort, cores))),
        }
    }
}

/// One thing at a time, wherever the system puts it.
fn anywhere(work: impl Future<Output = anyhow::Result<Section>>) -> anyhow::Result<Section> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

async fn in_time(time_max: Duration, work: impl Future<Output = anyhow::Result<Section>>) -> anyhow::Result<Section> {
    let done = tokio::time::timeout(time_max, Box::pin(work)).await;
    done.with_context(|| format!("not done after {} minutes", time_max.as_secs() / 60))?
}

/// Says how far it is.
#[allow(clippy::print_stderr, reason = "how far it is is told on stderr")]
pub(crate) fn told(line: &str) {
    eprintln!("{line}");
}
