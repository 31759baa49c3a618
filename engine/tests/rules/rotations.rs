//! Rotations and rekeys as the roster judges them: each rule with what is just right and what is one off.
//!
//! Never: a turn of the owner; what it makes of them is in `keys.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use cloudsync_engine::roster::{ChangeError, Judged, Roster, RowError};
use cloudsync_protocol::statement::{
    CONTEXT_ENDORSE, CONTEXT_REKEY, CONTEXT_ROTATE, Leaver, Member, RekeyStatement, RosterChange, RotateChange, RotateStatement, Signature,
};
use cloudsync_protocol::{DeviceId, DeviceSeq, ErrorCode, Hash, LogId, Seq};

use crate::maker::{device, device_key, enrol, identity, revoke};
use crate::support::keys::{self, LOG, enrol_of, identity_of, rekey, rekey_of, rotate_of, rotation, row, signed, signed_bytes};

/// Identity at 1, devices 1, 2 and 3 from 2 on.
fn roster() -> Roster {
    Roster::from_rows(LOG, &[row(1, identity()), row(2, enrol(1)), row(3, enrol(2)), row(4, enrol(3))]).unwrap()
}

/// Device 1 rotates and 3 leaves.
fn statement() -> RotateStatement {
    rotation(&roster(), device(1), &[(device(3), DeviceSeq(7))])
}

fn one() -> ed25519_dalek::SigningKey {
    device_key(1)
}

fn after(changes: impl IntoIterator<Item = RosterChange>) -> Roster {
    let mut roster = roster();
    for (change, seq) in changes.into_iter().zip(10..) {
        roster.apply(&row(seq, change)).unwrap();
    }
    roster
}

fn code(roster: &Roster, change: &RosterChange) -> Result<(), ErrorCode> {
    roster.judge(change).map(drop).map_err(|error| error.code())
}

/// What becomes of the rotation with one thing changed, its signatures made anew.
fn changed(change: impl FnOnce(&mut RotateStatement)) -> Result<(), ErrorCode> {
    let mut statement = statement();
    change(&mut statement);
    code(&roster(), &rotate_of(&statement, &one()))
}

#[test]
fn a_rotation_replaces_the_identity_and_leaves_its_members_and_nobody_else() {
    let roster = after([rotate_of(&statement(), &one())]);
    let identity = roster.identity().unwrap();
    assert_eq!((identity.identity_epoch, identity.seq), (2, Seq(10)));
    assert_eq!(roster.identity_of(1).unwrap().seq, Seq(1), "the one before is known still");
    assert_eq!(roster.enrolled(), 2);
    let gone = roster.devices().find(|(id, _)| *id == device(3)).unwrap().1.revoked.unwrap();
    assert_eq!((gone.seq, gone.last, gone.by), (Seq(10), Some(DeviceSeq(7)), device(1)));
    let keyring = roster.keyring();
    assert_eq!((keyring.version, keyring.epoch, keyring.seq), (2, 2, Seq(10)));
    assert_eq!((keyring.hash, keyring.recovery), (Some(statement().keyring), Some(statement().recovery)));
    assert_eq!(roster.key_epoch_at(Seq(10)), 1, "the row itself is the last under the old key");
    assert_eq!(roster.key_epoch_at(Seq(11)), 2);
}

#[test]
fn a_rotation_is_judged_by_its_numbers() {
    use ErrorCode::{KeyringConflict, StatementInvalid};
    assert_eq!(changed(|_| {}), Ok(()));
    assert_eq!(changed(|statement| statement.format = 2), Err(StatementInvalid));
    assert_eq!(changed(|statement| statement.log = LogId([8; 16])), Err(StatementInvalid));
    assert_eq!(changed(|statement| statement.version = 1), Err(KeyringConflict));
    assert_eq!(changed(|statement| statement.version = 3), Err(StatementInvalid));
    assert_eq!(changed(|statement| statement.identity_epoch = 1), Err(StatementInvalid));
    assert_eq!(changed(|statement| statement.identity_epoch = 3), Err(StatementInvalid));
    assert_eq!(changed(|statement| statement.epoch = 1), Err(StatementInvalid));
    assert_eq!(changed(|statement| statement.epoch = 3), Err(StatementInvalid));
}

#[test]
fn a_rotation_to_a_key_that_was_there_before_is_refused() {
    let [first, second] = [identity_of(1), device_key(2)].map(|key| {
        let mut statement = statement();
        statement.signing = keys::public(&key);
        let signed = signed(&key, CONTEXT_ROTATE, &statement);
        let endorsement = signed_bytes(&one(), CONTEXT_ENDORSE, signed.statement.clone()).signature;
        roster().judge(&RotateChange { signed, endorsement }.into())
    });
    assert_eq!((first, second), (Err(ChangeError::KeyUsed), Err(ChangeError::KeyUsed)));
}

