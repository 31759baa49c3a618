//! Vectors of the keyring. HPKE draws a key of its own each time, so a frozen blob is only to be opened.
//!
//! Never: a blob that opens by one of its two openers alone.

use cloudsync_protocol::UserId;
use serde_json::{Value, json};

use super::{array, bytes, hex, pattern, read};
use crate::keys::{
    AccountKey, AccountKeys, AccountSecrets, AgreementPair, ExportKey, Identity, KeyEpoch, Opener, RecoveryCode, Secret, SigningPair,
    open_keyring, seal_keyring,
};

pub(super) fn sealed() -> Value {
    let user = UserId(pattern(1));
    let first = AccountKey { epoch: KeyEpoch(1), key: Secret::new(pattern(0x20)) };
    let second = AccountKey { epoch: KeyEpoch(2), key: Secret::new(pattern(0x40)) };
    let identity = Identity {
        epoch: 1,
        signing: SigningPair::from_seed(&Secret::new(pattern(0x50))),
        sharing: AgreementPair::from_secret(&Secret::new(pattern(0x70))),
    };
    let of = |name: &str, account: AccountKeys| {
        let secrets = AccountSecrets { user, account, identity: identity.clone(), record_ids: first.record_id_key() };
        let (export_key, code) = (ExportKey(Secret::new(pattern(0x80))), pattern(0x11));
        let recovery = RecoveryCode::from_bytes(code);
        let blob = seal_keyring(&secrets, &export_key, &recovery).unwrap();
        let keys = |key: &AccountKey| json!({ "epoch": key.epoch.0, "key": hex(key.key.expose()) });
        json!({
            "name": name,
            "user": hex(user.as_bytes()),
            "export_key": hex(export_key.0.expose()),
            "recovery_code": hex(code),
            "blob": hex(&blob),
            "account_keys": secrets.account.earlier().chain([secrets.account.current()]).map(keys).collect::<Vec<_>>(),
            "identity_epoch": 1,
            "identity_seed": hex(identity.signing.seed().expose()),
            "sharing_secret": hex(identity.sharing.secret().expose()),
            "record_id_key": hex(secrets.record_ids.0.expose()),
        })
    };
    json!({
        "keyrings": [
            of("first epoch", AccountKeys::new(first.clone(), [])),
            of("after a rotation", AccountKeys::new(second, [first.clone()])),
        ],
    })
}

#[test]
fn frozen_keyrings_open_by_password_and_by_code() {
    for vector in read("keyring")["keyrings"].as_array().unwrap() {
        let export_key = ExportKey(Secret::new(array(&vector["export_key"])));
        let code = RecoveryCode::from_bytes(array(&vector["recovery_code"]));
        for opener in [Opener::Password(&export_key), Opener::Recovery(&code)] {
            let opened = open_keyring(&bytes(&vector["blob"]), UserId(array(&vector["user"])), opener).unwrap();
            assert_eq!(hex(opened.identity.signing.seed().expose()), vector["identity_seed"].as_str().unwrap());
            assert_eq!(hex(opened.identity.sharing.secret().expose()), vector["sharing_secret"].as_str().unwrap());
            assert_eq!(hex(opened.record_ids.0.expose()), vector["record_id_key"].as_str().unwrap());
            let keys = vector["account_keys"].as_array().unwrap();
            assert_eq!(opened.account.earlier().count() + 1, keys.len());
            for key in keys {
                let held = opened.account.get(KeyEpoch(key["epoch"].as_u64().unwrap())).unwrap();
                assert_eq!(hex(held.key.expose()), key["key"].as_str().unwrap());
            }
        }
    }
}
