//! Standard output for data, standard error for talk.
//!
//! Never: a colour, a table or a progress bar where there is no terminal; a complaint about a reader that is gone.

use std::io::{self, IsTerminal as _, Write as _};

use console::{Term, measure_text_width, truncate_str};
use serde::Serialize;

use crate::failure::{Exit, Failure};

const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";
/// The line's beginning, and nothing in it.
const RENEWED: &str = "\r\x1b[2K";

/// Where a terminal does not say how wide it is.
const WIDTH: usize = 80;
/// Every column but the last is no wider.
const COLUMN_WIDTH_MAX: usize = 32;
const GAP: &str = "  ";

/// How data is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One object a line.
    Json,
    /// Columns, cut to the terminal's width.
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

    /// Data as it is, with its own ends of lines.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
    }

    pub(crate) fn json(self, object: &impl Serialize) -> Result<(), Failure> {
        self.line(&to_json(object))
    }

    /// Rows under names: columns on a terminal, else tab-separated without the names.
    pub(crate) fn table(self, names: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        match self.style {
            Style::Terminal if !rows.is_empty() => {
                let width = Term::stdout().size_checked().map_or(WIDTH, |(_, columns)| usize::from(columns));
                let mut lines = columns(names, rows, width);
                if let Some(header) = lines.first_mut() {
                    *header = format!("{BOLD}{header}{PLAIN}");
                }
                self.lines(&lines)
            }
            Style::Terminal | Style::Plain | Style::Json => self.lines(&rows.iter().map(|row| fields(row)).collect::<Vec<_>>()),
        }
    }

    /// A name and a value a line: the values under each other on a terminal, else tab-separated.
    pub(crate) fn facts(self, facts: &[(&str, String)]) -> Result<(), Failure> {
        let widest = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let line = |(name, value): &(&str, String)| match self.style {
            Style::Terminal => format!("{name:widest$}{GAP}{}", visible(value)),
            Style::Plain | Style::Json => fields(&[(*name).to_owned(), value.clone()]),
        };
        self.lines(&facts.iter().map(line).collect::<Vec<_>>())
    }

    /// Says something to the person.
    pub(crate) fn say(self, text: &str) {
        drop(writeln!(io::stderr().lock(), "{text}"));
    }

    /// Says something that matters less.
    pub(crate) fn aside(self, text: &str) {
        if self.talk_is_terminal { self.say(&format!("{DIM}{text}{PLAIN}")) } else { self.say(text) }
    }

    /// Says how things are, on a terminal in the place of the last update.
    pub(crate) fn update(self, text: &str) {
        if !self.talk_is_terminal {
            return self.say(text);
        }
        let width = Term::stderr().size_checked().map_or(WIDTH, |(_, columns)| usize::from(columns));
        let mut stderr = io::stderr().lock();
        drop(write!(stderr, "{RENEWED}{DIM}{}{PLAIN}", truncate_str(&visible(text), width, "…")).and_then(|()| stderr.flush()));
    }

    /// Takes the last update away.
    pub(crate) fn end_updates(self) {
        if self.talk_is_terminal {
            let mut stderr = io::stderr().lock();
            drop(write!(stderr, "{RENEWED}").and_then(|()| stderr.flush()));
        }
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
        let help = if failure.help.is_empty() { String::new() } else { format!("\n{}", failure.help) };
        self.say(&format!("{red}error ({}):{plain} {}{help}", failure.code, failure.message));
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

/// One line a row under a line of names, each cut to the width. A column that says nothing is left out: width is scarce.
fn columns(names: &[&str], rows: &[Vec<String>], width: usize) -> Vec<String> {
    let says = |place: usize| rows.iter().any(|row| row.get(place).is_some_and(|cell| !cell.is_empty()));
    let places: Vec<usize> = (0..names.len()).filter(|place| says(*place)).collect();
    // A value may be long, a line is not: what can't be seen need not be measured.
    let seen = |cell: &str| visible(&cell.chars().take(width + 1).collect::<String>());
    let header: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let cell = |row: &[String], place: usize| row.get(place).map(|cell| seen(cell)).unwrap_or_default();
    let cells: Vec<Vec<String>> =
        std::iter::once(&header).chain(rows).map(|row| places.iter().map(|place| cell(row, *place)).collect()).collect();
    let mut widths = vec![0; names.len()];
    for row in &cells {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = measure_text_width(cell).max(*widest).min(COLUMN_WIDTH_MAX);
        }
    }
    cells.iter().map(|row| one_line(row, &widths, width)).collect()
}

fn one_line(row: &[String], widths: &[usize], width: usize) -> String {
    let mut line = String::new();
    for (place, (cell, widest)) in row.iter().zip(widths).enumerate() {
        if place + 1 == row.len() {
            line.push_str(cell);
        } else {
            let cell = truncate_str(cell, *widest, "…");
            let padding = widest.saturating_sub(measure_text_width(&cell));
            line.push_str(&cell);
            line.extend(std::iter::repeat_n(' ', padding));
            line.push_str(GAP);
        }
    }
    truncate_str(line.trim_end(), width, "…").into_owned()
}

/// `1 edit`, `2 edits`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("{count} {what}") } else { format!("{count} {what}s") }
}

/// What sends edits that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SentBy {
    /// The device is let in.
    Sync,
    /// It is not, as it is.
    LogIn,
}

/// That edits wait, and what sends them.
pub(crate) fn queued(edits: u64, by: SentBy) -> String {
    let (are, them) = if edits == 1 { ("is", "it") } else { ("are", "them") };
    let by = match by {
        SentBy::Sync => format!("`cloudsync sync` sends {them}"),
        SentBy::LogIn => format!("`cloudsync login` on this profile, and then `cloudsync sync`, sends {them}"),
    };
    format!("{} {are} queued: {by}", counted(edits, "edit"))
}

/// Control characters made visible: a record's id must not move the cursor of a terminal.
pub(crate) fn visible(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_one_line_a_row_cut_to_its_width() {
        let rows = [
            vec!["goal".to_owned(), "g1".to_owned(), "a value that is long".to_owned()],
            vec!["日本".to_owned(), String::new(), "2".to_owned()],
        ];
        let shown = columns(&["collection", "id", "value"], &rows, 24);
        assert_eq!(shown, ["collection  id  value", "goal        g1  a value…", "日本            2"]);
    }

    #[test]
    fn a_column_that_says_nothing_takes_no_room() {
        let rows = [vec!["g1".to_owned(), String::new(), "1".to_owned()], vec!["g2".to_owned(), String::new(), "2".to_owned()]];
        assert_eq!(columns(&["id", "state", "value"], &rows, 24), ["id  value", "g1  1", "g2  2"]);
    }

    #[test]
    fn one_is_one_and_two_are_more() {
        assert_eq!((counted(1, "edit"), counted(0, "edit")), ("1 edit".to_owned(), "0 edits".to_owned()));
    }

    #[test]
    fn a_field_never_breaks_its_line_or_the_terminal() {
        assert_eq!(fields(&["a\tb".into(), "c\nd\x1b[2J".into(), "ä".into()]), "a\\tb\tc\\nd\\u{1b}[2J\tä");
    }
}
