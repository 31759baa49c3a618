//! The account key by epoch, and what is derived from it: collection keys, the key of device names, of record ids.
//!
//! Never: two epochs mixed. What is sealed under a derived key says which epoch it was.

use std::collections::BTreeMap;

use cloudsync_protocol::CollectionName;
use cloudsync_protocol::id::hex;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::secret::{Secret, derive};

/// Counts account keys, from 1. Rotation makes the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyEpoch(pub u64);

impl KeyEpoch {
    /// The first account key's.
    pub const FIRST: Self = Self(1);
}

/// The root of one epoch: 32 random bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountKey {
    /// Its epoch.
    pub epoch: KeyEpoch,
    /// The key.
    pub key: Secret<32>,
}

impl AccountKey {
    /// A collection's key of this epoch. Derived, so that two devices that are offline make the same one.
    #[must_use]
    pub fn collection_key(&self, collection: &CollectionName) -> CollectionKey {
        let info: [&[u8]; 3] = [b"cs1/ck", collection.as_str().as_bytes(), &self.epoch.0.to_be_bytes()];
        CollectionKey { epoch: self.epoch, key: derive(self.key.expose(), &info) }
    }

    /// What seals the identity's secrets in the keyring.
    pub(crate) fn identity_wrapping_key(&self) -> Secret<32> {
        derive(self.key.expose(), &[b"cs1/identity"])
    }

    /// What a keyring's anchor says of this key.
    pub(crate) fn anchored(&self) -> Secret<32> {
        derive(self.key.expose(), &[b"cs1/anchored"])
    }

    /// What seals device names.
    pub(crate) fn device_name_key(&self) -> Secret<32> {
        derive(self.key.expose(), &[b"cs1/device-name"])
    }

    /// The key of record ids made while this account key is the newest.
    #[must_use]
    pub fn record_id_key(&self) -> RecordIdKey {
        RecordIdKey(derive(self.key.expose(), &[b"cs1/record-id"]))
    }
}

/// Wraps the content keys of one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionKey {
    /// The account key's epoch that it comes from.
    pub epoch: KeyEpoch,
    /// The key.
    pub key: Secret<32>,
}

/// Every account key that this device knows; the newest seals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountKeys {
    current: AccountKey,
    earlier: BTreeMap<KeyEpoch, AccountKey>,
}

impl AccountKeys {
    /// From the newest and whatever earlier ones are known; those that are not older are left out.
    #[must_use]
    pub fn new(current: AccountKey, earlier: impl IntoIterator<Item = AccountKey>) -> Self {
        let earlier = earlier.into_iter().filter(|key| key.epoch < current.epoch).map(|key| (key.epoch, key)).collect();
        Self { current, earlier }
    }
    /// A fresh account's.
    #[must_use]
    pub fn first() -> Self {
        Self::new(AccountKey { epoch: KeyEpoch::FIRST, key: Secret::random() }, [])
    }
    /// The newest: what new envelopes are sealed under.
    #[must_use]
    pub const fn current(&self) -> &AccountKey {
        &self.current
    }
    /// The one of an epoch.
    #[must_use]
    pub fn get(&self, epoch: KeyEpoch) -> Option<&AccountKey> {
        if epoch == self.current.epoch { Some(&self.current) } else { self.earlier.get(&epoch) }
    }
    /// The key of record ids of each epoch, newest first: a row that was imported is called by the one that was the newest then.
    pub fn record_id_keys(&self) -> impl Iterator<Item = RecordIdKey> {
        std::iter::once(&self.current).chain(self.earlier.values().rev()).map(AccountKey::record_id_key)
    }
    /// All but the newest, oldest first.
    pub fn earlier(&self) -> impl Iterator<Item = &AccountKey> {
        self.earlier.values()
    }
}

/// Makes record ids out of content, so that the same row imported twice, or on two devices, is the same record and
/// the server can't guess rows by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordIdKey(pub(crate) Secret<32>);

impl RecordIdKey {
    /// 32 lower-case hexadecimal digits: the first 16 bytes of HMAC-SHA-256 over
    /// collection ‖ 0 ‖ `content` ‖ `ordinal` (u32, big endian).
    ///
    /// `ordinal` tells equal rows of one file apart: 0 for the first, 1 for its first repeat …
    #[must_use]
    pub fn record_id(&self, collection: &CollectionName, content: &[u8], ordinal: u32) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).expect("HMAC takes a key of any length");
        [collection.as_str().as_bytes(), &[0], content, &ordinal.to_be_bytes()].iter().for_each(|part| mac.update(part));
        let mut text = hex(&mac.finalize().into_bytes());
        text.truncate(32);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CollectionName {
        CollectionName::new(text).unwrap()
    }

    #[test]
    fn collection_keys_differ_by_collection_and_by_epoch() {
        let first = AccountKey { epoch: KeyEpoch(1), key: Secret::new([7; 32]) };
        let second = AccountKey { epoch: KeyEpoch(2), key: Secret::new([7; 32]) };
        let key = first.collection_key(&name("timer_session"));
        assert_eq!(key, first.collection_key(&name("timer_session")));
        assert_ne!(key.key, first.collection_key(&name("goal")).key);
        assert_ne!(key.key, second.collection_key(&name("timer_session")).key);
    }

    #[test]
    fn the_key_of_an_epoch_is_found_and_an_unknown_one_is_not() {
        let old = AccountKey { epoch: KeyEpoch(1), key: Secret::new([1; 32]) };
        let new = AccountKey { epoch: KeyEpoch(2), key: Secret::new([2; 32]) };
        let keys = AccountKeys::new(new.clone(), [old.clone()]);
        assert_eq!(keys.current(), &new);
        assert_eq!(keys.get(KeyEpoch(1)), Some(&old));
        assert_eq!(keys.get(KeyEpoch(2)), Some(&new));
        assert_eq!(keys.get(KeyEpoch(3)), None);
    }

    #[test]
    fn equal_rows_have_ids_of_their_own_that_repeat_on_every_device() {
        let key = AccountKey { epoch: KeyEpoch::FIRST, key: Secret::new([9; 32]) }.record_id_key();
        let first = key.record_id(&name("timer_session"), b"row", 0);
        assert_eq!(first.len(), 32);
        assert_eq!(first, key.record_id(&name("timer_session"), b"row", 0));
        assert_ne!(first, key.record_id(&name("timer_session"), b"row", 1));
        assert_ne!(first, key.record_id(&name("goal"), b"row", 0));
    }
}
