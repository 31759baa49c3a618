//! The keyring against a server that lies, a password that is wrong, and time that passes.
//!
//! Never: an attack that only fails because its blob is malformed; each is signed and sealed as well as the server can.

use super::*;

const USER: UserId = UserId([4; 16]);

fn export_key(byte: u8) -> ExportKey {
    ExportKey(Secret::new([byte; 64]))
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
    let blob = seal_keyring(&secrets, &[Opener::Password(&password), Opener::Recovery(&code)]).unwrap();
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
    let blob = seal_keyring(&secrets, &[Opener::Password(&password)]).unwrap();
    let opened = open_keyring(&blob, USER, Opener::Password(&password)).unwrap();
    assert_eq!(opened.account, secrets.account);
    assert_eq!(opened.record_ids, first.record_id_key());
}

#[test]
fn another_password_or_code_finds_no_half() {
    let blob = seal_keyring(&AccountSecrets::first(USER), &[Opener::Password(&export_key(1))]).unwrap();
    assert_eq!(open_keyring(&blob, USER, Opener::Password(&export_key(2))).unwrap_err(), OpenError::NoHalf);
    assert_eq!(open_keyring(&blob, USER, Opener::Recovery(&RecoveryCode::random())).unwrap_err(), OpenError::NoHalf);
}

#[test]
fn an_account_key_that_the_server_seals_to_the_password_is_caught_by_the_anchor() {
    let password = export_key(1);
    let honest = seal_keyring(&AccountSecrets::first(USER), &[Opener::Password(&password)]).unwrap();
    let honest: KeyringStatement = codec::decode(&codec::decode::<Signed>(&honest).unwrap().statement).unwrap();
    // The server knows the public half and the honest anchor, not the password: it makes everything else itself.
    let forged = seal_keyring(&AccountSecrets::first(USER), &[Opener::Password(&export_key(9))]).unwrap();
    let server = AccountSecrets::first(USER);
    let sealed = seal_to(&honest.halves[0].public, &half_info(USER.into(), KeyEpoch(1), 1), server.account.current().key.expose());
    let half = Half { sealed: sealed.unwrap().into(), ..honest.halves[0].clone() };
    let forge = |statement: &mut KeyringStatement| {
        statement.identity = server.identity.signing.public();
        statement.secrets = seal_secrets(&server, [0; 12]).into();
        statement.halves = vec![half];
    };
    let forged = reseal(&forged, forge, &server.identity.signing);
    assert_eq!(open_keyring(&forged, USER, Opener::Password(&password)).unwrap_err(), OpenError::Anchor);
}

#[test]
fn a_keyring_that_the_identity_did_not_sign_is_refused() {
    let (secrets, password) = (AccountSecrets::first(USER), export_key(1));
    let blob = seal_keyring(&secrets, &[Opener::Password(&password)]).unwrap();
    let resigned = reseal(&blob, |statement| statement.epoch = 2, &SigningPair::random());
    assert_eq!(open_keyring(&resigned, USER, Opener::Password(&password)).unwrap_err(), OpenError::Signature);
}

#[test]
fn a_keyring_of_another_account_or_a_newer_format_is_named() {
    let (secrets, password) = (AccountSecrets::first(USER), export_key(1));
    let blob = seal_keyring(&secrets, &[Opener::Password(&password)]).unwrap();
    assert_eq!(open_keyring(&blob, UserId([5; 16]), Opener::Password(&password)).unwrap_err(), OpenError::OtherLog);
    let newer = reseal(&blob, |statement| statement.format = 2, &secrets.identity.signing);
    assert_eq!(open_keyring(&newer, USER, Opener::Password(&password)).unwrap_err(), OpenError::FormatUnknown { format: 2 });
}

#[test]
fn any_changed_byte_of_a_keyring_is_caught() {
    let (secrets, password) = (AccountSecrets::first(USER), export_key(1));
    let blob = seal_keyring(&secrets, &[Opener::Password(&password)]).unwrap();
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
