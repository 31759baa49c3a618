//! Steps, how each went, and the summary at the end.
//!
//! Never: a skipped step that looks like a passed one.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::workspace::is_ci;

/// How a step went, when it did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It ran; with what is worth saying.
    Passed(String),
    /// It did not run: why.
    Skipped(String),
    /// It is only for where something was set up for it, which it was not here: what. Nothing that CI asks for.
    Absent(String),
}

/// Steps that all run, whatever became of the ones before.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(String, &'static str, String, Duration)>,
    failed: usize,
}

impl Report {
    /// Runs a step and notes how it went.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<Outcome>) {
        println!("── {name}");
        let started = Instant::now();
        let (word, said) = match step() {
            Ok(Outcome::Passed(said)) => ("ok", said),
            Ok(Outcome::Skipped(why)) if is_ci() => ("FAILED", format!("skipped, which CI forbids: {why}")),
            Ok(Outcome::Skipped(why)) => ("skipped", why),
            Ok(Outcome::Absent(why)) => ("absent", why),
            Err(error) => ("FAILED", format!("{error:#}")),
        };
        if word == "FAILED" {
            self.failed += 1;
            eprintln!("{name} failed: {said}");
        }
        self.rows.push((name.to_owned(), word, said, started.elapsed()));
    }

    /// Prints the summary; an error when a step failed.
    pub(crate) fn end(self, what: &str) -> anyhow::Result<()> {
        println!("\n── summary of {what}");
        let width = self.rows.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or_default();
        for (name, word, said, took) in &self.rows {
            let first = said.lines().next().unwrap_or_default();
            println!("{word:>7}  {name:<width$}  {:>7.1} s  {first}", took.as_secs_f64());
        }
        if self.failed > 0 {
            bail!("{} of {} steps of {what} failed", self.failed, self.rows.len());
        }
        Ok(())
    }
}
