//! `pomodoro`: one row of a timer's history is one record of `timer_session`.
//!
//! Columns, by name, in any order: `X.words` (tags, comma-separated), `word_cnt` (numbers, comma-separated),
//! `description` (a number), `DONE` (0 or 1), `date` (YYYY-MM-DD), `estimate` and `actual` (numbers; `NA` for none).
//!
//! Never: two rows for one id. Equal rows are told apart by which of them it is.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytes::Bytes;
use cloudsync_protocol::{CollectionName, RecordId, RecordKey};
use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::Number;

use super::{Broken, FileError};
use crate::keys::RecordIdKey;

/// Where the records go.
pub const COLLECTION: &str = "timer_session";
const NAMES: [&str; 7] = ["X.words", "word_cnt", "description", "DONE", "date", "estimate", "actual"];
/// What stands for no number.
const NONE: &str = "NA";
/// Of a field that is wrong, in the message.
const SHOWN_CHARS_MAX: usize = 60;

/// A row as a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Of its content and of which one of equals it is.
    pub key: RecordKey,
    /// JSON.
    pub value: Bytes,
    /// Which of equal rows it is, from 0.
    pub ordinal: u32,
}

impl Session {
    /// What it is called under another key of record ids.
    #[must_use]
    pub fn key_under(&self, ids: &RecordIdKey) -> RecordKey {
        let record = RecordId::new(ids.record_id(&self.key.collection, &self.value, self.ordinal)).expect("32 digits are an id");
        RecordKey { collection: self.key.collection.clone(), record }
    }
}

/// The rows of a file, one after the other.
#[derive(Debug)]
pub struct Sessions<'a> {
    bytes: &'a [u8],
    reader: Reader<&'a [u8]>,
    /// Where the reader began.
    offset: usize,
    /// Up to where lines are counted, and how many ended before.
    counted: usize,
    lines: u64,
    columns: [usize; 7],
    width: usize,
    ids: &'a RecordIdKey,
    collection: CollectionName,
    /// How often a value was seen: equal rows are told apart by it.
    seen: HashMap<Bytes, u32>,
}

const fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn reader(bytes: &[u8]) -> Reader<&[u8]> {
    ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes)
}

impl<'a> Sessions<'a> {
    /// Reads the names of the columns.
    pub fn new(bytes: &'a [u8], ids: &'a RecordIdKey) -> Result<Self, FileError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = reader(bytes);
        let mut header = ByteRecord::new();
        if !matches!(reader.read_byte_record(&mut header), Ok(true)) {
            return Err(FileError::NoHeader);
        }
        let place = |name: &str| header.iter().position(|column| column.trim_ascii() == name.as_bytes());
        let missing: Vec<&'static str> = NAMES.into_iter().filter(|name| place(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(FileError::Columns(missing));
        }
        let columns = NAMES.map(|name| place(name).unwrap_or_default());
        let collection = CollectionName::new(COLLECTION).expect("a short name");
        let (width, seen) = (header.len(), HashMap::new());
        Ok(Self { bytes, reader, offset: 0, counted: 0, lines: 0, columns, width, ids, collection, seen })
    }

    /// How much of the file is read, in bytes.
    #[must_use]
    pub fn bytes_read(&self) -> usize {
        self.offset + usize::try_from(self.reader.position().byte()).unwrap_or_default()
    }

    fn session(&mut self, record: &ByteRecord) -> Result<Session, String> {
        if self.is_left_open(record) {
            return Err("a quote is not closed".into());
        }
        if record.len() != self.width {
            return Err(format!("{} columns, the first line has {}", record.len(), self.width));
        }
        let value = Bytes::from(value(record, self.columns)?);
        let seen = self.seen.entry(value.clone()).or_default();
        let ordinal = *seen;
        *seen += 1;
        let id = self.ids.record_id(&self.collection, &value, ordinal);
        let record = RecordId::new(id).map_err(|error| error.to_string())?;
        Ok(Session { key: RecordKey { collection: self.collection.clone(), record }, value, ordinal })
    }

    /// The byte that a record begins at. The reader's position is before the blank lines that it passed over.
    fn start(&self, record: &ByteRecord) -> usize {
        let read_from = self.offset + record.position().map_or(0, |start| usize::try_from(start.byte()).unwrap_or_default());
        let rest = self.bytes.get(read_from..).unwrap_or_default();
        read_from + rest.iter().take_while(|byte| is_line_end(byte)).count()
    }

    /// Whether the file ended within a quote of this record. The reader takes the rest of the file for its field then.
    fn is_left_open(&self, record: &ByteRecord) -> bool {
        let is_last = self.bytes_read() == self.bytes.len();
        if !is_last || !record.iter().any(|field| field.iter().any(is_line_end)) {
            return false;
        }
        let whole = self.bytes.get(self.start(record)..).unwrap_or_default();
        !whole.iter().filter(|byte| **byte == b'"').count().is_multiple_of(2)
    }

    /// The line that a byte stands on, from 1. They are asked for in order.
    fn line(&mut self, start: usize) -> u64 {
        let passed = self.bytes.get(self.counted..start).unwrap_or_default();
        // As the reader ends records: at `\n`, `\r\n` and `\r`.
        let next = passed.iter().skip(1).chain(std::iter::once(&0));
        let ends = passed.iter().zip(next).filter(|(byte, next)| **byte == b'\n' || (**byte == b'\r' && **next != b'\n'));
        self.lines += ends.count() as u64;
        self.counted = start;
        self.lines + 1
    }

    /// After a broken record that spans lines: a quote that nobody closed. Only its first line counts as broken.
    fn go_back(&mut self, start: usize) {
        let rest = self.bytes.get(start..).unwrap_or_default();
        let Some(first_line) = rest.iter().position(is_line_end) else { return };
        let next = start + first_line + 1;
        if next < self.bytes_read() {
            self.offset = next;
            self.reader = reader(self.bytes.get(next..).unwrap_or_default());
        }
    }
}

