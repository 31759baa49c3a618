//! What does not verify, and stops the replica where it stands.
//!
//! Never: an entry passed over.

use bytes::Bytes;
use cloudsync_engine::replica::{ApplyError, Content, Fate, Reason, SnapshotError, Stretch, Why, changes};
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::frame::SnapshotPage;
use cloudsync_protocol::statement::{self, BatchStatement};
use cloudsync_protocol::{Batch, Cursor, DeviceSeq, Entry, Operation, Seq, Version, codec};

use crate::desk::{conflicts, content, fate, put, written};
use crate::support;
use crate::support::keys::{Keys, identify_as, value};
use crate::support::log::{Device, Log, TIMELINE};

fn last_batch(log: &mut Log) -> &mut Batch {
    match log.entries.last_mut() {
        Some(Entry::Batch(batch)) => batch,
        _ => panic!("no batch"),
    }
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
        let Operation::Put(put) = &mut last_batch(log).operations[0] else { panic!("a put") };
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
    let Operation::Put(put) = &mut operations[0] else { panic!("a put") };
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

/// A snapshot whose row of that record has a wrap that does not open.
fn spoiled(log: &Log, record: &str) -> SnapshotPage {
    let mut page = log.snapshot(None, log.head(), 9);
    let row = page.rows.iter_mut().find(|row| row.envelope.check().is_ok_and(|header| header.record.as_str() == record)).unwrap();
    row.envelope.wrap = [&row.envelope.wrap[..8], &[9; 60]].concat().into();
    page
}

#[test]
fn a_row_of_a_snapshot_that_does_not_open_takes_no_readable_ones_place() {
    let (mut log, mut writer, mut reader) = written(&["s1"]);
    reader.pull(&log);
    put(&mut writer, "s1", value("newer"));
    writer.drain(&mut log);
    let refused = reader.snapshot_page(None, &spoiled(&log, "s1")).unwrap_err();
    let SnapshotError::Untrusted(untrusted) = &refused else { panic!("{refused}") };
    assert!(matches!(&untrusted.why, Why::Unreadable { held: Version(1), .. }), "{refused}");
    assert_eq!(content(&mut reader, "s1"), Some(value("s1")));
    reader.snapshot_page(None, &log.snapshot(None, log.head(), 9)).unwrap();
    assert_eq!(content(&mut reader, "s1"), Some(value("newer")));
}

#[test]
fn a_row_that_did_not_open_is_healed_by_one_that_does_and_by_no_older_one() {
    let (mut log, mut writer, _) = written(&["s1"]);
    let old = log.snapshot(None, log.head(), 9).rows[0].clone();
    put(&mut writer, "s1", value("newer"));
    writer.drain(&mut log);
    let by_snapshot = &mut Device::new(2);
    by_snapshot.snapshot_page(None, &spoiled(&log, "s1")).unwrap();
    assert_eq!(content(by_snapshot, "s1"), Some(Content::Damaged));
    let mut back = log.snapshot(None, log.head(), 9);
    back.rows[0].envelope = old.envelope;
    assert!(matches!(by_snapshot.snapshot_page(None, &back), Err(SnapshotError::Untrusted(_))));
    by_snapshot.snapshot_page(None, &log.snapshot(None, log.head(), 9)).unwrap();
    assert_eq!((content(by_snapshot, "s1"), by_snapshot.replica().status().unwrap().damaged), (Some(value("newer")), 0));
}

#[test]
fn an_edit_of_a_record_that_never_was_is_parked_and_holds_nobody_up() {
    let (log, _, _) = written(&["s1"]);
    let mut reader = Device::new(2);
    reader.snapshot_page(None, &spoiled(&log, "s1")).unwrap();
    let on_it = put(&mut reader, "s1", value("on what did not open"));
    put(&mut reader, "s2", value("another"));
    let mut honest = log.snapshot(None, log.head(), 9);
    honest.rows.clear();
    reader.snapshot_page(None, &honest).unwrap();
    assert_eq!((fate(&mut reader, "s1", on_it), conflicts(&mut reader)), (Fate::Parked(Reason::Stale), 1));
    assert_eq!(reader.outgoing().unwrap().made.len(), 1);
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

/// A device that read nothing yet, and a log with two records that another pushed at once.
fn two_records_of_one_batch() -> (Device, Log) {
    let (mut writer, reader) = (Device::new(1), Device::new(2));
    let mut log = Log::with(&[&writer.keys, &reader.keys]);
    writer.pull(&log);
    put(&mut writer, "s1", value("s1"));
    put(&mut writer, "s2", value("s2"));
    writer.drain(&mut log);
    (reader, log)
}

#[test]
fn rows_past_the_last_number_are_no_rows_and_nobody_stumbles_over_them() {
    let (mut reader, mut log) = two_records_of_one_batch();
    // The numbers are the server's to give; no device signs them.
    let batch = last_batch(&mut log);
    assert_eq!(batch.operations.len(), 2);
    batch.first = Seq(u64::MAX);
    let entry = Entry::from(batch.clone());
    assert_eq!((entry.first(), entry.last()), (Seq(u64::MAX), Seq(u64::MAX)));
    assert_eq!(changes(std::slice::from_ref(&entry), &reader.keys), []);
    let stretch = Stretch { timeline: TIMELINE, from: Seq::ZERO, to: Seq(u64::MAX), entries: &[entry] };
    let applied = reader.transact(|replica, keys| replica.apply(stretch, keys));
    assert!(matches!(applied, Err(ApplyError::Uneven { .. })), "{applied:?}");
}

#[test]
fn a_snapshot_that_begins_at_the_last_number_leaves_no_row_to_come_after_it() {
    let (mut reader, mut log) = two_records_of_one_batch();
    let batch = last_batch(&mut log);
    batch.first = Seq(u64::MAX);
    let entry = Entry::from(batch.clone());
    let roster = log.entries.iter().filter_map(|entry| if let Entry::Roster(row) = entry { Some(row.clone()) } else { None });
    let start = Cursor { timeline: TIMELINE, seq: Seq(u64::MAX - 1), ..Cursor::default() };
    let page = SnapshotPage { request: 1, log: 0, start, roster: roster.collect(), rows: Vec::new(), resume: None };
    reader.transact(|replica, keys| replica.snapshot_page(None, &page, keys)).unwrap();
    let stretch = Stretch { timeline: TIMELINE, from: start.seq, to: Seq(u64::MAX), entries: &[entry] };
    let applied = reader.transact(|replica, keys| replica.apply(stretch, keys));
    assert!(matches!(applied, Err(ApplyError::Uneven { .. })), "{applied:?}");
}

#[test]
fn a_row_of_the_last_version_there_is_is_refused_since_no_edit_could_follow_it() {
    let (log, _, mut reader) = written(&["s1"]);
    let mut page = log.snapshot(None, log.head(), 9);
    let mut header = page.rows[0].envelope.check().unwrap();
    header.version = Version(u64::MAX);
    page.rows[0].envelope.header = codec::encode(&header).into();
    let refused = reader.snapshot_page(None, &page).unwrap_err();
    assert!(matches!(&refused, SnapshotError::Untrusted(untrusted) if matches!(untrusted.why, Why::Header(_))), "{refused}");
    put(&mut reader, "s1", value("an edit all the same"));
    assert!(reader.replica().list(None, None, 9).is_ok());
}
