//! What the owner makes of rotations, other passwords and new wraps.
//!
//! Never: the roster's own rules; those are in `rotations.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use cloudsync_engine::log::NewCredentials;
use cloudsync_engine::user::{AccountChange, CallId, Effect, Event};
use cloudsync_protocol::entry::Rewrap;
use cloudsync_protocol::statement::{PublicKey, RosterChange, RotateStatement};
use cloudsync_protocol::{Cursor, DeviceId, DeviceSeq, ErrorCode, Frame, Hash, Operation, Seq};

use crate::desk::{Desk, Fault, code, failure};
use crate::maker::{create, device, device_key, enrol, peer, push, push_of, wrap, write};
use crate::support::keys::{blob, rekey, rotate_of, rotation};

const NONE: Hash = Hash([0; 32]);

/// Device `by` rotates and `leaving` leaves, with a ticket of now.
fn rotated(desk: &Desk, by: u8, leaving: &[(DeviceId, DeviceSeq)]) -> (AccountChange, RotateStatement) {
    let roster = desk.user.roster().unwrap();
    let statement = rotation(roster, device(by), leaving);
    (with(desk, rotate_of(&statement, &device_key(by)), Some(statement.recovery)), statement)
}

fn with(desk: &Desk, change: RosterChange, recovery: Option<PublicKey>) -> AccountChange {
    let ticket_version = desk.user.head().unwrap().keyring_version;
    let version = ticket_version + 1;
    let credentials = Some(NewCredentials { version, keyring: blob(version), recovery, record: None });
    AccountChange { changes: vec![change], ticket_version, credentials }
}

fn refused(desk: &mut Desk, change: AccountChange) -> ErrorCode {
    desk.change(change).unwrap_err().code
}

#[test]
fn a_rotation_commits_with_its_credentials_and_ends_who_leaves() {
    let mut desk = Desk::with_devices(3);
    for number in 1..=3 {
        desk.attach(peer(u64::from(number), number), Cursor::default());
    }
    desk.out.clear();
    let (change, statement) = rotated(&desk, 1, &[(device(3), DeviceSeq(0))]);
    let seq = desk.change(change).unwrap();
    let head = desk.user.head().unwrap();
    assert_eq!((head.seq, head.keyring_version, head.key_epoch), (seq, 2, 2));
    assert_eq!(desk.store.credentials, (2, statement.recovery));
    assert!(
        matches!(desk.out.iter().find(|effect| matches!(effect, Effect::CloseDevice { .. })), Some(Effect::CloseDevice { device: gone, .. }) if *gone == device(3))
    );
    assert!(desk.out.iter().any(|effect| matches!(effect, Effect::RevokeFamilies { device: gone } if *gone == device(3))));
    let told: Vec<_> = desk.fan_outs().iter().flat_map(|fan_out| fan_out.to.clone()).collect();
    assert_eq!(told, [peer(1, 1).session, peer(2, 2).session], "everybody who stays");
    assert_eq!(desk.opened(peer(9, 3)), Err(ErrorCode::DeviceRevoked));
    assert_eq!(desk.opened(peer(9, 2)), Ok(()));
}

#[test]
fn a_push_under_the_old_account_key_is_refused_until_it_is_wrapped_anew_and_then_commits_as_the_same_batch() {
    let mut desk = Desk::with_devices(2);
    let first = push(1, 1, NONE, &[create("a")]);
    let prev = desk.pushed(peer(1, 1), first.clone());
    let (change, _) = rotated(&desk, 2, &[]);
    desk.change(change).unwrap();
    let Frame::Pushed(again) = desk.push(peer(1, 1), first) else { panic!("what is committed is answered before the key is asked for") };
    assert_eq!(again.device_seq, DeviceSeq(1));
    let mut second = push(1, 2, prev, &[create("b")]);
    assert_eq!(code(desk.push(peer(1, 1), second.clone())), ErrorCode::KeyEpochOld);
    let Operation::Put(put) = &mut second.operations[0] else { panic!("a put") };
    put.envelope.wrap = wrap(2);
    assert!(matches!(desk.push(peer(1, 1), second), Frame::Pushed(_)));
    let third = push(1, 3, NONE, &[create("c").under(3)]);
    assert_eq!(code(desk.push(peer(1, 1), third)), ErrorCode::ChainMoved, "the chain is asked first");
}

