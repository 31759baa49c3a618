//! `bench`: measures on this machine and writes the document; `cargo xtask bench` calls it.
//!
//! Never: a workload of its own; those are in `bench/`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Parser;
use cloudsync_tests::bench::machine::Machine;
use cloudsync_tests::bench::report::Section;
use cloudsync_tests::bench::w1b::bare;
use cloudsync_tests::bench::{Effort, Workload, document, hop};

/// Measures this machine and the node on it.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct CommandLine {
    /// Only these workloads (w1, w1b, …); the others' sections stay as they are [default: all of them].
    names: Vec<String>,
    /// The document, Markdown; sections that are not measured now stay [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Prints the figures as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Every measurement is made so often.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Samples of each measurement in a round, where it is of single things.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    samples: u32,
    /// Where the node's data goes, in a folder of its own: the disk that is measured [default: beside this program].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl CommandLine {
    fn chosen(&self) -> anyhow::Result<Vec<Workload>> {
        if self.names.is_empty() {
            return Ok(Workload::ALL.to_vec());
        }
        let known = Workload::ALL.map(Workload::name).join(", ");
        self.names.iter().map(|name| Workload::named(name).with_context(|| format!("there is no workload {name}, but {known}"))).collect()
    }
}

/// A workload measured, and where, when and how.
fn measured(workload: Workload, options: &CommandLine, place: &Path) -> anyhow::Result<(Section, String)> {
    let folder = tempfile::TempDir::new_in(place).with_context(|| place.display().to_string())?;
    let CommandLine { rounds, samples, .. } = *options;
    let (machine, date) = (Machine::here(folder.path()), Machine::today());
    let section = workload.run(&Effort { rounds, samples, folder: folder.path().to_owned() })?;
    let command = format!("cargo xtask bench {} --rounds {rounds}", workload.name());
    Ok((section, format!("*{date}, `{command}`, on {machine}.*")))
}

/// Puts a section in where it belongs, at once: a later workload that fails takes none along.
fn write(out: &Path, section: (String, String)) -> anyhow::Result<()> {
    let before = std::fs::read_to_string(out).unwrap_or_default();
    std::fs::write(out, document::merged(&before, &[section])).with_context(|| out.display().to_string())
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program: this is its output")]
fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [hop::ECHO_ARGUMENT, ..] => return tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(hop::serve()),
        [bare::ARGUMENT, folder, shape] => return bare::serve(Path::new(folder), serde_json::from_str(shape)?),
        _ => {}
    }
    let options = CommandLine::parse();
    let beside = || std::env::current_exe().ok().and_then(|own| own.parent().map(PathBuf::from));
    let place = options.folder.clone().or_else(beside).context("no folder for the data: name one by --folder")?;
    let (mut sections, mut failed) = (Vec::new(), Vec::new());
    for workload in options.chosen()? {
        match measured(workload, &options, &place) {
            Ok((section, measured)) => {
                let text = section.markdown(&measured)?;
                match &options.out {
                    Some(out) => write(out, (section.id.clone(), text))?,
                    None if !options.json => println!("{text}"),
                    None => {}
                }
                sections.push(section);
            }
            Err(error) => {
                eprintln!("{}: {error:#}", workload.name());
                failed.push(workload.name());
            }
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&sections)?);
    }
    if failed.is_empty() { Ok(()) } else { bail!("not measured: {}", failed.join(", ")) }
}
