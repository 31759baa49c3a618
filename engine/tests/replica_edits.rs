//! A replica's edits: queued, batched, answered, parked, settled.
//!
//! Never: a server session; the simulation has those.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic where it stands")]

mod support;

use cloudsync_engine::replica::{
    BatchState, ClaimOutcome, Content, EditError, EditId, Fate, NewEdit, Next, Onto, OpenReplicaError, Pending, Reason, Replica,
};
use cloudsync_protocol::limits::{PUSH_BYTES_MAX, PUSH_OPERATIONS_MAX};
use cloudsync_protocol::{DeviceSeq, ErrorCode, Failure, Operation, Seq, Version, codec};

use support::keys::{Keys, UNFIT, key, value};
use support::log::{Device, Log};

fn put(device: &mut Device, record: &str, content: Content) -> EditId {
    edit(device, record, content, Onto::Replica).unwrap()
}

fn edit(device: &mut Device, record: &str, content: Content, onto: Onto) -> Result<EditId, EditError> {
    device.transact(|replica, _| replica.edit(NewEdit { key: key(record), content, onto, now_ms: 1_000 }))
}

fn fate(device: &mut Device, record: &str, id: EditId) -> Fate {
    device.replica().fate(&key(record), id).unwrap()
}

fn shown(device: &mut Device, record: &str) -> Option<(u64, Content, Pending, bool)> {
    let shown = device.replica().get(&key(record)).unwrap();
    shown.map(|shown| (shown.version.0, shown.content, shown.pending, shown.conflict.is_some()))
}

/// Two devices that have read an empty log.
fn two() -> (Log, Device, Device) {
    let (mut a, mut b) = (Device::new(1), Device::new(2));
    let log = Log::with(&[&a.keys, &b.keys]);
    a.pull(&log);
    b.pull(&log);
    (log, a, b)
}

#[test]
fn an_edit_is_pending_until_its_push_is_answered() {
    let (mut log, mut a, _) = two();
    let id = put(&mut a, "s1", value("one"));
    assert_eq!(fate(&mut a, "s1", id), Fate::Waiting);
    assert_eq!(shown(&mut a, "s1"), Some((0, value("one"), Pending::Edited { version: Version(1) }, false)));
    let batch = a.outgoing().unwrap();
    assert_eq!(fate(&mut a, "s1", id), Fate::Signed);
    let pushed = log.push(&batch).unwrap();
    assert_eq!(a.transact(|replica, _| replica.pushed(&pushed)).unwrap(), Next::Push);
    assert_eq!(fate(&mut a, "s1", id), Fate::Gone);
    assert_eq!(shown(&mut a, "s1"), Some((1, value("one"), Pending::Committed, false)));
    assert_eq!(a.outgoing(), None);
}

