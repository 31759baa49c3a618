//! A device's name, sealed: its owner reads it on every device, the server never does.
//!
//! Never: a length that tells the name; it is padded to steps of 64 bytes.

use bytes::Bytes;
use cloudsync_protocol::limits::DEVICE_NAME_BYTES_MAX;
use cloudsync_protocol::{DeviceId, LogId};
use zeroize::Zeroizing;

use super::account::{AccountKey, AccountKeys, KeyEpoch};
use super::sealing::{NONCE_BYTES, TAG_BYTES, open, seal};
use super::secret::random;

const CONTEXT: &[u8] = b"cs1/device-name";
const STEP_BYTES: usize = 64;
const EPOCH_BYTES: usize = 8;
/// A device's name in plain, in bytes of UTF-8: one less than two steps.
pub const NAME_BYTES_MAX: usize = 2 * STEP_BYTES - 1;

const _: () = assert!(EPOCH_BYTES + NONCE_BYTES + NAME_BYTES_MAX + 1 + TAG_BYTES <= DEVICE_NAME_BYTES_MAX);

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a device name of {bytes} bytes, allowed are 1 to {NAME_BYTES_MAX}")]
pub struct NameError {
    /// How long it is.
    pub bytes: usize,
}

/// Seals a name: epoch (8 B, big endian) ‖ nonce ‖ AES-256-GCM(length u8 ‖ name ‖ zeros).
pub fn seal_name(keys: &AccountKeys, log: LogId, device: DeviceId, name: &str) -> Result<Bytes, NameError> {
    seal_name_with(keys.current(), (log, device), name, random())
}

pub(crate) fn seal_name_with(
    key: &AccountKey,
    (log, device): (LogId, DeviceId),
    name: &str,
    nonce: [u8; NONCE_BYTES],
) -> Result<Bytes, NameError> {
    let length = u8::try_from(name.len()).ok().filter(|length| (1..=NAME_BYTES_MAX).contains(&usize::from(*length)));
    let length = length.ok_or(NameError { bytes: name.len() })?;
    let mut plaintext = Zeroizing::new(vec![length]);
    plaintext.extend_from_slice(name.as_bytes());
    let padded = plaintext.len().next_multiple_of(STEP_BYTES);
    plaintext.resize(padded, 0);
    let sealed = seal(&key.device_name_key(), nonce, &plaintext, &aad(log, device));
    Ok([key.epoch.0.to_be_bytes().as_slice(), &sealed].concat().into())
}

/// Opens a name; nothing when it is of an unknown epoch, of another device, or damaged.
#[must_use]
pub fn open_name(keys: &AccountKeys, log: LogId, device: DeviceId, sealed: &[u8]) -> Option<String> {
    let (epoch, sealed) = sealed.split_first_chunk::<EPOCH_BYTES>()?;
    let key = keys.get(KeyEpoch(u64::from_be_bytes(*epoch)))?;
    let plaintext = open(&key.device_name_key(), sealed, &aad(log, device))?;
    let (length, rest) = plaintext.split_first()?;
    let name = rest.get(..usize::from(*length))?;
    std::str::from_utf8(name).ok().map(str::to_owned)
}

fn aad(log: LogId, device: DeviceId) -> Vec<u8> {
    [CONTEXT, log.as_bytes(), device.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId([1; 16]);
    const DEVICE: DeviceId = DeviceId([2; 16]);

    #[test]
    fn a_name_opens_for_its_own_device_only() {
        let keys = AccountKeys::first();
        let sealed = seal_name(&keys, LOG, DEVICE, "Adas Küchentablet").unwrap();
        assert_eq!(open_name(&keys, LOG, DEVICE, &sealed).as_deref(), Some("Adas Küchentablet"));
        assert_eq!(open_name(&keys, LOG, DeviceId([3; 16]), &sealed), None);
        assert_eq!(open_name(&AccountKeys::first(), LOG, DEVICE, &sealed), None);
    }

    #[test]
    fn names_of_similar_length_are_sealed_to_the_same_length() {
        let keys = AccountKeys::first();
        let short = seal_name(&keys, LOG, DEVICE, "a").unwrap();
        let long = seal_name(&keys, LOG, DEVICE, &"a".repeat(63)).unwrap();
        assert_eq!(short.len(), long.len());
        assert!(seal_name(&keys, LOG, DEVICE, &"a".repeat(64)).unwrap().len() > long.len());
    }

    #[test]
    fn a_name_at_the_limit_is_sealed_and_one_past_it_is_refused() {
        let keys = AccountKeys::first();
        let longest = "n".repeat(NAME_BYTES_MAX);
        let sealed = seal_name(&keys, LOG, DEVICE, &longest).unwrap();
        assert!(sealed.len() <= DEVICE_NAME_BYTES_MAX);
        assert_eq!(open_name(&keys, LOG, DEVICE, &sealed), Some(longest));
        assert_eq!(seal_name(&keys, LOG, DEVICE, &"n".repeat(NAME_BYTES_MAX + 1)), Err(NameError { bytes: NAME_BYTES_MAX + 1 }));
        assert_eq!(seal_name(&keys, LOG, DEVICE, ""), Err(NameError { bytes: 0 }));
    }
}
