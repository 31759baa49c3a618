//! One target for a while: libFuzzer's lines read, what it did counted.
//!
//! Never: an input of libFuzzer's own written into the committed corpus; it keeps them under the target folder.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::binaries::Binaries;
use crate::workspace::root;

/// Longer inputs find little that shorter ones don't, and slowly.
const INPUT_BYTES_MAX: u32 = 16 * 1024;
/// One input may take so long, in seconds, and so much memory, in MiB.
const INPUT_SECONDS_MAX: u32 = 10;
const MEMORY_MIB_MAX: u32 = 2048;
/// What libFuzzer prints before the file that broke a property.
const WRITTEN: &str = "Test unit written to ";

/// How a target is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) for_each: Duration,
    /// 0 draws one.
    pub(crate) seed: u32,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) target: String,
    pub(crate) took: Duration,
    pub(crate) executions: u64,
    /// Inputs that reached something new.
    pub(crate) new_inputs: u64,
    /// The input that broke a property.
    pub(crate) finding: Option<PathBuf>,
}

impl Round {
    /// The command that breaks the property again.
    pub(crate) fn replay(&self) -> Option<String> {
        self.finding.as_ref().map(|file| format!("cargo xtask fuzz {} --input {}", self.target, file.display()))
    }

    pub(crate) fn told(&self) -> Value {
        json!({
            "target": self.target,
            "seconds": self.took.as_secs(),
            "executions": self.executions,
            "new_inputs": self.new_inputs,
            "replay": self.replay(),
        })
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, took, executions, new_inputs, finding } = self;
        write!(f, "{target}: {executions} executions in {} s, {new_inputs} new inputs", took.as_secs())?;
        if finding.is_some() { write!(f, ", A PROPERTY BROKE") } else { Ok(()) }
    }
}

/// What libFuzzer's lines say so far.
#[derive(Debug, Default)]
struct Seen {
    executions: u64,
    new_inputs: u64,
    finding: Option<PathBuf>,
    /// From the panic on: what a person needs to see.
    breaking: Vec<String>,
}

impl Seen {
    fn see(&mut self, line: &str) {
        let last = || line.split_whitespace().last().and_then(|number| number.parse().ok());
        if let Some(rest) = line.strip_prefix('#') {
            let done = rest.split_whitespace().next().and_then(|number| number.parse().ok());
            self.executions = done.unwrap_or(self.executions);
            self.new_inputs += u64::from(rest.split_whitespace().nth(1) == Some("NEW"));
        } else if line.starts_with("stat::number_of_executed_units:") {
            self.executions = last().unwrap_or(self.executions);
        } else if line.starts_with("stat::new_units_added:") {
            self.new_inputs = last().unwrap_or(self.new_inputs);
        } else if let Some((_, file)) = line.split_once(WRITTEN) {
            self.finding = Some(file.trim().into());
        } else if !self.breaking.is_empty() || line.contains("panicked at") || line.starts_with("==") {
            self.breaking.push(line.to_owned());
        }
    }
}

pub(crate) fn run(binaries: &Binaries, target: &str, plan: &Plan) -> anyhow::Result<Round> {
    let grown = binaries.folder.join("corpus").join(target);
    let artifacts = binaries.folder.join("artifacts").join(target);
    for folder in [&grown, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut command = binaries.command(target)?;
    // The first folder takes what is new.
    command.arg(&grown).arg(Binaries::seeds(target)).args(settings(plan, &artifacts));
    let started = Instant::now();
    let (seen, succeeded) = follow(&mut command, target, plan.for_each)?;
    if !succeeded {
        eprintln!("{}", seen.breaking.join("\n"));
        if seen.finding.is_none() {
            bail!("{target} ended with an error that names no input");
        }
    }
    let finding = seen.finding.map(|file| file.strip_prefix(root()).map_or(file.clone(), Path::to_owned));
    Ok(Round { target: target.to_owned(), took: started.elapsed(), executions: seen.executions, new_inputs: seen.new_inputs, finding })
}

fn settings(plan: &Plan, artifacts: &Path) -> Vec<String> {
    let numbers = [
        ("max_total_time", u32::try_from(plan.for_each.as_secs()).unwrap_or(u32::MAX)),
        ("seed", plan.seed),
        ("max_len", INPUT_BYTES_MAX),
        ("timeout", INPUT_SECONDS_MAX),
        ("rss_limit_mb", MEMORY_MIB_MAX),
        ("print_final_stats", 1),
    ];
    let prefix = format!("-artifact_prefix={}/", artifacts.display());
    numbers.iter().map(|(name, value)| format!("-{name}={value}")).chain([prefix]).collect()
}

/// Runs it to its end, with progress; and whether it succeeded.
fn follow(command: &mut Command, target: &str, for_each: Duration) -> anyhow::Result<(Seen, bool)> {
    let mut child = command.current_dir(root()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context(target.to_owned())?;
    let stderr = child.stderr.take().context("a child without standard error")?;
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(120));
    let (mut seen, started) = (Seen::default(), Instant::now());
    // What libFuzzer writes of an input is not always text.
    for line in BufReader::new(stderr).split(b'\n') {
        seen.see(&String::from_utf8_lossy(&line?));
        let (executions, new_inputs) = (seen.executions, seen.new_inputs);
        let seconds = started.elapsed().as_secs();
        progress.set_message(format!("{target}: {seconds} of {} s, {executions} executions, {new_inputs} new inputs", for_each.as_secs()));
    }
    progress.finish_and_clear();
    Ok((seen, child.wait()?.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_without_findings_is_counted_from_its_lines() {
        let mut seen = Seen::default();
        for line in [
            "INFO: Seed: 1",
            "#44\tINITED cov: 12 ft: 13 corp: 5/100b exec/s: 0 rss: 40Mb",
            "#65\tNEW    cov: 14 ft: 16 corp: 6/120b lim: 10 exec/s: 0 rss: 40Mb L: 9/9 MS: 1",
            "#4096\tpulse  cov: 14 ft: 16 corp: 6/120b lim: 10 exec/s: 2048 rss: 40Mb",
        ] {
            seen.see(line);
        }
        assert_eq!((seen.executions, seen.new_inputs), (4096, 1));
        seen.see("stat::number_of_executed_units: 5000");
        seen.see("stat::new_units_added:          2");
        assert_eq!((seen.executions, seen.new_inputs, seen.finding), (5000, 2, None));
        assert!(seen.breaking.is_empty());
    }

    #[test]
    fn a_finding_is_named_with_what_was_said_from_the_panic_on() {
        let mut seen = Seen::default();
        for line in [
            "#7\tNEW    cov: 14 ft: 16",
            "thread '<unnamed>' panicked at fuzz/src/csv.rs:30:9:",
            "a property",
            "artifact_prefix='target/fuzz/artifacts/csv/'; Test unit written to target/fuzz/artifacts/csv/crash-1",
        ] {
            seen.see(line);
        }
        assert_eq!(seen.finding, Some("target/fuzz/artifacts/csv/crash-1".into()));
        assert_eq!(seen.breaking, ["thread '<unnamed>' panicked at fuzz/src/csv.rs:30:9:", "a property"]);
    }
}