impl Iterator for Sessions<'_> {
    type Item = Result<Session, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = ByteRecord::new();
        match self.reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(Broken { line: self.lines + 1, why: error.to_string() })),
        }
        Some(self.session(&record).map_err(|why| {
            let start = self.start(&record);
            self.go_back(start);
            Broken { line: self.line(start), why }
        }))
    }
}

/// The record's JSON: names in alphabetical order, no spaces, numbers digit by digit as they stood.
fn value(record: &ByteRecord, columns: [usize; 7]) -> Result<String, String> {
    let mut texts = [""; 7];
    for ((text, column), name) in texts.iter_mut().zip(columns).zip(NAMES) {
        let bytes = record.get(column).unwrap_or_default();
        if bytes.iter().any(is_line_end) {
            return Err(format!("{name} goes over the end of the line: is a quote not closed?"));
        }
        *text = std::str::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8"))?.trim();
    }
    let [tags, word_counts, description, done, date, estimate, actual] = texts;
    let tags: Vec<&str> = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    let tags = serde_json::to_string(&tags).map_err(|error| error.to_string())?;
    let word_counts = word_counts.split(',').map(str::trim).filter(|count| !count.is_empty() && *count != NONE);
    let word_counts = word_counts.map(|count| number("word_cnt", count)).collect::<Result<Vec<_>, _>>()?;
    let done = match done {
        "1" => true,
        "0" => false,
        other => return Err(format!("DONE is {}, not 0 or 1", shown(other))),
    };
    let (description, date) = (optional("description", description)?, checked_date(date)?);
    let (estimate, actual) = (optional("estimate", estimate)?, optional("actual", actual)?);
    let mut json = String::with_capacity(160);
    let word_counts = word_counts.join(",");
    write!(
        json,
        r#"{{"actual":{actual},"date":"{date}","description":{description},"done":{done},"estimate":{estimate},"tags":{tags},"word_counts":[{word_counts}]}}"#
    )
    .map_err(|error| error.to_string())?;
    Ok(json)
}

/// What stood there, for a person: whatever is in the file, the message stays a line.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if short.len() < text.len() { format!("{short:?}… ({} B)", text.len()) } else { format!("{text:?}") }
}

fn number<'a>(name: &str, text: &'a str) -> Result<&'a str, String> {
    // The text is kept; it only has to be a number as JSON has them.
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    if is_number && text.parse::<Number>().is_ok() { Ok(text) } else { Err(format!("{name} is {}, not a number", shown(text))) }
}

fn optional<'a>(name: &str, text: &'a str) -> Result<&'a str, String> {
    if text == NONE { Ok("null") } else { number(name, text) }
}

/// YYYY-MM-DD, of a day that there is.
fn checked_date(text: &str) -> Result<&str, String> {
    let wrong = || format!("date is {}, not a day as YYYY-MM-DD", shown(text));
    let mut parts = text.split('-');
    let mut part = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()));
        part.and_then(|part| part.parse::<u32>().ok()).ok_or_else(wrong)
    };
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    if parts.next().is_none() && (1..=days).contains(&day) { Ok(text) } else { Err(wrong()) }
}

#[cfg(test)]
#[path = "pomodoro_tests.rs"]
mod tests;
