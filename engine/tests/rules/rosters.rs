//! Who may write: identity, enrolments, revocations, and hellos.

use cloudsync_engine::roster::{ChangeError, Judged, Roster, RowError};
use cloudsync_engine::user::{BAR_MS, Effect, Event};
use cloudsync_protocol::codec::encode;
use cloudsync_protocol::frame::{ChangeRoster, OWN_LOG};
use cloudsync_protocol::limits::{DEVICE_NAME_BYTES_MAX, DEVICES_MAX, STATEMENT_BYTES_MAX};
use cloudsync_protocol::statement::{CONTEXT_ENROL, CONTEXT_REVOKE, EnrolChange, EnrolStatement, RosterChange};
use cloudsync_protocol::{Cursor, DeviceSeq, ErrorCode, Frame, Hash, LogId, Seq};

use crate::desk::{Desk, code, failure};
use crate::maker::{self, LOG, create, device, device_key, enrol, identity, peer, push, revoke};
use crate::support::keys::{self, Keys, enrol_of, identify_as, row, signed, signed_bytes};

const NONE: Hash = Hash([0; 32]);

#[test]
fn a_device_is_enrolled_between_its_enrol_and_its_revoke() {
    let rows = [row(1, identity()), row(2, enrol(1)), row(3, enrol(2)), row(9, revoke(2, 4, 1))];
    let roster = Roster::from_rows(LOG, &rows).unwrap();
    assert!(roster.enrolled_at(device(2), Seq(3)).is_none());
    assert!(roster.enrolled_at(device(2), Seq(4)).is_some());
    assert!(roster.enrolled_at(device(2), Seq(10)).is_none());
    assert!(roster.enrolled_at(device(1), Seq(10)).is_some());
    assert_eq!((roster.enrolled(), roster.last()), (1, Seq(9)));
}

#[test]
fn rows_that_were_verified_when_stored_are_restored_without_their_signatures_and_with_every_other_check() {
    let mut rows = vec![row(1, identity()), row(2, enrol(1)), row(3, enrol(2)), row(9, revoke(2, 4, 1))];
    assert_eq!(Roster::restore(LOG, &rows), Roster::from_rows(LOG, &rows));
    let RosterChange::Enrol(change) = &mut rows[1].change else { panic!() };
    change.signed.signature.0[3] ^= 1;
    assert!(Roster::from_rows(LOG, &rows).is_err());
    let mut restored = Roster::restore(LOG, &rows).unwrap();
    assert!(restored.apply(&row(10, rows[1].change.clone())).is_err(), "what comes next is verified");
    rows.swap(1, 2);
    assert!(matches!(Roster::restore(LOG, &rows), Err(RowError::Order { .. })));
    assert!(matches!(Roster::restore(LOG, &rows[1..]), Err(RowError::Change { error: ChangeError::NoIdentity, .. })));
}

#[test]
fn the_first_row_is_an_identity_that_signs_itself_with_number_one() {
    let roster = Roster::new(LOG);
    assert_eq!(roster.judge(&enrol(1)), Err(ChangeError::NoIdentity));
    assert_eq!(roster.judge(&identify_as(&keys::identity(), 2)), Err(ChangeError::IdentityEpoch { stated: 2, expected: 1 }));
    let RosterChange::Identity(mut change) = identity() else { panic!() };
    change.signed.signature.0[3] ^= 1;
    assert!(matches!(roster.judge(&RosterChange::Identity(change)), Err(ChangeError::Signature(_))));
    assert!(matches!(Roster::new(LogId([8; 16])).judge(&identity()), Err(ChangeError::Log(LOG))));
    assert!(matches!(roster.judge(&identity()), Ok(Judged::Identity(..))));
}

#[test]
fn one_identity_and_no_other() {
    let roster = Roster::from_rows(LOG, &[row(1, identity())]).unwrap();
    assert_eq!(roster.judge(&identity()), Ok(Judged::Already(Seq(1))));
    assert!(matches!(roster.judge(&identify_as(&device_key(50), 1)), Err(ChangeError::IdentityEpoch { .. })));
}

