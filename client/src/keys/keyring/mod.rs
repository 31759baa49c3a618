//! The keyring: one blob on the server that gives the account's secrets back to who knows the password or the
//! recovery code, and to nobody else.
//!
//! Never: a secret used before everything was checked. HPKE does not say who sealed, so a dishonest server could seal
//! an account key of its own to the password's public half; the anchor, which only password or code can make, names
//! identity and account key, and the identity signs the blob.

mod opener;
mod opening;
mod sealing;
#[cfg(test)]
mod tests;

pub use cloudsync_protocol::statement::CONTEXT_KEYRING as CONTEXT;
pub use opener::{ExportKey, Opener};
pub use opening::{check_held, is_of_password, open_as_member, open_keyring};
pub use sealing::{seal_keyring, seal_keyring_for, with_password};

use bytes::Bytes;
use cloudsync_protocol::codec::DecodeError;
use cloudsync_protocol::statement::PublicKey;
use cloudsync_protocol::{Hash, LogId, UserId};

use super::account::{AccountKeys, KeyEpoch, RecordIdKey};
use super::device::{Identity, SignError};

/// The blob's format.
pub const FORMAT: u8 = 2;
/// The half that the password opens.
pub const KIND_PASSWORD: u8 = 1;
/// The half that the recovery code opens.
pub const KIND_RECOVERY: u8 = 2;
/// A half that a device opens, of which it is told by a row of the roster that it verified.
pub const KIND_DEVICE: u8 = 3;
const CONTEXT_SECRETS: &[u8] = b"cs1/identity";
const EARLIER_KEY_BYTES: usize = 8 + 32;

/// What the account's owner holds, on every enrolled device.
#[derive(Debug, Clone)]
pub struct AccountSecrets {
    /// Whose.
    pub user: UserId,
    /// Account keys by epoch.
    pub account: AccountKeys,
    /// Signs the roster and the keyring.
    pub identity: Identity,
    /// Of the first account key, for ever.
    pub record_ids: RecordIdKey,
}

impl AccountSecrets {
    /// A new account's, all random.
    #[must_use]
    pub fn first(user: UserId) -> Self {
        let account = AccountKeys::first();
        let record_ids = account.current().record_id_key();
        Self { user, account, identity: Identity::first(), record_ids }
    }
    /// The user's own log.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.user.into()
    }
}

cloudsync_protocol::wire_struct! {
    /// Any statement's first field.
    pub struct FormatOnly {
        /// Which format follows.
        pub format: u8,
    }
}

cloudsync_protocol::wire_struct! {
    /// The account key, sealed to one opener.
    pub struct Half {
        /// 1 password, 2 recovery code, 3 device.
        pub kind: u8,
        /// X25519: what a rotating device seals the next account key to.
        pub public: PublicKey,
        /// HPKE of the account key: encapsulated key (32 B) ‖ ciphertext (48 B).
        pub sealed: Bytes,
        /// See [`Opener::anchor`]; of a device zero, and not looked at.
        pub anchor: Hash,
    }
}

cloudsync_protocol::wire_struct! {
    /// What the identity signs with [`CONTEXT`]. The blob is this as bytes, and the signature ([`Signed`]).
    pub struct KeyringStatement {
        /// [`FORMAT`].
        pub format: u8,
        /// The log.
        pub log: LogId,
        /// The account key's epoch.
        pub epoch: u64,
        /// The identity's.
        pub identity_epoch: u64,
        /// The identity: Ed25519.
        pub identity: PublicKey,
        /// The password's, the recovery code's, then each device's, ascending by its public half.
        pub halves: Vec<Half>,
        /// nonce ‖ AES-256-GCM of: identity seed ‖ sharing secret ‖ record id key ‖ (epoch, account key) of each earlier epoch.
        pub secrets: Bytes,
    }
}

/// Why a keyring was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It would not fit.
    #[error("keyring of {bytes} bytes, allowed are {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// What is to be changed is no keyring.
    #[error("the keyring that was to be changed is not one: {0}")]
    NotOne(#[from] DecodeError),
    /// A public half that nothing can be sealed to.
    #[error("a public half of the keyring is not a usable key")]
    Half,
    /// The machine is faulty.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Why a keyring is not to be trusted, or not to be opened by this password or code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a keyring.
    #[error("keyring: {0}")]
    Malformed(#[from] DecodeError),
    /// Made by a newer release.
    #[error("keyring has format {format}, this release knows {FORMAT}")]
    FormatUnknown { format: u8 },
    /// A keyring of another account.
    #[error("keyring is of another account")]
    OtherLog,
    /// No half is sealed to this password, code or device.
    #[error("keyring was not made for this password, recovery code or device")]
    NoHalf,
    /// No verified row names it.
    #[error("keyring is not the one that the roster names: do not trust this server")]
    NotInForce,
    /// The half is, but who made it did not know the password or code.
    #[error("keyring is not vouched for by this password or recovery code: do not trust this server")]
    Anchor,
    /// The identity did not sign it.
    #[error("keyring is not signed by the account's identity: do not trust this server")]
    Signature,
    /// Signed, and yet what is sealed does not open or does not fit.
    #[error("keyring is damaged: {0}")]
    Damaged(&'static str),
}

fn half_info(log: LogId, epoch: KeyEpoch, kind: u8) -> Vec<u8> {
    [CONTEXT, log.as_bytes(), &epoch.0.to_be_bytes(), &[kind]].concat()
}

fn secrets_aad(log: LogId, epoch: KeyEpoch) -> Vec<u8> {
    [CONTEXT_SECRETS, log.as_bytes(), &epoch.0.to_be_bytes()].concat()
}
