//! The report: Markdown for people, JSON for machines, of the same figures.
//!
//! Never: a number without unit, spread and samples.

use std::fmt::Write as _;

use serde::Serialize;

use super::machine::Machine;
use super::stats::{Percentiles, Spread};

/// One measured thing over all rounds, in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What it is.
    pub what: String,
    /// Over which carrier; empty when over none.
    pub carrier: String,
    /// Medians of the rounds.
    pub p50_us: Figure,
    /// 99th percentiles of the rounds.
    pub p99_us: Figure,
}

/// A figure with its spread over the rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    /// The median of the rounds.
    pub median: f64,
    /// The lowest round.
    pub low: f64,
    /// The highest round.
    pub high: f64,
}

impl From<Spread> for Figure {
    fn from(spread: Spread) -> Self {
        let Spread { median, low, high } = spread;
        Self { median, low, high }
    }
}

impl Row {
    /// Nothing when there was no round.
    pub fn of(what: &str, carrier: &str, rounds: &[Percentiles]) -> Option<Self> {
        let p50_us = Spread::of(rounds.iter().map(|round| round.p50_us))?.into();
        let p99_us = Spread::of(rounds.iter().map(|round| round.p99_us))?.into();
        Some(Self { what: what.to_owned(), carrier: carrier.to_owned(), p50_us, p99_us })
    }
}

/// A comparison with an aim.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    /// Of what to what.
    pub what: String,
    /// Over which carrier.
    pub carrier: String,
    /// One a round.
    pub ratio: Figure,
    /// What it is to be, at most.
    pub aim: f64,
}

/// A workload's result.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// `W1`, …
    pub id: String,
    /// What is measured, in one line.
    pub title: String,
    /// How, exactly.
    pub method: String,
    /// What was measured.
    pub rows: Vec<Row>,
    /// How that compares.
    pub ratios: Vec<Ratio>,
    /// What it says, and what it does not.
    pub sentences: Vec<String>,
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// When, by UTC.
    pub date: String,
    /// How it was called.
    pub command: String,
    /// Rounds of each measurement.
    pub rounds: u32,
    /// Samples of each measurement and round.
    pub samples: u32,
    /// One a workload.
    pub sections: Vec<Section>,
}

fn figure(figure: Figure) -> String {
    let Figure { median, low, high } = figure;
    format!("{} ({} – {})", micros(median), micros(low), micros(high))
}

fn micros(us: f64) -> String {
    if us < 1000.0 { format!("{us:.0} µs") } else { format!("{:.2} ms", us / 1000.0) }
}

impl Report {
    /// For people.
    pub fn markdown(&self) -> Result<String, std::fmt::Error> {
        let Machine { cores, cpu, kernel, memory_mib, disk, load } = &self.machine;
        let mut text = String::new();
        writeln!(text, "# Benchmarks\n")?;
        writeln!(text, "Written by `cargo xtask bench`; run it on your machine, these figures are of another one.\n")?;
        writeln!(text, "- **Machine**: {cores} cores, {cpu}, {memory_mib} MiB, {kernel}, data on {disk}; load at the start {load}.")?;
        writeln!(text, "- **When and how**: {}, `{}`.", self.date, self.command)?;
        writeln!(
            text,
            "- **Samples**: {} rounds of {} each. A cell is the median of the rounds, with the lowest and the highest round.\n",
            self.rounds, self.samples
        )?;
        for section in &self.sections {
            section.markdown(&mut text)?;
        }
        Ok(text)
    }
}

impl Section {
    fn markdown(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "## {}: {}\n\n{}\n", self.id, self.title, self.method)?;
        writeln!(text, "| measured | carrier | p50 | p99 |\n| --- | --- | --- | --- |")?;
        for row in &self.rows {
            writeln!(text, "| {} | {} | {} | {} |", row.what, row.carrier, figure(row.p50_us), figure(row.p99_us))?;
        }
        if !self.ratios.is_empty() {
            writeln!(text, "\n| ratio | carrier | median (lowest – highest round) | aim |\n| --- | --- | --- | --- |")?;
        }
        for Ratio { what, carrier, ratio, aim } in &self.ratios {
            let Figure { median, low, high } = ratio;
            writeln!(text, "| {what} | {carrier} | {median:.2} ({low:.2} – {high:.2}) | ≤ {aim} |")?;
        }
        writeln!(text)?;
        for sentence in &self.sentences {
            writeln!(text, "- {sentence}")?;
        }
        writeln!(text)
    }
}
