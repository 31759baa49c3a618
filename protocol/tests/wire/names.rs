//! Names at their limits, counted in bytes of UTF-8.

use cloudsync_protocol::codec::{decode, encode};
use cloudsync_protocol::limits::{COLLECTION_NAME_BYTES_MAX, RECORD_ID_BYTES_MAX};
use cloudsync_protocol::{CollectionName, DeviceId, Hash, RecordId};

#[test]
fn a_collection_name_has_one_to_64_bytes() {
    for (bytes, fits) in [(0, false), (1, true), (COLLECTION_NAME_BYTES_MAX, true), (COLLECTION_NAME_BYTES_MAX + 1, false)] {
        let text = "c".repeat(bytes);
        assert_eq!(CollectionName::new(text.clone()).is_ok(), fits);
        assert_eq!(decode::<CollectionName>(&encode(&text)).is_ok(), fits);
    }
}

#[test]
fn a_record_id_has_one_to_128_bytes() {
    for (bytes, fits) in [(0, false), (1, true), (RECORD_ID_BYTES_MAX, true), (RECORD_ID_BYTES_MAX + 1, false)] {
        let text = "r".repeat(bytes);
        assert_eq!(RecordId::new(text.clone()).is_ok(), fits);
        assert_eq!(decode::<RecordId>(&encode(&text)).is_ok(), fits);
    }
}

#[test]
fn bytes_are_counted_not_characters() {
    assert!(CollectionName::new("é".repeat(32)).is_ok());
    let error = CollectionName::new("é".repeat(33)).unwrap_err();
    assert_eq!((error.bytes, error.bytes_max), (66, 64));
}

#[test]
fn text_that_is_not_utf8_is_no_name() {
    assert!(decode::<CollectionName>(&[0xa2, 0xc3, 0x28]).is_err());
}

#[test]
fn ids_read_their_own_text() {
    let id = DeviceId([0xa5; 16]);
    assert_eq!(DeviceId::from_hex(&id.to_string()), Some(id));
    for text in ["", "a5", &"a5".repeat(17), &"g5".repeat(16), &"a".repeat(31), &"é5".repeat(8)] {
        assert_eq!(DeviceId::from_hex(text), None, "{text}");
    }
    assert_eq!(Hash::of(&[b"ab", b"c"]), Hash::of(&[b"abc"]));
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Hash::of(&[b"abc"]).to_string(), abc, "FIPS 180-4, B.1");
}
