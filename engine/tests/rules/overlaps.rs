//! Rules that only show when two things are under way at once: a revoke and what its device asks meanwhile, a reader and who
//! fenced it.
//!
//! Never: a rule that shows in turns; those are with their noun.

use cloudsync_engine::roster::Standing;
use cloudsync_engine::user::{Effect, Event};
use cloudsync_protocol::frame::{Attach, ChangeRoster, OWN_LOG};
use cloudsync_protocol::{Cursor, ErrorCode, Frame, Hash, Seq};

use crate::desk::{Desk, code};
use crate::maker::{create, device, enrol, peer, push, revoke};
use crate::support::store::{Store, Variant};

const NONE: Hash = Hash([0; 32]);

#[test]
fn a_push_right_behind_a_revoke_that_named_another_last_push_does_not_outrun_the_next_revoke() {
    let mut desk = Desk::rewound_with_devices(2);
    desk.claim(peer(1, 1));
    desk.claim(peer(7, 2));
    // Something in flight, so that the next two become one group.
    desk.tell_push(peer(1, 1), push(1, 1, NONE, &[create("x")]));
    desk.tell(Event::ChangeRoster { peer: peer(1, 1), change: ChangeRoster { request: 5, log: OWN_LOG, change: revoke(2, 9, 1) } });
    desk.tell_push(peer(7, 2), push(2, 1, NONE, &[create("a")]));
    desk.run();
    assert_eq!(code(desk.answer(peer(1, 1).session, 5)), ErrorCode::RevokeLastDiffers);
    assert_eq!(code(desk.answer(peer(7, 2).session, 1)), ErrorCode::Busy);
    assert!(matches!(desk.revoke(peer(1, 1), revoke(2, 0, 1)), Frame::RosterChanged(_)), "what it was told is still so");
}

#[test]
fn a_device_revoked_while_the_row_at_its_cursor_was_read_is_not_attached() {
    let mut desk = Desk::rewound_with_devices(2);
    desk.pushed(peer(1, 1), push(1, 1, NONE, &[create("a"), create("b"), create("c")]));
    let head = desk.user.head().unwrap();
    let cursor = Cursor { timeline: head.timeline, seq: Seq(4), row: desk.store.row(Seq(4)).unwrap() };
    desk.tell(Event::Attach { peer: peer(7, 2), attach: Attach { request: 5, log: OWN_LOG, cursor } });
    let reading = desk.waiting.pop_front().unwrap();
    assert!(matches!(reading, Effect::ReadRow { .. }));
    assert!(matches!(desk.revoke(peer(1, 1), revoke(2, 0, 1)), Frame::RosterChanged(_)));
    desk.waiting.push_back(reading);
    desk.run();
    assert_eq!(code(desk.answer(peer(7, 2).session, 5)), ErrorCode::DeviceRevoked);
    assert_eq!(desk.user.attached().count(), 0, "nothing is fanned out to it");
}

#[test]
fn an_owner_that_was_fenced_while_it_read_the_roster_has_the_one_of_its_head() {
    let mut first = Desk::with_devices(2);
    let mut desk = Desk::over(std::mem::replace(&mut first.store, Store::new(Variant::AsDesigned)), 2, Vec::new());
    desk.tell(Event::Start);
    desk.run_one();
    assert!(matches!(desk.waiting.front(), Some(Effect::ReadRoster { .. })));
    let mut other = Desk::over(std::mem::replace(&mut desk.store, Store::new(Variant::AsDesigned)), 3, Vec::new());
    other.say(Event::Start);
    assert_eq!(other.enrol(vec![revoke(2, 0, 1), enrol(3)]).unwrap(), Seq(5));
    desk.store = other.store;
    desk.run();
    let roster = desk.user.roster().unwrap();
    assert_eq!((desk.user.head().unwrap().seq, roster.last()), (Seq(3), Seq(3)));
    assert!(matches!(roster.standing(device(2)), Standing::Enrolled(_)));
    assert!(matches!(roster.standing(device(3)), Standing::Unknown));
    assert_eq!(desk.opened(peer(7, 3)), Err(ErrorCode::DeviceUnknown), "that is the other owner's to say");
}

/// Dedup is asked before any other refusal: whoever lost the answer to its last push gets it, wherever it asks.
#[test]
fn the_last_push_again_gets_its_answer_from_an_owner_that_nobody_claimed_at_and_behind_a_bar() {
    let mut desk = Desk::rewound_with_devices(2);
    let batch = push(2, 1, NONE, &[create("a")]);
    let hash = desk.pushed(peer(7, 2), batch.clone());
    let mut desk = desk.successor(2);
    assert_eq!(code(desk.push(peer(7, 2), push(2, 2, hash, &[create("b")]))), ErrorCode::ClaimFirst);
    assert!(matches!(desk.push(peer(7, 2), batch.clone()), Frame::Pushed(pushed) if pushed.to == Seq(4)));
    assert_eq!(code(desk.revoke(peer(1, 1), revoke(2, 9, 1))), ErrorCode::RevokeLastDiffers);
    assert_eq!(code(desk.push(peer(7, 2), push(2, 2, hash, &[create("b")]))), ErrorCode::Busy);
    assert!(matches!(desk.push(peer(7, 2), batch), Frame::Pushed(pushed) if pushed.to == Seq(4)));
}

#[test]
fn what_no_roster_is_needed_for_is_refused_on_arrival_and_the_rest_in_turn_behind_dedup() {
    let mut desk = Desk::with_devices(2);
    let first = push(1, 1, NONE, &[create("a")]);
    desk.pushed(peer(1, 1), first.clone());
    // In flight, so that whatever waits for its turn is not answered yet.
    desk.tell_push(peer(1, 1), push(1, 2, first.signed.hash(), &[create("b")]));
    let unknown = peer(9, 9);
    desk.tell_push(unknown, push(2, 3, NONE, &[create("c")]));
    assert_eq!(code(desk.answer(unknown.session, 3)), ErrorCode::StatementInvalid, "of another device");
    // Known, and of no session that claimed, and with operations that are not its own.
    let mut again = push(1, 2, first.signed.hash(), &[create("b")]);
    again.operations = first.operations;
    desk.tell_push(peer(2, 1), again);
    assert!(!desk.has_answer(peer(2, 1).session, 2));
    desk.run();
    assert!(matches!(desk.answer(peer(2, 1).session, 2), Frame::Pushed(pushed) if pushed.to == Seq(5)));
}
