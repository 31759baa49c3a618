//! Every key there is, where it comes from and how it is kept: see `docs/crypto.md`.
//!
//! Never: a secret in `Debug`, in an error, or left in memory once dropped.

pub mod account;
pub mod device;
pub mod device_name;
pub mod file;
pub mod keyring;
pub mod recovery;
pub(crate) mod sealing;
pub mod secret;

pub use account::{AccountKey, AccountKeys, CollectionKey, KeyEpoch, RecordIdKey};
pub use device::{AgreementPair, DeviceKeys, Identity, SignError, SigningPair};
pub use device_name::{NAME_BYTES_MAX, open_name, seal_name};
pub use file::{FileError, KeyFile, KeyringPin};
pub use keyring::{
    AccountSecrets, ExportKey, Opener, check_held, is_of_password, open_as_member, open_keyring, seal_keyring, seal_keyring_for,
    with_password,
};
pub use recovery::{CodeError, RecoveryCode};
pub use secret::Secret;
