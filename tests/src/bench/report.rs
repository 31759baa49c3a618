//! What a workload found: tables of figures with their spread, aims beside what was measured, and what that says.
//!
//! Never: a number without its unit and spread.

use std::fmt::Write as _;

use serde::Serialize;

use super::stats::{Percentiles, Spread};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Microseconds.
    Micros,
    /// So many a second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// One number by another.
    Ratio,
    /// Things.
    Count,
}

impl Unit {
    /// As a person reads it.
    fn shown(self, value: f64) -> String {
        match self {
            Self::Micros if value < 1000.0 => format!("{value:.0} µs"),
            Self::Micros if value < 1e6 => format!("{:.2} ms", value / 1e3),
            Self::Micros => format!("{:.2} s", value / 1e6),
            Self::PerSecond => format!("{}/s", grouped(value)),
            Self::Bytes if value < 10_000.0 => format!("{value:.0} B"),
            Self::Bytes if value < 1e6 => format!("{:.1} kB", value / 1e3),
            Self::Bytes => format!("{:.2} MB", value / 1e6),
            Self::Ratio => format!("{value:.2}"),
            Self::Count => grouped(value),
        }
    }
}

/// With a comma at every thousand.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let digits: Vec<char> = digits.chars().collect();
    let groups: Vec<String> = digits.rchunks(3).rev().map(|group| group.iter().collect()).collect();
    groups.join(",")
}

/// A figure with its spread over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// What it counts.
    pub unit: Unit,
    /// The median of the rounds.
    pub median: f64,
    /// The lowest round.
    pub low: f64,
    /// The highest round.
    pub high: f64,
}

impl Figure {
    /// Of one value a round; nothing of nothing.
    pub fn of(unit: Unit, rounds: impl IntoIterator<Item = f64>) -> Option<Self> {
        let Spread { median, low, high } = Spread::of(rounds)?;
        Some(Self { unit, median, low, high })
    }

    fn shown(self) -> String {
        let Self { unit, median, low, high } = self;
        if low == high {
            return unit.shown(median);
        }
        format!("{} ({} – {})", unit.shown(median), unit.shown(low), unit.shown(high))
    }
}

/// A place of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A figure.
    Figure(Figure),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<Figure>> for Cell {
    fn from(figure: Option<Figure>) -> Self {
        figure.map_or_else(|| Self::Text("not measured".to_owned()), Self::Figure)
    }
}

/// Figures side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What each column is.
    pub head: Vec<String>,
    /// As many places each.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// An empty one, of single things over carriers.
    #[must_use]
    pub fn of_percentiles() -> Self {
        Self::new(&["measured", "carrier", "p50", "p99"])
    }

    /// Adds p50 and p99 of one thing over the rounds.
    pub fn add_percentiles(&mut self, what: &str, carrier: &str, rounds: &[Percentiles]) {
        let p50 = Figure::of(Unit::Micros, rounds.iter().map(|round| round.p50_us));
        let p99 = Figure::of(Unit::Micros, rounds.iter().map(|round| round.p99_us));
        self.rows.push(vec![what.into(), carrier.into(), p50.into(), p99.into()]);
    }
}

/// What a figure is to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less.
    AtLeast(f64),
}

/// A figure and what it is to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Aim {
    /// What is measured.
    pub what: String,
    /// What it came to.
    pub measured: Figure,
    /// What it is to be.
    pub bound: Bound,
}

impl Aim {
    /// Whether the median meets it.
    #[must_use]
    pub fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.measured.median <= most,
            Bound::AtLeast(least) => self.measured.median >= least,
        }
    }
}

/// A workload's result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// `W1`, …
    pub id: String,
    /// What is measured, in one line.
    pub title: String,
    /// How, exactly.
    pub method: String,
    /// What was measured.
    pub tables: Vec<Table>,
    /// How that compares.
    pub aims: Vec<Aim>,
    /// What it says, and what it does not.
    pub sentences: Vec<String>,
}

impl Section {
    /// Adds why an aim is missed and what was tried, if one is.
    pub fn explain_if_missed(&mut self, reasons: &[&str]) {
        if self.aims.iter().any(|aim| !aim.is_met()) {
            self.sentences.extend(reasons.iter().map(|reason| (*reason).to_owned()));
        }
    }

    /// For people, under its own head; `measured` says where, when and how.
    pub fn markdown(&self, measured: &str) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        writeln!(text, "## {}: {}\n\n{measured}\n\n{}\n", self.id, self.title, self.method)?;
        for table in &self.tables {
            writeln!(text, "| {} |\n|{}", table.head.join(" | "), " --- |".repeat(table.head.len()))?;
            for row in &table.rows {
                let cells = row.iter().map(|cell| match cell {
                    Cell::Text(text) => text.clone(),
                    Cell::Figure(figure) => figure.shown(),
                });
                writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "))?;
            }
            writeln!(text)?;
        }
        if !self.aims.is_empty() {
            writeln!(text, "| aim | is to be | is | |\n| --- | --- | --- | --- |")?;
            for aim in &self.aims {
                let (sign, bound) = match aim.bound {
                    Bound::AtMost(most) => ("≤", most),
                    Bound::AtLeast(least) => ("≥", least),
                };
                let outcome = if aim.is_met() { "met" } else { "**missed**" };
                writeln!(text, "| {} | {sign} {} | {} | {outcome} |", aim.what, aim.measured.unit.shown(bound), aim.measured.shown())?;
            }
            writeln!(text)?;
        }
        for sentence in &self.sentences {
            writeln!(text, "- {sentence}")?;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_shown_as_a_person_reads_them() {
        let shown =
            [(Unit::Micros, 999.4), (Unit::Micros, 1500.0), (Unit::Micros, 2e6), (Unit::PerSecond, 12_345.6), (Unit::Bytes, 13_400.0)];
        let shown: Vec<String> = shown.into_iter().map(|(unit, value)| unit.shown(value)).collect();
        assert_eq!(shown, ["999 µs", "1.50 ms", "2.00 s", "12,346/s", "13.4 kB"]);
    }

    #[test]
    fn an_aim_is_met_by_the_median_and_its_reason_stands_only_where_it_is_not() {
        let figure = Figure::of(Unit::Ratio, [1.0, 2.0, 3.0]).unwrap();
        let aim = |bound| Aim { what: "x".into(), measured: figure, bound };
        assert!(aim(Bound::AtMost(2.0)).is_met() && aim(Bound::AtLeast(2.0)).is_met() && !aim(Bound::AtMost(1.9)).is_met());
        let mut section = Section {
            id: "W0".into(),
            title: "nothing".into(),
            method: "by hand".into(),
            tables: vec![Table { head: vec!["a".into()], rows: vec![vec![Cell::Figure(figure)]] }],
            aims: vec![aim(Bound::AtLeast(2.0))],
            sentences: Vec::new(),
        };
        section.explain_if_missed(&["because"]);
        assert!(section.sentences.is_empty());
        section.aims.push(aim(Bound::AtLeast(2.5)));
        section.explain_if_missed(&["because"]);
        let text = section.markdown("today").unwrap();
        assert!(text.starts_with("## W0: nothing\n\ntoday\n\nby hand\n\n| a |\n| --- |\n| 2.00 (1.00 – 3.00) |\n"), "{text}");
        assert!(text.contains("| x | ≥ 2.50 | 2.00 (1.00 – 3.00) | **missed** |") && text.ends_with("- because\n"), "{text}");
    }
}
