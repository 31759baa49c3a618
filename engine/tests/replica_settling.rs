//! What decides an edit and what does not: bases, answers, revocations.
//!
//! Never: a server session; the simulation has those.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic where it stands")]

mod support;

use cloudsync_engine::replica::{BatchState, Content, EditId, Fate, NewEdit, Next, Onto, OutboxBatch, Reason, Replica, Tables};
use cloudsync_protocol::error::RecordIssue;
use cloudsync_protocol::frame::Push;
use cloudsync_protocol::limits::PUSH_BYTES_MAX;
use cloudsync_protocol::{DeviceSeq, ErrorCode, Failure, Hash, Header, Operation, Seq, Version};

use support::keys::{Keys, key, value};
use support::log::{Device, Log};

fn put(device: &mut Device, record: &str, content: Content) -> EditId {
    let new = NewEdit { key: key(record), content, onto: Onto::Replica, now_ms: 1_000 };
    device.transact(|replica, _| replica.edit(new)).unwrap()
}

fn fate(device: &mut Device, record: &str, id: EditId) -> Fate {
    device.replica().fate(&key(record), id).unwrap()
}

fn content(device: &mut Device, record: &str) -> Option<Content> {
    device.replica().get(&key(record)).unwrap().map(|shown| shown.content)
}

fn conflicts(device: &mut Device) -> usize {
    device.replica().conflicts().unwrap().len()
}

/// Two devices that have read an empty log.
fn two() -> (Log, Device, Device) {
    let (mut a, mut b) = (Device::new(1), Device::new(2));
    let log = Log::with(&[&a.keys, &b.keys]);
    a.pull(&log);
    b.pull(&log);
    (log, a, b)
}

/// Written by the device, and read by it.
fn write(device: &mut Device, log: &mut Log, record: &str, content: Content) {
    put(device, record, content);
    device.drain(log);
    device.pull(log);
}

fn header(batch: &OutboxBatch) -> Header {
    let Operation::Put(put) = &batch.made[0].operation;
    put.envelope.check().unwrap()
}

#[test]
fn an_edit_is_made_from_the_version_and_the_hash_that_were_shown_and_merging_keeps_both() {
    let (mut log, mut a, _) = two();
    write(&mut a, &mut log, "s1", value("one"));
    let shown = a.tables.record(&key("s1")).unwrap().unwrap();
    put(&mut a, "s1", value("two"));
    put(&mut a, "s1", value("three"));
    let edits = a.tables.edits_of(&key("s1")).unwrap();
    assert_eq!(edits.len(), 1);
    assert_eq!((edits[0].base, edits[0].parent), (shown.version, shown.hash));
    let sealed = header(&a.outgoing().unwrap());
    assert_eq!((sealed.version, sealed.parent), (Version(2), shown.hash));
}

#[test]
fn a_version_of_the_same_number_and_another_hash_is_not_the_base() {
    let (mut log, mut a, mut b) = two();
    put(&mut a, "s1", value("mine"));
    let signed = a.outgoing().unwrap();
    let above = put(&mut a, "s1", value("mine, further"));
    let edits = a.tables.edits_of(&key("s1")).unwrap();
    assert_eq!((edits[1].base, edits[1].parent), (Version(1), signed.made[0].operation.hash()), "the undecided one");
    write(&mut b, &mut log, "s1", value("theirs"));
    a.pull(&log);
    assert_eq!(fate(&mut a, "s1", above), Fate::Waiting, "until the one below is decided");
    let failure = log.push(&signed).unwrap_err();
    assert_eq!(a.fail(&signed, &failure), Next::Push);
    assert_eq!(fate(&mut a, "s1", above), Fate::Parked(Reason::Stale), "version 1 is another's");
    let parked = &a.tables.parked().unwrap()[0];
    assert_eq!((parked.base, parked.parent), (Version::NONE, Hash::default()), "the same conflict");
}

