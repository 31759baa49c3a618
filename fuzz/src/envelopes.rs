//! Envelopes: what opens was sealed by somebody with the account's key, for what was asked for, and padded as
//! `docs/crypto.md` says; whatever else comes is refused.
//!
//! The first byte chooses: bytes as a server could send them, a version sealed and then damaged, or a body of a
//! device's that does not keep to the format.
//!
//! Never: the client's padding asked whether the client's padding is right.

use bytes::Bytes;
use cloudsync_client::envelope::{Draft, Expected, OpenError, Payload, Plaintext, SealError, open, padded_bytes, seal};
use cloudsync_protocol::envelope::{FLAG_TOMBSTONE, Hlc};
use cloudsync_protocol::limits::{BODY_BYTES_MAX, PAYLOAD_BYTES_MAX, TOMBSTONE_BODY_BYTES_MAX};
use cloudsync_protocol::{DeviceSeq, Envelope, Hash, RecordId, RecordKey, Version, codec};

use crate::maker;
use crate::reader::Reader;

/// Nonce, tag and the head of what is padded.
const SEALING_BYTES: usize = 12 + 16;
const HEAD_BYTES: usize = 1 + 4;
/// [`check`]: the payload of [`sealed`] is so many times as long.
const LONGER: usize = 300;

/// One byte that chooses, then what the choice needs.
pub fn check(input: &[u8]) {
    let mut reader = Reader::new(input);
    match reader.byte() % 3 {
        0 => sent(reader.rest()),
        1 => sealed(reader),
        _ => padded(reader),
    }
}

/// Bytes as a server could send them.
fn sent(bytes: &[u8]) {
    let Ok(envelope) = codec::decode::<Envelope>(bytes) else { return };
    assert_eq!(codec::decode::<Envelope>(&codec::encode(&envelope)).as_ref(), Ok(&envelope), "an envelope comes back");
    let checked = envelope.check();
    match open(&maker::account_keys(), &envelope, &Expected::of_log(maker::LOG)) {
        Ok(opened) => {
            assert_eq!(checked, Ok(opened.header.clone()), "the header is the one that the server reads");
            let one_more = [&envelope.header, [0].as_slice()].concat();
            let other = Envelope { header: one_more.into(), ..envelope.clone() };
            assert!(open(&maker::account_keys(), &other, &Expected::of_log(maker::LOG)).is_err(), "its bytes are authentic, each of them");
            is_padded(&envelope, content_bytes_max(&opened.plaintext));
        }
        Err(OpenError::Envelope(error)) => assert_eq!(checked, Err(error), "the server refuses it as well"),
        Err(_) => assert!(checked.is_ok(), "on sight there was nothing wrong"),
    }
}

fn content_bytes_max(plaintext: &Plaintext) -> usize {
    match plaintext {
        // What is compressed may be longer than its value when somebody else than our client compressed it.
        Plaintext::Value(_) => BODY_BYTES_MAX,
        Plaintext::Tombstone => 0,
    }
}

/// The body's length is one that padding makes, of so much content at most.
fn is_padded(envelope: &Envelope, content_bytes_max: usize) {
    let padded = envelope.body.len() - SEALING_BYTES;
    assert_eq!(padme(padded), padded, "{padded} B are no padded length");
    assert!(padded <= padme(HEAD_BYTES + content_bytes_max), "{padded} B for {content_bytes_max} B of content at most");
}

/// A value or a tombstone, sealed by the client, opened, asked for as something else, then with one byte changed.
fn sealed(mut reader: Reader<'_>) {
    let (flags, version, device_seq, hlc) = (reader.byte(), reader.long().max(1), reader.long(), reader.long());
    let (at, flip) = (usize::from(reader.short()), reader.byte());
    let parent = if version == 1 { Hash::default() } else { Hash([0x90; 32]) };
    let value = reader.rest().repeat(if flags & 2 == 0 { 1 } else { LONGER });
    let payload = if flags & 1 == 0 { Payload::Value(&value) } else { Payload::Tombstone };
    let (key, device) = (maker::key(), maker::device().id);
    let draft = Draft {
        log: maker::LOG,
        key: &key,
        version: Version(version),
        parent,
        device,
        device_seq: DeviceSeq(device_seq),
        hlc: Hlc(hlc),
        payload,
    };
    let keys = maker::account_keys();
    let envelope = match seal(&keys, &draft) {
        Ok(envelope) => envelope,
        Err(SealError::ValueTooLarge { bytes, bytes_max }) => {
            return assert!(bytes == value.len() && bytes > bytes_max && bytes_max == PAYLOAD_BYTES_MAX);
        }
        Err(SealError::BodyTooLarge { value_bytes, body_bytes, .. }) => {
            return assert!(value_bytes == value.len() && body_bytes > BODY_BYTES_MAX);
        }
    };
    let header = envelope.check().expect("the server takes what the client seals");
    assert_eq!((header.key(), header.version.0, header.hlc.0, header.device_seq.0), (key.clone(), version, hlc, device_seq));
    let asked = Expected::of_log(maker::LOG).record(&key).version(Version(version)).pushed(device, DeviceSeq(device_seq));
    let opened = open(&keys, &envelope, &asked).expect("what was sealed opens");
    match (&opened.plaintext, payload) {
        (Plaintext::Value(opened), Payload::Value(sealed)) => {
            assert_eq!(opened.as_slice(), sealed, "as it was");
            is_padded(&envelope, sealed.len());
        }
        (Plaintext::Tombstone, Payload::Tombstone) => is_padded(&envelope, 0),
        (opened, sealed) => panic!("{sealed:?} opened as {opened:?}"),
    }
    other_than_asked(&envelope, &asked, version);
    if flip != 0 {
        damaged(&envelope, (at, flip), &asked);
    }
}

