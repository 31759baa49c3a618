//! The limits of a log and of its pushes: what is at one, and what is one past it.
//!
//! Never: a limit of one envelope or statement alone (see `batches`), or of a session's queue (see `sessions`).

use std::collections::BTreeSet;

use cloudsync_engine::log::Figures;
use cloudsync_engine::user::{Effect, Event};
use cloudsync_protocol::limits::{
    BODY_BYTES_MAX, BODY_BYTES_MIN, COLLECTIONS_MAX, COMMIT_BYTES_MAX, EVENT_BODY_BYTES_MAX, PUSH_BYTES_MAX, PUSH_OPERATIONS_MAX,
    RECORDS_MAX,
};
use cloudsync_protocol::{CollectionName, Cursor, ErrorCode, Frame, Hash};

use crate::desk::{Desk, code, failure};
use crate::maker::{NOW_MS, Write, create, peer, push, write};

const NONE: Hash = Hash([0; 32]);

#[test]
fn a_hybrid_clock_may_be_five_minutes_ahead_and_not_a_millisecond_more() {
    let mut desk = Desk::with_devices(1);
    let ahead = |ms| Write { hlc_ms: NOW_MS + ms, ..create("a") };
    desk.claim(peer(1, 1));
    let refused = failure(desk.push(peer(1, 1), push(1, 1, NONE, &[ahead(300_001)])));
    assert_eq!((refused.code, refused.records[0].code), (ErrorCode::Refused, ErrorCode::ClockAhead));
    assert!(matches!(desk.push(peer(1, 1), push(1, 1, NONE, &[ahead(300_000)])), Frame::Pushed(_)));
}

#[test]
fn the_last_collection_fits_and_the_next_does_not() {
    let mut desk = Desk::with_devices(1);
    let head = desk.store.head.as_mut().unwrap();
    head.collections = (0..COLLECTIONS_MAX - 1).map(|n| CollectionName::new(format!("c{n}")).unwrap()).collect::<BTreeSet<_>>();
    let mut desk = desk.unchecked_successor();
    let within = |collection: &str, record| Write { collection: collection.to_owned(), ..create(record) };
    desk.claim(peer(1, 1));
    let refused = failure(desk.push(peer(1, 1), push(1, 1, NONE, &[within("new", "a"), within("newer", "b")])));
    let named: Vec<_> = refused.records.iter().map(|issue| (issue.key.record.as_str(), issue.code)).collect();
    assert_eq!(named, [("b", ErrorCode::CollectionsFull)]);
    assert!(desk.is_accepted(peer(1, 1), push(1, 1, NONE, &[within("new", "a"), within("new", "b"), within("c0", "c")])));
}

#[test]
fn new_records_stop_at_the_limit_and_deletes_never_do() {
    let mut desk = Desk::with_devices(1);
    let first = push(1, 1, NONE, &[create("a")]);
    let hash = desk.pushed(peer(1, 1), first.clone());
    let head = desk.store.head.as_mut().unwrap();
    head.figures = Figures { live_records: RECORDS_MAX - 2, dead_records: 1, ..head.figures };
    let mut desk = desk.unchecked_successor();
    desk.claim(peer(1, 1));
    let refused = failure(desk.push(peer(1, 1), push(1, 2, hash, &[create("b"), create("c")])));
    assert_eq!(refused.records.iter().map(|issue| issue.code).collect::<Vec<_>>(), [ErrorCode::RecordsFull]);
    // A tombstone of what never was is a new record as well.
    let refused = failure(desk.push(peer(1, 1), push(1, 2, hash, &[create("b"), create("c").dead()])));
    assert_eq!(refused.records[0].code, ErrorCode::RecordsFull);
    let delete = write("a", 1, first.operations[0].hash()).dead();
    assert!(desk.is_accepted(peer(1, 1), push(1, 2, hash, &[create("b"), delete])));
}