#[test]
fn keys_that_are_there_already_are_answered_again_whatever_the_ticket() {
    let mut desk = Desk::with_devices(1);
    let (change, _) = rotated(&desk, 1, &[]);
    let seq = desk.change(change.clone()).unwrap();
    let head = desk.user.head().unwrap().clone();
    assert_eq!(desk.change(change), Ok(seq));
    assert_eq!(desk.user.head(), Some(&head), "nothing was written");
}

#[test]
fn a_ticket_of_before_the_last_keyring_is_worth_nothing() {
    let mut desk = Desk::with_devices(2);
    let late = rotated(&desk, 1, &[]).0;
    let change = with(&desk, rekey(desk.user.roster().unwrap()), None);
    desk.change(change).unwrap();
    assert_eq!(refused(&mut desk, late), ErrorCode::KeyringConflict, "another had that turn");
    let mut stale = rotated(&desk, 1, &[]).0;
    stale.ticket_version = 1;
    assert_eq!(refused(&mut desk, stale), ErrorCode::TicketInvalid);
    let joins = AccountChange { changes: vec![enrol(5)], ticket_version: 1, credentials: None };
    assert_eq!(refused(&mut desk, joins), ErrorCode::TicketInvalid);
    let is_there = AccountChange { changes: vec![enrol(2)], ticket_version: 1, credentials: None };
    assert_eq!(refused(&mut desk, is_there), ErrorCode::TicketInvalid, "not even for what is enrolled already");
    assert!(desk.enrol(vec![enrol(5)]).is_ok());
}

#[test]
fn a_rotation_names_the_last_push_of_who_leaves_and_is_told_whose_it_missed() {
    let mut desk = Desk::with_devices(3);
    let hash = desk.pushed(peer(3, 3), push(3, 7, NONE, &[create("a")]));
    let (change, _) = rotated(&desk, 1, &[(device(2), DeviceSeq(0)), (device(3), DeviceSeq(6))]);
    let failure = desk.change(change).unwrap_err();
    assert_eq!((failure.code, failure.device), (ErrorCode::RevokeLastDiffers, Some(device(3))));
    assert_eq!(failure.last.map(|last| last.device_seq), Some(DeviceSeq(7)));
    assert_eq!(code(desk.push(peer(3, 3), push(3, 8, hash, &[create("b")]))), ErrorCode::Busy, "it can't outrun whoever signs again");
    let (change, _) = rotated(&desk, 1, &[(device(2), DeviceSeq(0)), (device(3), DeviceSeq(7))]);
    assert!(desk.change(change).is_ok());
}

#[test]
fn from_its_arrival_a_rotation_bars_those_who_leave() {
    let mut desk = Desk::with_devices(2);
    desk.claim(peer(1, 1));
    desk.tell_push(peer(1, 1), push(1, 1, NONE, &[create("a")]));
    let (change, _) = rotated(&desk, 1, &[(device(2), DeviceSeq(0))]);
    desk.tell(Event::ByAccount { call: CallId(7), change });
    assert_eq!(desk.opened(peer(2, 2)), Err(ErrorCode::Busy));
}

#[test]
fn a_rotation_that_leaves_a_device_out_is_refused() {
    let mut desk = Desk::with_devices(2);
    let (change, _) = rotated(&desk, 1, &[]);
    desk.enrol(vec![enrol(3)]).unwrap();
    assert_eq!(refused(&mut desk, change), ErrorCode::RosterMoved);
    assert_eq!(desk.user.head().unwrap().keyring_version, 1);
}

