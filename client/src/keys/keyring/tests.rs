//! The keyring against a server that lies, a password that is wrong, and time that passes.
//!
//! Never: an attack that only fails because its blob is malformed; each is signed and sealed as well as the server can.

use cloudsync_protocol::codec;
use cloudsync_protocol::statement::Signed;

use super::sealing::seal_secrets;
use super::*;
use crate::keys::account::AccountKey;
use crate::keys::device::SigningPair;
use crate::keys::recovery::RecoveryCode;
use crate::keys::sealing::seal_to;
use crate::keys::secret::Secret;

const USER: UserId = UserId([4; 16]);

fn export_key(byte: u8) -> ExportKey {
    ExportKey(Secret::new([byte; 64]))
}

fn code() -> RecoveryCode {
    RecoveryCode::from_bytes([3; 20])
}

fn statement_of(blob: &[u8]) -> KeyringStatement {
    codec::decode(&codec::decode::<Signed>(blob).unwrap().statement).unwrap()
}

fn reseal(blob: &[u8], change: impl FnOnce(&mut KeyringStatement), signing: &SigningPair) -> Vec<u8> {
    let signed: Signed = codec::decode(blob).unwrap();
    let mut statement: KeyringStatement = codec::decode(&signed.statement).unwrap();
    change(&mut statement);
    let statement = codec::encode(&statement);
    let signature = signing.sign(CONTEXT, &statement).unwrap();
    codec::encode(&Signed { statement: statement.into(), signature })
}

#[test]
fn password_and_recovery_code_open_the_same_secrets() {
    let secrets = AccountSecrets::first(USER);
    let (password, code) = (export_key(1), RecoveryCode::random());
    let blob = seal_keyring(&secrets, &password, &code).unwrap();
    for opener in [Opener::Password(&password), Opener::Recovery(&code)] {
        let opened = open_keyring(&blob, USER, opener).unwrap();
        assert_eq!(opened.account, secrets.account);
        assert_eq!(opened.identity.signing.public(), secrets.identity.signing.public());
        assert_eq!(opened.identity.sharing.public(), secrets.identity.sharing.public());
        assert_eq!(opened.record_ids, secrets.record_ids);
    }
}

#[test]
fn a_rotated_account_key_brings_the_earlier_ones_and_keeps_record_ids() {
    let mut secrets = AccountSecrets::first(USER);
    let first = secrets.account.current().clone();
    secrets.account = AccountKeys::new(AccountKey { epoch: KeyEpoch(2), key: Secret::random() }, [first.clone()]);
    let password = export_key(1);
    let blob = seal_keyring(&secrets, &password, &code()).unwrap();
    let opened = open_keyring(&blob, USER, Opener::Password(&password)).unwrap();
    assert_eq!(opened.account, secrets.account);
    assert_eq!(opened.record_ids, first.record_id_key());
}

#[test]
fn another_password_or_code_finds_no_half() {
    let blob = seal_keyring(&AccountSecrets::first(USER), &export_key(1), &code()).unwrap();
    assert_eq!(open_keyring(&blob, USER, Opener::Password(&export_key(2))).unwrap_err(), OpenError::NoHalf);
    assert_eq!(open_keyring(&blob, USER, Opener::Recovery(&RecoveryCode::random())).unwrap_err(), OpenError::NoHalf);
}

#[test]
fn an_account_key_that_the_server_seals_to_the_password_is_caught_by_the_anchor() {
    let password = export_key(1);
    let honest = seal_keyring(&AccountSecrets::first(USER), &password, &code()).unwrap();
    let honest = statement_of(&honest);
    // The server knows the public half and the honest anchor, not the password: it makes everything else itself.
    let forged = seal_keyring(&AccountSecrets::first(USER), &export_key(9), &code()).unwrap();
    let server = AccountSecrets::first(USER);
    let sealed = seal_to(&honest.halves[0].public, &half_info(USER.into(), KeyEpoch(1), 1), server.account.current().key.expose());
    let half = Half { sealed: sealed.unwrap().into(), ..honest.halves[0].clone() };
    let forge = |statement: &mut KeyringStatement| {
        statement.identity = server.identity.signing.public();
        statement.secrets = seal_secrets(&server, [0; 12]).into();
        statement.halves[0] = half;
    };
    let forged = reseal(&forged, forge, &server.identity.signing);
    assert_eq!(open_keyring(&forged, USER, Opener::Password(&password)).unwrap_err(), OpenError::Anchor);
}

#[test]
fn a_revoked_device_can_put_no_account_key_of_its_own_under_an_anchor_that_it_copied() {
    let (secrets, password) = (AccountSecrets::first(USER), export_key(1));
    let honest = seal_keyring(&secrets, &password, &code()).unwrap();
    // It has everything of the account but password and code: the identity signs what it makes, the halves' keys are public.
    for epoch in [1, 2] {
        let key = AccountKey { epoch: KeyEpoch(epoch), key: Secret::random() };
        let own = AccountSecrets { account: AccountKeys::new(key.clone(), [secrets.account.current().clone()]), ..secrets.clone() };
        let public = statement_of(&honest).halves[0].public;
        let sealed = seal_to(&public, &half_info(USER.into(), key.epoch, KIND_PASSWORD), key.key.expose()).unwrap();
        let forge = |statement: &mut KeyringStatement| {
            statement.epoch = epoch;
            statement.halves[0].sealed = sealed.into();
            statement.secrets = seal_secrets(&own, [0; 12]).into();
        };
        let forged = reseal(&honest, forge, &secrets.identity.signing);
        assert_eq!(open_keyring(&forged, USER, Opener::Password(&password)).unwrap_err(), OpenError::Anchor, "epoch {epoch}");
    }
}

