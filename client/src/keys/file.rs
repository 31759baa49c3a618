//! What a profile's `keys.json` holds: this device's keys and the account's secrets, as bytes and back.
//!
//! Never: reading or writing the file; its owner does, with mode 0600 and by rename.

use cloudsync_protocol::id::{decode_hex_into, hex};
use cloudsync_protocol::{DeviceId, Hash, LogId, UserId};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::account::{AccountKey, AccountKeys, KeyEpoch, RecordIdKey};
use super::device::{AgreementPair, DeviceKeys, Identity, SigningPair};
use super::keyring::AccountSecrets;
use super::secret::Secret;

/// The file's format.
pub const FORMAT: u32 = 2;

/// Everything secret that an enrolled (or about to be enrolled) device keeps.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The account's.
    pub secrets: AccountSecrets,
    /// This device's.
    pub device: DeviceKeys,
    /// The newest keyring that was seen.
    pub keyring: KeyringPin,
}

/// The newest keyring that a profile has seen. It only rises: who shows an older one hides something, or has lost it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyringPin {
    /// Its number; 0 when none was seen.
    pub version: u64,
    /// SHA-256 of the blob.
    pub hash: Hash,
}

/// Why bytes are not a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Not of the expected shape: half-written, or not a key file. Where, never what.
    #[error("not a key file: line {line}, column {column}")]
    Malformed { line: usize, column: usize },
    /// Of a newer release.
    #[error("key file has format {format}, this release knows {FORMAT}")]
    FormatUnknown { format: u32 },
    /// A field that is not what it must be.
    #[error("key file is damaged: {field}")]
    Damaged { field: &'static str },
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    user: String,
    device: String,
    device_signing: Pair,
    device_agreement: Pair,
    identity_epoch: u64,
    identity_signing: Pair,
    identity_sharing: Pair,
    record_id_key: Hex,
    account_keys: Vec<EpochKey>,
    keyring_version: u64,
    keyring_hash: String,
}

/// Both halves, so that a damaged secret is noticed before it is used.
#[derive(Serialize, Deserialize)]
struct Pair {
    public: String,
    secret: Hex,
}

#[derive(Serialize, Deserialize)]
struct EpochKey {
    epoch: u64,
    key: Hex,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
struct Hex(String);

impl Hex {
    fn of(secret: &Secret<32>) -> Self {
        Self(hex(secret.expose()))
    }
    fn secret(&self, field: &'static str) -> Result<Secret<32>, FileError> {
        let mut secret = Zeroizing::new([0; 32]);
        if decode_hex_into(&self.0, &mut *secret) { Ok(Secret::new(*secret)) } else { Err(FileError::Damaged { field }) }
    }
}

impl KeyFile {
    /// The user's own log.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.secrets.log()
    }

