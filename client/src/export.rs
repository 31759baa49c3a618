//! Writes records as other programs' files.
//!
//! Never: a value changed on the way; numbers keep their digits. Never half of a row: what does not fit is said.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The first line of a timer's history, as [`crate::import::pomodoro`] reads it.
pub const POMODORO_HEADER: &str = r#""X.words","word_cnt","description","DONE","date","estimate","actual""#;

/// What an import makes of a row; names that it does not make would be lost.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Session<'a> {
    #[serde(borrow)]
    actual: &'a RawValue,
    date: String,
    #[serde(borrow)]
    description: &'a RawValue,
    done: bool,
    #[serde(borrow)]
    estimate: &'a RawValue,
    tags: Vec<String>,
    #[serde(borrow)]
    word_counts: Vec<&'a RawValue>,
}

/// A timer session's JSON as the row that it was imported from; why it is none, where it is not.
pub fn pomodoro_row(value: &str) -> Result<String, String> {
    let session: Session<'_> = serde_json::from_str(value).map_err(|error| error.to_string())?;
    if let Some(tag) = session.tags.iter().find(|tag| tag.contains(',') || tag.contains(char::is_control) || tag.trim() != tag.as_str()) {
        return Err(format!("{tag:?} can't be one of several tags of a column"));
    }
    if session.date.contains([',', '"']) || session.date.contains(char::is_control) {
        return Err(format!("{:?} is no date", session.date));
    }
    let word_counts = session.word_counts.iter().map(|count| number(count)).collect::<Result<Vec<_>, _>>()?.join(",");
    let [description, estimate, actual] = [session.description, session.estimate, session.actual].map(number);
    let tags = session.tags.join(",").replace('"', "\"\"");
    let mut row = String::with_capacity(96);
    let done = u8::from(session.done);
    write!(row, r#""{tags}","{word_counts}",{},{done},{},{},{}"#, description?, session.date, estimate?, actual?)
        .map_err(|error| error.to_string())?;
    Ok(row)
}

/// A number as it stands, or what stands for none.
fn number(value: &RawValue) -> Result<&str, String> {
    match value.get() {
        "null" => Ok("NA"),
        text if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => Ok(text),
        text => Err(format!("{text} is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::pomodoro::Sessions;
    use crate::keys::AccountKeys;

    #[test]
    fn the_export_of_an_import_equals_its_rows() {
        let rows = [
            r#""@planning,@a ""b""","1,1.50",1,1,2009-04-09,NA,NA"#,
            r#""","",4907,0,2009-04-14,1,2.0e1"#,
            r#""@planning,@a ""b""","1,1.50",1,1,2009-04-09,NA,NA"#,
        ];
        let file = format!("{POMODORO_HEADER}\n{}\n", rows.join("\n"));
        let ids = AccountKeys::first().current().record_id_key();
        let values = Sessions::new(file.as_bytes(), &ids).unwrap().map(|row| row.unwrap().value);
        let exported: Vec<String> = values.map(|value| pomodoro_row(std::str::from_utf8(&value).unwrap()).unwrap()).collect();
        assert_eq!(exported, rows);
    }

    #[test]
    fn a_value_that_does_not_fit_in_a_row_is_said_and_not_cut() {
        let fits = r#"{"actual":null,"date":"2009-04-09","description":1,"done":true,"estimate":1,"tags":["a"],"word_counts":[1]}"#;
        assert_eq!(pomodoro_row(fits).unwrap(), r#""a","1",1,1,2009-04-09,1,NA"#);
        for (from, to) in
            [("\"a\"", "\"a,b\""), ("[1]", "[\"1\"]"), ("\"done\"", "\"more\":1,\"done\""), ("2009-04-09", "a,b"), ("\"a\"", "\"a\\nb\"")]
        {
            assert!(pomodoro_row(&fits.replace(from, to)).is_err(), "{to}");
        }
    }
}