#[test]
fn keys_without_credentials_are_refused_from_wherever_they_come() {
    let mut desk = Desk::with_devices(1);
    let (change, _) = rotated(&desk, 1, &[]);
    let bare = AccountChange { credentials: None, ..change.clone() };
    assert_eq!(refused(&mut desk, bare), ErrorCode::Refused);
    let [rotate] = change.changes.try_into().unwrap();
    assert_eq!(code(desk.revoke(peer(1, 1), rotate)), ErrorCode::Refused);
}

#[test]
fn keys_have_a_group_of_their_own_between_what_came_before_and_after() {
    let mut desk = Desk::with_devices(2);
    desk.claim(peer(1, 1));
    desk.claim(peer(2, 2));
    desk.tell_push(peer(1, 1), push(1, 1, NONE, &[create("a")]));
    desk.tell_push(peer(2, 2), push(2, 1, NONE, &[create("b")]));
    let (change, _) = rotated(&desk, 1, &[]);
    desk.tell(Event::ByAccount { call: CallId(7), change });
    desk.tell_push(peer(2, 2), push(2, 2, NONE, &[create("c")]));
    let commits = desk.run_commits();
    assert_eq!(commits, [1, 1, 1], "the first had begun, the second waited, then the keys alone: {commits:?}");
    assert_eq!(code(desk.answer(peer(2, 2).session, 2)), ErrorCode::ChainMoved);
}

#[test]
fn a_rotation_of_unknown_outcome_is_answered_once_it_is_known() {
    for (fault, commits) in [(Fault::UnknownApplied, 1), (Fault::UnknownLost, 2)] {
        let mut desk = Desk::with_devices(2);
        desk.faults.push_back(fault);
        let (change, statement) = rotated(&desk, 1, &[(device(2), DeviceSeq(0))]);
        assert!(desk.change(change).is_ok(), "{fault:?} takes {commits}");
        assert_eq!(desk.store.credentials, (2, statement.recovery));
        assert_eq!(desk.opened(peer(9, 2)), Err(ErrorCode::DeviceRevoked));
    }
}

/// A push of new wraps: `(seq, hash)` of each row.
fn rewrap(device_seq: u64, prev_hash: Hash, epoch: u64, rows: &[(u64, Hash)]) -> cloudsync_protocol::frame::Push {
    let item = |(seq, hash): &(u64, Hash)| [&seq.to_be_bytes()[..], hash.short().as_bytes(), &[0x3b; 60]].concat();
    let items = rows.iter().flat_map(item).collect::<Vec<u8>>().into();
    push_of(1, device_seq, prev_hash, vec![Operation::Rewrap(Rewrap { epoch, items })])
}

/// Two records at 3 and 4, then a rotation at 5; the hashes of the records' rows and of the push.
fn with_two_records() -> (Desk, [Hash; 2], Hash) {
    let mut desk = Desk::with_devices(1);
    let batch = push(1, 1, NONE, &[create("a"), create("b")]);
    let rows = [0, 1].map(|index| batch.operations[index].hash());
    let hash = desk.pushed(peer(1, 1), batch);
    let (change, _) = rotated(&desk, 1, &[]);
    desk.change(change).unwrap();
    (desk, rows, hash)
}

#[test]
fn new_wraps_take_one_number_and_reach_the_rows_that_they_name() {
    let (mut desk, [a, b], prev) = with_two_records();
    let figures = desk.user.head().unwrap().figures;
    let Frame::Pushed(pushed) = desk.push(peer(1, 1), rewrap(2, prev, 2, &[(3, a), (4, b)])) else { panic!("refused") };
    assert_eq!((pushed.from, pushed.to), (Seq(5), Seq(6)));
    assert_eq!([3, 4].map(|seq| desk.store.epoch_of(Seq(seq))), [2, 2]);
    assert_eq!(desk.user.head().unwrap().figures, figures);
    let next = write("a", 1, a).under(2);
    assert!(matches!(desk.push(peer(1, 1), push(1, 3, pushed.hash, &[next])), Frame::Pushed(_)), "versions stay");
}

