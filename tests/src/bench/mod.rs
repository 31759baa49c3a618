//! What `cargo xtask bench` measures: one file or folder a workload, each against the real node in a process of its own, beside
//! what this very machine can do at all.
//!
//! Never: a figure without its floor, or one from another run.

pub mod b1;
pub mod closed;
pub mod cores;
pub mod counted;
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
pub mod w2;
pub mod w3;
pub mod w4;
pub mod w5;
pub mod w8;
pub mod w9;

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
    /// Import and cold sync.
    W2,
    /// Memory of a connected, idle device.
    W3,
    /// Fan-out.
    W4,
    /// A reconnect storm.
    W5,
    /// How it grows.
    W8,
    /// Bytes on the wire.
    W9,
    /// A push while a backup is made.
    B1,
}

impl Workload {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 9] = [Self::W1, Self::W1b, Self::W2, Self::W3, Self::W4, Self::W5, Self::W8, Self::W9, Self::B1];

    /// As it is called on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W1b => "w1b",
            Self::W2 => "w2",
            Self::W3 => "w3",
            Self::W4 => "w4",
            Self::W5 => "w5",
            Self::W8 => "w8",
            Self::W9 => "w9",
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
            Self::W1 | Self::W4 | Self::W5 | Self::W9 | Self::B1 => 5,
            Self::W1b | Self::W2 | Self::W8 => 10,
            Self::W3 => 20,
        };
        Duration::from_secs(60 * minutes)
    }

    /// Measures it.
    pub fn run(self, effort: &Effort) -> anyhow::Result<Section> {
        let (effort, cores, time_max) = (effort.clone(), Cores::here()?, self.time_max());
        match self {
            Self::W1 => anywhere(in_time(time_max, w1::run(&effort))),
            Self::B1 => anywhere(in_time(time_max, b1::run(&effort))),
            Self::W2 => cores.run(move || in_time(time_max, w2::run(effort, cores))),
            Self::W3 => cores.run(move || in_time(time_max, w3::run(effort, cores))),
            Self::W4 => cores.run(move || in_time(time_max, w4::run(effort, cores))),
            Self::W5 => cores.run(move || in_time(time_max, w5::run(effort, cores))),
            Self::W9 => cores.run(move || in_time(time_max, w9::run(effort, cores))),
            Self::W8 => cores.run(move || in_time(time_max, w8::run(effort, cores))),
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
