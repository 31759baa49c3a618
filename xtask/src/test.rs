//! `cargo xtask test`: builds everything and runs every test, one program after the other.
//!
//! Never: a test that was left out without being counted. In CI nothing is left out.

mod outcome;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::fuzz;
use crate::process::{cargo, output, run as run_command};
use crate::report::{Outcome, Report};
use crate::workspace::{array, is_ci, metadata, root, target};
use outcome::Tally;

/// Where tests find `cloudsync-node` and `cloudsync`.
const BIN_DIR: &str = "CLOUDSYNC_BIN_DIR";
/// A file that a test which leaves something out writes a line to: its name and why.
const SKIP_LOG: &str = "CLOUDSYNC_SKIP_LOG";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only programs whose name holds this (`cloudsync-engine`, `sign_in`)
    #[arg(long)]
    only: Option<String>,
    /// Real-process tests use the binaries of the dev profile: quicker to build, another timing
    #[arg(long)]
    dev_binaries: bool,
    /// Passed to every test program: a filter, or its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// A test program that cargo built.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    name: String,
    executable: PathBuf,
    folder: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let partial = options.only.is_some() || options.dev_binaries || !options.arguments.is_empty();
    if is_ci() && partial {
        bail!("in CI everything runs: no --only, no --dev-binaries, no filter");
    }
    // One selection for everything, so that features don't flip and nothing is built twice.
    run_command(&mut cargo(["build", "--workspace", "--all-targets", "--locked"]))?;
    let target = target(&metadata()?)?;
    let profile = if options.dev_binaries { "debug" } else { "release" };
    if !options.dev_binaries {
        run_command(&mut cargo(["build", "--release", "--workspace", "--bins", "--locked"]))?;
    }
    let place = Place { bin_dir: target.join(profile), skip_log: target.join("skipped-tests.log") };
    std::fs::write(&place.skip_log, "").with_context(|| place.skip_log.display().to_string())?;

    let mut report = Report::default();
    for program in programs()?.into_iter().filter(|program| options.only.as_ref().is_none_or(|only| program.name.contains(only))) {
        report.step(&program.name, || run_program(&program, &place, &options.arguments));
    }
    if options.only.is_none() {
        report.step("doc tests", || doc_tests(&place, &options.arguments));
    }
    if !partial {
        report.step("fuzz targets, briefly", fuzz::briefly);
    }
    let left_out = std::fs::read_to_string(&place.skip_log).unwrap_or_default();
    for line in left_out.lines() {
        report.step(line, || Ok(Outcome::Skipped("left out by the test itself".into())));
    }
    if partial {
        report.step("the rest", || Ok(Outcome::Skipped("only a part was asked for".into())));
    }
    report.end("cargo xtask test")
}

struct Place {
    bin_dir: PathBuf,
    skip_log: PathBuf,
}

/// Every test program of the workspace, as built.
fn programs() -> anyhow::Result<Vec<Program>> {
    let build = ["test", "--workspace", "--all-targets", "--locked", "--no-run", "--message-format", "json-render-diagnostics"];
    let messages = output(&mut cargo(build))?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs: Vec<Program> = messages.filter_map(|message| program(&message)).collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

/// A test program of one of cargo's messages. Benches measure, they don't test.
fn program(message: &Value) -> Option<Program> {
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let kind = array(&message["target"]["kind"]).first()?.as_str()?;
    if !is_test || kind == "bench" {
        return None;
    }
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let package = folder.file_name()?.to_str()?.to_owned();
    let name = format!("{package}, {} {}", if kind == "test" { "tests" } else { kind }, message["target"]["name"].as_str()?);
    Some(Program { name, executable: message["executable"].as_str()?.into(), folder })
}

fn run_program(program: &Program, place: &Place, arguments: &[String]) -> anyhow::Result<Outcome> {
    let mut command = Command::new(&program.executable);
    command.args(arguments).current_dir(&program.folder).env("CARGO_MANIFEST_DIR", &program.folder);
    tally(&mut command, place)
}

fn doc_tests(place: &Place, arguments: &[String]) -> anyhow::Result<Outcome> {
    let mut command = cargo(["test", "--workspace", "--doc", "--locked", "--quiet", "--"]);
    command.args(arguments).current_dir(root());
    tally(&mut command, place)
}

/// Runs it, shows how it goes, and counts.
fn tally(command: &mut Command, place: &Place) -> anyhow::Result<Outcome> {
    use std::io::BufRead as _;
    let started = Instant::now();
    command.env(BIN_DIR, &place.bin_dir).env(SKIP_LOG, &place.skip_log).env("RUST_BACKTRACE", "1");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("can't run {}", command.get_program().display()))?;
    let stdout = child.stdout.take().context("a child without standard output")?;
    let progress = indicatif::ProgressBar::new_spinner();
    progress.enable_steady_tick(std::time::Duration::from_millis(120));
    let (mut tally, mut lines) = (Tally::default(), Vec::new());
    for line in std::io::BufReader::new(stdout).lines() {
        let line = line?;
        tally.see(&line);
        progress.set_message(format!("{} passed", tally.passed()));
        lines.push(line);
    }
    progress.finish_and_clear();
    let status = child.wait()?;
    if !status.success() {
        println!("{}", lines.join("\n"));
        bail!("{status}: {tally}");
    }
    println!("   {tally} in {:.1} s", started.elapsed().as_secs_f64());
    tally.outcome()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(kind: &str, is_test: bool) -> Value {
        json!({
            "reason": "compiler-artifact", "manifest_path": "/here/engine/Cargo.toml", "executable": "/target/engine-1",
            "profile": {"test": is_test}, "target": {"kind": [kind], "name": "convergence"},
        })
    }

    #[test]
    fn test_programs_are_told_from_libraries_and_benches() {
        let found = program(&message("test", true)).unwrap();
        assert_eq!((found.name.as_str(), found.folder), ("engine, tests convergence", "/here/engine".into()));
        assert_eq!(program(&message("lib", false)), None);
        assert_eq!(program(&message("bench", true)), None);
    }
}