#[test]
fn wraps_of_rows_that_are_another_or_superseded_have_no_effect_and_are_not_refused() {
    let (mut desk, [a, b], prev) = with_two_records();
    let hash = desk.pushed(peer(1, 1), push(1, 2, prev, &[write("b", 1, b).under(2)]));
    let items = [(1, NONE), (3, b), (4, b), (5, NONE), (6, NONE)];
    assert!(matches!(desk.push(peer(1, 1), rewrap(3, hash, 2, &items)), Frame::Pushed(_)));
    assert!(desk.store.wraps.is_empty(), "a roster row, another hash, not current, a rotation, another hash");
    let _ = a;
}

#[test]
fn new_wraps_are_whole_in_order_of_rows_that_are_there_and_alone() {
    let (mut desk, [a, b], prev) = with_two_records();
    let mut number = 1;
    let mut answer = |push: &dyn Fn(u64) -> cloudsync_protocol::frame::Push| {
        number += 1;
        code(desk.push(peer(1, 1), push(number)))
    };
    assert_eq!(answer(&|number| rewrap(number, prev, 2, &[])), ErrorCode::StatementInvalid, "none");
    assert_eq!(answer(&|number| rewrap(number, prev, 2, &[(4, b), (3, a)])), ErrorCode::StatementInvalid, "out of order");
    assert_eq!(answer(&|number| rewrap(number, prev, 2, &[(3, a), (3, a)])), ErrorCode::StatementInvalid, "twice");
    assert_eq!(answer(&|number| rewrap(number, prev, 2, &[(3, a), (6, b)])), ErrorCode::StatementInvalid, "above the head");
    let many: Vec<(u64, Hash)> = (1..=1001).map(|seq| (seq, a)).collect();
    assert_eq!(answer(&|number| rewrap(number, prev, 2, &many)), ErrorCode::StatementInvalid, "too many");
    let torn = |number| {
        let items = vec![0; 75].into();
        push_of(1, number, prev, vec![Operation::Rewrap(Rewrap { epoch: 2, items })])
    };
    assert_eq!(answer(&torn), ErrorCode::StatementInvalid, "a part of one");
    let mixed = |number| {
        let wraps = rewrap(number, prev, 2, &[(3, a)]).operations.remove(0);
        push_of(1, number, prev, vec![wraps, write("a", 1, a).under(2).operation(1, number)])
    };
    assert_eq!(answer(&mixed), ErrorCode::StatementInvalid, "beside a put");
    assert_eq!(answer(&|number| rewrap(number, prev, 1, &[(3, a)])), ErrorCode::KeyEpochOld);
    assert_eq!(answer(&|number| rewrap(number, prev, 3, &[(3, a)])), ErrorCode::KeyEpochAhead);
}

#[test]
fn a_session_is_told_of_a_rotation_as_an_event_and_pushes_on() {
    let mut desk = Desk::with_devices(2);
    desk.attach(peer(2, 2), Cursor::default());
    let (change, _) = rotated(&desk, 1, &[]);
    desk.change(change).unwrap();
    assert!(desk.fan_outs().iter().any(|fan_out| matches!(&*fan_out.frame, Frame::Event(event) if event.to == Seq(4))));
    let answer = failure(desk.push(peer(2, 2), push(2, 1, NONE, &[create("a")])));
    assert_eq!(answer.code, ErrorCode::ClaimFirst);
    desk.claim(peer(2, 2));
    assert!(matches!(desk.push(peer(2, 2), push(2, 2, NONE, &[create("a").under(2)])), Frame::Pushed(_)));
}
