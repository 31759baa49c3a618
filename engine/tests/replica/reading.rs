//! A replica reading the log: pages, events, echoes.
//!
//! Never: a row without the cursor that goes with it.

use cloudsync_engine::replica::{ApplyError, AttachError, AttachRefusal, Outcome, Start, Stretch, changes};
use cloudsync_protocol::frame::HeadAt;
use cloudsync_protocol::statement::{self, BatchStatement};
use cloudsync_protocol::{Batch, Cursor, DeviceSeq, Operation, Seq, TimelineId, codec};

use crate::desk::{content, put, written};
use crate::support;
use crate::support::keys::value;
use crate::support::log::{Device, TIMELINE};

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
    let Operation::Put(one) = first.made[0].operation.clone() else { panic!("a put") };
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
