//! The quota: what fits to the byte, what is named, and that nothing is refused that makes the whole no larger.
//!
//! Never: figures that were not counted by the rules themselves.

use std::collections::BTreeMap;

use cloudsync_engine::log::Current;
use cloudsync_protocol::error::{RecordIssue, Usage};
use cloudsync_protocol::limits::{BODY_BYTES_MIN, QUOTA_BYTES_DEFAULT};
use cloudsync_protocol::{Cursor, ErrorCode, Failure, Frame, Hash, Operation, RecordKey};
use proptest::prelude::*;

use crate::desk::{Desk, failure};
use crate::maker::{Write, create, peer, push, push_of, write};

const NONE: Hash = Hash([0; 32]);

fn live_bytes(desk: &Desk) -> u64 {
    desk.store.head.as_ref().unwrap().figures.live_bytes
}

fn bytes(write: &Write) -> u64 {
    let Operation::Put(put) = write.operation(1, 1) else { panic!("a put") };
    put.envelope.bytes()
}

fn named(failure: &Failure) -> Vec<(&str, u64)> {
    let grows = |issue: &RecordIssue| {
        assert_eq!(issue.code, ErrorCode::QuotaExceeded);
        issue.grows
    };
    failure.records.iter().map(|issue| (issue.key.record.as_str(), grows(issue))).collect()
}

fn sized(record: &str, body_bytes: usize) -> Write {
    Write { body_bytes, ..create(record) }
}

/// A log with record `a` in it, the writes' hash and the batch's, and a quota.
fn with_a(quota_bytes: u64) -> (Desk, Hash, Hash) {
    let mut desk = Desk::with_devices(1);
    let first = push(1, 1, NONE, &[sized("a", 1000)]);
    let batch = desk.pushed(peer(1, 1), first.clone());
    let mut desk = desk.with_quota(quota_bytes);
    desk.claim(peer(1, 1));
    (desk, first.operations[0].hash(), batch)
}

#[test]
fn a_push_fits_to_the_byte_and_not_with_one_byte_more() {
    let (first, second) = (bytes(&sized("a", 1000)), bytes(&sized("b", 500)));
    for (quota_bytes, fits) in [(first + second, true), (first + second - 1, false)] {
        let (mut desk, _, batch) = with_a(quota_bytes);
        let answer = desk.push(peer(1, 1), push(1, 2, batch, &[sized("b", 500)]));
        assert_eq!(matches!(answer, Frame::Pushed(_)), fits, "{answer:?}");
        if !fits {
            let refused = failure(answer);
            assert_eq!((refused.code, named(&refused)), (ErrorCode::QuotaExceeded, vec![("b", second)]));
            let at = desk.store.head_seq();
            assert_eq!(refused.quota.as_deref(), Some(&Usage { used: first, limit: quota_bytes, need: second, at }));
            assert_eq!(live_bytes(&desk), first, "nothing was written");
        }
    }
}

#[test]
fn attaching_says_how_much_is_used_and_how_much_may_be() {
    let (mut desk, ..) = with_a(12_345);
    let Frame::Attached(attached) = desk.attach(peer(1, 1), Cursor::default()) else { panic!() };
    assert_eq!((attached.used_bytes, attached.quota_bytes), (bytes(&sized("a", 1000)), 12_345));
}

#[test]
fn over_a_limit_that_was_lowered_deletes_and_smaller_versions_go_in_and_nothing_that_grows() {
    let (mut desk, hash, batch) = with_a(10);
    let grown = push(1, 2, batch, &[Write { body_bytes: 1001, ..write("a", 1, hash) }]);
    assert_eq!(named(&failure(desk.push(peer(1, 1), grown))), [("a", 1)]);
    let smaller = push(1, 2, batch, &[Write { body_bytes: 900, ..write("a", 1, hash) }]);
    let (hash, batch) = (smaller.operations[0].hash(), smaller.signed.hash());
    assert!(desk.is_accepted(peer(1, 1), smaller));
    let same = push(1, 3, batch, &[Write { body_bytes: 900, fill: 2, ..write("a", 2, hash) }]);
    let (hash, batch) = (same.operations[0].hash(), same.signed.hash());
    assert!(desk.is_accepted(peer(1, 1), same), "as long as before");
    assert!(live_bytes(&desk) > 10);
    assert!(desk.is_accepted(peer(1, 1), push(1, 4, batch, &[write("a", 3, hash).dead(), create("never").dead()])));
    assert_eq!(live_bytes(&desk), 0, "tombstones are apart");
}

