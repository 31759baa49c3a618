//! Vectors of derivations, recovery codes and device names.
//!
//! Never: a real key.

use cloudsync_protocol::{CollectionName, DeviceId, LogId};
use serde_json::{Value, json};

use super::{hex, pattern};
use crate::keys::device_name::seal_name_with;
use crate::keys::secret::derive;
use crate::keys::{AccountKey, AccountKeys, ExportKey, KeyEpoch, Opener, RecoveryCode, Secret, open_name};

pub(super) fn account_key(epoch: u64) -> AccountKey {
    AccountKey { epoch: KeyEpoch(epoch), key: Secret::new(pattern(0x40)) }
}

pub(super) fn kdf() -> Value {
    let key = account_key(1);
    let collection = |epoch: u64, name: &str| {
        let derived = account_key(epoch).collection_key(&CollectionName::new(name).unwrap());
        json!({ "account_key": hex(key.key.expose()), "collection": name, "epoch": epoch, "collection_key": hex(derived.key.expose()) })
    };
    let record = |collection: &str, content: &str, ordinal: u32| {
        let id = key.record_id_key().record_id(&CollectionName::new(collection).unwrap(), content.as_bytes(), ordinal);
        json!({ "collection": collection, "content": hex(content), "ordinal": ordinal, "record_id": id })
    };
    let export_key = ExportKey(Secret::new(pattern(0x80)));
    let password = Opener::Password(&export_key);
    let (log, identity) = (LogId(pattern(1)), cloudsync_protocol::statement::PublicKey(pattern(0x20)));
    json!({
        "derive": [
            { "material": hex([0x0b; 32]), "info": hex("cs1/commit"), "output": hex(derive(&[0x0b; 32], &[b"cs1/commit"]).expose()) },
            { "material": hex(pattern::<20>(0)), "info": hex("cs1/rc"), "output": hex(derive(&pattern::<20>(0), &[b"cs1/rc"]).expose()) },
        ],
        "collection_keys": [collection(1, "timer_session"), collection(2, "timer_session"), collection(1, "ünïcode")],
        "identity_wrapping_key": hex(key.identity_wrapping_key().expose()),
        "anchored": hex(key.anchored().expose()),
        "device_name_key": hex(key.device_name_key().expose()),
        "record_id_key": hex(key.record_id_key().0.expose()),
        "record_ids": [record("timer_session", "a,b,c", 0), record("timer_session", "a,b,c", 1), record("goal", "a,b,c", 0)],
        "password": {
            "export_key": hex(export_key.0.expose()),
            "secret": hex(password.pair().secret().expose()),
            "public": hex(password.pair().public().as_bytes()),
            "log": hex(log.as_bytes()),
            "identity_epoch": 1,
            "identity": hex(identity.as_bytes()),
            "epoch": key.epoch.0,
            "account_key": hex(key.key.expose()),
            "anchor": hex(password.anchor(log, (1, &identity), &key).as_bytes()),
        },
    })
}

pub(super) fn recovery() -> Value {
    let of = |bytes: [u8; 20]| {
        let code = RecoveryCode::from_bytes(bytes);
        json!({
            "code": hex(bytes),
            "text": code.to_text(),
            "typed": code.to_text().to_lowercase().replace('-', " ").replace('0', "o").replace('1', "i"),
            "secret": hex(code.pair().secret().expose()),
            "public": hex(code.pair().public().as_bytes()),
            "signing_seed": hex(code.signing().seed().expose()),
            "signing_public": hex(code.signing().public().as_bytes()),
        })
    };
    json!({ "codes": [of([0; 20]), of([0xff; 20]), of(pattern(0x11))] })
}

pub(super) fn device_name() -> Value {
    let (log, device, nonce) = (LogId(pattern(1)), DeviceId(pattern(2)), pattern(0x70));
    let of = |name: &str| {
        let sealed = seal_name_with(&account_key(1), (log, device), name, nonce).unwrap();
        let keys = AccountKeys::new(account_key(1), []);
        assert_eq!(open_name(&keys, log, device, &sealed).as_deref(), Some(name));
        json!({ "name": name, "sealed": hex(&sealed) })
    };
    json!({
        "account_key": hex(account_key(1).key.expose()),
        "epoch": 1,
        "log": hex(log.as_bytes()),
        "device": hex(device.as_bytes()),
        "nonce": hex(nonce),
        "names": [of("laptop"), of("Küchentablet"), of(&"n".repeat(64))],
    })
}

#[test]
fn a_recovery_code_typed_as_in_the_vectors_is_understood() {
    for vector in super::read("recovery")["codes"].as_array().unwrap() {
        let code = RecoveryCode::from_text(vector["typed"].as_str().unwrap()).unwrap();
        assert_eq!(code.to_text(), vector["text"].as_str().unwrap());
    }
}
