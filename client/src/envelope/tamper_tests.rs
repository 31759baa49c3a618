//! What a dishonest server can try with an envelope, and that none of it passes.
//!
//! Never: a test of one byte only; proptest draws which byte, and to what.

use cloudsync_protocol::envelope::{EnvelopeError, Hlc};
use cloudsync_protocol::limits::{BODY_BYTES_MAX, HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX, TOMBSTONE_BODY_BYTES_MAX};
use cloudsync_protocol::{CollectionName, DeviceId, DeviceSeq, Envelope, Hash, LogId, RecordId, RecordKey, Version, codec};
use proptest::prelude::*;

use super::wrap::wrap;
use super::*;
use crate::keys::secret::random;
use crate::keys::{AccountKey, AccountKeys, KeyEpoch, Secret};

const LOG: LogId = LogId([1; 16]);

fn keys() -> AccountKeys {
    AccountKeys::new(AccountKey { epoch: KeyEpoch(1), key: Secret::new([42; 32]) }, [])
}

fn key(record: &str) -> RecordKey {
    RecordKey { collection: CollectionName::new("timer_session").unwrap(), record: RecordId::new(record).unwrap() }
}

fn draft<'a>(key: &'a RecordKey, payload: Payload<'a>) -> Draft<'a> {
    Draft {
        log: LOG,
        key,
        version: Version(2),
        parent: Hash([7; 32]),
        device: DeviceId([2; 16]),
        device_seq: DeviceSeq(5),
        hlc: Hlc::from_ms(1_700_000_000_000),
        payload,
    }
}

fn sealed(value: &[u8]) -> Envelope {
    seal(&keys(), &draft(&key("s1"), Payload::Value(value))).unwrap()
}

fn open_any(envelope: &Envelope) -> Result<Plaintext, OpenError> {
    open(&keys(), envelope, &Expected::of_log(LOG)).map(|opened| opened.plaintext)
}

fn value(bytes: &[u8]) -> Plaintext {
    Plaintext::Value(bytes.to_vec().into())
}

#[test]
fn the_longest_value_that_fits_a_body_is_sealed_and_one_past_it_is_refused_with_both_sizes() {
    let mut noise: Vec<u8> = (0..124).flat_map(|_| random::<512>()).collect();
    noise.truncate(63_483);
    let envelope = sealed(&noise);
    assert!(envelope.body.len() <= BODY_BYTES_MAX);
    assert_eq!(open_any(&envelope), Ok(value(&noise)));
    noise.push(0);
    let refused = seal(&keys(), &draft(&key("s1"), Payload::Value(&noise))).unwrap_err();
    assert_eq!(refused, SealError::BodyTooLarge { value_bytes: 63_484, body_bytes: 65_564, body_bytes_max: BODY_BYTES_MAX });
}

#[test]
fn a_value_over_a_mebibyte_is_refused_however_well_it_compresses() {
    let at_limit = vec![b'a'; PAYLOAD_BYTES_MAX];
    assert_eq!(open_any(&sealed(&at_limit)), Ok(value(&at_limit)));
    let past = vec![b'a'; PAYLOAD_BYTES_MAX + 1];
    let refused = seal(&keys(), &draft(&key("s1"), Payload::Value(&past))).unwrap_err();
    assert_eq!(refused, SealError::ValueTooLarge { bytes: PAYLOAD_BYTES_MAX + 1, bytes_max: PAYLOAD_BYTES_MAX });
}

#[test]
fn a_tombstone_is_sealed_short_and_opens_as_one() {
    let envelope = seal(&keys(), &draft(&key("s1"), Payload::Tombstone)).unwrap();
    assert!(envelope.body.len() <= TOMBSTONE_BODY_BYTES_MAX);
    assert_eq!(open_any(&envelope), Ok(Plaintext::Tombstone));
}

#[test]
fn the_longest_names_fit_the_header() {
    let key = RecordKey { collection: CollectionName::new("c".repeat(64)).unwrap(), record: RecordId::new("r".repeat(128)).unwrap() };
    let mut draft = draft(&key, Payload::Value(b"{}"));
    (draft.version, draft.device_seq, draft.hlc) = (Version(u64::MAX), DeviceSeq(u64::MAX), Hlc(u64::MAX));
    let envelope = seal(&keys(), &draft).unwrap();
    assert!(envelope.header.len() <= HEADER_BYTES_MAX);
    assert_eq!(open_any(&envelope), Ok(value(b"{}")));
}

#[test]
fn an_authentic_envelope_that_is_not_the_one_asked_for_is_refused() {
    let envelope = sealed(b"{}");
    let (mine, other) = (key("s1"), key("s2"));
    let asked = Expected::of_log(LOG).record(&mine).version(Version(2)).pushed(DeviceId([2; 16]), DeviceSeq(5));
    assert!(open(&keys(), &envelope, &asked).is_ok());
    for (asked, field) in [
        (Expected::of_log(LogId([9; 16])), "log"),
        (asked.record(&other), "record"),
        (asked.version(Version(3)), "version"),
        (asked.pushed(DeviceId([3; 16]), DeviceSeq(5)), "device"),
        (asked.pushed(DeviceId([2; 16]), DeviceSeq(6)), "device_seq"),
    ] {
        assert_eq!(open(&keys(), &envelope, &asked).unwrap_err(), OpenError::Mismatch { field });
    }
}