#[test]
fn the_lists_of_a_rotation_are_in_order_apart_and_with_the_device_that_rotates() {
    use ErrorCode::StatementInvalid;
    let leaver = |number| Leaver { device: device(number), last: DeviceSeq(0) };
    assert_eq!(changed(|statement| statement.members.reverse()), Err(StatementInvalid));
    assert_eq!(changed(|statement| statement.members.push(statement.members[1])), Err(StatementInvalid));
    assert_eq!(changed(|statement| statement.revoked = vec![leaver(3), leaver(3)]), Err(StatementInvalid));
    assert_eq!(changed(|statement| statement.revoked = vec![leaver(2), leaver(3)]), Err(StatementInvalid), "in both");
    assert_eq!(changed(|statement| statement.by = device(3)), Err(StatementInvalid));
    let too_many = |statement: &mut RotateStatement| {
        statement.revoked = (100..163).map(leaver).collect();
        assert_eq!(statement.members.len() + statement.revoked.len(), 65);
    };
    assert_eq!(changed(too_many), Err(StatementInvalid));
}

#[test]
fn devices_that_came_or_went_since_a_rotation_was_signed_are_told() {
    use ErrorCode::RosterMoved;
    assert_eq!(changed(|statement| statement.members[1].enrol = Hash([1; 32])), Err(RosterMoved), "another enrolment of that id");
    assert_eq!(changed(|statement| statement.members[1].device = device(9)), Err(RosterMoved), "never enrolled");
    assert_eq!(changed(|statement| statement.revoked[0].device = device(9)), Err(RosterMoved), "never enrolled");
    let rotate = rotate_of(&statement(), &one());
    for gone in [2, 3] {
        assert_eq!(code(&after([revoke(gone, 0, 1)]), &rotate), Err(RosterMoved), "{gone} was revoked meanwhile");
    }
    let grown = after([enrol(4)]);
    match grown.judge(&rotate) {
        Ok(Judged::Rotate(rotation)) => assert_eq!(rotation.dropped, [device(4)], "whoever is in no list is named"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_was_left_out_of_a_rotation_is_revoked_by_it_at_an_unnamed_push() {
    let roster = after([enrol(4), rotate_of(&statement(), &one())]);
    let gone = roster.devices().find(|(id, _)| *id == device(4)).unwrap().1.revoked.unwrap();
    assert_eq!((gone.seq, gone.last), (Seq(11), None));
}

#[test]
fn a_rotation_needs_both_its_signatures() {
    let good = rotate_of(&statement(), &one());
    let RosterChange::Rotate(change) = good else { panic!() };
    let with = |endorsement| code(&roster(), &RotateChange { endorsement, ..change.clone() }.into());
    let by = |key: &ed25519_dalek::SigningKey, context| signed_bytes(key, context, change.signed.statement.clone()).signature;
    assert_eq!(with(by(&one(), CONTEXT_ENDORSE)), Ok(()));
    assert_eq!(with(Signature([0; 64])), Err(ErrorCode::SignatureInvalid), "none");
    assert_eq!(with(by(&device_key(3), CONTEXT_ENDORSE)), Err(ErrorCode::SignatureInvalid), "by a device that leaves");
    assert_eq!(with(by(&one(), CONTEXT_ROTATE)), Err(ErrorCode::SignatureInvalid), "of another context");
    let mut other = statement();
    other.client_ts += 1;
    let RosterChange::Rotate(elsewhere) = rotate_of(&other, &one()) else { panic!() };
    assert_eq!(with(elsewhere.endorsement), Err(ErrorCode::SignatureInvalid), "of another rotation");
    let old = signed(&identity_of(1), CONTEXT_ROTATE, &statement());
    let endorsement = signed_bytes(&one(), CONTEXT_ENDORSE, old.statement.clone()).signature;
    assert_eq!(code(&roster(), &RotateChange { signed: old, endorsement }.into()), Err(ErrorCode::SignatureInvalid), "by the old identity");
}

#[test]
fn what_the_old_identity_signs_after_a_rotation_is_refused_by_its_name() {
    let roster = after([rotate_of(&statement(), &one())]);
    assert_eq!(code(&roster, &enrol(5)), Err(ErrorCode::IdentityOld));
    assert_eq!(code(&roster, &revoke(2, 0, 1)), Err(ErrorCode::IdentityOld));
    let rekeyed = |identity_epoch, version| {
        let keyring = Hash([4; 32]);
        rekey_of(&RekeyStatement { format: 1, log: LOG, identity_epoch, version, keyring, client_ts: 0 })
    };
    assert_eq!(code(&roster, &rekeyed(1, 3)), Err(ErrorCode::IdentityOld));
    assert_eq!(code(&roster, &rekeyed(2, 3)), Ok(()));
    let later = keys::Keys::new(5).enrolment();
    let by = |identity_epoch| enrol_of(&cloudsync_protocol::statement::EnrolStatement { identity_epoch, ..later.clone() });
    assert_eq!(code(&roster, &by(2)), Ok(()));
    assert_eq!(code(&roster, &by(3)), Err(ErrorCode::StatementInvalid));
}

#[test]
fn a_ghost_that_the_old_identity_enrols_before_a_rotation_is_gone_after_it() {
    // The server slips a device in before the row that it was shown, or leaves one out: the list decides.
    let rotate = rotate_of(&statement(), &one());
    let with_ghost = after([enrol(66), rotate.clone()]);
    let enrolled: Vec<DeviceId> = with_ghost.devices().filter(|(_, device)| device.revoked.is_none()).map(|(id, _)| id).collect();
    assert_eq!(enrolled, [device(1), device(2)]);
    let without_two = [row(1, identity()), row(2, enrol(1)), row(4, enrol(3)), row(10, rotate.clone())];
    assert!(matches!(
        Roster::from_rows(LOG, &without_two),
        Err(RowError::Change { seq: Seq(10), error: ChangeError::Moved(moved) }) if moved == device(2)
    ));
    // A prefix of the server's own making: its own identity and devices, and the real rotation after them.
    let forged = identity_of(99);
    let made_up = [row(1, keys::identify_as(&forged, 1)), row(10, rotate)];
    assert!(Roster::from_rows(LOG, &made_up).is_err());
}

#[test]
fn rows_that_repeat_what_holds_are_told_apart_from_new_ones() {
    let rotate = rotate_of(&statement(), &one());
    let roster = after([rotate.clone()]);
    assert_eq!(roster.judge(&rotate), Ok(Judged::Already(Seq(10))));
    assert_eq!(roster.judge(&identity()), Ok(Judged::Already(Seq(1))));
    let rekeyed = rekey(&roster);
    let mut roster = roster;
    roster.apply(&row(11, rekeyed.clone())).unwrap();
    assert_eq!(roster.judge(&rekeyed), Ok(Judged::Already(Seq(11))));
    assert_eq!(roster.judge(&rotate), Ok(Judged::Already(Seq(10))), "it gave the identity in force");
    let mut second = statement();
    second.client_ts += 1;
    assert_eq!(code(&roster, &rotate_of(&second, &one())), Err(ErrorCode::KeyringConflict), "another had that turn");
}

#[test]
fn a_rekey_moves_the_version_and_nothing_else() {
    let before = after([rotate_of(&statement(), &one())]);
    let mut roster = before.clone();
    roster.apply(&row(11, rekey(&before))).unwrap();
    let keyring = roster.keyring();
    assert_eq!((keyring.version, keyring.epoch, keyring.recovery), (3, 2, before.keyring().recovery));
    assert_eq!(keyring.hash, Some(Hash::of(&[&keys::blob(3)])));
    assert_eq!((roster.enrolled(), roster.identity()), (2, before.identity()));
    assert_eq!(roster.key_epoch_at(Seq(100)), 2);
    let stated = |version| RekeyStatement { format: 1, log: LOG, identity_epoch: 2, version, keyring: Hash([1; 32]), client_ts: 0 };
    assert_eq!(code(&roster, &rekey_of(&stated(3))), Err(ErrorCode::KeyringConflict));
    assert_eq!(code(&roster, &rekey_of(&stated(4))), Ok(()));
    assert_eq!(code(&roster, &rekey_of(&stated(5))), Err(ErrorCode::StatementInvalid));
    let foreign = cloudsync_protocol::statement::RekeyChange { signed: signed(&identity_of(3), CONTEXT_REKEY, &stated(4)) };
    assert_eq!(code(&roster, &foreign.into()), Err(ErrorCode::SignatureInvalid));
    assert_eq!(code(&Roster::new(LOG), &rekey_of(&RekeyStatement { version: 2, ..stated(2) })), Err(ErrorCode::StatementInvalid));
}

#[test]
fn every_epoch_follows_from_the_roster() {
    let mut roster = after([rotate_of(&statement(), &one())]);
    let second = rotation(&roster, device(2), &[]);
    roster.apply(&row(20, rotate_of(&second, &device_key(2)))).unwrap();
    let epochs = [0, 1, 10, 11, 20, 21, 1_000].map(|seq| roster.key_epoch_at(Seq(seq)));
    assert_eq!(epochs, [1, 1, 1, 2, 2, 3, 3]);
    assert!(second.members.iter().map(|member: &Member| member.device).eq([device(1), device(2)]));
}