#[test]
fn what_a_push_frees_is_room_for_what_it_adds_wherever_it_stands() {
    let used = bytes(&sized("a", 1000));
    for place in [0, 1] {
        let (mut desk, hash, batch) = with_a(used);
        let mut writes = vec![sized("b", 1000)];
        writes.insert(place, write("a", 1, hash).dead());
        assert!(desk.is_accepted(peer(1, 1), push(1, 2, batch, &writes)));
        assert_eq!(live_bytes(&desk), used);
    }
}

#[test]
fn two_operations_of_one_record_count_as_what_they_make_of_it() {
    let used = bytes(&sized("a", 1000));
    let (mut desk, hash, batch) = with_a(used);
    // Large in between: what counts is the end.
    let large = Write { body_bytes: 5000, ..write("a", 1, hash) }.operation(1, 2);
    let small = Write { body_bytes: 1000, ..write("a", 2, large.hash()) }.operation(1, 2);
    assert!(desk.is_accepted(peer(1, 1), push_of(1, 2, batch, vec![large, small])));
    // And the other way round the record is named once, with all that it grows.
    let (mut desk, hash, batch) = with_a(used);
    let small = Write { body_bytes: 100, ..write("a", 1, hash) }.operation(1, 2);
    let large = Write { body_bytes: 5000, ..write("a", 2, small.hash()) }.operation(1, 2);
    let refused = failure(desk.push(peer(1, 1), push_of(1, 2, batch, vec![small, sized("b", 100).operation(1, 2), large])));
    assert_eq!(named(&refused), [("a", 4000), ("b", bytes(&sized("b", 100)))]);
}

#[test]
fn a_push_counts_what_the_group_before_it_took_and_its_answer_waits_with_it() {
    let one = bytes(&sized("a", 1000));
    let mut desk = Desk::with_devices(3).with_quota(2 * one);
    for number in 1..=3 {
        desk.claim(peer(number.into(), number));
    }
    for (number, record) in (1..).zip(["a", "b", "c"]) {
        desk.tell_push(peer(number.into(), number), push(number, 1, NONE, &[sized(record, 1000)]));
    }
    // The first is looked up alone; the others wait for it and are decided together.
    assert_eq!(desk.run_commits(), [1, 1]);
    let refused = failure(desk.answer(peer(3, 3).session, 1));
    assert_eq!((named(&refused), refused.quota.as_ref().unwrap().used), (vec![("c", one)], 2 * one));
    assert_eq!(live_bytes(&desk), 2 * one);
}

#[test]
fn another_issue_comes_first_and_a_push_that_was_committed_is_known_again_whatever_the_quota_is() {
    let (mut desk, _, batch) = with_a(1);
    let refused = failure(desk.push(peer(1, 1), push(1, 2, batch, &[create("b"), create("a")])));
    assert_eq!((refused.code, refused.records.len(), refused.quota), (ErrorCode::Stale, 1, None));
    assert!(desk.is_accepted(peer(1, 1), push(1, 1, NONE, &[sized("a", 1000)])), "the same bytes again");
}

#[derive(Debug, Clone)]
struct Step {
    record: u8,
    /// Nothing deletes.
    body_bytes: Option<usize>,
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let body = prop_oneof![1 => Just(None), 3 => (BODY_BYTES_MIN..1500).prop_map(Some)];
    let step = (0..6_u8, body).prop_map(|(record, body_bytes)| Step { record, body_bytes });
    proptest::collection::vec(proptest::collection::vec(step, 1..8), 1..12)
}

