//! `cargo xtask bench`: measures, and writes `docs/benchmarks.md`.
//!
//! Never: a measurement of its own; what is measured lives in `tests`.

use std::process::Command;

use anyhow::bail;

use crate::process::{cargo, run as run_command};
use crate::workspace::{array, metadata, root, target};

const PACKAGE: &str = "cloudsync-tests";
const BINARY: &str = "bench";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Passed on to the benches
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let metadata = metadata()?;
    let tests = array(&metadata["packages"]).iter().find(|package| package["name"] == PACKAGE);
    let is_there = tests.is_some_and(|tests| array(&tests["targets"]).iter().any(|target| target["name"] == BINARY));
    if !is_there {
        bail!("{PACKAGE} has no binary `{BINARY}` yet");
    }
    run_command(&mut cargo(["build", "--release", "--workspace", "--bins", "--locked"]))?;
    let document = root().join("docs").join("benchmarks.md");
    // As built: another selection of packages would have other features, and build everything once more.
    let mut bench = Command::new(target(&metadata)?.join("release").join(BINARY));
    run_command(bench.arg("--out").arg(&document).args(&options.arguments))?;
    println!("written: {}", document.display());
    Ok(())
}
