//! A replica's edits: made, merged, batched, shown.
//!
//! Never: a decision about what is committed; that is an answer's, or the log's.

use cloudsync_engine::replica::{Content, Fate, NewEdit, Next, Onto, Pending, Reason, Tables};
use cloudsync_protocol::frame::Push;
use cloudsync_protocol::limits::{PUSH_BYTES_MAX, PUSH_OPERATIONS_MAX};
use cloudsync_protocol::{DeviceSeq, ErrorCode, Failure, Hash, Operation, Seq, Version, codec};

use crate::desk::{fate, header, issue, put, shown, two, write};
use crate::support::keys::{key, value};

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
    let push = Push { request: 1, log: 0, signed: batch.signed.clone(), operations: batch.operations() };
    let bytes = codec::encode(&cloudsync_protocol::Frame::from(push)).len();
    assert_eq!(batch.made.len(), 8);
    assert!(bytes <= PUSH_BYTES_MAX && bytes + 60_000 > PUSH_BYTES_MAX, "{bytes}");
    a.drain(&mut log);
    assert_eq!(a.replica().status().unwrap().edits.waiting, 0);
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
    let Operation::Put(mine) = &batch.made[0].operation else { panic!("a put") };
    let theirs = log.current[&key("s1")].envelope.check().unwrap().hlc;
    assert!(mine.envelope.check().unwrap().hlc > theirs);
    assert_eq!(log.head(), Seq(4));
}
