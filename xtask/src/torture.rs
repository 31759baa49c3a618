//! `cargo xtask torture`: kills processes of ours and looks for what was lost.
//!
//! Never: a kill of its own; what kills and compares lives in `tests`.

use std::process::Command;

use crate::process::{cargo, run as run_command};
use crate::workspace::{metadata, target};

const BINARY: &str = "torture";
/// Where the proofs find `cloudsync-node` and `cloudsync`.
const BIN_DIR: &str = "CLOUDSYNC_BIN_DIR";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// `kill -9` of the node, at least; a client is killed at every step of a push once for each 50 of them
    #[arg(long, value_name = "N", default_value_t = 100)]
    kills: u32,
    /// Repeats the draws of a run
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// What was proved as one JSON object, the last line of standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    run_command(&mut cargo(["build", "--release", "--workspace", "--bins", "--locked"]))?;
    let bin_dir = target(&metadata()?)?.join("release");
    let mut torture = Command::new(bin_dir.join(BINARY));
    torture.env(BIN_DIR, &bin_dir).args(["--kills", &options.kills.to_string()]);
    if let Some(seed) = options.seed {
        torture.args(["--seed", &seed.to_string()]);
    }
    if options.json {
        torture.arg("--json");
    }
    run_command(&mut torture)
}
