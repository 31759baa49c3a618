//! The content key of one version, wrapped under its collection's key, and the commitment that ties it to the header.
//!
//! Never: a content key used for two versions.

use cloudsync_protocol::{Hash, Header};
use subtle::ConstantTimeEq as _;

use crate::keys::sealing::{NONCE_BYTES, TAG_BYTES, open, seal};
use crate::keys::secret::{derive, random};
use crate::keys::{AccountKeys, CollectionKey, KeyEpoch, Secret};

const EPOCH_BYTES: usize = 8;
/// epoch ‖ nonce ‖ wrapped key ‖ tag.
pub const WRAP_BYTES: usize = EPOCH_BYTES + NONCE_BYTES + 32 + TAG_BYTES;

const _: () = assert!(WRAP_BYTES == cloudsync_protocol::limits::WRAP_BYTES);

/// What the header says of the content key: GCM commits to no key, so without it a wrap could be swapped for one whose
/// key opens the body to something else.
pub(crate) fn commitment(content_key: &Secret<32>) -> Hash {
    Hash(*derive(content_key.expose(), &[b"cs1/commit"]).expose())
}

/// epoch (u64, big endian) ‖ nonce ‖ AES-256-GCM(collection key, content key, "cs1/dek" ‖ the envelope's hash ‖ epoch): who wraps
/// anew vouches for header and body.
pub(crate) fn wrap(key: &CollectionKey, content_key: &Secret<32>, envelope: Hash, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
    let sealed = seal(&key.key, nonce, content_key.expose(), &aad(envelope, key.epoch));
    [key.epoch.0.to_be_bytes().as_slice(), &sealed].concat()
}

/// The content key of an envelope with that header and hash, wrapped under the newest account key; nothing where the wrap does not
/// open, is not the one that the header commits to, or what was made would not open again.
pub fn rewrap(keys: &AccountKeys, header: &Header, (envelope, wrapped): (Hash, &[u8])) -> Option<Vec<u8>> {
    let key = |epoch| Some(keys.get(epoch)?.collection_key(&header.collection));
    let content_key = unwrap(&key(epoch_of(wrapped)?)?, wrapped, envelope)?;
    if !bool::from(commitment(&content_key).as_bytes().ct_eq(header.commitment.as_bytes())) {
        return None;
    }
    let newest = keys.current().collection_key(&header.collection);
    let made = wrap(&newest, &content_key, envelope, random());
    // The wrap before is gone once this one is taken: what a faulty machine made must not take its place.
    unwrap(&newest, &made, envelope).filter(|opened| *opened == content_key).map(|_| made)
}

/// The epoch that a wrap is under; nothing when it is not one.
pub(crate) fn epoch_of(wrap: &[u8]) -> Option<KeyEpoch> {
    let (epoch, _) = wrap.split_first_chunk::<EPOCH_BYTES>()?;
    (wrap.len() == WRAP_BYTES).then(|| KeyEpoch(u64::from_be_bytes(*epoch)))
}

/// The content key; nothing when a byte of wrap, header or body differs, or it is under another key.
pub(crate) fn unwrap(key: &CollectionKey, wrap: &[u8], envelope: Hash) -> Option<Secret<32>> {
    let (_, sealed) = wrap.split_first_chunk::<EPOCH_BYTES>()?;
    Secret::from_slice(&open(&key.key, sealed, &aad(envelope, key.epoch))?)
}

fn aad(envelope: Hash, epoch: KeyEpoch) -> Vec<u8> {
    [b"cs1/dek".as_slice(), envelope.as_bytes(), &epoch.0.to_be_bytes()].concat()
}