#[test]
fn an_enrol_that_the_identity_did_not_sign_is_refused() {
    let roster = Roster::from_rows(LOG, &[row(1, identity())]).unwrap();
    let statement = Keys::new(1).enrolment();
    let by_itself = signed(&device_key(1), CONTEXT_ENROL, &statement);
    let as_revoke = signed(&keys::identity(), CONTEXT_REVOKE, &statement);
    for signed in [by_itself, as_revoke] {
        let change = RosterChange::Enrol(EnrolChange { signed });
        assert!(matches!(roster.judge(&change), Err(ChangeError::Signature(_))));
    }
}

#[test]
fn device_ids_are_never_used_again() {
    let roster = Roster::from_rows(LOG, &[row(1, identity()), row(2, enrol(1)), row(3, enrol(2)), row(4, revoke(2, 0, 1))]).unwrap();
    assert_eq!(roster.judge(&enrol(1)), Ok(Judged::Already(Seq(2))));
    assert_eq!(roster.judge(&enrol(2)), Err(ChangeError::Revoked(device(2))));
    let other_keys = enrol_of(&EnrolStatement { signing: Keys::new(9).enrolment().signing, ..Keys::new(1).enrolment() });
    assert_eq!(roster.judge(&other_keys), Err(ChangeError::OtherKeys(device(1))));
    assert_eq!(roster.judge(&revoke(2, 3, 1)), Ok(Judged::Already(Seq(4))));
    assert_eq!(roster.judge(&revoke(3, 0, 1)), Err(ChangeError::Unknown(device(3))));
}

#[test]
fn of_two_devices_that_revoke_each_other_the_first_wins() {
    let rows = [row(1, identity()), row(2, enrol(1)), row(3, enrol(2)), row(4, revoke(2, 0, 1)), row(5, revoke(1, 0, 2))];
    let error = ChangeError::Revoked(device(2));
    assert_eq!(Roster::from_rows(LOG, &rows), Err(RowError::Change { seq: Seq(5), error }));
}

#[test]
fn rows_out_of_order_or_that_change_nothing_are_not_a_roster() {
    let rows = [row(2, identity()), row(2, enrol(1))];
    assert_eq!(Roster::from_rows(LOG, &rows), Err(RowError::Order { seq: Seq(2), last: Seq(2) }));
    let rows = [row(1, identity()), row(2, enrol(1)), row(3, enrol(1))];
    assert_eq!(Roster::from_rows(LOG, &rows), Err(RowError::Repeated { seq: Seq(3), already: Seq(2) }));
}

#[test]
fn a_device_name_fits_to_its_last_byte() {
    let roster = Roster::from_rows(LOG, &[row(1, identity())]).unwrap();
    for (bytes, fits) in [(DEVICE_NAME_BYTES_MAX, true), (DEVICE_NAME_BYTES_MAX + 1, false)] {
        let statement = EnrolStatement { name: vec![0; bytes].into(), ..Keys::new(1).enrolment() };
        assert_eq!(roster.judge(&enrol_of(&statement)).is_ok(), fits);
    }
}