#[test]
fn another_password_opens_what_the_one_before_opened_and_nothing_else_of_the_keyring_changes() {
    let (secrets, old, new) = (AccountSecrets::first(USER), export_key(1), export_key(2));
    let before = seal_keyring(&secrets, &old, &code()).unwrap();
    let after = with_password(&before, &secrets, &new).unwrap();
    assert_eq!(open_keyring(&after, USER, Opener::Password(&old)).unwrap_err(), OpenError::NoHalf);
    for opener in [Opener::Password(&new), Opener::Recovery(&code())] {
        assert_eq!(open_keyring(&after, USER, opener).unwrap().account, secrets.account);
    }
    let (before, after) = (statement_of(&before), statement_of(&after));
    assert_eq!((&before.halves[1..], &before.secrets), (&after.halves[1..], &after.secrets));
}

#[test]
fn halves_out_of_their_order_or_twice_of_a_kind_are_refused() {
    let (secrets, password) = (AccountSecrets::first(USER), export_key(1));
    let blob = seal_keyring(&secrets, &password, &code()).unwrap();
    let changes: [fn(&mut Vec<Half>); 4] = [
        |halves| halves.swap(0, 1),
        |halves| halves.truncate(1),
        |halves| halves.push(halves[0].clone()),
        |halves| halves.insert(0, halves[0].clone()),
    ];
    for change in changes {
        let changed = reseal(&blob, |statement| change(&mut statement.halves), &secrets.identity.signing);
        assert!(matches!(open_keyring(&changed, USER, Opener::Password(&password)), Err(OpenError::Damaged(_))));
    }
}

#[test]
fn a_keyring_without_every_earlier_account_key_is_refused() {
    let mut secrets = AccountSecrets::first(USER);
    secrets.account = AccountKeys::new(AccountKey { epoch: KeyEpoch(3), key: Secret::random() }, [secrets.account.current().clone()]);
    let password = export_key(1);
    let blob = seal_keyring(&secrets, &password, &code()).unwrap();
    let refused = open_keyring(&blob, USER, Opener::Password(&password)).unwrap_err();
    assert_eq!(refused, OpenError::Damaged("earlier account keys are missing"));
}

#[test]
fn a_device_sees_whether_a_keyring_holds_the_keys_that_it_has() {
    let secrets = AccountSecrets::first(USER);
    let blob = seal_keyring(&secrets, &export_key(1), &code()).unwrap();
    assert_eq!(check_held(&blob, &secrets), Ok(()));
    let other = AccountSecrets { account: AccountKeys::first(), ..secrets.clone() };
    assert!(check_held(&blob, &other).is_err());
    assert_eq!(check_held(&blob, &AccountSecrets { identity: Identity::first(), ..secrets }), Err(OpenError::Signature));
}

#[test]
fn a_keyring_that_the_identity_did_not_sign_is_refused() {
    let (secrets, password) = (AccountSecrets::first(USER), export_key(1));
    let blob = seal_keyring(&secrets, &password, &code()).unwrap();
    let resigned = reseal(&blob, |_| {}, &SigningPair::random());
    assert_eq!(open_keyring(&resigned, USER, Opener::Password(&password)).unwrap_err(), OpenError::Signature);
}

#[test]
fn a_keyring_of_another_account_or_a_newer_format_is_named() {
    let (secrets, password) = (AccountSecrets::first(USER), export_key(1));
    let blob = seal_keyring(&secrets, &password, &code()).unwrap();
    assert_eq!(open_keyring(&blob, UserId([5; 16]), Opener::Password(&password)).unwrap_err(), OpenError::OtherLog);
    let newer = reseal(&blob, |statement| statement.format = 3, &secrets.identity.signing);
    assert_eq!(open_keyring(&newer, USER, Opener::Password(&password)).unwrap_err(), OpenError::FormatUnknown { format: 3 });
}

#[test]
fn any_changed_byte_of_a_keyring_is_caught() {
    let (secrets, password) = (AccountSecrets::first(USER), export_key(1));
    let blob = seal_keyring(&secrets, &password, &code()).unwrap();
    for at in 0..blob.len() {
        let mut changed = blob.to_vec();
        changed[at] ^= 1;
        assert!(open_keyring(&changed, USER, Opener::Password(&password)).is_err(), "byte {at}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let secrets = AccountSecrets::first(USER);
    let text = format!("{secrets:?} {:?}", export_key(0x61));
    for secret in [secrets.identity.signing.seed(), secrets.identity.sharing.secret(), secrets.account.current().key.clone()] {
        assert!(!text.contains(&PublicKey(*secret.expose()).to_string()) && !text.contains(&format!("{:?}", secret.expose())));
    }
}
