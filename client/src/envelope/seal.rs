//! Sealing: compress, pad, encrypt under a fresh content key, wrap that key, commit to it in the header.
//!
//! Never: a body over the limit handed out; the caller learns both sizes instead.

use cloudsync_protocol::envelope::{FLAG_TOMBSTONE, FORMAT, Hlc, SUITE_AES_256_GCM};
use cloudsync_protocol::limits::{BODY_BYTES_MAX, PAYLOAD_BYTES_MAX, TOMBSTONE_BODY_BYTES_MAX};
use cloudsync_protocol::{DeviceId, DeviceSeq, Envelope, Hash, Header, LogId, RecordKey, Version, codec};

use super::padding::{Packing, pad, padded_content_bytes};
use super::{CONTEXT_BODY, Payload, gzip, wrap};
use crate::keys::sealing::{self, NONCE_BYTES, TAG_BYTES};
use crate::keys::secret::random;
use crate::keys::{AccountKeys, Secret};

const _: () = assert!(NONCE_BYTES + padded_content_bytes(0) + TAG_BYTES <= TOMBSTONE_BODY_BYTES_MAX, "a tombstone fits");

/// A version that is to be sealed: everything that its header says, but for the commitment.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The log.
    pub log: LogId,
    /// The record.
    pub key: &'a RecordKey,
    /// The version that it will be: base + 1.
    pub version: Version,
    /// The hash of the envelope that it was made from; zero for version 1.
    pub parent: Hash,
    /// This device.
    pub device: DeviceId,
    /// The push that it will be signed in.
    pub device_seq: DeviceSeq,
    /// When it was made.
    pub hlc: Hlc,
    /// What it says.
    pub payload: Payload<'a>,
}

/// Why a value was not sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The value itself is too long, compressible or not.
    #[error("a value of {bytes} B, allowed are {bytes_max} B")]
    ValueTooLarge { bytes: usize, bytes_max: usize },
    /// Compressed, padded and encrypted it is longer than a record's body may be.
    #[error("a value of {value_bytes} B takes {body_bytes} B when encrypted, allowed are {body_bytes_max} B")]
    BodyTooLarge { value_bytes: usize, body_bytes: usize, body_bytes_max: usize },
}

/// What must be fresh for each version.
pub(crate) struct Draws {
    pub(crate) content_key: Secret<32>,
    pub(crate) body_nonce: [u8; NONCE_BYTES],
    pub(crate) wrap_nonce: [u8; NONCE_BYTES],
}

/// Seals one version under the newest account key.
pub fn seal(keys: &AccountKeys, draft: &Draft<'_>) -> Result<Envelope, SealError> {
    seal_with(keys, draft, &Draws { content_key: Secret::random(), body_nonce: random(), wrap_nonce: random() })
}

pub(crate) fn seal_with(keys: &AccountKeys, draft: &Draft<'_>, draws: &Draws) -> Result<Envelope, SealError> {
    let (value, flags) = match draft.payload {
        Payload::Value(value) => (value, 0),
        Payload::Tombstone => ([].as_slice(), FLAG_TOMBSTONE),
    };
    if value.len() > PAYLOAD_BYTES_MAX {
        return Err(SealError::ValueTooLarge { bytes: value.len(), bytes_max: PAYLOAD_BYTES_MAX });
    }
    let packed = gzip::compress(value);
    let (packing, content) = packed.as_ref().map_or((Packing::Raw, value), |packed| (Packing::Gzip, packed));
    let body_bytes = NONCE_BYTES + padded_content_bytes(content.len()) + TAG_BYTES;
    if body_bytes > BODY_BYTES_MAX {
        return Err(SealError::BodyTooLarge { value_bytes: value.len(), body_bytes, body_bytes_max: BODY_BYTES_MAX });
    }
    let header = codec::encode(&Header {
        format: FORMAT,
        suite: SUITE_AES_256_GCM,
        log: draft.log,
        collection: draft.key.collection.clone(),
        record: draft.key.record.clone(),
        version: draft.version,
        parent: draft.parent,
        device: draft.device,
        device_seq: draft.device_seq,
        hlc: draft.hlc,
        flags,
        commitment: wrap::commitment(&draws.content_key),
    });
    let aad = [CONTEXT_BODY, &header].concat();
    let body = sealing::seal(&draws.content_key, draws.body_nonce, &pad(packing, content), &aad);
    let key = keys.current().collection_key(&draft.key.collection);
    let wrap = wrap::wrap(&key, &draws.content_key, Hash::of(&[&header, &body]), draws.wrap_nonce);
    Ok(Envelope { header: header.into(), body: body.into(), wrap: wrap.into() })
}
