//! `bench`: measures on this machine and writes the report; `cargo xtask bench` calls it.
//!
//! Never: a workload of its own; those are in `bench/`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use cloudsync_tests::bench::machine::Machine;
use cloudsync_tests::bench::report::Report;
use cloudsync_tests::bench::{Effort, Workload, hop};

/// Measures this machine and the node on it.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct CommandLine {
    /// Where the report goes, as Markdown [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Prints the figures as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Only this workload (w1, b1).
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Every measurement is made so often.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Samples of each measurement in a round.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples: u32,
    /// Where the node's data goes, in a folder of its own: the disk that is measured [default: beside this program].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[allow(clippy::print_stdout, reason = "it is a program: this is its output")]
async fn measure(options: CommandLine) -> anyhow::Result<()> {
    let beside = || std::env::current_exe().ok().and_then(|own| own.parent().map(PathBuf::from));
    let place = options.folder.or_else(beside).context("no folder for the data: name one by --folder")?;
    let folder = tempfile::TempDir::new_in(&place).with_context(|| place.display().to_string())?;
    let effort = Effort { rounds: options.rounds, samples: options.samples, folder: folder.path().to_owned() };
    let (machine, date) = (Machine::here(folder.path()), Machine::today());
    let chosen = Workload::ALL.into_iter().filter(|workload| options.only.as_ref().is_none_or(|only| only == workload.name()));
    let mut sections = Vec::new();
    for workload in chosen {
        sections.push(workload.run(&effort).await.with_context(|| workload.name())?);
    }
    anyhow::ensure!(!sections.is_empty(), "there is no such workload");
    let command = "cargo xtask bench".to_owned();
    let report = Report { machine, date, command, rounds: effort.rounds, samples: effort.samples, sections };
    let markdown = report.markdown()?;
    match &options.out {
        Some(path) => std::fs::write(path, markdown).with_context(|| path.display().to_string())?,
        None if !options.json => print!("{markdown}"),
        None => {}
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if std::env::args().nth(1).as_deref() == Some(hop::ECHO_ARGUMENT) {
        return runtime.block_on(hop::serve());
    }
    runtime.block_on(Box::pin(measure(CommandLine::parse())))
}
