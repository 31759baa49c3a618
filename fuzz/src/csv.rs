//! CSV: each line of a file is one session or is named as broken, none is lost and none counts twice, whatever stands there.
//!
//! The first byte chooses: the input is rows under the right names of columns, with one column more, or a whole file.
//!
//! Never: the parser asked how many rows there are; lines are counted here.

use std::collections::BTreeSet;

use cloudsync_client::import::Broken;
use cloudsync_client::import::pomodoro::{COLLECTION, Session, Sessions};
use cloudsync_client::keys::RecordIdKey;

use crate::maker;
use crate::reader::Reader;

const HEADER: &[u8] = b"\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\"\n";
/// A column that nobody asked for may hold several lines.
const HEADER_AND_ANOTHER: &[u8] = b"\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\",note\n";
const ROW: &[u8] = b"\n\"@a,@b\",\"1,2\",7,1,2012-02-29,NA,11.30\n";

/// One byte that chooses, then the file.
pub fn check(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (choice, rest) = (reader.byte() % 3, reader.rest());
    let header = [HEADER, HEADER_AND_ANOTHER, b""].get(usize::from(choice)).copied().unwrap_or_default();
    let file = [header, rest].concat();
    let ids = maker::account_keys().current().record_id_key();
    let Some((sessions, broken)) = read(&file, &ids) else { return assert_eq!(header, b"", "its columns have their names") };
    assert_eq!(read(&file, &ids).as_ref(), Some(&(sessions.clone(), broken.clone())), "a file is read the same way again");
    let rows = sessions.len() + broken.len();
    if header == HEADER {
        assert_eq!(rows, lines(rest), "{} imported, {} broken", sessions.len(), broken.len());
    }
    if !header.is_empty() {
        let (sessions, broken) = read(&[&file, ROW].concat(), &ids).expect("its columns have their names");
        assert_eq!(sessions.len() + broken.len(), rows + 1, "one line more is one row more, whatever was before it");
        let given = sessions.last().is_some_and(|last| last.value.starts_with(br#"{"actual":11.30,"date":"2012-02-29","#));
        assert!(given || header != HEADER, "a good one is read");
    }
}

/// Sessions and broken rows, each looked at.
fn read(file: &[u8], ids: &RecordIdKey) -> Option<(Vec<Session>, Vec<Broken>)> {
    let mut rows = Sessions::new(file, ids).ok()?;
    let (mut sessions, mut broken, mut seen) = (Vec::<Session>::new(), Vec::<Broken>::new(), BTreeSet::new());
    let lines = file.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64 + 1;
    while let Some(row) = rows.next() {
        assert!(sessions.len() + broken.len() <= file.len(), "reading a file ends");
        assert!(rows.bytes_read() <= file.len(), "within the file");
        match row {
            Ok(session) => {
                assert!(seen.insert(session.key.clone()), "two rows of one id: {}", session.key);
                assert_eq!((session.key.collection.as_str(), session.key.record.as_str().len()), (COLLECTION, 32));
                assert!(serde_json::from_slice::<serde_json::Value>(&session.value).is_ok_and(|value| value.is_object()), "it is JSON");
                sessions.push(session);
            }
            Err(row) => {
                assert!(row.line > broken.last().map_or(0, |last| last.line) && row.line <= lines, "line {} of {lines}", row.line);
                assert!(row.why.len() < 1000 && !row.why.contains(['\n', '\r']), "the message stays a line: {:?}", row.why);
                broken.push(row);
            }
        }
    }
    Some((sessions, broken))
}

/// Lines that are not empty.
fn lines(rows: &[u8]) -> usize {
    rows.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty()).count()
}
