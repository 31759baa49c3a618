//! Edits that can't be committed as they are: parked, settled by equal content, settled by their user.
//!
//! Never: a queue that one of them blocks.

use cloudsync_engine::replica::{Content, EditError, Fate, Next, Onto, Pending, Reason};
use cloudsync_protocol::ErrorCode;

use crate::desk::{edit, fate, put, shown, two};
use crate::support::keys::{UNFIT, key, value};

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