#[test]
fn an_edit_above_an_undecided_one_goes_onto_its_version_when_that_commits() {
    let (mut log, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let first = a.outgoing().unwrap();
    put(&mut a, "s1", value("two"));
    log.push(&first).unwrap();
    a.pull(&log);
    let second = header(&a.outgoing().unwrap());
    assert_eq!((second.version, second.parent), (Version(2), first.made[0].operation.hash()));
}

#[test]
fn an_own_entry_in_a_page_is_the_acknowledgement_and_the_answer_after_it_changes_nothing() {
    let (mut log, mut a, _) = two();
    let id = put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    let pushed = log.push(&batch).unwrap();
    a.pull(&log);
    assert_eq!((fate(&mut a, "s1", id), a.outgoing()), (Fate::Gone, None));
    let before = a.tables.clone();
    a.transact(|replica, _| replica.pushed(&pushed)).unwrap();
    let late = Failure { records: vec![issue(ErrorCode::Stale)], ..Failure::new(1, ErrorCode::Stale, "") };
    assert_eq!(a.fail(&batch, &late), Next::Push);
    assert_eq!(a.tables, before);
}

fn issue(code: ErrorCode) -> RecordIssue {
    RecordIssue { key: key("s1"), code, current: Version::NONE, current_seq: Seq::ZERO }
}

#[test]
fn an_answer_to_other_bytes_under_the_same_number_decides_nothing() {
    let (mut log, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let old = a.outgoing().unwrap();
    // The profile becomes another device, whose first batch has the same number.
    let mut anew = Device { tables: a.tables.clone(), ..Device::new(3) };
    Replica::enrolled_anew(&mut anew.tables, &anew.me).unwrap();
    log.change(Keys::new(3).enrol());
    let batch = anew.outgoing().unwrap();
    assert_eq!((batch.device_seq, batch.hash == old.hash), (old.device_seq, false));
    let before = anew.tables.clone();
    let failure = Failure { records: vec![issue(ErrorCode::RecordsFull)], ..Failure::new(1, ErrorCode::Refused, "") };
    assert_eq!(anew.fail(&old, &failure), Next::Push);
    assert_eq!(anew.tables, before);
    let pushed = log.push(&old).unwrap();
    assert!(anew.transact(|replica, _| replica.pushed(&pushed)).is_err());
    assert_eq!(anew.tables, before);
}

#[test]
fn these_codes_decide_a_push_and_no_others() {
    const DECIDING: [ErrorCode; 9] = [
        ErrorCode::Stale,
        ErrorCode::Refused,
        ErrorCode::BaseUnknown,
        ErrorCode::HeaderInvalid,
        ErrorCode::BodyTooLarge,
        ErrorCode::CollectionsFull,
        ErrorCode::RecordsFull,
        ErrorCode::PushTooLarge,
        ErrorCode::StatementInvalid,
    ];
    let (_, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    let signed = a.tables.clone();
    for code in ErrorCode::ALL.iter().copied().chain([ErrorCode::Unrecognised]) {
        a.tables = signed.clone();
        let named = if code == ErrorCode::ClockAhead { code } else { ErrorCode::HeaderInvalid };
        let named = Failure { records: vec![issue(named)], ..Failure::new(1, code, "") };
        a.fail(&batch, &named);
        let state = a.tables.batch(batch.device, batch.device_seq).unwrap().unwrap().state;
        let expected = if DECIDING.contains(&code) { BatchState::Closed } else { BatchState::Open };
        assert_eq!(state, expected, "{code}");
        if state == BatchState::Open {
            assert_eq!(a.outgoing(), Some(batch.clone()), "{code}: the same bytes again");
        }
    }
}

#[test]
fn a_refusal_of_the_whole_push_parks_all_of_it_and_blocks_nothing() {
    for code in [ErrorCode::PushTooLarge, ErrorCode::StatementInvalid, ErrorCode::HeaderInvalid] {
        let (mut log, mut a, _) = two();
        let ids = ["s1", "s2"].map(|record| put(&mut a, record, value("x")));
        let batch = a.outgoing().unwrap();
        assert_eq!(a.fail(&batch, &Failure::new(1, code, "")), Next::Push);
        assert_eq!(fate(&mut a, "s1", ids[0]), Fate::Parked(Reason::Refused(code)));
        assert_eq!(fate(&mut a, "s2", ids[1]), Fate::Parked(Reason::Refused(code)));
        write(&mut a, &mut log, "s3", value("goes on"));
        assert!(log.current.contains_key(&key("s3")));
    }
}

#[test]
fn a_full_store_holds_the_queue_for_a_long_while_and_nothing_of_it_is_given_up() {
    let (mut log, mut a, _) = two();
    let signed = put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    let waiting = put(&mut a, "s2", value("two"));
    let full = Failure::new(1, ErrorCode::StoreFull, "");
    assert_eq!(a.fail(&batch, &full), Next::Retry { after_ms: 60_000 });
    assert_eq!(a.fail(&batch, &Failure { retry_after_ms: Some(5), ..full }), Next::Retry { after_ms: 5 }, "what the answer says");
    assert_eq!((fate(&mut a, "s1", signed), fate(&mut a, "s2", waiting)), (Fate::Signed, Fate::Waiting));
    assert_eq!(a.outgoing(), Some(batch), "the same bytes again");
    a.drain(&mut log);
    assert_eq!((conflicts(&mut a), log.current.len()), (0, 2));
}

#[test]
fn a_clock_that_is_ahead_holds_the_batch_until_its_time_has_come() {
    let (mut log, mut a, _) = two();
    let id = put(&mut a, "s1", value("one"));
    put(&mut a, "s2", value("two"));
    let batch = a.outgoing().unwrap();
    log.refuses.insert(key("s1"), ErrorCode::ClockAhead);
    let failure = log.push(&batch).unwrap_err();
    assert!(matches!(a.fail(&batch, &failure), Next::Retry { .. }));
    assert_eq!((fate(&mut a, "s1", id), a.outgoing()), (Fate::Signed, Some(batch)));
    log.refuses.clear();
    a.drain(&mut log);
    assert_eq!((conflicts(&mut a), log.current.len()), (0, 2));
}

#[test]
fn a_clock_that_is_ahead_beside_a_stale_record_is_batched_anew_and_not_parked() {
    let (mut log, mut a, mut b) = two();
    write(&mut b, &mut log, "s2", value("theirs"));
    let ahead = put(&mut a, "s1", value("one"));
    let stale = put(&mut a, "s2", value("mine"));
    let batch = a.outgoing().unwrap();
    log.refuses.insert(key("s1"), ErrorCode::ClockAhead);
    a.pull(&log);
    let failure = log.push(&batch).unwrap_err();
    assert_eq!(a.fail(&batch, &failure), Next::Push);
    assert_eq!(fate(&mut a, "s1", ahead), Fate::Waiting);
    assert_eq!(fate(&mut a, "s2", stale), Fate::Parked(Reason::Stale));
}

#[test]
fn a_batch_as_large_as_it_gets_leaves_64_bytes_below_what_a_push_may_have() {
    let mut closest = usize::MAX;
    for last in (30_000..31_600).step_by(16) {
        let (_, mut a, _) = two();
        for number in 0..8 {
            put(&mut a, &format!("r{number}"), value(&"x".repeat(60_000)));
        }
        put(&mut a, "last", value(&"x".repeat(last + 11_000)));
        let batch = a.outgoing().unwrap();
        let push = Push { request: u32::MAX, log: 0, signed: batch.signed.clone(), operations: batch.operations() };
        let left = PUSH_BYTES_MAX - push.counted_bytes();
        assert!(left >= 64, "{left}");
        if batch.made.len() == 9 {
            closest = closest.min(left);
        }
    }
    assert!(closest < 256, "the test does not come near the bound: {closest}");
}

// --- revoked ----------------------------------------------------------------------------------------------------------

/// One batch committed that nobody told of, one that never was, and an edit above each; then the device is revoked.
fn revoked() -> (Log, Device) {
    let (mut log, mut a, b) = two();
    write(&mut a, &mut log, "s0", value("zero"));
    put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    log.push(&batch).unwrap();
    put(&mut a, "s1", value("one, further"));
    put(&mut a, "s2", value("two"));
    log.change(a.keys.revoke(DeviceSeq(2), b.me.device));
    (log, a)
}

/// After it enrolled anew, everything arrives, once.
fn check_settled(log: &mut Log, a: &mut Device) {
    assert_eq!((conflicts(a), a.outgoing()), (0, None), "revoked: nothing is sent any more");
    let counts = a.replica().status().unwrap().edits;
    assert_eq!((counts.waiting, counts.signed), (2, 0));
    assert!(a.tables.batches().unwrap().iter().all(|(_, _, state)| *state != BatchState::Open));
    let mut anew = Device { tables: a.tables.clone(), ..Device::new(3) };
    Replica::enrolled_anew(&mut anew.tables, &anew.me).unwrap();
    log.change(Keys::new(3).enrol());
    anew.pull(log);
    anew.drain(log);
    assert_eq!(conflicts(&mut anew), 0);
    assert_eq!((content(&mut anew, "s1"), content(&mut anew, "s2")), (Some(value("one, further")), Some(value("two"))));
    assert_eq!(log.current[&key("s1")].envelope.check().unwrap().version, Version(2), "not made twice");
}

#[test]
fn the_revocation_of_the_own_device_settles_the_outbox_when_the_log_is_read() {
    let (mut log, mut a) = revoked();
    a.pull(&log);
    check_settled(&mut log, &mut a);
}

#[test]
fn the_revocation_of_the_own_device_settles_the_outbox_when_a_snapshot_brings_it() {
    let (mut log, mut a) = revoked();
    a.snapshot_page(None, &log.snapshot(None, log.head(), 9)).unwrap();
    assert_eq!(a.replica().cursor().unwrap().seq, log.head());
    check_settled(&mut log, &mut a);
}

#[test]
fn a_batch_that_the_revocation_leaves_out_is_kept_as_edits() {
    for by_snapshot in [false, true] {
        let (mut log, mut a, b) = two();
        write(&mut a, &mut log, "s0", value("zero"));
        let id = put(&mut a, "s1", value("one"));
        a.outgoing().unwrap();
        log.change(a.keys.revoke(DeviceSeq(1), b.me.device));
        if by_snapshot {
            a.snapshot_page(None, &log.snapshot(None, log.head(), 9)).unwrap();
        } else {
            a.pull(&log);
        }
        assert_eq!(fate(&mut a, "s1", id), Fate::Waiting);
        assert_eq!(a.outgoing(), None);
        assert_eq!(content(&mut a, "s1"), Some(value("one")));
    }
}
