//! What a replica demands of a snapshot, and what it keeps when that is not met.
//!
//! Never: a replica that goes back.

use cloudsync_engine::replica::{NewEdit, Onto, Outcome, SnapshotError, SnapshotOutcome, Start, Tables, Why};
use cloudsync_protocol::frame::{HeadAt, SnapshotPage, SnapshotToken};
use cloudsync_protocol::{Cursor, DeviceSeq, Seq};

use crate::desk::{content, put, write, written};
use crate::support::keys::{Keys, identify_as, key, row, value};
use crate::support::log::{Device, Log, TIMELINE};

#[test]
fn a_snapshot_moves_the_cursor_at_its_end_and_pulls_from_there() {
    let (mut log, mut writer, mut reader) = written(&["a", "b", "c"]);
    let start = log.head();
    let first = log.snapshot(None, start, 2);
    let SnapshotOutcome::Next { resume } = reader.snapshot_page(None, &first).unwrap() else { panic!("more") };
    assert_eq!(reader.replica().cursor().unwrap().seq, Seq(0));
    // Written meanwhile: "c" is in the snapshot with a higher number than its start, "a" only in the log after it.
    for record in ["c", "a"] {
        put(&mut writer, record, value("newer"));
        writer.drain(&mut log);
        writer.pull(&log);
    }
    let entries = log.entries_of(Seq(0), log.head());
    assert!(matches!(reader.apply(Seq(0), log.head(), &entries).unwrap(), Outcome::Gap { .. }), "not while it is under way");
    assert_eq!(reader.snapshot_page(None, &first).unwrap(), SnapshotOutcome::Old { resume: Some(resume.clone()) });
    let second = log.snapshot(Some(&resume), start, 2);
    assert!(matches!(reader.snapshot_page(Some(&resume), &second).unwrap(), SnapshotOutcome::Complete { cursor } if cursor.seq == start));
    assert_eq!(content(&mut reader, "a"), Some(value("a")));
    assert_eq!(reader.pull(&log).stopped, None);
    assert_eq!((content(&mut reader, "a"), content(&mut reader, "c")), (Some(value("newer")), Some(value("newer"))));
}

#[test]
fn a_snapshot_without_a_roster_row_that_was_read_is_refused() {
    let (mut log, _, mut reader) = written(&["a"]);
    reader.pull(&log);
    log.change(Keys::new(5).enrol());
    let mut page = log.snapshot(None, log.head(), 9);
    page.roster.remove(1);
    assert!(matches!(reader.snapshot_page(None, &page).unwrap_err(), SnapshotError::Untrusted(_)));
    page.roster = vec![row(1, identify_as(&ed25519_dalek::SigningKey::from_bytes(&[5; 32]), 1))];
    assert!(matches!(reader.snapshot_page(None, &page).unwrap_err(), SnapshotError::Untrusted(_)));
}

#[test]
fn a_roster_that_comes_in_pages_is_verified_across_them() {
    let (mut log, _, mut reader) = written(&["a"]);
    reader.pull(&log);
    log.change(Keys::new(5).enrol());
    let start = log.head();
    let whole = log.snapshot(None, start, 9);
    let token = |roster_after| SnapshotToken { timeline: TIMELINE, start, last: None, roster_after };
    let pages: Vec<SnapshotPage> = [(0..2, Some(token(Some(Seq(2))))), (2..4, None)]
        .map(|(rows, resume)| SnapshotPage {
            roster: whole.roster[rows].to_vec(),
            rows: if resume.is_none() { whole.rows.clone() } else { Vec::new() },
            resume,
            ..whole.clone()
        })
        .to_vec();
    let mut short = pages[0].clone();
    short.roster.remove(1);
    assert!(matches!(reader.snapshot_page(None, &short).unwrap_err(), SnapshotError::Untrusted(_)), "a row read before is missing");
    assert!(matches!(reader.snapshot_page(None, &pages[0]).unwrap(), SnapshotOutcome::Next { .. }));
    let resume = pages[0].resume.clone();
    assert!(matches!(reader.snapshot_page(resume.as_ref(), &pages[1]).unwrap(), SnapshotOutcome::Complete { .. }));
    assert_eq!(reader.pull(&log).stopped, None);
    let mut fifth = Device::new(5);
    fifth.pull(&log);
    put(&mut fifth, "b", value("by the new one"));
    fifth.drain(&mut log);
    assert_eq!(reader.pull(&log).stopped, None);
}