#[test]
fn a_push_over_its_bytes_is_refused() {
    let mut desk = Desk::with_devices(1);
    desk.claim(peer(1, 1));
    let large = |last: usize| {
        let mut writes: Vec<_> = (0..7).map(|n| Write { body_bytes: BODY_BYTES_MAX, ..create(&format!("r{n}")) }).collect();
        writes.push(Write { body_bytes: last, ..create("last") });
        push(1, 1, NONE, &writes)
    };
    let rest = PUSH_BYTES_MAX - large(1000).counted_bytes() + 1000;
    for (body_bytes, is_refused) in [(rest + 1, true), (rest, false)] {
        let batch = large(body_bytes);
        assert_eq!(batch.counted_bytes() > PUSH_BYTES_MAX, is_refused);
        desk.say(Event::Push { peer: peer(1, 1), push: batch, frame_bytes: PUSH_BYTES_MAX + 8 });
        let answer = desk.answer(peer(1, 1).session, 1);
        assert_eq!(matches!(answer, Frame::Failure(f) if f.code == ErrorCode::PushTooLarge), is_refused);
    }
}

#[test]
fn a_push_has_its_limit_of_operations_and_not_one_more() {
    let mut desk = Desk::with_devices(1);
    desk.claim(peer(1, 1));
    let of = |count: usize| push(1, 1, NONE, &(0..count).map(|n| create(&format!("r{n}"))).collect::<Vec<_>>());
    assert_eq!(code(desk.push(peer(1, 1), of(PUSH_OPERATIONS_MAX + 1))), ErrorCode::PushTooLarge);
    assert!(desk.is_accepted(peer(1, 1), of(PUSH_OPERATIONS_MAX)));
}

#[test]
fn an_event_has_bodies_up_to_its_limit_and_more_are_announced_as_the_head() {
    for (last, fits) in [(BODY_BYTES_MIN, true), (BODY_BYTES_MIN + 1, false)] {
        let mut desk = Desk::with_devices(2);
        desk.attach(peer(3, 2), Cursor::default());
        let first = Write { body_bytes: EVENT_BODY_BYTES_MAX - BODY_BYTES_MIN, ..create("a") };
        desk.pushed(peer(1, 1), push(1, 1, NONE, &[first, Write { body_bytes: last, ..create("b") }]));
        let [fan_out] = desk.fan_outs()[..] else { panic!() };
        assert_eq!(matches!(&*fan_out.frame, Frame::Event(_)), fits, "{fan_out:?}");
        assert_eq!(matches!(&*fan_out.frame, Frame::HeadAt(head) if head.head == fan_out.head), !fits);
    }
}

#[test]
fn a_group_ends_before_the_push_that_is_one_byte_too_many_for_a_commit() {
    // The first is in flight, so that the rest wait for one another.
    let whole = COMMIT_BYTES_MAX / PUSH_BYTES_MAX;
    for (last_but_one, expected) in [(PUSH_BYTES_MAX - 1, vec![1, whole + 1]), (PUSH_BYTES_MAX, vec![1, whole, 1])] {
        let mut frames = vec![PUSH_BYTES_MAX; whole];
        frames.extend([last_but_one, 1]);
        let numbers = 1..=u8::try_from(frames.len()).unwrap();
        let mut desk = Desk::with_devices(*numbers.end());
        numbers.clone().for_each(|number| drop(desk.claim(peer(number.into(), number))));
        for (number, frame_bytes) in numbers.zip(frames) {
            let push = push(number, 1, NONE, &[create(&format!("r{number}"))]);
            desk.tell(Event::Push { peer: peer(number.into(), number), push, frame_bytes });
        }
        assert_eq!(desk.run_commits(), expected);
        let told = desk.out.iter().filter(|effect| matches!(effect, Effect::CommitFull)).count();
        assert_eq!(told, expected.len() - 2, "who waits for bytes is counted");
    }
}
