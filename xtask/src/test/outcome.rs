//! What a test program prints, counted.
//!
//! Never: the verdict; that is the program's exit status.

use std::fmt;

use crate::report::Outcome;
use crate::workspace::is_ci;

/// How libtest says that something is run by hand: it makes a file anew, or measures, and tests nothing.
const TOOL: &str = "ignored, a tool: ";

/// Tests of one program.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    running: usize,
    passed: usize,
    failed: usize,
    ignored: usize,
    filtered: usize,
    tools: usize,
    names_ignored: Vec<String>,
}

impl Tally {
    /// Passed so far.
    pub(crate) const fn passed(&self) -> usize {
        self.running + self.passed
    }

    /// Ignored tests, without the tools among them.
    const fn left_out(&self) -> usize {
        self.ignored.saturating_sub(self.tools)
    }

    /// Takes one line of libtest's output.
    pub(crate) fn see(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            // `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
            self.running = 0;
            for part in counts.split(['.', ';']) {
                let mut words = part.split_whitespace();
                let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<usize>), words.next()) else { continue };
                match what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    "ignored" => self.ignored += count,
                    "filtered" => self.filtered += count,
                    _ => {}
                }
            }
        } else if let Some(test) = line.strip_prefix("test ") {
            match test.rsplit_once(" ... ") {
                Some((_, "ok")) => self.running += 1,
                Some((_, verdict)) if verdict.starts_with(TOOL) => self.tools += 1,
                Some((name, verdict)) if verdict.starts_with("ignored") => self.names_ignored.push(name.to_owned()),
                Some(_) | None => {}
            }
        }
    }

    /// How the program went, when it succeeded. In CI an ignored test fails.
    pub(crate) fn outcome(&self) -> anyhow::Result<Outcome> {
        if self.left_out() > 0 && is_ci() {
            anyhow::bail!("{} tests are ignored, which CI forbids: {}", self.left_out(), self.names_ignored.join(", "));
        }
        Ok(Outcome::Passed(self.to_string()))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed", self.passed)?;
        for (count, what) in [(self.failed, "failed"), (self.left_out(), "ignored"), (self.filtered, "filtered out")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test b ... ignored, needs a disk",
            "test c ... ignored, a tool: writes a file anew",
            "test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.01s",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s",
        ] {
            tally.see(line);
        }
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 1 ignored, 3 filtered out");
        assert_eq!(tally.names_ignored, ["b"]);
    }
}