/// A writer's log, and a reader that has read "a" (twice written), "b" and "c" of it; "b" was written once more since.
fn read_before() -> (Log, Device, Device) {
    let (mut writer, mut reader) = (Device::new(1), Device::new(2));
    let mut log = Log::with(&[&writer.keys, &reader.keys]);
    writer.pull(&log);
    for (record, text) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "c1")] {
        write(&mut writer, &mut log, record, value(text));
    }
    reader.pull(&log);
    write(&mut writer, &mut log, "b", value("b2"));
    (log, writer, reader)
}

/// What is wrong with a snapshot that was changed; nothing of it is kept.
fn refused(change: impl FnOnce(&mut Log, &mut SnapshotPage)) -> SnapshotError {
    let (mut log, _, mut reader) = read_before();
    let mut page = log.snapshot(None, log.head(), 9);
    change(&mut log, &mut page);
    let before = reader.tables.clone();
    let error = reader.snapshot_page(None, &page).unwrap_err();
    assert_eq!(reader.tables, before, "nothing replaced");
    error
}

fn why(change: impl FnOnce(&mut Log, &mut SnapshotPage)) -> Why {
    match refused(change) {
        SnapshotError::Untrusted(untrusted) => untrusted.why,
        other @ (SnapshotError::Timeline { .. }
        | SnapshotError::Behind { .. }
        | SnapshotError::OtherRow { .. }
        | SnapshotError::OtherStart { .. }
        | SnapshotError::NeedsKeys { .. }
        | SnapshotError::Tables(_)) => panic!("{other}"),
    }
}

#[test]
fn a_device_that_has_read_nothing_begins_by_a_snapshot_whatever_told_it_of_a_head() {
    let (log, ..) = read_before();
    let mut new = Device::new(2);
    let start = new.transact(|replica, _| replica.attached(&log.attached(Seq::ZERO))).unwrap();
    assert_eq!(start, Start::Snapshot { resume: None });
    let head = HeadAt { log: 0, timeline: TIMELINE, head: log.head() };
    assert_eq!(new.replica().head_at(&head).unwrap(), Start::Snapshot { resume: None });
}

#[test]
fn an_honest_snapshot_over_a_replica_brings_what_is_new_and_keeps_the_rest() {
    let (mut log, mut writer, mut reader) = read_before();
    let outcome = reader.snapshot_page(None, &log.snapshot(None, log.head(), 9)).unwrap();
    assert!(matches!(outcome, SnapshotOutcome::Complete { cursor } if cursor.seq == log.head()));
    let held: Vec<_> = reader.tables.records(None, None, 9).unwrap().into_iter().map(|record| record.content).collect();
    assert_eq!(held, [value("a2"), value("b2"), value("c1")]);
    write(&mut writer, &mut log, "d", value("d1"));
    assert_eq!(reader.pull(&log).stopped, None);
}

#[test]
fn a_snapshot_of_before_the_cursor_or_with_another_row_there_is_refused() {
    let error = refused(|log, page| page.start = Cursor { seq: Seq(6), row: log.row(Seq(6)), ..page.start });
    assert_eq!(error, SnapshotError::Behind { start: Seq(6), read: Seq(7) });
    let error = refused(|log, page| {
        page.start = Cursor { seq: Seq(7), row: log.row(Seq(6)), ..page.start };
    });
    assert_eq!(error, SnapshotError::OtherRow { seq: Seq(7) });
}

#[test]
fn a_record_that_was_read_may_not_be_left_out() {
    for gone in [0, 2] {
        let left_out = why(|_, page| drop(page.rows.remove(gone)));
        assert!(matches!(left_out, Why::LeftOut { .. }), "{left_out:?}");
    }
}

#[test]
fn a_version_that_was_read_may_not_be_lowered_whatever_number_its_row_is_given() {
    for seq in [4, 5, 8, 900] {
        let lowered = why(|log, page| {
            let old = log.entries_of(Seq(3), Seq(4));
            let [cloudsync_protocol::Entry::Batch(batch)] = old.as_slice() else { panic!("a batch") };
            let cloudsync_protocol::Operation::Put(put) = &batch.operations[0] else { panic!("a put") };
            page.rows[0].envelope = put.envelope.clone();
            page.rows[0].seq = Seq(seq);
        });
        assert!(matches!(lowered, Why::Version { .. } | Why::OtherRow { .. }), "{seq}: {lowered:?}");
    }
}

