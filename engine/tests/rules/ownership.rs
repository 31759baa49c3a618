//! Acquiring, outcomes of commits, and two owners of one log.

use cloudsync_engine::user::{ACQUIRE_ATTEMPTS_MAX, AcquireOutcome, Effect, Event, ReadTrouble, Stop};
use cloudsync_protocol::frame::{HeadAt, OWN_LOG};
use cloudsync_protocol::{Cursor, ErrorCode, Frame, Hash, Seq, View};

use crate::desk::{Desk, Fault, code, failure};
use crate::maker::{create, peer, push};
use crate::support::store::{Store, Variant};

const NONE: Hash = Hash([0; 32]);

fn claimed() -> Desk {
    let mut desk = Desk::with_devices(2);
    desk.claim(peer(1, 1));
    desk
}

#[test]
fn an_unknown_commit_that_was_applied_is_found_by_its_id() {
    let mut desk = claimed();
    desk.faults.push_back(Fault::UnknownApplied);
    let epoch = desk.store.head.as_ref().unwrap().epoch;
    assert!(matches!(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a")])), Frame::Pushed(pushed) if pushed.to == Seq(4)));
    assert_eq!(desk.user.head(), desk.store.head.as_ref());
    assert!(desk.store.head.as_ref().unwrap().epoch > epoch, "it must have been acquired again");
}

#[test]
fn an_unknown_commit_that_was_lost_is_written_again_and_can_not_apply_late() {
    let mut desk = claimed();
    desk.faults.push_back(Fault::UnknownParked);
    assert!(matches!(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a")])), Frame::Pushed(_)));
    assert_eq!(desk.apply_parked(), 0);
    assert_eq!(desk.store.head.as_ref().unwrap().seq, Seq(4));
    desk.store.check().unwrap();
}

#[test]
fn unknown_twice_is_resolved_twice() {
    let mut desk = claimed();
    desk.faults.extend([Fault::UnknownLost, Fault::UnknownApplied]);
    assert!(matches!(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a")])), Frame::Pushed(_)));
    assert_eq!(desk.user.head(), desk.store.head.as_ref());
}

#[test]
fn a_full_store_refuses_the_group_for_a_long_while_and_changes_nothing() {
    for (fault, expected, after_ms) in [(Fault::Full, ErrorCode::StoreFull, 60_000), (Fault::Unavailable, ErrorCode::StoreUnavailable, 500)]
    {
        let mut desk = claimed();
        desk.faults.push_back(fault);
        let refused = failure(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a")])));
        assert_eq!((refused.code, refused.retry_after_ms), (expected, Some(after_ms)));
        assert!(matches!(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a")])), Frame::Pushed(pushed) if pushed.to == Seq(4)));
    }
}

#[test]
fn a_fenced_owner_answers_busy_and_stops() {
    let mut desk = claimed();
    let mut other = Desk::over(std::mem::replace(&mut desk.store, Store::new(Variant::AsDesigned)), 2, Vec::new());
    other.say(Event::Start);
    desk.store = std::mem::replace(&mut other.store, Store::new(Variant::AsDesigned));
    assert_eq!(code(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a")]))), ErrorCode::Busy);
    assert_eq!(desk.stop(), Some(Stop::Fenced));
    assert_eq!(code(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a")]))), ErrorCode::Busy);
    assert_eq!(desk.store.head.as_ref().unwrap().seq, Seq(3));
}

#[test]
fn a_claim_is_not_answered_by_an_owner_that_was_replaced() {
    let mut desk = claimed();
    let mut other = Desk::over(std::mem::replace(&mut desk.store, Store::new(Variant::AsDesigned)), 2, Vec::new());
    other.say(Event::Start);
    desk.store = other.store;
    assert_eq!(code(desk.claim(peer(2, 1))), ErrorCode::Busy);
    assert_eq!(desk.stop(), Some(Stop::Fenced));
}

/// The other owner may have told a session `claimed`: the group of an earlier session must not be written any more.
#[test]
fn an_owner_in_between_fences_the_resolving_of_an_unknown_commit() {
    let mut desk = claimed();
    desk.faults.push_back(Fault::UnknownLost);
    desk.tell_push(peer(1, 1), push(1, 1, NONE, &[create("a")]));
    desk.run_one();
    desk.run_one();
    assert!(matches!(desk.waiting.front(), Some(Effect::Acquire(_))));
    let mut other = Desk::over(std::mem::replace(&mut desk.store, Store::new(Variant::AsDesigned)), 2, Vec::new());
    other.say(Event::Start);
    assert!(matches!(other.claim(peer(2, 1)), Frame::Claimed(_)));
    desk.store = other.store;
    desk.run();
    assert_eq!(code(desk.answer(peer(1, 1).session, 1)), ErrorCode::Busy);
    assert_eq!((desk.stop(), desk.store.head.as_ref().unwrap().seq), (Some(Stop::Fenced), Seq(3)));
}

#[test]
fn acquiring_in_doubt_is_tried_again_with_a_new_nonce_and_longer_waits_then_given_up() {
    let mut desk = Desk::over(Store::new(Variant::AsDesigned), 1, Vec::new());
    desk.acquire_outcomes.extend((0..ACQUIRE_ATTEMPTS_MAX).map(|_| AcquireOutcome::InDoubt));
    desk.say(Event::Start);
    let mut waits = Vec::new();
    while let Some(at_ms) = desk.user.wake_at_ms() {
        waits.push(at_ms - desk.now_ms);
        desk.say(Event::Wake);
        assert_eq!(desk.user.wake_at_ms(), Some(at_ms), "it must not wake early");
        desk.now_ms = at_ms;
        desk.say(Event::Wake);
    }
    assert_eq!(waits, [20, 40, 80, 160, 320]);
    assert_eq!(desk.stop(), Some(Stop::Unavailable));
    assert_eq!(code(desk.claim(peer(1, 1))), ErrorCode::StoreUnavailable);
}

#[test]
fn a_log_that_a_full_store_has_no_room_for_is_refused_for_a_long_while() {
    let mut desk = Desk::over(Store::new(Variant::AsDesigned), 1, Vec::new());
    desk.acquire_outcomes.extend((0..ACQUIRE_ATTEMPTS_MAX).map(|_| AcquireOutcome::Full));
    desk.tell(Event::Start);
    desk.tell_push(peer(1, 1), push(1, 1, NONE, &[create("a")]));
    desk.run();
    while let Some(at_ms) = desk.user.wake_at_ms() {
        desk.now_ms = at_ms;
        desk.say(Event::Wake);
    }
    assert_eq!(desk.stop(), Some(Stop::Full));
    let refused = failure(desk.answer(peer(1, 1).session, 1));
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::StoreFull, Some(60_000)));
}

#[test]
fn a_later_view_and_an_erased_user_stop_the_owner() {
    for (outcome, stop, expected) in [
        (AcquireOutcome::LaterView(View(2)), Stop::LaterView(View(2)), ErrorCode::Busy),
        (AcquireOutcome::Erased, Stop::Erased, ErrorCode::AccountErased),
        (AcquireOutcome::Trouble(ReadTrouble::Damaged), Stop::Damaged, ErrorCode::StoreDamaged),
    ] {
        let mut desk = Desk::over(Store::new(Variant::AsDesigned), 1, Vec::new());
        desk.acquire_outcomes.push_back(outcome);
        desk.tell(Event::Start);
        desk.tell_push(peer(1, 1), push(1, 1, NONE, &[create("a")]));
        desk.run();
        assert_eq!(desk.stop(), Some(stop));
        assert_eq!(code(desk.answer(peer(1, 1).session, 1)), expected);
        assert_eq!(desk.opened(peer(1, 1)), Err(expected));
    }
}

#[test]
fn an_erase_stops_the_owner_and_answers_what_waits_and_what_was_under_way() {
    for is_under_way in [false, true] {
        let mut desk = claimed();
        desk.tell_push(peer(1, 1), push(1, 1, NONE, &[create("a")]));
        if is_under_way {
            desk.run_one();
        }
        desk.tell(Event::Erased);
        desk.run();
        assert_eq!(desk.stop(), Some(Stop::Erased));
        assert_eq!(code(desk.answer(peer(1, 1).session, 1)), ErrorCode::AccountErased);
    }
}

#[test]
fn what_arrives_before_the_log_is_owned_is_answered_after() {
    let mut desk = Desk::with_devices(1);
    let attached = Vec::new();
    desk = Desk::over(desk.store, 2, attached);
    desk.tell(Event::Start);
    desk.tell(Event::Claim { peer: peer(1, 1), claim: cloudsync_protocol::frame::Claim { request: 8, log: OWN_LOG } });
    desk.tell_push(peer(1, 1), push(1, 1, NONE, &[create("a")]));
    assert!(desk.out.is_empty());
    desk.run();
    assert!(matches!(desk.answer(peer(1, 1).session, 8), Frame::Claimed(_)));
    assert!(matches!(desk.answer(peer(1, 1).session, 1), Frame::Pushed(_)));
}

#[test]
fn attached_sessions_survive_passivation_and_are_told_the_head() {
    let mut desk = Desk::with_devices(2);
    desk.attach(peer(5, 1), Cursor::default());
    desk.attach(peer(6, 2), Cursor::default());
    desk.say(Event::Closed { session: peer(6, 2).session });
    let mut desk = desk.successor(2);
    let Some(Effect::FanOut(fan_out)) = desk.out.pop() else { panic!() };
    assert_eq!(fan_out.to, [peer(5, 1).session]);
    let timeline = desk.user.head().unwrap().timeline;
    assert_eq!(*fan_out.frame, Frame::HeadAt(HeadAt { log: OWN_LOG, timeline, head: Seq(3) }));
    // A new owner knows no pusher.
    assert_eq!(code(desk.push(peer(5, 1), push(1, 1, NONE, &[create("a")]))), ErrorCode::ClaimFirst);
}

#[test]
fn one_damaged_record_does_not_fail_its_neighbours() {
    let mut desk = Desk::with_devices(3);
    for number in 1..=3 {
        desk.claim(peer(number.into(), number));
    }
    for number in 1..=3 {
        desk.tell_push(peer(number.into(), number), push(number, 1, NONE, &[create(&format!("r{number}"))]));
    }
    // The first is in flight by itself; then two together meet damage; then one by one, the second of them again.
    desk.run_one();
    desk.run_one();
    desk.look_up_troubles.extend([ReadTrouble::Damaged]);
    desk.run_one();
    assert!(matches!(desk.waiting.front(), Some(Effect::LookUp { records, .. }) if records.len() == 1));
    desk.run_one();
    desk.run_one();
    desk.look_up_troubles.extend([ReadTrouble::Damaged]);
    desk.run();
    assert!(matches!(desk.answer(peer(2, 2).session, 1), Frame::Pushed(_)));
    assert_eq!(code(desk.answer(peer(3, 3).session, 1)), ErrorCode::StoreDamaged);
}

/// Found by the random runs: a stale owner looked up what its successor had committed.
#[test]
fn a_look_up_that_is_newer_than_the_head_fences() {
    let mut desk = claimed();
    let mut other = Desk::over(std::mem::replace(&mut desk.store, Store::new(Variant::AsDesigned)), 2, Vec::new());
    other.say(Event::Start);
    other.pushed(peer(2, 2), push(2, 1, NONE, &[create("a")]));
    desk.store = other.store;
    assert_eq!(code(desk.push(peer(1, 1), push(1, 1, NONE, &[create("a")]))), ErrorCode::Busy);
    assert_eq!(desk.stop(), Some(Stop::Fenced));
    assert!(!desk.out.iter().any(|effect| matches!(effect, Effect::Violated(_))));
}
