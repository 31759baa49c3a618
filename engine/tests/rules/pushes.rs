//! Claims, dedup, versions and events, as a pushing device meets them.

use cloudsync_engine::log::{Current, Figures};
use cloudsync_engine::user::Event;
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::frame::{Claim, Event as EventFrame, OWN_LOG};
use cloudsync_protocol::limits::BODY_BYTES_MAX;
use cloudsync_protocol::{Cursor, DeviceSeq, Entry, ErrorCode, Frame, Hash, Operation, Seq, Version};

use crate::desk::{Desk, code, failure};
use crate::maker::{NOW_MS, Write, create, device, peer, push, write};

const NONE: Hash = Hash([0; 32]);

fn hash_of(push: &cloudsync_protocol::frame::Push, index: usize) -> Hash {
    push.operations[index].hash()
}

#[test]
fn push_of_a_session_that_did_not_claim_is_refused() {
    let mut desk = Desk::with_devices(1);
    assert_eq!(code(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a")]))), ErrorCode::ClaimFirst);
}

#[test]
fn a_push_wrapped_under_an_account_key_that_the_log_has_not_come_to_is_refused() {
    let mut desk = Desk::with_devices(1);
    desk.claim(peer(1, 1));
    let ahead = [create("a"), create("b").under(2)];
    assert_eq!(code(desk.push(peer(1, 1), push(1, 1, NONE, &ahead))), ErrorCode::KeyEpochAhead);
    let both = [create("a").under(2), create("b").under(0)];
    assert_eq!(code(desk.push(peer(1, 1), push(1, 2, NONE, &both))), ErrorCode::KeyEpochOld, "an old one is the first to be mended");
}

#[test]
fn pushed_says_where_the_batch_is() {
    let mut desk = Desk::with_devices(1);
    desk.claim(peer(1, 1));
    let batch = push(1, 1, NONE, &[create("a"), create("b")]);
    let Frame::Pushed(pushed) = desk.push(peer(1, 1), batch.clone()) else { panic!() };
    assert_eq!((pushed.from, pushed.to), (Seq(2), Seq(4)));
    assert_eq!((pushed.device_seq, pushed.hash), (DeviceSeq(1), batch.signed.hash()));
}

#[test]
fn claimed_tells_the_last_committed_push() {
    let mut desk = Desk::with_devices(1);
    let hash = desk.pushed(peer(1, 1), push(1, 3, NONE, &[create("a")]));
    let Frame::Claimed(claimed) = desk.claim(peer(2, 1)) else { panic!() };
    assert_eq!(claimed.last, LastPush { device_seq: DeviceSeq(3), hash, seq: Seq(3) });
}

#[test]
fn a_claim_is_decided_behind_what_an_earlier_session_sent_and_before_what_it_sends_after() {
    let mut desk = Desk::with_devices(1);
    desk.claim(peer(1, 1));
    let (first, second) = (push(1, 1, NONE, &[create("a")]), push(1, 2, NONE, &[create("b")]));
    desk.tell_push(peer(1, 1), first.clone());
    desk.tell(Event::Claim { peer: peer(2, 1), claim: Claim { request: 9, log: OWN_LOG } });
    let second = push(1, second.request.into(), first.signed.hash(), &[create("b")]);
    desk.tell_push(peer(1, 1), second);
    desk.run();
    assert!(matches!(desk.answer(peer(1, 1).session, 1), Frame::Pushed(_)));
    let Frame::Claimed(claimed) = desk.answer(peer(2, 1).session, 9) else { panic!() };
    assert_eq!(claimed.last.hash, first.signed.hash());
    assert_eq!(code(desk.answer(peer(1, 1).session, 2)), ErrorCode::NotThePusher);
}

#[test]
fn claims_of_two_devices_do_not_touch_each_other() {
    let mut desk = Desk::with_devices(2);
    desk.claim(peer(1, 1));
    desk.claim(peer(2, 2));
    assert!(matches!(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a")])), Frame::Pushed(_)));
}

#[test]
fn the_same_bytes_again_get_the_first_answer_from_any_session() {
    let mut desk = Desk::with_devices(1);
    let batch = push(1, 1, NONE, &[create("a"), create("b")]);
    desk.pushed(peer(1, 1), batch.clone());
    let Frame::Pushed(again) = desk.push(peer(2, 1), batch) else { panic!() };
    assert_eq!((again.from, again.to), (Seq(2), Seq(4)));
    assert_eq!(desk.user.head().unwrap().seq, Seq(4));
}

#[test]
fn the_same_bytes_twice_in_one_group_commit_once() {
    let mut desk = Desk::with_devices(1);
    desk.claim(peer(1, 1));
    let batch = push(1, 1, NONE, &[create("a")]);
    desk.tell_push(peer(1, 1), push(1, 9, Hash([1; 32]), &[create("z")]));
    desk.tell_push(peer(1, 1), batch.clone());
    desk.tell_push(peer(1, 1), batch);
    desk.run();
    assert_eq!(code(desk.answer(peer(1, 1).session, 9)), ErrorCode::ChainMoved);
    for _ in 0..2 {
        let Frame::Pushed(pushed) = desk.answer(peer(1, 1).session, 1) else { panic!() };
        assert_eq!(pushed.to, Seq(3));
    }
}

#[test]
fn a_number_with_other_bytes_lower_numbers_and_broken_chains_are_told_the_last_push() {
    let mut desk = Desk::with_devices(1);
    let hash = desk.pushed(peer(1, 1), push(1, 5, NONE, &[create("a")]));
    let last = Some(LastPush { device_seq: DeviceSeq(5), hash, seq: Seq(3) });
    // From a session that is not the pusher: dedup is asked first.
    for (number, prev, expected) in [
        (5, NONE, ErrorCode::SequenceReused),
        (4, NONE, ErrorCode::Settled),
        (6, NONE, ErrorCode::ChainMoved),
        (6, hash, ErrorCode::NotThePusher),
    ] {
        let refused = failure(desk.push(peer(2, 1), push(1, number, prev, &[create("b")])));
        assert_eq!(refused.code, expected);
        assert_eq!(refused.last.as_deref().copied(), if expected == ErrorCode::NotThePusher { None } else { last });
    }
}

#[test]
fn stale_names_every_record_and_changes_nothing() {
    let mut desk = Desk::with_devices(1);
    let hash = desk.pushed(peer(1, 1), push(1, 1, NONE, &[create("a"), create("b")]));
    let refused = failure(desk.push(peer(1, 1), push(1, 2, hash, &[create("a"), create("c"), create("b")])));
    assert_eq!(refused.code, ErrorCode::Stale);
    let named: Vec<_> = refused.records.iter().map(|issue| (issue.key.record.as_str(), issue.current, issue.current_seq)).collect();
    assert_eq!(named, [("a", Version(1), Seq(3)), ("b", Version(1), Seq(4))]);
    assert_eq!(desk.user.head().unwrap().seq, Seq(4));
}

#[test]
fn a_base_that_never_was_is_unknown_and_another_parent_is_invalid() {
    let mut desk = Desk::with_devices(1);
    let first = push(1, 1, NONE, &[create("a"), create("b")]);
    let (hash, a) = (desk.pushed(peer(1, 1), first.clone()), hash_of(&first, 0));
    let writes = [write("a", 2, a), write("b", 1, a), write("c", 1, a)];
    let refused = failure(desk.push(peer(1, 1), push(1, 2, hash, &writes)));
    assert_eq!(refused.code, ErrorCode::Refused);
    let codes: Vec<_> = refused.records.iter().map(|issue| issue.code).collect();
    assert_eq!(codes, [ErrorCode::BaseUnknown, ErrorCode::HeaderInvalid, ErrorCode::BaseUnknown]);
}

#[test]
fn an_operation_may_build_on_an_earlier_one_of_its_push() {
    let mut desk = Desk::with_devices(1);
    let Operation::Put(put) = create("a").operation(1, 1) else { panic!("a put") };
    let batch = push(1, 1, NONE, &[create("a"), Write { fill: 2, ..write("a", 1, put.envelope.hash()) }]);
    desk.pushed(peer(1, 1), batch);
    let figures = desk.user.head().unwrap().figures;
    assert_eq!((figures.live_records, figures.dead_records), (1, 0));
    desk.store.check().unwrap();
}

#[test]
fn a_stale_push_of_a_group_waits_until_what_it_cites_is_durable() {
    let mut desk = Desk::with_devices(2);
    desk.claim(peer(1, 1));
    desk.claim(peer(2, 2));
    // Something in flight, so that the next two become one group.
    desk.tell_push(peer(1, 1), push(1, 1, NONE, &[create("x")]));
    let x = push(1, 1, NONE, &[create("x")]).signed.hash();
    desk.tell_push(peer(1, 1), push(1, 2, x, &[create("a")]));
    desk.tell_push(peer(2, 2), push(2, 7, NONE, &[create("a")]));
    while !desk.waiting.is_empty() {
        assert!(!desk.has_answer(peer(2, 2).session, 7), "stale was told before the version that it cites was durable");
        desk.run_one();
    }
    let refused = failure(desk.answer(peer(2, 2).session, 7));
    assert_eq!((refused.code, refused.records[0].current_seq), (ErrorCode::Stale, Seq(5)));
}

#[test]
fn shape_is_checked_and_names_the_records() {
    let mut desk = Desk::with_devices(2);
    desk.claim(peer(1, 1));
    let mut of_another = push(2, 1, NONE, &[create("a")]);
    of_another.request = 1;
    assert_eq!(code(desk.push(peer(1, 1), of_another)), ErrorCode::StatementInvalid);
    let mut swapped = push(1, 1, NONE, &[create("a"), create("b")]);
    swapped.operations.swap(0, 1);
    assert_eq!(code(desk.push(peer(1, 1), swapped)), ErrorCode::StatementInvalid);
    assert_eq!(code(desk.push(peer(1, 1), push(1, 1, NONE, &[]))), ErrorCode::PushTooLarge);
    let mut other_log = push(1, 1, NONE, &[create("a")]);
    other_log.log = 1;
    assert_eq!(code(desk.push(peer(1, 1), other_log)), ErrorCode::LogUnknown);

    let too_large = Write { body_bytes: BODY_BYTES_MAX + 1, ..create("big") };
    let refused = failure(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a"), too_large])));
    assert_eq!((refused.code, refused.records.len()), (ErrorCode::Refused, 1));
    assert_eq!((refused.records[0].key.record.as_str(), refused.records[0].code), ("big", ErrorCode::BodyTooLarge));
    let at_the_limit = Write { body_bytes: BODY_BYTES_MAX, ..create("big") };
    assert!(matches!(desk.push(peer(1, 1), push(1, 1, NONE, &[at_the_limit])), Frame::Pushed(_)));
}

#[test]
fn server_times_never_go_back_within_a_log() {
    let mut desk = Desk::with_devices(1);
    let hash = desk.pushed(peer(1, 1), push(1, 1, NONE, &[create("a")]));
    let mut desk = desk.successor(2);
    desk.now_ms = NOW_MS - 60_000;
    desk.pushed(peer(1, 1), push(1, 2, hash, &[create("b")]));
    let times: Vec<_> = desk.store.log().unwrap().iter().map(Entry::server_ts).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn figures_follow_puts_and_deletes() {
    let mut desk = Desk::with_devices(1);
    let first = push(1, 1, NONE, &[create("a"), create("b")]);
    let hash = desk.pushed(peer(1, 1), first.clone());
    desk.pushed(peer(1, 1), push(1, 2, hash, &[write("a", 1, hash_of(&first, 0)).dead()]));
    let figures = desk.user.head().unwrap().figures;
    let currents = desk.store.currents();
    let bytes = |dead| currents.values().filter(|current: &&Current| current.dead == dead).map(|current| current.bytes).sum::<u64>();
    assert_eq!(figures, Figures { live_bytes: bytes(false), live_records: 1, dead_bytes: bytes(true), dead_records: 1 });
}

#[test]
fn the_pushing_session_gets_its_number_and_every_other_the_event() {
    let mut desk = Desk::with_devices(2);
    for (session, number) in [(1, 1), (2, 1), (3, 2)] {
        assert!(matches!(desk.attach(peer(session, number), Cursor::default()), Frame::Attached(_)));
    }
    let batch = push(1, 1, NONE, &[create("a")]);
    desk.pushed(peer(1, 1), batch.clone());
    let [fan_out] = desk.fan_outs()[..] else { panic!() };
    assert_eq!(fan_out.to, [peer(2, 1).session, peer(3, 2).session]);
    let Frame::Event(EventFrame { from, to, entries, .. }) = &*fan_out.frame else { panic!() };
    assert_eq!((*from, *to, entries.len()), (Seq(3), Seq(4), 1));
    let (session, committed) = fan_out.own.as_ref().unwrap();
    assert_eq!((*session, committed.from, committed.to, committed.device_seq), (peer(1, 1).session, Seq(3), Seq(4), DeviceSeq(1)));
    assert_eq!(committed.row, hash_of(&batch, 0).short());
}

#[test]
fn what_queues_meanwhile_becomes_one_commit() {
    let mut desk = Desk::with_devices(3);
    for number in 1..=3 {
        desk.claim(peer(number.into(), number));
    }
    for number in 1..=3 {
        desk.tell_push(peer(number.into(), number), push(number, 1, NONE, &[create(&format!("r{number}"))]));
    }
    assert!(!desk.user.is_idle());
    assert_eq!(desk.run_commits(), [1, 2]);
    assert!(desk.user.is_idle());
    assert_eq!(desk.user.head().unwrap().dedup.get(&device(3)).unwrap().push.seq, Seq(7));
}
