//! What a developer runs: `cargo xtask dev`, `test`, `check`, `sample`, `bench`, `torture`, `fuzz`.
//!
//! Never: a crate of ours imported. It runs binaries and cargo, so that it builds in seconds and can't be broken by
//! what it checks.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line for people")]
#![allow(clippy::indexing_slicing, reason = "only JSON values are indexed here, which gives null where nothing is")]

mod bench;
mod check;
mod dates;
mod dev;
mod fuzz;
mod process;
mod random;
mod report;
mod sample;
mod test;
mod torture;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// CloudSync's tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Builds, starts a node and shows the main job on two devices; serves until Ctrl-C
    Dev(dev::Options),
    /// Builds and runs everything
    Test(test::Options),
    /// Says whether a change may land
    Check,
    /// Writes a sessions.csv of the real data's shape and size
    Sample(sample::Options),
    /// Measures, and writes docs/benchmarks.md
    Bench(bench::Options),
    /// Kills the node under load and a client at every step of a push, and looks for what was lost
    Torture(torture::Options),
    /// Throws inputs at what reads bytes of others, and looks for properties that break
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Dev(options) => dev::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Check => check::run(),
        Task::Sample(options) => sample::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Torture(options) => torture::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
