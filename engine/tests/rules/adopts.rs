//! Bringing back what a rewind lost: where it may stand again, and never over work done since.
//!
//! Never: a device's choice of what to bring back; that is the replica's.

use cloudsync_protocol::entry::Origin;
use cloudsync_protocol::limits::CLOCK_AHEAD_MAX;
use cloudsync_protocol::{ErrorCode, Frame, Hash, Operation, Seq, TimelineId, Version};

use crate::desk::{Desk, code, failure};
use crate::maker::{NOW_MS, Write, create, peer, push, push_of, write};

const NONE: Hash = Hash([0; 32]);
/// The one that was lost.
const LOST: TimelineId = TimelineId([8; 16]);
const ORIGIN: Origin = Origin { timeline: LOST, seq: Seq(70) };

/// A log with `a` at version 1 of device 1, and a new timeline after it. The hash of `a`, and of the device's last batch.
fn rewound() -> (Desk, Hash, Hash) {
    let mut desk = Desk::with_devices(2);
    let batch = push(1, 1, NONE, &[create("a")]);
    let a = batch.operations[0].hash();
    let last = desk.pushed(peer(1, 1), batch);
    desk.store.head.as_mut().unwrap().open_timeline(TimelineId([9; 16]), 1);
    let mut desk = desk.successor(3);
    desk.claim(peer(1, 1));
    desk.claim(peer(2, 2));
    (desk, a, last)
}

fn by_two(desk: &mut Desk, number: u64, prev: Hash, operations: Vec<Operation>) -> (Frame, Hash) {
    let push = push_of(2, number, prev, operations);
    let hash = push.signed.hash();
    (desk.push(peer(2, 2), push), hash)
}

fn one(desk: &mut Desk, operation: Operation) -> Frame {
    by_two(desk, 1, NONE, vec![operation]).0
}

/// What was made of `a` in the lost timeline, twice over.
fn third(parent: Hash) -> Write {
    Write { fill: 3, ..write("a", 2, parent) }
}

#[test]
fn what_was_lost_stands_again_over_what_the_rewind_left_and_where_nothing_is_whoever_made_it() {
    let (mut desk, a, _) = rewound();
    // Of a device and a number that are none of this batch's, two versions later, and stamped as it was.
    let ahead = NOW_MS + 2 * u64::try_from(CLOCK_AHEAD_MAX.as_millis()).unwrap();
    let lost = Write { hlc_ms: ahead, ..third(Hash([4; 32])) };
    let (over, fresh) = (lost.adopted(1, a, ORIGIN), create("b").adopted(1, NONE, ORIGIN));
    let (answer, _) = by_two(&mut desk, 1, NONE, vec![over.clone(), fresh]);
    assert!(matches!(answer, Frame::Pushed(_)), "{answer:?}");
    let (key, current) = desk.store.versions().into_iter().rev().nth(1).unwrap();
    assert_eq!((key.record.as_str(), current.version, current.adopted, current.hash), ("a", Version(3), true, over.hash()));
    // And is worked on from there.
    let next = push(1, 2, push(1, 1, NONE, &[create("a")]).signed.hash(), &[write("a", 3, over.hash())]);
    assert!(desk.is_accepted(peer(1, 1), next));
}

#[test]
fn nothing_is_brought_back_over_work_done_since() {
    let (mut desk, a, last) = rewound();
    let since = push(1, 2, last, &[write("a", 1, a), create("b")]);
    let (newer, b) = (since.operations[0].hash(), since.operations[1].hash());
    assert!(desk.is_accepted(peer(1, 1), since));
    let refused = failure(one(&mut desk, third(Hash([4; 32])).adopted(1, newer, ORIGIN)));
    assert_eq!((refused.code, refused.records[0].current_seq), (ErrorCode::Stale, desk.store.versions()[1].1.seq));
    assert_eq!(code(one(&mut desk, third(Hash([4; 32])).adopted(1, a, ORIGIN))), ErrorCode::Stale, "over what is not current");
    assert_eq!(code(one(&mut desk, create("b").adopted(1, NONE, ORIGIN))), ErrorCode::Stale);
    assert_eq!(code(one(&mut desk, create("c").adopted(1, b, ORIGIN))), ErrorCode::Stale, "over what never was");
    // Unless it was made of that very version: somebody was given its parent meanwhile.
    let child = Write { fill: 5, ..write("a", 2, newer) };
    assert!(matches!(one(&mut desk, child.adopted(1, newer, ORIGIN)), Frame::Pushed(_)));
}