/// A batch of these steps, each made from what is current or from the step before.
fn batch_of(desk: &Desk, device_seq: u64, steps: &[Step]) -> Vec<Operation> {
    let mut known: BTreeMap<RecordKey, (u64, Hash)> =
        desk.store.currents().into_iter().map(|(key, current)| (key, (current.version.0, current.hash))).collect();
    let mut operations = Vec::new();
    for (step, fill) in steps.iter().zip(0..) {
        let name = format!("r{}", step.record);
        let key = codec_key(&create(&name));
        let (base, parent) = known.get(&key).copied().unwrap_or((0, NONE));
        let made = write(&name, base, parent);
        let made = match step.body_bytes {
            Some(body_bytes) => Write { body_bytes, fill, ..made },
            None => Write { fill, ..made }.dead(),
        };
        let operation = made.operation(1, device_seq);
        known.insert(key, (base + 1, operation.hash()));
        operations.push(operation);
    }
    operations
}

fn codec_key(write: &Write) -> RecordKey {
    let Operation::Put(put) = write.operation(1, 1) else { panic!("a put") };
    put.envelope.check().unwrap().key()
}

fn key_of(operation: &Operation) -> RecordKey {
    let Operation::Put(put) = operation else { panic!("a put") };
    put.envelope.check().unwrap().key()
}

/// What a batch makes of the live bytes, counted anew.
fn recounted(desk: &Desk, operations: &[Operation]) -> u64 {
    let mut bytes: BTreeMap<RecordKey, u64> =
        desk.store.currents().into_iter().map(|(key, current)| (key, Current::live_bytes(current))).collect();
    for put in operations.iter().filter_map(Operation::as_put) {
        let header = put.envelope.check().unwrap();
        bytes.insert(header.key(), if header.is_tombstone() { 0 } else { put.envelope.bytes() });
    }
    bytes.values().sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_push_is_refused_only_when_it_grows_past_the_limit_and_fits_without_what_is_named(batches in steps(), quota_bytes in 0..6000_u64, lowered in 0..3000_u64) {
        let mut desk = Desk::with_devices(1).with_quota(QUOTA_BYTES_DEFAULT.min(quota_bytes));
        desk.claim(peer(1, 1));
        let (mut quota_bytes, mut device_seq, mut prev) = (quota_bytes, 1, NONE);
        for (index, steps) in batches.iter().enumerate() {
            if index == batches.len() / 2 {
                quota_bytes = quota_bytes.saturating_sub(lowered);
                desk = desk.with_quota(quota_bytes);
                desk.claim(peer(1, 1));
            }
            let operations = batch_of(&desk, device_seq, steps);
            let (before, after) = (live_bytes(&desk), recounted(&desk, &operations));
            let pushed = push_of(1, device_seq, prev, operations.clone());
            let hash = pushed.signed.hash();
            match desk.push(peer(1, 1), pushed) {
                Frame::Pushed(_) => {
                    prop_assert!(after <= before || after <= quota_bytes, "{before} to {after} of {quota_bytes}");
                    prev = hash;
                }
                answer => {
                    let refused = failure(answer);
                    prop_assert_eq!(refused.code, ErrorCode::QuotaExceeded);
                    prop_assert!(after > before && after > quota_bytes, "{} to {} of {}", before, after, quota_bytes);
                    prop_assert_eq!(refused.quota.unwrap().need, after - before);
                    prop_assert!(!refused.records.is_empty());
                    let is_named = |operation: &&Operation| refused.records.iter().any(|issue| issue.key == key_of(operation));
                    let rest: Vec<Operation> = operations.iter().filter(|operation| !is_named(operation)).cloned().collect();
                    if !rest.is_empty() {
                        let pushed = push_of(1, device_seq, prev, rest);
                        prev = pushed.signed.hash();
                        prop_assert!(desk.is_accepted(peer(1, 1), pushed), "what is not named fits");
                    } else {
                        continue;
                    }
                    // And each that is named does not fit on top of it.
                    for issue in &refused.records {
                        prop_assert!(live_bytes(&desk) + issue.grows > quota_bytes);
                    }
                }
            }
            device_seq += 1;
            desk.store.check().unwrap();
        }
    }
}
