//! An account with fixed keys, and envelopes made from `docs/crypto.md` alone: what a device of the account could do that
//! does not keep to the format.
//!
//! Never: the client's own sealing, which could not make what it would not open; nor a key that anybody else uses.

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use cloudsync_client::keys::secret::derive;
use cloudsync_client::keys::{AccountKey, AccountKeys, AgreementPair, DeviceKeys, Identity, KeyEpoch, Secret, SigningPair};
use cloudsync_protocol::envelope::{FORMAT, Hlc, SUITE_AES_256_GCM};
use cloudsync_protocol::{CollectionName, DeviceId, DeviceSeq, Envelope, Hash, Header, LogId, RecordId, RecordKey, Version, codec};

pub(crate) const LOG: LogId = LogId([0x10; 16]);
const NONCE: [u8; 12] = [0xd0; 12];

pub(crate) fn account_keys() -> AccountKeys {
    let key = |epoch: u8| AccountKey { epoch: KeyEpoch(epoch.into()), key: Secret::new([epoch; 32]) };
    AccountKeys::new(key(2), [key(1)])
}

pub(crate) fn device() -> DeviceKeys {
    DeviceKeys {
        id: DeviceId([0x0d; 16]),
        signing: SigningPair::from_seed(&Secret::new([0x51; 32])),
        agreement: AgreementPair::from_secret(&Secret::new([0x52; 32])),
    }
}

pub(crate) fn identity() -> Identity {
    Identity {
        epoch: 1,
        signing: SigningPair::from_seed(&Secret::new([0x61; 32])),
        sharing: AgreementPair::from_secret(&Secret::new([0x62; 32])),
    }
}

/// What a rotation brings.
pub(crate) fn next_identity() -> Identity {
    Identity {
        epoch: 2,
        signing: SigningPair::from_seed(&Secret::new([0x63; 32])),
        sharing: AgreementPair::from_secret(&Secret::new([0x64; 32])),
    }
}

pub(crate) fn key() -> RecordKey {
    let collection = CollectionName::new("timer_session").expect("a short name");
    RecordKey { collection, record: RecordId::new("s1").expect("a short name") }
}

/// A header of version 1 of [`key`], but for the commitment.
pub(crate) fn header(flags: u8) -> Header {
    let RecordKey { collection, record } = key();
    Header {
        format: FORMAT,
        suite: SUITE_AES_256_GCM,
        log: LOG,
        collection,
        record,
        version: Version(1),
        parent: Hash::default(),
        device: device().id,
        device_seq: DeviceSeq(1),
        hlc: Hlc::from_ms(1_700_000_000_000),
        flags,
        commitment: Hash::default(),
    }
}

/// An envelope whose body holds exactly these bytes, well padded or not, under a key of the account.
pub(crate) fn seal_padded(mut header: Header, padded: &[u8]) -> Envelope {
    let content_key = Secret::new([0xc0; 32]);
    header.commitment = Hash(*derive(content_key.expose(), &[b"cs1/commit"]).expose());
    let header_bytes = codec::encode(&header);
    let body = gcm(&content_key, padded, &[b"cs1/rec", header_bytes.as_slice()].concat());
    let account_key = account_keys();
    let collection_key = account_key.current().collection_key(&header.collection);
    let epoch = collection_key.epoch.0.to_be_bytes();
    let aad = [b"cs1/dek".as_slice(), Hash::of(&[&header_bytes, &body]).as_bytes(), &epoch].concat();
    let wrap = [epoch.as_slice(), &gcm(&collection_key.key, content_key.expose(), &aad)].concat();
    Envelope { header: header_bytes.into(), body: body.into(), wrap: wrap.into() }
}

/// nonce ‖ ciphertext ‖ tag.
fn gcm(key: &Secret<32>, text: &[u8], aad: &[u8]) -> Vec<u8> {
    let sealed = Aes256Gcm::new(key.expose().into()).encrypt(&Nonce::from(NONCE), Payload { msg: text, aad });
    [NONCE.as_slice(), &sealed.expect("an input is far below GCM's 64 GiB")].concat()
}
