//! A replica reading the log: pages, events, echoes, snapshots, and what does not verify.
//!
//! Never: a server session; the simulation has those.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic where it stands")]

mod support;

use bytes::Bytes;
use cloudsync_engine::replica::{
    ApplyError, AttachError, AttachRefusal, Content, NewEdit, Onto, Outcome, SnapshotError, SnapshotOutcome, Start, Stretch, Why, changes,
};
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::frame::{HeadAt, SnapshotPage, SnapshotToken};
use cloudsync_protocol::statement::{self, BatchStatement};
use cloudsync_protocol::{Batch, Cursor, DeviceSeq, Entry, Operation, Seq, TimelineId, codec};

use support::keys::{Keys, identify_as, key, row, value};
use support::log::{Device, Log, TIMELINE};

fn put(device: &mut Device, record: &str, content: Content) {
    device.transact(|replica, _| replica.edit(NewEdit { key: key(record), content, onto: Onto::Replica, now_ms: 1 })).unwrap();
}

/// A log with writes of one device, and another device that has read nothing.
fn written(records: &[&str]) -> (Log, Device, Device) {
    let (mut writer, reader) = (Device::new(1), Device::new(2));
    let mut log = Log::with(&[&writer.keys, &reader.keys]);
    writer.pull(&log);
    for record in records {
        put(&mut writer, record, value(record));
        writer.drain(&mut log);
        writer.pull(&log);
    }
    (log, writer, reader)
}

fn content(device: &mut Device, record: &str) -> Option<Content> {
    device.replica().get(&key(record)).unwrap().map(|shown| shown.content)
}

fn last_batch(log: &mut Log) -> &mut Batch {
    match log.entries.last_mut() {
        Some(Entry::Batch(batch)) => batch,
        _ => panic!("no batch"),
    }
}

