//! `cargo xtask fuzz`: throws inputs at the targets of `fuzz/targets` until the time is over or one of them breaks a property.
//!
//! Never: a property; those are plain functions in `fuzz/src`, and every input that is kept is replayed by plain tests.

mod binaries;
mod round;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::process::run as run_command;
use crate::report::Outcome;
use crate::workspace::root;
use binaries::Binaries;
use round::{Plan, Round};

/// With the tests: enough to see that the corpus still goes through and that a fresh slip shows.
const BRIEF: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Targets by name; all when none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// For each target
    #[arg(long, value_name = "N", default_value_t = 1)]
    minutes: u64,
    /// Repeats the draws of a run
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u32,
    /// Runs this one input through the one target named, and shows what breaks
    #[arg(long, value_name = "FILE", conflicts_with = "minutes")]
    input: Option<PathBuf>,
    /// What was done as one JSON object, the last line of standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let binaries = Binaries::find()?;
    let targets = chosen(&binaries.targets, &options.targets)?;
    binaries.build()?;
    if let Some(input) = &options.input {
        let [target] = targets.as_slice() else { bail!("--input is for one target: name it") };
        let input = input.canonicalize().with_context(|| input.display().to_string())?;
        return run_command(binaries.command(target)?.arg(input).current_dir(root()));
    }
    let for_each = Duration::from_secs(options.minutes * 60);
    println!("{}: {} min each, one after the other", targets.join(", "), options.minutes);
    let plan = Plan { for_each, seed: options.seed };
    let rounds: Vec<Round> = targets.iter().map(|target| shown(round::run(&binaries, target, &plan))).collect::<anyhow::Result<_>>()?;
    if options.json {
        println!("{}", told(&rounds));
    }
    let broken: Vec<String> = rounds.iter().filter_map(Round::replay).collect();
    if broken.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} targets broke a property; again, one at a time:\n  {}\nFirst the input becomes a test: a copy with a name in fuzz/corpus/TARGET",
        broken.len(),
        rounds.len(),
        broken.join("\n  ")
    )
}

/// A part of `cargo xtask test`: a few seconds for each target where they are built already, brought up to date.
pub(crate) fn briefly() -> anyhow::Result<Outcome> {
    let binaries = Binaries::find()?;
    if !binaries.are_built() {
        let why =
            "not built here: `cargo xtask fuzz` builds them (it needs a nightly compiler); their corpus was replayed by fuzz, tests corpus";
        return Ok(Outcome::Absent(why.into()));
    }
    binaries.build()?;
    let plan = Plan { for_each: BRIEF, seed: 0 };
    let mut executions = 0;
    for target in &binaries.targets {
        let round = shown(round::run(&binaries, target, &plan))?;
        executions += round.executions;
        if let Some(replay) = round.replay() {
            bail!("{target} broke a property; again: {replay}");
        }
    }
    Ok(Outcome::Passed(format!("{} targets, {executions} executions", binaries.targets.len())))
}

fn chosen(there: &[String], wanted: &[String]) -> anyhow::Result<Vec<String>> {
    if let Some(unknown) = wanted.iter().find(|wanted| !there.contains(wanted)) {
        bail!("there is no target {unknown}: there are {}", there.join(", "));
    }
    Ok(if wanted.is_empty() { there.to_vec() } else { wanted.to_vec() })
}

fn shown(round: anyhow::Result<Round>) -> anyhow::Result<Round> {
    round.inspect(|round| println!("{round}"))
}

fn told(rounds: &[Round]) -> Value {
    let targets: Vec<Value> = rounds.iter().map(Round::told).collect();
    json!({"targets": targets, "findings": rounds.iter().filter(|round| round.finding.is_some()).count()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_run_unless_some_are_named_and_an_unknown_one_is_told() {
        let there = ["frames".to_owned(), "csv".to_owned()];
        assert_eq!(chosen(&there, &[]).unwrap(), there);
        assert_eq!(chosen(&there, &["csv".to_owned()]).unwrap(), ["csv"]);
        let error = chosen(&there, &["cvs".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "there is no target cvs: there are frames, csv");
    }

    #[test]
    fn findings_are_counted_and_come_with_their_command() {
        let round = |target: &str, finding: Option<&str>| Round {
            target: target.into(),
            took: Duration::from_secs(60),
            executions: 7,
            new_inputs: 2,
            finding: finding.map(Into::into),
        };
        let told = told(&[round("frames", None), round("csv", Some("target/fuzz/artifacts/csv/crash-1"))]);
        assert_eq!(told["findings"], 1);
        assert_eq!(told["targets"][0]["replay"], Value::Null);
        assert_eq!(told["targets"][1]["replay"], "cargo xtask fuzz csv --input target/fuzz/artifacts/csv/crash-1");
    }
}