#[test]
fn a_statement_with_what_a_newer_release_appends_fits_to_its_last_byte() {
    let roster = Roster::from_rows(LOG, &[row(1, identity())]).unwrap();
    for (bytes, fits) in [(STATEMENT_BYTES_MAX, true), (STATEMENT_BYTES_MAX + 1, false)] {
        let mut statement = encode(&Keys::new(1).enrolment());
        assert_eq!(statement[0], 0x98, "eight fields");
        statement[0] = 0x99;
        let appended = u16::try_from(bytes - statement.len() - 3).unwrap();
        statement.push(0xc5);
        statement.extend(appended.to_be_bytes());
        statement.resize(bytes, 0);
        let change = RosterChange::Enrol(EnrolChange { signed: signed_bytes(&keys::identity(), CONTEXT_ENROL, statement.into()) });
        match roster.judge(&change) {
            Ok(Judged::Enrol(..)) => assert!(fits),
            Err(error) => assert!(!fits && matches!(error, ChangeError::TooLarge { .. }) && error.code() == ErrorCode::StatementInvalid),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_last_device_fits_the_next_does_not_and_a_revoke_makes_room() {
    let devices = u8::try_from(DEVICES_MAX).unwrap();
    let mut desk = Desk::with_devices(devices);
    assert_eq!(desk.user.roster().unwrap().enrolled(), DEVICES_MAX);
    assert_eq!(desk.enrol(vec![enrol(100)]).unwrap_err().code, ErrorCode::DevicesFull);
    assert!(desk.enrol(vec![revoke(5, 0, 1), enrol(100)]).is_ok());
    assert_eq!(desk.user.roster().unwrap().enrolled(), DEVICES_MAX);
}

#[test]
fn the_changes_of_one_call_are_one_commit_or_none() {
    let mut desk = Desk::empty();
    assert_eq!(desk.enrol(vec![identity(), enrol(1), revoke(9, 0, 1)]).unwrap_err().code, ErrorCode::DeviceUnknown);
    assert_eq!(desk.store.log().unwrap().len(), 0);
    assert_eq!(desk.enrol(vec![identity(), enrol(1)]).unwrap(), Seq(2));
    // Again, as after a lost answer.
    assert_eq!(desk.enrol(vec![identity(), enrol(1)]).unwrap(), Seq(2));
    assert_eq!(desk.enrol(Vec::new()).unwrap(), Seq(2));
    assert_eq!(desk.store.log().unwrap().len(), 2);
}

#[test]
fn hello_is_for_enrolled_devices_with_their_own_key() {
    let mut desk = Desk::rewound_with_devices(2);
    assert_eq!(desk.opened(peer(1, 1)), Ok(()));
    assert_eq!(desk.opened(peer(2, 9)), Err(ErrorCode::DeviceUnknown));
    desk.say(Event::Open { peer: peer(3, 1), proof: maker::hello(2) });
    let refused =
        desk.out.iter().any(|effect| matches!(effect, Effect::Opened { outcome: Err(f), .. } if f.code == ErrorCode::SignatureInvalid));
    assert!(refused);
    assert!(matches!(desk.revoke(peer(1, 1), revoke(2, 0, 1)), Frame::RosterChanged(_)));
    assert_eq!(desk.opened(peer(4, 2)), Err(ErrorCode::DeviceRevoked));
}

#[test]
fn a_revoke_closes_the_device_and_ends_its_families_and_again_when_repeated() {
    let mut desk = Desk::rewound_with_devices(2);
    desk.attach(peer(7, 2), Cursor::default());
    desk.pushed(peer(7, 2), push(2, 3, NONE, &[create("a")]));
    for _ in 0..2 {
        desk.out.clear();
        assert!(matches!(desk.revoke(peer(1, 1), revoke(2, 3, 1)), Frame::RosterChanged(changed) if changed.seq == Seq(5)));
        let ends: Vec<_> = desk.out.iter().filter(|effect| !matches!(effect, Effect::FanOut(_))).collect();
        assert!(
            matches!(ends[..], [Effect::RevokeFamilies { device: a }, Effect::CloseDevice { device: b, code: ErrorCode::DeviceRevoked }]
            if *a == device(2) && *b == device(2))
        );
    }
    assert_eq!(desk.user.attached().count(), 0);
    assert!(!desk.user.head().unwrap().dedup.contains_key(&device(2)));
    assert_eq!(code(desk.push(peer(7, 2), push(2, 3, NONE, &[create("a")]))), ErrorCode::DeviceRevoked);
    assert_eq!(code(desk.claim(peer(7, 2))), ErrorCode::DeviceRevoked);
    assert_eq!(code(desk.attach(peer(7, 2), Cursor::default())), ErrorCode::DeviceRevoked);
}

#[test]
fn a_session_only_revokes_and_only_itself_in_its_own_name() {
    let mut desk = Desk::with_devices(2);
    assert_eq!(code(desk.revoke(peer(1, 1), revoke(2, 0, 1))), ErrorCode::Refused, "that asks for the password");
    let mut leaving = Desk::with_devices(2);
    assert!(matches!(leaving.revoke(peer(7, 2), revoke(2, 0, 2)), Frame::RosterChanged(_)), "a log-out");
    assert_eq!(code(desk.revoke(peer(1, 1), enrol(9))), ErrorCode::Refused);
    assert_eq!(code(desk.revoke(peer(1, 1), revoke(2, 0, 2))), ErrorCode::StatementInvalid);
}

#[test]
fn what_was_sent_before_a_revoke_is_decided_before_it() {
    let mut desk = Desk::rewound_with_devices(2);
    desk.claim(peer(7, 2));
    desk.tell_push(peer(7, 2), push(2, 1, NONE, &[create("a")]));
    desk.tell(Event::ChangeRoster { peer: peer(1, 1), change: ChangeRoster { request: 5, log: OWN_LOG, change: revoke(2, 0, 1) } });
    // Not admitted while that is pending, and told nothing that is not durable.
    desk.tell(Event::Open { peer: peer(8, 2), proof: maker::hello(2) });
    assert!(desk.out.iter().any(|effect| matches!(effect, Effect::Opened { outcome: Err(f), .. } if f.code == ErrorCode::Busy)));
    desk.run();
    assert!(matches!(desk.answer(peer(7, 2).session, 1), Frame::Pushed(_)));
    let refused = failure(desk.answer(peer(1, 1).session, 5));
    assert_eq!((refused.code, refused.last.unwrap().device_seq), (ErrorCode::RevokeLastDiffers, DeviceSeq(1)));
}

#[test]
fn a_device_that_goes_on_pushing_can_not_outrun_its_revoker() {
    let mut desk = Desk::rewound_with_devices(2);
    let first = desk.pushed(peer(7, 2), push(2, 1, NONE, &[create("a")]));
    assert_eq!(code(desk.revoke(peer(1, 1), revoke(2, 0, 1))), ErrorCode::RevokeLastDiffers);
    assert_eq!(code(desk.push(peer(7, 2), push(2, 2, first, &[create("b")]))), ErrorCode::Busy);
    assert_eq!(code(desk.claim(peer(9, 2))), ErrorCode::Busy);
    assert_eq!(desk.opened(peer(8, 2)), Err(ErrorCode::Busy));
    assert!(!desk.user.is_idle(), "a passivated owner would forget the bar");
    assert!(matches!(desk.revoke(peer(1, 1), revoke(2, 1, 1)), Frame::RosterChanged(_)));
    assert_eq!(code(desk.push(peer(7, 2), push(2, 2, first, &[create("b")]))), ErrorCode::DeviceRevoked);
    assert!(desk.user.is_idle());
}

#[test]
fn a_bar_ends_with_its_session_with_time_or_with_another_refusal() {
    let barred = || {
        let mut desk = Desk::rewound_with_devices(2);
        let first = desk.pushed(peer(7, 2), push(2, 1, NONE, &[create("a")]));
        assert_eq!(code(desk.revoke(peer(1, 1), revoke(2, 0, 1))), ErrorCode::RevokeLastDiffers);
        (desk, push(2, 2, first, &[create("b")]))
    };
    let (mut desk, next) = barred();
    desk.say(Event::Closed { session: peer(1, 1).session });
    assert!(matches!(desk.push(peer(7, 2), next), Frame::Pushed(_)));

    let (mut desk, next) = barred();
    assert_eq!(desk.user.wake_at_ms(), Some(desk.now_ms + BAR_MS));
    desk.now_ms += BAR_MS - 1;
    assert_eq!(code(desk.push(peer(7, 2), next.clone())), ErrorCode::Busy);
    desk.now_ms += 1;
    desk.say(Event::Wake);
    assert!(desk.user.is_idle());
    assert!(matches!(desk.push(peer(7, 2), next), Frame::Pushed(_)));

    let (mut desk, next) = barred();
    assert_eq!(code(desk.revoke(peer(1, 1), revoke(2, 1, 2))), ErrorCode::StatementInvalid);
    assert!(matches!(desk.push(peer(7, 2), next), Frame::Pushed(_)));
}
