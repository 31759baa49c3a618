//! How far something is, in one line of a terminal that is drawn over itself.
//!
//! Never: where there is no terminal, or as wide as one: a Ctrl-C that is echoed behind the line must not begin another.

use std::time::{Duration, Instant};

use indicatif::HumanCount;

use crate::output::Output;

const BAR_WIDTH: u64 = 20;

/// How far it is.
#[derive(Debug)]
pub(crate) struct Progress {
    output: Output,
    rows: u64,
    begun: Instant,
}

impl Progress {
    pub(crate) fn new(output: Output, rows: u64) -> Self {
        Self { output, rows, begun: Instant::now() }
    }

    /// So many rows are done.
    pub(crate) fn at(&self, row: u64) {
        self.update(&line(row, self.rows, self.begun.elapsed()));
    }

    /// Something else is done now.
    pub(crate) fn update(&self, text: &str) {
        if self.output.talk_is_terminal() {
            self.output.update(text);
        }
    }

    /// Takes the line away: it is over, or something else is said.
    pub(crate) fn clear(&self) {
        self.output.end_updates();
    }
}

fn line(row: u64, rows: u64, elapsed: Duration) -> String {
    let (row, rows) = (row.min(rows), rows.max(1));
    let filled = row * BAR_WIDTH / rows;
    let bar: String = (0..BAR_WIDTH).map(|place| if place < filled { '█' } else { '░' }).collect();
    let left = if row == 0 {
        String::new()
    } else {
        format!(", {} s left", elapsed.as_secs_f64().mul_add((rows - row) as f64 / row as f64, 1.0).floor())
    };
    format!("importing {bar} {} of {} rows{left}", HumanCount(row), HumanCount(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_long_it_takes_yet() {
        let second = Duration::from_secs(1);
        assert_eq!(line(0, 2000, second), "importing ░░░░░░░░░░░░░░░░░░░░ 0 of 2,000 rows");
        assert_eq!(line(500, 2000, second), "importing █████░░░░░░░░░░░░░░░ 500 of 2,000 rows, 4 s left");
        assert_eq!(line(9, 0, second), "importing ░░░░░░░░░░░░░░░░░░░░ 0 of 1 rows");
    }
}