#[test]
fn a_version_that_was_read_may_not_be_moved_on_to_hide_the_ones_after_it() {
    let (mut log, mut writer, mut reader) = read_before();
    // "c" is as it was read, and said to stand far above: refused, for it was read at its own number.
    let mut page = log.snapshot(None, log.head(), 9);
    page.rows[2].seq = Seq(900);
    assert!(matches!(reader.snapshot_page(None, &page).unwrap_err(), SnapshotError::Untrusted(_)));
    // A new device can't know; but it notices when the log says otherwise.
    let mut new = Device::new(2);
    new.snapshot_page(None, &page).unwrap();
    write(&mut writer, &mut log, "c", value("c2"));
    assert!(matches!(new.pull(&log).stopped.unwrap().why, Why::Version { .. }));
}

#[test]
fn a_row_where_the_log_was_read_and_had_another_is_refused() {
    let other = why(|_, page| page.rows[1].seq = Seq(7));
    assert!(matches!(other, Why::OtherRow { .. }), "{other:?}");
}

#[test]
fn a_new_row_of_a_push_not_above_its_devices_last_is_refused() {
    let (mut log, mut writer, mut reader) = read_before();
    // By a copy of the writer that signs the number of a push that was read.
    let mut copy = Device::new(1);
    copy.pull(&Log { entries: log.entries_of(Seq(0), Seq(3)), ..Log::default() });
    let new = NewEdit { key: key("d"), content: value("by a copy"), onto: Onto::Replica, now_ms: 1 };
    copy.transact(|replica, _| replica.edit(new)).unwrap();
    let forked = copy.outgoing().unwrap();
    write(&mut writer, &mut log, "d", value("d1"));
    let mut page = log.snapshot(None, log.head(), 9);
    let cloudsync_protocol::Operation::Put(put) = &forked.made[0].operation else { panic!("a put") };
    page.rows[3].envelope = put.envelope.clone();
    let error = reader.snapshot_page(None, &page).unwrap_err();
    let SnapshotError::Untrusted(untrusted) = error else { panic!("{error}") };
    assert_eq!(untrusted.why, Why::Chain { last: DeviceSeq(4) });
}

#[test]
fn roster_rows_where_the_log_was_read_are_those_that_were_read() {
    let swapped = why(|_, page| page.roster[2] = row(3, Keys::new(9).enrol()));
    assert_eq!(swapped, Why::OtherRow { seq: Seq(3) });
    let slipped_in = why(|_, page| page.roster.push(row(5, Keys::new(9).enrol())));
    assert_eq!(slipped_in, Why::OtherRow { seq: Seq(5) });
    let above = why(|_, page| page.roster.push(row(900, Keys::new(9).enrol())));
    assert_eq!(above, Why::OtherRow { seq: Seq(900) });
    let missing = why(|_, page| drop(page.roster.remove(2)));
    assert_eq!(missing, Why::OtherRow { seq: Seq(3) });
}

#[test]
fn pages_that_do_not_go_on_where_they_ended_are_refused() {
    assert_eq!(why(|_, page| page.rows.swap(0, 1)), Why::Disordered);
    let token = |page: &SnapshotPage, last: &str| {
        Some(SnapshotToken { timeline: TIMELINE, start: page.start.seq, last: Some(key(last)), roster_after: None })
    };
    let skips = why(|_, page| {
        page.rows.truncate(1);
        page.resume = token(page, "b");
    });
    assert_eq!(skips, Why::Disordered);
}

#[test]
fn what_is_known_of_a_chain_outlasts_a_snapshot_that_was_given_up_and_one_that_brought_nothing() {
    let (mut log, mut writer, mut reader) = read_before();
    let known = reader.tables.last_batch(writer.me.device).unwrap().unwrap();
    assert!(known.hash.is_some());
    reader.snapshot_page(None, &log.snapshot(None, log.head(), 1)).unwrap();
    reader.transact(|replica, _| replica.snapshot_abandoned()).unwrap();
    assert_eq!(reader.tables.last_batch(writer.me.device).unwrap(), Some(known));
    assert_eq!(reader.pull(&log).stopped, None);
    let known = reader.tables.last_batch(writer.me.device).unwrap().unwrap();
    reader.snapshot_page(None, &log.snapshot(None, log.head(), 9)).unwrap();
    assert_eq!(reader.tables.last_batch(writer.me.device).unwrap(), Some(known), "it was read to there");
    write(&mut writer, &mut log, "e", value("e1"));
    reader.snapshot_page(None, &log.snapshot(None, log.head(), 9)).unwrap();
    let after = reader.tables.last_batch(writer.me.device).unwrap().unwrap();
    assert_eq!((after.device_seq, after.hash), (known.device_seq, None), "there may have been others in between");
}
