//! Standard output for data, standard error for talk.
//!
//! Never: a colour, a table or a progress bar where there is no terminal; a complaint about a reader that is gone.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde::Serialize;

use crate::failure::{Exit, Failure};

const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// How data is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One object a line.
    Json,
    /// Tables.
    Terminal,
    /// Fields with tabs between them.
    Plain,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) style: Style,
    talk_is_terminal: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let style = match (json, io::stdout().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Terminal,
            (false, false) => Style::Plain,
        };
        Self { style, talk_is_terminal: io::stderr().is_terminal() }
    }

    pub(crate) fn is_json(self) -> bool {
        self.style == Style::Json
    }

    /// Whether a progress bar has somewhere to be.
    pub(crate) const fn talk_is_terminal(self) -> bool {
        self.talk_is_terminal
    }

    /// One line of data.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        written(writeln!(stdout, "{text}").and_then(|()| stdout.flush()))
    }

    /// Lines of data.
    pub(crate) fn lines(self, lines: &[String]) -> Result<(), Failure> {
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        written(lines.iter().try_for_each(|line| writeln!(stdout, "{line}")).and_then(|()| stdout.flush()))
    }

    pub(crate) fn json(self, object: &impl Serialize) -> Result<(), Failure> {
        self.line(&to_json(object))
    }

    /// Rows under names: a table on a terminal, else tab-separated without the names.
    pub(crate) fn table(self, names: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        match self.style {
            Style::Terminal if !rows.is_empty() => {
                let mut table = Table::new();
                table.load_style(UTF8_HORIZONTAL_ONLY).set_header(names.to_vec());
                for row in rows {
                    table.add_row(row.iter().map(|cell| visible(cell)).collect::<Vec<_>>());
                }
                self.line(&table.to_string())
            }
            Style::Terminal | Style::Plain | Style::Json => self.lines(&rows.iter().map(|row| fields(row)).collect::<Vec<_>>()),
        }
    }

    /// Says something to the person.
    pub(crate) fn say(self, text: &str) {
        drop(writeln!(io::stderr().lock(), "{text}"));
    }

    /// Says something that matters less.
    pub(crate) fn aside(self, text: &str) {
        if self.talk_is_terminal { self.say(&format!("{DIM}{text}{PLAIN}")) } else { self.say(text) }
    }

    /// Says why the command failed.
    pub(crate) fn failure(self, failure: &Failure) {
        #[derive(Serialize)]
        struct Line<'a> {
            error: crate::failure::FailureJson<'a>,
        }
        if self.is_json() {
            return self.say(&to_json(&Line { error: failure.json() }));
        }
        let (red, plain) = if self.talk_is_terminal { (RED, PLAIN) } else { ("", "") };
        self.say(&format!("{red}error ({}):{plain} {}\n{}", failure.code, failure.message, failure.help));
    }
}

/// Whoever reads our output and went away has seen what they wanted.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            Err(Failure::new(Exit::Unexpected, "output", format!("can't write to standard output: {error}"), "is the disk full?"))
        }
    }
}

pub(crate) fn to_json(object: &impl Serialize) -> String {
    serde_json::to_string(object).expect("our own objects are JSON")
}

/// Tab-separated; what would break a line or a column is escaped.
pub(crate) fn fields(row: &[String]) -> String {
    let escaped: Vec<String> = row.iter().map(|field| visible(field)).collect();
    escaped.join("\t")
}

/// Control characters made visible: a record's id must not move the cursor of a terminal.
pub(crate) fn visible(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_never_breaks_its_line_or_the_terminal() {
        assert_eq!(fields(&["a\tb".into(), "c\nd\x1b[2J".into(), "ä".into()]), "a\\tb\tc\\nd\\u{1b}[2J\tä");
    }
}