#[test]
fn an_answer_does_not_move_the_cursor_and_the_page_after_it_changes_nothing() {
    let (mut log, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let before = a.replica().cursor().unwrap();
    a.drain(&mut log);
    assert_eq!(a.replica().cursor().unwrap(), before);
    let record = a.replica().get(&key("s1")).unwrap();
    assert_eq!(a.pull(&log).changes.len(), 1);
    assert_eq!(a.replica().get(&key("s1")).unwrap(), record);
    assert_eq!(a.replica().cursor().unwrap().seq, log.head());
}

#[test]
fn edits_of_one_record_in_no_batch_become_one() {
    let (mut log, mut a, mut b) = two();
    let first = put(&mut a, "s1", value("one"));
    put(&mut a, "s2", value("other"));
    let second = put(&mut a, "s1", value("two"));
    let batch = a.outgoing().unwrap();
    assert_eq!(batch.made.len(), 2);
    assert_eq!((fate(&mut a, "s1", first), fate(&mut a, "s1", second)), (Fate::Signed, Fate::Signed));
    a.drain(&mut log);
    b.pull(&log);
    assert_eq!(shown(&mut b, "s1"), Some((1, value("two"), Pending::Committed, false)));
}

#[test]
fn an_edit_made_meanwhile_waits_for_the_next_batch() {
    let (mut log, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let first = a.outgoing().unwrap();
    let id = put(&mut a, "s1", value("two"));
    put(&mut a, "s1", value("three"));
    assert_eq!(a.outgoing(), Some(first), "the unanswered batch as it is");
    assert_eq!(fate(&mut a, "s1", id), Fate::Waiting);
    assert_eq!(shown(&mut a, "s1"), Some((0, value("three"), Pending::Edited { version: Version(2) }, false)));
    a.drain(&mut log);
    assert_eq!(shown(&mut a, "s1"), Some((2, value("three"), Pending::Committed, false)));
}

#[test]
fn a_batch_follows_the_last_committed_one_and_numbers_are_never_used_again() {
    let (mut log, mut a, mut b) = two();
    put(&mut b, "s1", value("theirs"));
    b.drain(&mut log);
    put(&mut a, "s1", value("mine"));
    put(&mut a, "s2", value("other"));
    let refused = a.outgoing().unwrap();
    a.drain(&mut log);
    let committed = log.last_of(a.me.device);
    assert_eq!((refused.device_seq, committed.device_seq), (DeviceSeq(1), DeviceSeq(2)));
    put(&mut a, "s3", value("more"));
    let next = a.outgoing().unwrap();
    assert_eq!((next.device_seq, next.prev_hash), (DeviceSeq(3), committed.hash));
}

#[test]
fn a_batch_is_cut_at_the_operations_and_at_the_bytes_that_a_push_may_have() {
    let (mut log, mut a, _) = two();
    for number in 0..=PUSH_OPERATIONS_MAX {
        put(&mut a, &format!("n{number:04}"), value("x"));
    }
    assert_eq!(a.outgoing().unwrap().made.len(), PUSH_OPERATIONS_MAX);
    a.drain(&mut log);
    for number in 0..12 {
        put(&mut a, &format!("large{number:02}"), value(&"x".repeat(60_000)));
    }
    let batch = a.outgoing().unwrap();
    let push = cloudsync_protocol::frame::Push { request: 1, log: 0, signed: batch.signed.clone(), operations: batch.operations() };
    let bytes = codec::encode(&cloudsync_protocol::Frame::from(push)).len();
    assert_eq!(batch.made.len(), 8);
    assert!(bytes <= PUSH_BYTES_MAX && bytes + 60_000 > PUSH_BYTES_MAX, "{bytes}");
    a.drain(&mut log);
    assert_eq!(a.replica().status().unwrap().edits.waiting, 0);
}

#[test]
fn a_stale_edit_is_parked_after_catching_up_and_the_rest_goes_on() {
    let (mut log, mut a, mut b) = two();
    put(&mut b, "s1", value("theirs"));
    b.drain(&mut log);
    put(&mut a, "s1", value("mine"));
    put(&mut a, "s2", value("other"));
    let batch = a.outgoing().unwrap();
    let failure = log.push(&batch).unwrap_err();
    assert_eq!(a.fail(&batch, &failure), Next::CatchUp { to: log.head() });
    a.drain(&mut log);
    let conflicts = a.replica().conflicts().unwrap();
    assert_eq!(conflicts.len(), 1);
    assert_eq!((&conflicts[0].mine.content, conflicts[0].reason), (&value("mine"), Reason::Stale));
    assert_eq!(conflicts[0].current.as_ref().map(|record| &record.content), Some(&value("theirs")));
    assert_eq!(shown(&mut a, "s1"), Some((1, value("theirs"), Pending::Committed, true)));
    assert_eq!(shown(&mut a, "s2"), Some((1, value("other"), Pending::Committed, false)));
}

#[test]
fn a_refused_edit_is_parked_with_its_code_and_blocks_nothing() {
    let (mut log, mut a, _) = two();
    log.refuses.insert(key("s1"), ErrorCode::RecordsFull);
    let id = put(&mut a, "s1", value("mine"));
    put(&mut a, "s2", value("other"));
    a.drain(&mut log);
    assert_eq!(fate(&mut a, "s1", id), Fate::Parked(Reason::Refused(ErrorCode::RecordsFull)));
    assert_eq!(shown(&mut a, "s2"), Some((1, value("other"), Pending::Committed, false)));
}

#[test]
fn a_value_that_can_not_be_sealed_is_parked_and_blocks_nothing() {
    let (mut log, mut a, _) = two();
    let id = put(&mut a, "s1", Content::Value(UNFIT.into()));
    put(&mut a, "s2", value("other"));
    a.drain(&mut log);
    assert_eq!(fate(&mut a, "s1", id), Fate::Parked(Reason::Refused(ErrorCode::BodyTooLarge)));
    assert_eq!(log.current.len(), 1);
}

#[test]
fn an_edit_made_from_a_parked_one_is_parked_with_it() {
    let (mut log, mut a, mut b) = two();
    put(&mut b, "s1", value("theirs"));
    b.drain(&mut log);
    let first = put(&mut a, "s1", value("mine"));
    a.outgoing().unwrap();
    let second = put(&mut a, "s1", value("mine again"));
    a.drain(&mut log);
    assert_eq!((fate(&mut a, "s1", first), fate(&mut a, "s1", second)), (Fate::Parked(Reason::Stale), Fate::Parked(Reason::Stale)));
    assert_eq!(a.replica().conflicts().unwrap()[0].mine.content, value("mine again"));
}

#[test]
fn equal_content_settles_silently_in_a_batch_and_before_one() {
    let (mut log, mut a, mut b) = two();
    put(&mut b, "signed", value("same"));
    put(&mut b, "waiting", value("same"));
    b.drain(&mut log);
    put(&mut a, "signed", value("same"));
    a.outgoing().unwrap();
    put(&mut a, "waiting", value("same"));
    let later = put(&mut a, "signed", value("further"));
    a.drain(&mut log);
    assert!(a.replica().conflicts().unwrap().is_empty());
    assert_eq!(fate(&mut a, "signed", later), Fate::Gone);
    assert_eq!(shown(&mut a, "signed"), Some((2, value("further"), Pending::Committed, false)));
    assert_eq!(log.current.len(), 2);
}

#[test]
fn two_devices_that_delete_the_same_record_have_no_conflict() {
    let (mut log, mut a, mut b) = two();
    put(&mut a, "s1", value("one"));
    a.drain(&mut log);
    b.pull(&log);
    put(&mut a, "s1", Content::Deleted);
    put(&mut b, "s1", Content::Deleted);
    a.drain(&mut log);
    b.drain(&mut log);
    assert!(b.replica().conflicts().unwrap().is_empty());
    assert_eq!(shown(&mut b, "s1"), Some((2, Content::Deleted, Pending::Committed, false)));
}

#[test]
fn a_row_that_arrives_parks_a_waiting_edit_of_an_older_base_at_once() {
    let (mut log, mut a, mut b) = two();
    put(&mut b, "s1", value("theirs"));
    b.drain(&mut log);
    let id = put(&mut a, "s1", value("mine"));
    a.pull(&log);
    assert_eq!(fate(&mut a, "s1", id), Fate::Parked(Reason::Stale));
    assert_eq!(a.outgoing(), None);
}

#[test]
fn an_edit_of_a_conflicted_record_is_refused_unless_onto_current() {
    let (mut log, mut a, mut b) = two();
    put(&mut b, "s1", value("theirs"));
    b.drain(&mut log);
    put(&mut a, "s1", value("mine"));
    a.pull(&log);
    assert_eq!(edit(&mut a, "s1", value("new"), Onto::Replica), Err(EditError::Conflicted { key: key("s1") }));
    edit(&mut a, "s1", value("new"), Onto::Current).unwrap();
    assert!(a.replica().conflicts().unwrap().is_empty());
    a.drain(&mut log);
    assert_eq!(shown(&mut a, "s1"), Some((2, value("new"), Pending::Committed, false)));
}

#[test]
fn a_conflict_is_settled_for_mine_or_dropped_for_current() {
    let (mut log, mut a, mut b) = two();
    for record in ["keep", "drop"] {
        put(&mut b, record, value("theirs"));
        put(&mut a, record, value("mine"));
    }
    b.drain(&mut log);
    a.pull(&log);
    edit(&mut a, "keep", value("mine"), Onto::Current).unwrap();
    assert_eq!(a.transact(|replica, _| replica.drop_conflict(&key("drop"))).unwrap(), Some(value("mine")));
    assert_eq!(a.transact(|replica, _| replica.drop_conflict(&key("none"))).unwrap(), None);
    a.drain(&mut log);
    assert_eq!(shown(&mut a, "keep"), Some((2, value("mine"), Pending::Committed, false)));
    assert_eq!(shown(&mut a, "drop"), Some((1, value("theirs"), Pending::Committed, false)));
}

#[test]
fn a_claim_that_names_the_unanswered_batch_commits_it() {
    let (mut log, mut a, _) = two();
    let id = put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    log.push(&batch).unwrap();
    let last = log.last_of(a.me.device);
    assert_eq!(a.transact(|replica, _| replica.claimed(last)).unwrap(), ClaimOutcome::Push);
    assert_eq!(fate(&mut a, "s1", id), Fate::Gone);
    assert_eq!(a.outgoing(), None);
    assert_eq!(a.transact(|replica, _| replica.claimed(last)).unwrap(), ClaimOutcome::Push, "again");
}

#[test]
fn a_claim_that_is_older_than_what_is_known_changes_nothing() {
    let (mut log, mut a, _) = two();
    let old = log.last_of(a.me.device);
    put(&mut a, "s1", value("one"));
    a.drain(&mut log);
    put(&mut a, "s2", value("two"));
    let batch = a.outgoing();
    assert_eq!(a.transact(|replica, _| replica.claimed(old)).unwrap(), ClaimOutcome::Push);
    assert_eq!(a.outgoing(), batch);
}

#[test]
fn a_closed_batch_that_commits_after_all_is_recognised_and_later_edits_stand_on_it() {
    let (mut log, mut a, mut b) = two();
    put(&mut a, "s0", value("committed before"));
    a.drain(&mut log);
    log.refuses.insert(key("s1"), ErrorCode::RecordsFull);
    put(&mut a, "s1", value("one"));
    put(&mut a, "s2", value("two"));
    let first = a.outgoing().unwrap();
    let failure = log.push(&first).unwrap_err();
    assert_eq!(a.fail(&first, &failure), Next::Push);
    let second = a.outgoing().unwrap();
    put(&mut a, "s2", value("two, edited"));
    put(&mut b, "s3", value("reading on forgets nothing that may matter"));
    b.drain(&mut log);
    a.pull(&log);
    // Another process had the first batch in hand, and there is room again meanwhile.
    log.refuses.clear();
    log.push(&first).unwrap();
    let moved = log.push(&second).unwrap_err();
    assert_eq!(moved.code, ErrorCode::ChainMoved);
    assert_eq!(a.fail(&second, &moved), Next::Push);
    a.drain(&mut log);
    assert!(a.replica().conflicts().unwrap().is_empty());
    assert_eq!(shown(&mut a, "s1"), Some((1, value("one"), Pending::Committed, false)));
    assert_eq!(shown(&mut a, "s2"), Some((2, value("two, edited"), Pending::Committed, false)));
}

#[test]
fn a_push_that_was_never_signed_here_means_that_the_profile_was_rolled_back() {
    let (mut log, mut a, _) = two();
    let mut copy = a.clone();
    put(&mut copy, "s1", value("by the copy"));
    copy.drain(&mut log);
    let id = put(&mut a, "s1", value("mine"));
    let last = log.last_of(a.me.device);
    assert_eq!(a.transact(|replica, _| replica.claimed(last)).unwrap(), ClaimOutcome::RolledBack { last });
    let batch = a.outgoing().unwrap();
    assert_eq!(log.push(&batch).unwrap_err().code, ErrorCode::SequenceReused);
    assert_eq!(a.fail(&batch, &Failure::new(1, ErrorCode::SequenceReused, "")), Next::EnrolAnew);
    assert_eq!(fate(&mut a, "s1", id), Fate::Signed, "kept");
}

#[test]
fn a_profile_that_enrols_anew_keeps_its_edits_and_recognises_what_the_old_device_committed() {
    let (mut log, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let old = a.outgoing().unwrap();
    put(&mut a, "s1", value("two"));
    log.push(&old).unwrap();
    let mut anew = Device { tables: a.tables.clone(), ..Device::new(3) };
    let held = Replica::open(&mut anew.tables, &anew.me).map(|_| ()).unwrap_err();
    assert_eq!(held, OpenReplicaError::OtherDevice { held: a.me.device, mine: anew.me.device });
    Replica::enrolled_anew(&mut anew.tables, &anew.me).unwrap();
    log.change(Keys::new(3).enrol());
    anew.drain(&mut log);
    anew.pull(&log);
    assert!(anew.replica().conflicts().unwrap().is_empty());
    assert_eq!(shown(&mut anew, "s1"), Some((2, value("two"), Pending::Committed, false)));
    assert_eq!(log.last_of(anew.me.device).device_seq, DeviceSeq(2), "the first was stale against the old device's");
}

#[test]
fn tables_of_another_account_are_refused() {
    let (_, mut a, _) = two();
    let mut other = a.me;
    other.log.0[0] ^= 1;
    let error = Replica::open(&mut a.tables, &other).map(|_| ()).unwrap_err();
    assert_eq!(error, OpenReplicaError::OtherLog { held: a.me.log, mine: other.log });
}

#[test]
fn codes_that_say_nothing_of_the_batch_leave_it_and_say_what_to_do() {
    let (_, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    let busy = Failure { retry_after_ms: Some(70), ..Failure::new(1, ErrorCode::Busy, "") };
    assert_eq!(a.fail(&batch, &busy), Next::Retry { after_ms: 70 });
    assert_eq!(a.fail(&batch, &Failure::new(1, ErrorCode::ClaimFirst, "")), Next::Claim);
    assert_eq!(a.fail(&batch, &Failure::new(1, ErrorCode::NotThePusher, "")), Next::ClaimLater);
    let revoked = Failure::new(1, ErrorCode::DeviceRevoked, "gone");
    assert_eq!(a.fail(&batch, &revoked), Next::Stop { code: ErrorCode::DeviceRevoked, message: "gone".into() });
    assert_eq!(a.outgoing(), Some(batch));
}

#[test]
fn committed_batches_are_forgotten_only_once_a_later_one_is_known_and_the_log_was_read_past() {
    let (mut log, mut a, _) = two();
    for record in ["s1", "s2", "s3"] {
        put(&mut a, record, value("x"));
        a.drain(&mut log);
    }
    let kept = |device: &mut Device| -> Vec<u64> {
        use cloudsync_engine::replica::Tables;
        device
            .tables
            .batches()
            .unwrap()
            .into_iter()
            .map(|(_, number, state)| {
                assert!(matches!(state, BatchState::Committed { .. }));
                number.0
            })
            .collect()
    };
    assert_eq!(kept(&mut a), [1, 2, 3], "not read yet");
    a.pull(&log);
    assert_eq!(kept(&mut a), [3]);
}

#[test]
fn listing_shows_edits_in_their_place_page_by_page_and_leaves_conflicts_out() {
    let (mut log, mut a, mut b) = two();
    for record in ["b", "d", "f"] {
        put(&mut b, record, value("theirs"));
    }
    b.drain(&mut log);
    put(&mut a, "f", value("mine"));
    a.pull(&log);
    put(&mut a, "a", value("new"));
    put(&mut a, "d", Content::Deleted);
    let (mut after, mut all) = (None, Vec::new());
    loop {
        let page = a.replica().list(None, after.as_ref(), 2).unwrap();
        all.extend(page.records.into_iter().map(|shown| (shown.key.record.as_str().to_owned(), shown.content, shown.conflict.is_some())));
        after = page.more;
        if after.is_none() {
            break;
        }
    }
    let expected =
        [("a", value("new"), false), ("b", value("theirs"), false), ("d", Content::Deleted, false), ("f", value("theirs"), true)];
    assert_eq!(all, expected.map(|(record, content, conflict)| (record.to_owned(), content, conflict)));
}

#[test]
fn stamps_rise_above_every_committed_one() {
    let (mut log, mut a, mut b) = two();
    b.transact(|replica, _| replica.edit(NewEdit { key: key("s1"), content: value("x"), onto: Onto::Replica, now_ms: 9_000 })).unwrap();
    b.drain(&mut log);
    a.pull(&log);
    put(&mut a, "s1", value("y"));
    let batch = a.outgoing().unwrap();
    let Operation::Put(mine) = &batch.made[0].operation;
    let theirs = log.current[&key("s1")].envelope.check().unwrap().hlc;
    assert!(mine.envelope.check().unwrap().hlc > theirs);
    assert_eq!(log.head(), Seq(4));
}