    /// JSON; wiped when dropped.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let signing = |pair: &SigningPair| Pair { public: pair.public().to_string(), secret: Hex::of(&pair.seed()) };
        let agreement = |pair: &AgreementPair| Pair { public: pair.public().to_string(), secret: Hex::of(&pair.secret()) };
        let account = &self.secrets.account;
        let file = File {
            format: FORMAT,
            user: self.secrets.user.to_string(),
            device: self.device.id.to_string(),
            device_signing: signing(&self.device.signing),
            device_agreement: agreement(&self.device.agreement),
            identity_epoch: self.secrets.identity.epoch,
            identity_signing: signing(&self.secrets.identity.signing),
            identity_sharing: agreement(&self.secrets.identity.sharing),
            record_id_key: Hex::of(&self.secrets.record_ids.0),
            account_keys: account
                .earlier()
                .chain([account.current()])
                .map(|key| EpochKey { epoch: key.epoch.0, key: Hex::of(&key.key) })
                .collect(),
            keyring_version: self.keyring.version,
            keyring_hash: hex(self.keyring.hash.as_bytes()),
        };
        let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(&file).expect("strings and numbers are JSON"));
        bytes.push(b'\n');
        bytes
    }

    /// Reads and checks what [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let malformed = |error: serde_json::Error| FileError::Malformed { line: error.line(), column: error.column() };
        let Format { format } = serde_json::from_slice(bytes).map_err(malformed)?;
        if format != FORMAT {
            return Err(FileError::FormatUnknown { format });
        }
        let file: File = serde_json::from_slice(bytes).map_err(malformed)?;
        let mut keys = Vec::with_capacity(file.account_keys.len());
        for entry in &file.account_keys {
            keys.push(AccountKey { epoch: KeyEpoch(entry.epoch), key: entry.key.secret("account_keys")? });
        }
        if !keys.is_sorted_by(|a, b| a.epoch < b.epoch) {
            return Err(FileError::Damaged { field: "account_keys" });
        }
        let current = keys.pop().filter(|key| key.epoch >= KeyEpoch::FIRST).ok_or(FileError::Damaged { field: "account_keys" })?;
        let identity = Identity {
            epoch: file.identity_epoch,
            signing: signing(&file.identity_signing, "identity_signing")?,
            sharing: agreement(&file.identity_sharing, "identity_sharing")?,
        };
        let secrets = AccountSecrets {
            user: UserId::from_hex(&file.user).ok_or(FileError::Damaged { field: "user" })?,
            account: AccountKeys::new(current, keys),
            identity,
            record_ids: RecordIdKey(file.record_id_key.secret("record_id_key")?),
        };
        let device = DeviceKeys {
            id: DeviceId::from_hex(&file.device).ok_or(FileError::Damaged { field: "device" })?,
            signing: signing(&file.device_signing, "device_signing")?,
            agreement: agreement(&file.device_agreement, "device_agreement")?,
        };
        let mut hash = [0; 32];
        if !decode_hex_into(&file.keyring_hash, &mut hash) {
            return Err(FileError::Damaged { field: "keyring_hash" });
        }
        Ok(Self { secrets, device, keyring: KeyringPin { version: file.keyring_version, hash: Hash(hash) } })
    }
}

fn signing(pair: &Pair, field: &'static str) -> Result<SigningPair, FileError> {
    let secret = SigningPair::from_seed(&pair.secret.secret(field)?);
    if secret.public().to_string() == pair.public { Ok(secret) } else { Err(FileError::Damaged { field }) }
}

fn agreement(pair: &Pair, field: &'static str) -> Result<AgreementPair, FileError> {
    let secret = AgreementPair::from_secret(&pair.secret.secret(field)?);
    if secret.public().to_string() == pair.public { Ok(secret) } else { Err(FileError::Damaged { field }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> KeyFile {
        KeyFile {
            secrets: AccountSecrets::first(UserId([5; 16])),
            device: DeviceKeys::random(),
            keyring: KeyringPin { version: 3, hash: Hash([7; 32]) },
        }
    }

    #[test]
    fn a_key_file_reads_back_as_it_was() {
        let mut file = file();
        let old = file.secrets.account.current().clone();
        file.secrets.account = AccountKeys::new(AccountKey { epoch: KeyEpoch(4), key: Secret::random() }, [old]);
        let bytes = file.to_bytes();
        let read = KeyFile::from_bytes(&bytes).unwrap();
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(read.secrets.account, file.secrets.account);
        assert_eq!((read.device.id, read.keyring), (file.device.id, file.keyring));
    }

    #[test]
    fn a_half_written_file_is_refused_without_showing_it() {
        let bytes = file().to_bytes();
        for length in [0, 1, bytes.len() / 2, bytes.len() - 3] {
            assert!(matches!(KeyFile::from_bytes(&bytes[..length]), Err(FileError::Malformed { .. })));
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let text = String::from_utf8(file().to_bytes().to_vec()).unwrap().replacen("\"format\": 2", "\"format\": 3", 1);
        assert_eq!(KeyFile::from_bytes(text.as_bytes()).unwrap_err(), FileError::FormatUnknown { format: 3 });
    }

    #[test]
    fn a_secret_that_does_not_fit_its_public_half_is_named() {
        let file = file();
        let text = String::from_utf8(file.to_bytes().to_vec()).unwrap();
        let (one, other) = (Hex::of(&file.device.signing.seed()), Hex::of(&Secret::random()));
        let damaged = text.replacen(&one.0, &other.0, 1);
        assert_eq!(KeyFile::from_bytes(damaged.as_bytes()).unwrap_err(), FileError::Damaged { field: "device_signing" });
    }
}
