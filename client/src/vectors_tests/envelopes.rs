//! Vectors of padding and envelopes: sealed with fixed draws, and opened.
//!
//! Never: a compressed body compared byte for byte; compressors differ, so those are only to be opened.

use bytes::Bytes;
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::{CollectionName, DeviceId, DeviceSeq, Envelope, Hash, LogId, RecordId, RecordKey, Version};
use serde_json::{Value, json};

use super::keys::account_key;
use super::{array, bytes, hex, pattern, read};
use crate::envelope::{Draft, Draws, Expected, OpenError, Payload, Plaintext, open, padded_bytes, seal, seal_with};
use crate::keys::{AccountKey, AccountKeys, KeyEpoch, Secret};

pub(super) fn padding() -> Value {
    let lengths =
        [0, 1, 5, 63, 64, 65, 128, 129, 1000, 1024, 1025, 1088, 1089, 2048, 2049, 4097, 10_000, 63_488, 63_489, 65_508, 1_048_576];
    json!({ "padded_bytes": lengths.map(|length: usize| json!([length, padded_bytes(length)])) })
}

fn case(name: &str, (record, version, parent): (&str, u64, Hash), payload: Payload<'_>) -> Value {
    let key = RecordKey { collection: CollectionName::new("timer_session").unwrap(), record: RecordId::new(record).unwrap() };
    let draft = Draft {
        log: LogId(pattern(1)),
        key: &key,
        version: Version(version),
        parent,
        device: DeviceId(pattern(2)),
        device_seq: DeviceSeq(300),
        hlc: Hlc::from_ms(1_700_000_000_000),
        payload,
    };
    let draws = Draws { content_key: Secret::new(pattern(0xc0)), body_nonce: pattern(0xd0), wrap_nonce: pattern(0xe0) };
    let keys = AccountKeys::new(account_key(1), []);
    let envelope = seal_with(&keys, &draft, &draws).unwrap();
    let header = envelope.check().unwrap();
    let payload = match payload {
        Payload::Value(value) => json!(hex(value)),
        Payload::Tombstone => Value::Null,
    };
    json!({
        "name": name,
        "log": hex(draft.log.as_bytes()),
        "collection": "timer_session",
        "record": record,
        "version": version,
        "parent": hex(parent.as_bytes()),
        "device": hex(draft.device.as_bytes()),
        "device_seq": 300,
        "hlc": draft.hlc.0.to_string(),
        "flags": header.flags,
        "payload": payload,
        "account_key": hex(account_key(1).key.expose()),
        "key_epoch": 1,
        "content_key": hex(draws.content_key.expose()),
        "body_nonce": hex(draws.body_nonce),
        "wrap_nonce": hex(draws.wrap_nonce),
        "commitment": hex(header.commitment.as_bytes()),
        "header": hex(&envelope.header),
        "body": hex(&envelope.body),
        "wrap": hex(&envelope.wrap),
        "hash": hex(envelope.hash().as_bytes()),
    })
}

pub(super) fn sealed() -> Value {
    let parent = Hash(pattern(0x90));
    json!({
        "envelopes": [
            case("first version", ("s1", 1, Hash::default()), Payload::Value(br#"{"task":"write","minutes":25}"#)),
            case("later version", ("s1", 2, parent), Payload::Value(br#"{"task":"write","minutes":50}"#)),
            case("tombstone", ("s1", 3, parent), Payload::Tombstone),
            case("empty value", ("s2", 1, Hash::default()), Payload::Value(b"")),
            case("longest uncompressed value", ("s3", 70_000, parent), Payload::Value(&[b'x'; 1024])),
            case("id beyond ascii", ("séance/1", 1, Hash::default()), Payload::Value(b"1")),
        ],
    })
}

/// Made anew by each freeze; only to be opened.
pub(super) fn compressed() -> Value {
    let value = br#"{"note":"gather ye rosebuds while ye may"}"#.repeat(100);
    json!({ "envelopes": [case("compressed", ("s4", 1, Hash::default()), Payload::Value(&value))] })
}

fn envelope_of(vector: &Value) -> Envelope {
    let part = |name: &str| Bytes::from(bytes(&vector[name]));
    Envelope { header: part("header"), body: part("body"), wrap: part("wrap") }
}

fn keys_of(vector: &Value) -> AccountKeys {
    let epoch = KeyEpoch(vector["key_epoch"].as_u64().unwrap());
    AccountKeys::new(AccountKey { epoch, key: Secret::new(array(&vector["account_key"])) }, [])
}

#[test]
fn frozen_envelopes_open_to_what_they_say() {
    for name in ["envelope", "envelope-open"] {
        for vector in read(name)["envelopes"].as_array().unwrap() {
            let envelope = envelope_of(vector);
            let log = LogId(array(&vector["log"]));
            let opened = open(&keys_of(vector), &envelope, &Expected::of_log(log)).unwrap();
            let payload = &vector["payload"];
            let expected = if payload.is_null() { Plaintext::Tombstone } else { Plaintext::Value(bytes(payload).into()) };
            assert_eq!(opened.plaintext, expected, "{}", vector["name"]);
            assert_eq!(hex(envelope.hash().as_bytes()), vector["hash"].as_str().unwrap());
        }
    }
}

#[test]
fn a_compressed_value_is_a_good_deal_shorter() {
    let vector = &read("envelope-open")["envelopes"][0];
    assert!(bytes(&vector["body"]).len() * 4 < bytes(&vector["payload"]).len());
}

#[test]
fn a_frozen_body_under_another_wrap_is_refused() {
    let vector = &read("envelope")["envelopes"][0];
    let frozen = envelope_of(vector);
    let header = frozen.check().unwrap();
    let key = header.key();
    let draft = Draft {
        log: header.log,
        key: &key,
        version: header.version,
        parent: header.parent,
        device: header.device,
        device_seq: header.device_seq,
        hlc: header.hlc,
        payload: Payload::Value(b"1"),
    };
    let other = seal(&keys_of(vector), &draft).unwrap();
    let mixed = Envelope { wrap: other.wrap, ..frozen };
    assert_eq!(open(&keys_of(vector), &mixed, &Expected::of_log(header.log)).unwrap_err(), OpenError::Wrap);
}