fn other_than_asked(envelope: &Envelope, asked: &Expected<'_>, version: u64) {
    let other_key = RecordKey { record: RecordId::new("s2").expect("a short name"), ..maker::key() };
    for other in [asked.record(&other_key), asked.version(Version(version ^ 2))] {
        let refused = open(&maker::account_keys(), envelope, &other);
        assert!(matches!(refused, Err(OpenError::Mismatch { .. })), "not what was asked for, and yet {refused:?}");
    }
}

/// One byte of header, body or wrap is another.
fn damaged(envelope: &Envelope, (at, flip): (usize, u8), asked: &Expected<'_>) {
    let (header, body) = (envelope.header.len(), envelope.body.len());
    let mut whole = [&envelope.header, &envelope.body, &envelope.wrap].map(|part| part.to_vec()).concat();
    let length = whole.len();
    if let Some(byte) = whole.get_mut(at % length) {
        *byte ^= flip;
    }
    let (first, wrap) = whole.split_at(header + body);
    let (first, second) = first.split_at(header);
    let [header, body, wrap] = [first, second, wrap].map(Bytes::copy_from_slice);
    let refused = open(&maker::account_keys(), &Envelope { header, body, wrap }, asked);
    assert!(refused.is_err(), "byte {} is another, and yet it opened", at % length);
}

/// A body that somebody with the key filled with whatever bytes.
fn padded(mut reader: Reader<'_>) {
    let flags = reader.byte() & FLAG_TOMBSTONE;
    let fill = usize::from(reader.short());
    let mut padded = reader.rest().to_vec();
    padded.resize(padded.len() + fill, 0);
    let envelope = maker::seal_padded(maker::header(flags), &padded);
    let result = open(&maker::account_keys(), &envelope, &Expected::of_log(maker::LOG));
    let body_bytes_max = if flags == 0 { BODY_BYTES_MAX } else { TOMBSTONE_BODY_BYTES_MAX };
    if envelope.body.len() > body_bytes_max || padded.len() < padded_bytes(0) {
        return assert!(matches!(result, Err(OpenError::Envelope(_))), "its size is wrong, and yet {result:?}");
    }
    match (content_of(&padded), result) {
        (None, result) => assert_eq!(result, Err(OpenError::Packing), "that is no padding"),
        (Some((0, content)), Ok(opened)) => match opened.plaintext {
            Plaintext::Value(value) => assert!(flags == 0 && value.as_slice() == content, "as it was"),
            Plaintext::Tombstone => assert!(flags != 0 && content.is_empty(), "a tombstone says nothing"),
        },
        (Some((0, content)), Err(error)) => assert!(flags != 0 && !content.is_empty(), "well padded, and yet {error}"),
        (Some(_), Ok(opened)) => {
            assert!(!matches!(opened.plaintext, Plaintext::Value(value) if value.len() > PAYLOAD_BYTES_MAX), "decompression is bounded");
        }
        (Some(_), Err(error)) => assert!(matches!(error, OpenError::Packing | OpenError::TooLong), "opened as far as that: {error}"),
    }
}

/// packing ‖ length u32 ‖ content ‖ zeros, and no more zeros than `docs/crypto.md` says: packing and content.
fn content_of(padded: &[u8]) -> Option<(u8, &[u8])> {
    let (head, rest) = padded.split_at_checked(HEAD_BYTES)?;
    let [packing @ (0 | 1), a, b, c, d] = *head else { return None };
    let (content, zeros) = rest.split_at_checked(usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?)?;
    let fits = padme(HEAD_BYTES + content.len()) == padded.len() && zeros.iter().all(|byte| *byte == 0);
    fits.then_some((packing, content))
}

/// Steps of 64 B up to 1 KiB; then with E = ⌊log₂ n⌋ and S = ⌊log₂ E⌋ + 1 the low E − S bits are zero, rounded up.
fn padme(bytes: usize) -> usize {
    let step = if bytes <= 1024 {
        64
    } else {
        let floor_log2 = |number: usize| (0..).take_while(|power| number >> power > 1).count();
        let exponent = floor_log2(bytes);
        1 << (exponent - (floor_log2(exponent) + 1))
    };
    bytes.max(1).div_ceil(step) * step
}