#[test]
fn a_page_brings_rows_and_cursor_together() {
    let (log, _, mut reader) = written(&["s1", "s2"]);
    let applied = reader.pull(&log);
    assert_eq!(applied.stopped, None);
    assert_eq!(applied.changes.iter().map(|change| change.seq.0).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(applied.cursor, Cursor { timeline: TIMELINE, seq: Seq(5), row: log.row(Seq(5)) });
    assert_eq!(content(&mut reader, "s2"), Some(value("s2")));
}

#[test]
fn what_does_not_begin_at_the_cursor_is_old_or_a_gap() {
    let (log, _, mut reader) = written(&["s1", "s2"]);
    let entries = log.entries_of(Seq(3), Seq(4));
    assert!(matches!(reader.apply(Seq(3), Seq(4), &entries).unwrap(), Outcome::Gap { cursor } if cursor.seq == Seq(0)));
    reader.pull(&log);
    assert_eq!(reader.apply(Seq(3), Seq(4), &entries).unwrap(), Outcome::Old);
    assert_eq!(changes(&entries, &reader.keys).len(), 1, "still shown by who watches");
}

#[test]
fn a_stretch_of_another_timeline_stops_the_replica_and_keeps_everything() {
    let (log, _, mut reader) = written(&["s1"]);
    reader.pull(&log);
    let other = TimelineId([9; 16]);
    let before = reader.tables.clone();
    let stretch = Stretch { timeline: other, from: Seq(4), to: Seq(4), entries: &[] };
    let error = reader.transact(|replica, keys| replica.apply(stretch, keys)).unwrap_err();
    assert_eq!(error, ApplyError::Timeline { timeline: other, read: TIMELINE });
    let mut attached = log.attached(Seq::ZERO);
    attached.timeline = other;
    let error = reader.transact(|replica, _| replica.attached(&attached)).unwrap_err();
    assert_eq!(error, AttachError::Refused(AttachRefusal::Timeline { timeline: other, read: TIMELINE }));
    assert_eq!(reader.tables, before);
}

#[test]
fn entries_that_are_not_what_the_stretch_says_are_refused_whole() {
    let (log, _, mut reader) = written(&["s1", "s2"]);
    let entries = log.entries_of(Seq(0), Seq(4));
    assert_eq!(reader.apply(Seq(0), Seq(5), &entries).unwrap_err(), ApplyError::Uneven { end: Seq(4), to: Seq(5) });
    let hole: Vec<_> = log.entries.iter().filter(|entry| entry.first() != Seq(4)).cloned().collect();
    assert_eq!(reader.apply(Seq(0), Seq(5), &hole).unwrap_err(), ApplyError::Uneven { end: Seq(3), to: Seq(5) });
}

/// Reads a log whose last batch was changed: what is wrong with it.
fn why(change: impl FnOnce(&mut Log, &Keys)) -> Why {
    let (mut log, writer, mut reader) = written(&["s1", "s2"]);
    change(&mut log, &writer.keys);
    let applied = reader.pull(&log);
    assert_eq!(applied.cursor.seq, Seq(4), "the batch before was applied");
    assert_eq!((content(&mut reader, "s1"), content(&mut reader, "s2")), (Some(value("s1")), None));
    let stopped = applied.stopped.unwrap();
    assert_eq!(stopped.device_seq, Some(DeviceSeq(2)));
    let again = reader.pull(&log);
    assert_eq!((again.cursor.seq, again.stopped.as_ref()), (Seq(4), Some(&stopped)), "and there it stays");
    assert!(stopped.to_string().starts_with("batch 2 of device 01010101"), "{stopped}");
    stopped.why
}

#[test]
fn a_batch_whose_signature_is_not_its_devices_stops_the_replica_there() {
    assert!(matches!(why(|log, _| last_batch(log).signed.signature.0[5] ^= 1), Why::Batch(_)));
}

#[test]
fn a_batch_with_a_swapped_body_stops_the_replica_there() {
    let swapped = why(|log, _| {
        let Operation::Put(put) = &mut last_batch(log).operations[0];
        put.envelope.body = Bytes::from(vec![7; 128]);
    });
    assert!(matches!(swapped, Why::Batch(_)));
}

#[test]
fn a_batch_of_a_device_not_enrolled_stops_the_replica_there() {
    let (mut log, _, mut reader) = written(&["s1"]);
    let mut stranger = Device::new(8);
    put(&mut stranger, "s2", value("by a ghost"));
    stranger.drain(&mut log);
    let applied = reader.pull(&log);
    assert_eq!(applied.cursor.seq, Seq(4));
    assert_eq!(applied.stopped.map(|stopped| stopped.device), Some(Some(stranger.me.device)));
}

#[test]
fn a_batch_of_a_revoked_device_stops_the_replica_and_one_before_does_not() {
    let (mut log, mut writer, mut reader) = written(&["s1"]);
    log.change(writer.keys.revoke(DeviceSeq(1), reader.me.device));
    put(&mut writer, "s2", value("too late"));
    writer.drain(&mut log);
    let applied = reader.pull(&log);
    assert_eq!(applied.cursor.seq, Seq(5), "up to the revocation");
    assert!(applied.stopped.is_some());
    assert_eq!(content(&mut reader, "s1"), Some(value("s1")));
}

#[test]
fn a_batch_that_leaves_one_out_of_its_devices_chain_stops_the_replica_there() {
    let (log, _, mut reader) = written(&["s1", "s2"]);
    let mut short = log.clone();
    short.entries.retain(|entry| entry.first() != Seq(4));
    last_batch(&mut short).first = Seq(4);
    let applied = reader.pull(&short);
    assert_eq!(applied.stopped.map(|stopped| stopped.why), Some(Why::Chain { last: DeviceSeq(0) }));
}

#[test]
fn a_batch_given_twice_stops_the_replica() {
    let (mut log, _, mut reader) = written(&["s1"]);
    let mut again = last_batch(&mut log).clone();
    again.first = Seq(5);
    log.append(again);
    assert_eq!(reader.pull(&log).stopped.map(|stopped| stopped.why), Some(Why::Chain { last: DeviceSeq(1) }));
}

/// Signed by its device, but sealed to something that opens to nothing.
fn sealed_to_nothing(log: &mut Log, record: &str) {
    let mut cheat = Device::new(1);
    cheat.pull(log);
    put(&mut cheat, record, value("x"));
    let mut operations = cheat.outgoing().unwrap().operations();
    let Operation::Put(put) = &mut operations[0];
    let last = log.last_of(cheat.me.device);
    let mut header = put.envelope.check().unwrap();
    header.device_seq = last.device_seq.next();
    put.envelope.header = codec::encode(&header).into();
    put.envelope.body = Bytes::from(vec![0; 128]);
    let statement = BatchStatement {
        format: statement::FORMAT,
        log: header.log,
        device: header.device,
        device_seq: header.device_seq,
        prev_hash: last.hash,
        envelopes: vec![put.envelope.hash()],
        seen: Vec::new(),
    };
    let signed = support::keys::signed(&cheat.keys.signing, statement::CONTEXT_BATCH, &statement);
    let (first, hash) = (log.head().next(), signed.hash());
    log.append(Batch { first, server_ts: 0, signed, operations });
    log.last.insert(header.device, LastPush { device_seq: header.device_seq, hash, seq: first });
}

#[test]
fn an_envelope_that_verifies_and_does_not_open_marks_its_record_damaged_and_the_replica_goes_on() {
    let (mut log, _, mut reader) = written(&["s1"]);
    sealed_to_nothing(&mut log, "s2");
    let mut third = Device::new(3);
    log.change(third.keys.enrol());
    third.pull(&log);
    put(&mut third, "s3", value("after it"));
    third.drain(&mut log);
    let start = log.head();
    let by_snapshot = &mut Device::new(2);
    by_snapshot.snapshot_page(None, &log.snapshot(None, start, 9)).unwrap();
    let applied = reader.pull(&log);
    assert_eq!((applied.stopped, applied.cursor.seq), (None, start));
    for reader in [&mut reader, by_snapshot] {
        assert_eq!((content(reader, "s2"), content(reader, "s3")), (Some(Content::Damaged), Some(value("after it"))));
        let listed = reader.replica().list(None, None, 9).unwrap().records;
        assert_eq!(listed.iter().filter(|shown| shown.content == Content::Damaged).count(), 1);
        assert_eq!(reader.replica().status().unwrap().damaged, 1);
    }
    // It can be written over.
    put(&mut reader, "s2", value("mended"));
    reader.drain(&mut log);
    assert_eq!((content(&mut reader, "s2"), reader.replica().status().unwrap().damaged), (Some(value("mended")), 0));
}

#[test]
fn a_roster_that_begins_with_another_identity_is_refused() {
    let mut reader = Device::new(2);
    let mut log = Log::default();
    log.change(identify_as(&ed25519_dalek::SigningKey::from_bytes(&[5; 32]), 1));
    let applied = reader.pull(&log);
    assert_eq!(applied.cursor.seq, Seq(0));
    assert!(matches!(applied.stopped.unwrap().why, Why::Identity { .. }));
}

#[test]
fn the_echo_of_an_own_push_takes_its_rows_from_the_outbox_before_and_after_the_answer() {
    let (mut log, mut writer, _) = written(&[]);
    put(&mut writer, "s1", value("one"));
    let batch = writer.outgoing().unwrap();
    let pushed = log.push(&batch).unwrap();
    let committed = log.committed(&pushed);
    let outcome = writer.transact(|replica, _| replica.committed(&committed)).unwrap();
    assert!(matches!(outcome, Outcome::Applied(applied) if applied.changes.len() == 1 && applied.cursor.seq == log.head()));
    assert_eq!(writer.outgoing(), None);
    writer.transact(|replica, _| replica.pushed(&pushed)).unwrap();

    put(&mut writer, "s2", value("two"));
    put(&mut writer, "s3", value("three"));
    let batch = writer.outgoing().unwrap();
    let pushed = log.push(&batch).unwrap();
    writer.transact(|replica, _| replica.pushed(&pushed)).unwrap();
    let committed = log.committed(&pushed);
    let outcome = writer.transact(|replica, _| replica.committed(&committed)).unwrap();
    assert!(matches!(outcome, Outcome::Applied(applied) if applied.changes.len() == 2));
    assert_eq!(writer.transact(|replica, _| replica.committed(&committed)).unwrap(), Outcome::Old);
}

#[test]
fn an_echo_of_other_rows_than_were_pushed_is_refused() {
    let (mut log, mut writer, _) = written(&[]);
    put(&mut writer, "s1", value("one"));
    let batch = writer.outgoing().unwrap();
    let pushed = log.push(&batch).unwrap();
    let mut committed = log.committed(&pushed);
    committed.row.0[0] ^= 1;
    let error = writer.transact(|replica, _| replica.committed(&committed)).unwrap_err();
    assert_eq!(error, ApplyError::OtherRows { device_seq: DeviceSeq(1) });
}

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
fn a_floor_above_the_cursor_asks_for_a_snapshot_and_a_head_for_a_pull() {
    let (mut log, mut writer, mut reader) = written(&["a"]);
    reader.pull(&log);
    put(&mut writer, "b", value("b"));
    writer.drain(&mut log);
    let attached = |reader: &mut Device, floor| reader.transact(|replica, _| replica.attached(&log.attached(floor))).unwrap();
    assert_eq!(attached(&mut reader, Seq(5)), Start::Snapshot { resume: None });
    assert!(matches!(attached(&mut reader, Seq(4)), Start::Pull { to: Seq(5), .. }));
    let head = |head| HeadAt { log: 0, timeline: TIMELINE, head };
    assert_eq!(reader.replica().head_at(&head(Seq(4))).unwrap(), Start::UpToDate);
    assert!(matches!(reader.replica().head_at(&head(Seq(6))).unwrap(), Start::Pull { to: Seq(6), .. }));
}

#[test]
fn a_batch_may_name_one_record_several_times() {
    let (mut log, mut writer, mut reader) = written(&[]);
    reader.pull(&log);
    put(&mut writer, "a", value("one"));
    let first = writer.outgoing().unwrap();
    let Operation::Put(one) = first.made[0].operation.clone();
    let mut header = one.envelope.check().unwrap();
    header.version = header.version.next();
    header.parent = one.envelope.hash();
    let draft = cloudsync_engine::replica::Draft {
        log: header.log,
        key: &header.key(),
        version: header.version,
        parent: header.parent,
        device: header.device,
        device_seq: header.device_seq,
        hlc: header.hlc,
        content: &value("two"),
    };
    use cloudsync_engine::replica::Sealer;
    let two = cloudsync_protocol::entry::Put { base: one.base.next(), envelope: writer.keys.seal(&draft).unwrap() };
    let mut statement: BatchStatement = codec::decode(&first.signed.statement).unwrap();
    statement.envelopes.push(two.envelope.hash());
    let signed = support::keys::signed(&writer.keys.signing, statement::CONTEXT_BATCH, &statement);
    log.append(Batch { first: Seq(4), server_ts: 0, signed, operations: vec![one.into(), two.into()] });
    let applied = reader.pull(&log);
    assert_eq!((applied.stopped, applied.changes.len()), (None, 2));
    assert_eq!(content(&mut reader, "a"), Some(value("two")));
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
