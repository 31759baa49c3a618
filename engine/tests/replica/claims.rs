//! What a claim says of the outbox, and a profile that was rolled back or enrols anew.
//!
//! Never: a number signed twice.

use cloudsync_engine::replica::{BatchState, ClaimOutcome, Fate, Next, OpenReplicaError, Pending, Replica, Told};
use cloudsync_protocol::{DeviceSeq, ErrorCode, Failure, Seq, TimelineId};

use crate::desk::{fate, goes_over, put, shown, two};
use crate::support::keys::{Keys, key, value};
use crate::support::log::Device;
use crate::support::log::TIMELINE;

#[test]
fn a_claim_that_names_the_unanswered_batch_commits_it() {
    let (mut log, mut a, _) = two();
    let id = put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    log.push(&batch).unwrap();
    let last = log.last_of(a.me.device);
    assert_eq!(a.transact(|replica, _| replica.claimed(TIMELINE, last)).unwrap(), ClaimOutcome::Push);
    assert_eq!(fate(&mut a, "s1", id), Fate::Gone);
    assert_eq!(a.outgoing(), None);
    assert_eq!(a.transact(|replica, _| replica.claimed(TIMELINE, last)).unwrap(), ClaimOutcome::Push, "again");
}

#[test]
fn a_claim_that_is_older_than_what_is_known_changes_nothing() {
    let (mut log, mut a, _) = two();
    let old = log.last_of(a.me.device);
    put(&mut a, "s1", value("one"));
    a.drain(&mut log);
    put(&mut a, "s2", value("two"));
    let batch = a.outgoing();
    assert_eq!(a.transact(|replica, _| replica.claimed(TIMELINE, old)).unwrap(), ClaimOutcome::Push);
    assert_eq!(a.outgoing(), batch);
}

#[test]
fn after_a_rewind_the_next_batch_follows_the_last_push_that_is_left_also_one_that_was_known_committed() {
    let (mut log, mut a, mut b) = two();
    assert_eq!(a.replica().told(&[(TIMELINE, Seq(1))]).unwrap(), Told::Same);
    put(&mut a, "s1", value("saved"));
    a.drain(&mut log);
    a.pull(&log);
    let saved = log.clone();
    put(&mut b, "s2", value("lost"));
    b.drain(&mut log);
    a.pull(&log);
    let next = TimelineId([4; 16]);
    goes_over(&mut a, next, saved.head().next(), saved.head());
    let last = saved.last_of(a.me.device);
    assert_eq!(a.replica().claimed(next, last).unwrap(), ClaimOutcome::Push);
    put(&mut a, "s3", value("since"));
    assert_eq!(a.outgoing().unwrap().prev_hash, last.hash);
}

#[test]
fn a_push_that_one_rewind_lost_and_the_next_brings_back_is_not_taken_for_a_rolled_back_profile() {
    let (mut log, mut a, _) = two();
    assert_eq!(a.replica().told(&[(TIMELINE, Seq(1))]).unwrap(), Told::Same);
    put(&mut a, "s1", value("in both"));
    a.drain(&mut log);
    a.pull(&log);
    let saved = log.clone();
    put(&mut a, "s2", value("in the later one"));
    a.drain(&mut log);
    a.pull(&log);
    let (older, later) = (TimelineId([4; 16]), TimelineId([5; 16]));
    goes_over(&mut a, older, saved.head().next(), saved.head());
    let last = saved.last_of(a.me.device);
    assert_eq!(a.replica().claimed(older, last).unwrap(), ClaimOutcome::Push);
    // Nothing was done since, so that all it has is in the later one too.
    goes_over(&mut a, later, log.head().next(), saved.head());
    let last = log.last_of(a.me.device);
    assert_eq!(a.replica().claimed(later, last).unwrap(), ClaimOutcome::Push);
    put(&mut a, "s3", value("since"));
    assert_eq!(a.outgoing().unwrap().prev_hash, last.hash);
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
    assert_eq!(a.transact(|replica, _| replica.claimed(TIMELINE, last)).unwrap(), ClaimOutcome::RolledBack { last });
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