#[test]
fn a_first_version_has_no_parent_and_every_other_has_one() {
    let key = key("s1");
    let mut orphan = draft(&key, Payload::Value(b"{}"));
    orphan.parent = Hash::default();
    assert_eq!(open_any(&seal(&keys(), &orphan).unwrap()), Err(OpenError::Mismatch { field: "parent" }));
    orphan.version = Version(1);
    assert_eq!(open_any(&seal(&keys(), &orphan).unwrap()), Ok(value(b"{}")));
}

#[test]
fn a_wrap_of_another_content_key_is_caught_by_the_commitment() {
    let mut envelope = sealed(b"{}");
    let collection_key = keys().current().collection_key(&key("s1").collection);
    envelope.wrap = wrap(&collection_key, &Secret::random(), envelope.hash(), random()).into();
    assert_eq!(open_any(&envelope), Err(OpenError::Commitment));
}

#[test]
fn a_wrap_opens_for_the_body_that_it_was_made_for_only() {
    // Who knows a content key can make another body that opens under it: the wrap, by whoever wrapped, is for one of them.
    let (collection_key, content_key) = (keys().current().collection_key(&key("s1").collection), Secret::new([9; 32]));
    let draws = || Draws { content_key: content_key.clone(), body_nonce: random(), wrap_nonce: random() };
    let [one, two] = [b"one", b"two"].map(|value| seal_with(&keys(), &draft(&key("s1"), Payload::Value(value)), &draws()).unwrap());
    assert_eq!(one.header, two.header);
    assert_eq!(open_any(&Envelope { body: two.body.clone(), ..one }), Err(OpenError::Wrap));
    let wrapped = wrap(&collection_key, &content_key, two.hash(), random());
    assert_eq!(open_any(&Envelope { wrap: wrapped.into(), ..two }), Ok(value(b"two")));
}

#[test]
fn parts_of_two_versions_do_not_mix() {
    let (one, two) = (sealed(b"one"), sealed(b"two"));
    assert_eq!(open_any(&Envelope { body: two.body.clone(), ..one.clone() }), Err(OpenError::Wrap));
    assert_eq!(open_any(&Envelope { wrap: two.wrap.clone(), ..one.clone() }), Err(OpenError::Wrap));
    assert_eq!(open_any(&Envelope { header: two.header, ..one }), Err(OpenError::Wrap));
}

#[test]
fn an_unknown_key_epoch_is_named() {
    let later = AccountKeys::new(AccountKey { epoch: KeyEpoch(3), key: Secret::new([42; 32]) }, []);
    let envelope = seal(&later, &draft(&key("s1"), Payload::Value(b"{}"))).unwrap();
    assert_eq!(open_any(&envelope), Err(OpenError::KeyMissing { epoch: 3 }));
}

#[test]
fn an_unknown_format_is_named_before_anything_is_opened() {
    let mut envelope = sealed(b"{}");
    let mut header = envelope.check().unwrap();
    header.format = 2;
    envelope.header = codec::encode(&header).into();
    let unknown = EnvelopeError::Unknown { format: 2, suite: 1, flags: 0 };
    assert_eq!(open_any(&envelope), Err(OpenError::Envelope(unknown)));
}

#[test]
fn equal_values_seal_to_different_bytes() {
    let (one, two) = (sealed(b"{}"), sealed(b"{}"));
    assert_ne!(one.body, two.body);
    assert_ne!(one.wrap, two.wrap);
    assert_ne!(one.hash(), two.hash());
}

#[test]
fn debug_does_not_show_what_a_version_says() {
    let key = key("s1");
    let text = format!("{:?} {:?}", draft(&key, Payload::Value(b"very secret")), value(b"very secret"));
    assert!(!text.contains("very secret") && !text.contains("118, 101, 114"));
}

proptest! {
    #[test]
    fn what_is_sealed_opens(content in proptest::collection::vec(any::<u8>(), 0..4000)) {
        prop_assert_eq!(open_any(&sealed(&content)), Ok(value(&content)));
    }

    #[test]
    fn compressible_values_open_as_they_were(unit in "[a-z]{1,8}", times in 1_usize..3000) {
        let content = unit.repeat(times);
        prop_assert_eq!(open_any(&sealed(content.as_bytes())), Ok(value(content.as_bytes())));
    }

    #[test]
    fn any_changed_byte_is_caught(content in proptest::collection::vec(any::<u8>(), 0..2000), at: prop::sample::Index, to in 1_u8..) {
        let envelope = sealed(&content);
        let (header_bytes, body_bytes) = (envelope.header.len(), envelope.body.len());
        let mut bytes = [envelope.header.as_ref(), &envelope.body, &envelope.wrap].concat();
        let at = at.index(bytes.len());
        bytes[at] ^= to;
        let tampered = Envelope {
            header: bytes[..header_bytes].to_vec().into(),
            body: bytes[header_bytes..header_bytes + body_bytes].to_vec().into(),
            wrap: bytes[header_bytes + body_bytes..].to_vec().into(),
        };
        prop_assert!(open_any(&tampered).is_err());
    }

    #[test]
    fn any_truncation_is_caught(content in proptest::collection::vec(any::<u8>(), 0..200), part in 0..3, cut in 1_usize..40) {
        let mut envelope = sealed(&content);
        let part = match part { 0 => &mut envelope.header, 1 => &mut envelope.body, _ => &mut envelope.wrap };
        part.truncate(part.len() - cut);
        prop_assert!(open_any(&envelope).is_err());
    }
}
