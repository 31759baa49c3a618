//! Rows as they are in the wild.

use std::collections::BTreeSet;

use super::*;
use crate::keys::AccountKeys;

const HEADER: &str = "\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\"\n";

fn ids() -> RecordIdKey {
    AccountKeys::first().current().record_id_key()
}

fn read(rows: &str) -> (Vec<Session>, Vec<Broken>) {
    let file = format!("{HEADER}{rows}");
    let ids = ids();
    let (mut sessions, mut broken) = (Vec::new(), Vec::new());
    for row in Sessions::new(file.as_bytes(), &ids).unwrap() {
        match row {
            Ok(session) => sessions.push(session),
            Err(row) => broken.push(row),
        }
    }
    (sessions, broken)
}

fn text(session: &Session) -> &str {
    std::str::from_utf8(&session.value).unwrap()
}

#[test]
fn a_row_becomes_json_with_its_missing_values_its_tags_and_its_digits() {
    let (sessions, broken) = read("\"@agile2009,@bad/@good\",\"1,2\",8689,0,2012-02-29,NA,11.30\n,\"1\",1,1,2009-04-09,2,0\n");
    assert_eq!(broken, []);
    assert_eq!(
        sessions.iter().map(text).collect::<Vec<_>>(),
        [
            r#"{"actual":11.30,"date":"2012-02-29","description":8689,"done":false,"estimate":null,"tags":["@agile2009","@bad/@good"],"word_counts":[1,2]}"#,
            r#"{"actual":0,"date":"2009-04-09","description":1,"done":true,"estimate":2,"tags":[],"word_counts":[1]}"#,
        ]
    );
    for session in &sessions {
        serde_json::from_slice::<serde_json::Value>(&session.value).unwrap();
    }
}

#[test]
fn equal_rows_have_ids_of_their_own_and_the_same_at_every_reading() {
    let row = "\"@a\",\"1\",1,1,2009-04-09,NA,NA\n";
    let file = format!("{HEADER}{row}{row}");
    let ids = ids();
    let read = || Sessions::new(file.as_bytes(), &ids).unwrap().map(|row| row.unwrap().key).collect::<Vec<_>>();
    assert_eq!(read(), read());
    assert_eq!(read().into_iter().collect::<BTreeSet<_>>().len(), 2);
}

#[test]
fn a_row_is_called_the_same_under_the_same_key_whichever_one_it_was_read_with() {
    let row = "\"@a\",\"1\",1,1,2009-04-09,NA,NA\n";
    let file = format!("{HEADER}{row}{row}");
    let (one, other) = (ids(), ids());
    let read = |ids: &RecordIdKey| Sessions::new(file.as_bytes(), ids).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    for (session, again) in read(&one).iter().zip(read(&other)) {
        assert_ne!(session.key, again.key);
        assert_eq!((&session.key, &session.key_under(&other)), (&again.key_under(&one), &again.key));
    }
}

#[test]
fn broken_rows_are_named_by_their_line_and_the_rest_is_read() {
    let good = "\"@a\",\"1\",1,1,2009-04-09,NA,NA\n";
    let rows = [
        good,
        "\"@a\",\"1\",1,1,2009-04-09,NA\n",
        "\"@a\",\"1\",1,2,2009-04-09,NA,NA\n",
        "\"@a\",\"1\",one,1,2009-04-09,NA,NA\n",
        "\"@a\",\"1\",1,1,2009-02-29,NA,NA\n",
        "\"@a\",\"x\",1,1,2009-02-28,NA,NA\n",
        "\"@a\",\"1\",1,1,2009-02-28,NA,1;2\n",
        good,
    ];
    let (sessions, broken) = read(&rows.concat());
    assert_eq!(sessions.len(), 2);
    assert_eq!(broken.iter().map(|broken| broken.line).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8]);
    assert!(broken[0].why.contains("6 columns") && broken[1].why.contains("DONE") && broken[3].why.contains("date"));
}

#[test]
fn a_quote_that_nobody_closed_breaks_its_own_line_only() {
    let good = "\"@a\",\"1\",1,1,2009-04-09,NA,NA\n";
    let (sessions, broken) = read(&format!("{good}\"@a,\"1\",1,1,2009-04-09,NA,NA\n{good}{good}\"@b\n{good}"));
    assert_eq!(sessions.len(), 4);
    assert_eq!(broken.iter().map(|broken| broken.line).collect::<Vec<_>>(), [3, 6]);
}