#[test]
fn a_later_version_is_brought_back_over_an_earlier_one_that_was() {
    let (mut desk, a, _) = rewound();
    let second = Write { fill: 2, ..write("a", 1, a) }.adopted(1, a, ORIGIN);
    let (answer, hash) = by_two(&mut desk, 1, NONE, vec![second.clone()]);
    assert!(matches!(answer, Frame::Pushed(_)), "{answer:?}");
    let later = third(Hash([4; 32])).adopted(1, second.hash(), Origin { seq: Seq(71), ..ORIGIN });
    let (answer, hash) = by_two(&mut desk, 2, hash, vec![later.clone()]);
    assert!(matches!(answer, Frame::Pushed(_)), "{answer:?}");
    let earlier = second.envelope().unwrap().clone();
    let back = Operation::Adopt(cloudsync_protocol::entry::Adopt { over: later.hash(), origin: ORIGIN, envelope: earlier });
    assert_eq!(code(by_two(&mut desk, 3, hash, vec![back]).0), ErrorCode::Refused, "versions don't go back");
}

#[test]
fn an_adopt_of_this_very_timeline_or_beside_another_operation_of_its_record_is_refused() {
    let (mut desk, a, _) = rewound();
    let now = Origin { timeline: desk.user.head().unwrap().timeline, seq: Seq(1) };
    let refused = failure(one(&mut desk, third(a).adopted(1, a, now)));
    assert_eq!((refused.code, refused.records[0].code), (ErrorCode::Refused, ErrorCode::HeaderInvalid));
    let twice = vec![create("b").adopted(1, NONE, ORIGIN), create("b").operation(2, 1)];
    let refused = failure(by_two(&mut desk, 1, NONE, twice).0);
    assert_eq!((refused.code, refused.records[0].code), (ErrorCode::Refused, ErrorCode::HeaderInvalid));
}

#[test]
fn an_adopt_that_is_not_as_it_was_signed_is_refused() {
    let (mut desk, a, _) = rewound();
    let mut push = push_of(2, 1, NONE, vec![third(a).adopted(1, a, ORIGIN)]);
    let Operation::Adopt(adopt) = &mut push.operations[0] else { panic!("an adopt") };
    adopt.origin.seq = Seq(99);
    assert_eq!(code(desk.push(peer(2, 2), push)), ErrorCode::StatementInvalid);
}

#[test]
fn a_rewound_log_tells_its_lineage_and_takes_cursors_of_before() {
    let (mut desk, _, _) = rewound();
    let head = desk.user.head().unwrap().clone();
    let [(first, _), (second, from)] = head.lineage[..] else { panic!("two timelines") };
    assert_eq!((second, from), (head.timeline, head.seq.next()));
    let cursor = cloudsync_protocol::Cursor { timeline: first, seq: head.seq, row: head.row };
    let Frame::Attached(attached) = desk.attach(peer(1, 1), cursor) else { panic!("fine") };
    assert_eq!((attached.lineage, attached.timeline), (head.lineage.clone(), second));
    let lost = cloudsync_protocol::Cursor { seq: head.seq.next(), ..cursor };
    let refused = failure(desk.attach(peer(1, 1), lost));
    assert_eq!((refused.code, refused.lineage.into_vec()), (ErrorCode::TimelineUnknown, head.lineage));
}