#[test]
fn a_blank_line_before_a_broken_row_is_no_row_and_moves_no_line() {
    let good = "\"@a\",\"1\",1,1,2009-04-09,NA,NA\n";
    let (sessions, broken) = read(&format!("{good}\n\"@bad\",1\n{good}"));
    assert_eq!(sessions.len(), 2);
    assert_eq!(broken.iter().map(|broken| broken.line).collect::<Vec<_>>(), [4]);
    let (sessions, broken) = read(&format!("\r\n\n\"@a,\"1\",1,1,2009-04-09,NA,NA\r\n\n{good}"));
    assert_eq!(sessions.len(), 1);
    assert_eq!(broken.iter().map(|broken| broken.line).collect::<Vec<_>>(), [4]);
}

#[test]
fn an_open_quote_that_swallows_the_next_row_breaks_its_own_line_only() {
    let good = "\"@a\",\"1\",1,1,2009-04-09,NA,NA\n";
    let (sessions, broken) = read(&format!("\"@open,5,1,2010-02-04,1,1\n{good}"));
    assert_eq!(sessions.len(), 1);
    assert_eq!(broken.iter().map(|broken| broken.line).collect::<Vec<_>>(), [2]);
}

#[test]
fn lines_may_end_with_a_carriage_return_alone_and_are_counted_and_gone_back_to_like_others() {
    let good = "\"@a\",\"1\",1,1,2009-04-09,NA,NA\r";
    let (sessions, broken) = read(&format!("{good}\"@open,5,1,2010-02-04,1,1\r{good}x\r{good}"));
    assert_eq!(sessions.len(), 3);
    assert_eq!(broken.iter().map(|broken| broken.line).collect::<Vec<_>>(), [3, 5]);
    let (sessions, broken) = read(&format!("x\r\ny\r\n{}", good.replace('\r', "\r\n")));
    assert_eq!((sessions.len(), broken.iter().map(|broken| broken.line).collect::<Vec<_>>()), (1, vec![2, 3]));
}

#[test]
fn a_quote_not_closed_in_a_column_that_nobody_asked_for_loses_none_of_the_rows_after_it() {
    let header = HEADER.replace('\n', ",\"note\"\n");
    let row = |note: &str| format!("@a,1,1,1,2009-04-09,NA,NA,{note}\n");
    let file = format!("{header}{}{}{}{}", row("\"two\nlines\""), row("\"open"), row("x"), row("y"));
    let ids = ids();
    let rows: Vec<_> = Sessions::new(file.as_bytes(), &ids).unwrap().collect();
    assert_eq!(rows.iter().filter(|row| row.is_ok()).count(), 3);
    let broken: Vec<_> = rows.into_iter().filter_map(Result::err).collect();
    assert_eq!(broken, [Broken { line: 4, why: "a quote is not closed".into() }]);
}

#[test]
fn rows_that_are_not_utf_8_are_broken_and_a_file_without_a_last_newline_is_whole() {
    let file = [HEADER.as_bytes(), b"\"\xff\",1,1,1,2009-04-09,NA,NA\n\"@a\",1,1,1,2009-04-09,NA,NA"].concat();
    let ids = ids();
    let rows: Vec<_> = Sessions::new(&file, &ids).unwrap().collect();
    assert_eq!(rows[0], Err(Broken { line: 2, why: "X.words is not UTF-8".into() }));
    assert!(rows[1].is_ok() && rows.len() == 2);
}

#[test]
fn columns_are_found_by_name_and_missing_ones_named() {
    let ids = ids();
    let file = "actual,date,DONE,extra,estimate,description,word_cnt,X.words\n1,2009-04-09,1,x,NA,7,,@a\n";
    let rows: Vec<_> = Sessions::new(file.as_bytes(), &ids).unwrap().map(Result::unwrap).collect();
    assert_eq!(
        text(&rows[0]),
        r#"{"actual":1,"date":"2009-04-09","description":7,"done":true,"estimate":null,"tags":["@a"],"word_counts":[]}"#
    );
    assert_eq!(Sessions::new(b"a,b\n", &ids).unwrap_err(), FileError::Columns(NAMES.to_vec()));
    assert_eq!(Sessions::new(b"", &ids).unwrap_err(), FileError::NoHeader);
}

#[test]
fn a_wrong_field_of_any_size_is_named_in_a_line() {
    let (_, broken) = read(&format!("\"@a\",1,1,1,{},NA,NA\n", "x".repeat(300_000)));
    let [Broken { line: 2, why }] = broken.as_slice() else { panic!("one broken row: {}", broken.len()) };
    assert!(why.starts_with("date is \"xxxx") && why.contains("… (300000 B)") && why.len() < 200, "{why}");
}
