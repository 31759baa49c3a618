//! What opens a keyring from outside the account: the password (through OPAQUE) or the recovery code.
//!
//! Never: an anchor that a half can be copied under to another account key; it names the account key as well as the identity.

use cloudsync_protocol::statement::PublicKey;
use cloudsync_protocol::{Hash, LogId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{KIND_PASSWORD, KIND_RECOVERY};
use crate::keys::account::AccountKey;
use crate::keys::device::AgreementPair;
use crate::keys::recovery::RecoveryCode;
use crate::keys::secret::{Secret, derive};

const CONTEXT_ANCHOR: &[u8] = b"cs1/anchor";

/// What OPAQUE gives to who knows the password (RFC 9807, 6.3: `export_key`); the server never has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportKey(pub Secret<64>);

/// Something that opens the keyring.
#[derive(Debug, Clone, Copy)]
pub enum Opener<'a> {
    /// The password, through OPAQUE.
    Password(&'a ExportKey),
    /// The recovery code.
    Recovery(&'a RecoveryCode),
}

impl Opener<'_> {
    /// The byte that tells the halves apart.
    #[must_use]
    pub const fn kind(self) -> u8 {
        match self {
            Self::Password(_) => KIND_PASSWORD,
            Self::Recovery(_) => KIND_RECOVERY,
        }
    }
    /// The pair that the account key is sealed to.
    #[must_use]
    pub fn pair(self) -> AgreementPair {
        match self {
            Self::Password(export_key) => AgreementPair::from_secret(&derive(export_key.0.expose(), &[b"cs1/pw"])),
            Self::Recovery(code) => code.pair(),
        }
    }
    /// HMAC-SHA-256(HKDF(secret, "cs1/anchor"), "cs1/anchor" ‖ log ‖ identity epoch ‖ identity ‖ epoch ‖ HKDF(account key, "cs1/anchored")).
    #[must_use]
    pub fn anchor(self, log: LogId, (identity_epoch, identity): (u64, &PublicKey), account: &AccountKey) -> Hash {
        let material = match self {
            Self::Password(export_key) => export_key.0.expose().as_slice(),
            Self::Recovery(code) => code.material(),
        };
        let key = derive(material, &[CONTEXT_ANCHOR]);
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
        let anchored = account.anchored();
        let (identity_epoch, epoch) = (identity_epoch.to_be_bytes(), account.epoch.0.to_be_bytes());
        let parts: [&[u8]; 6] = [CONTEXT_ANCHOR, log.as_bytes(), &identity_epoch, identity.as_bytes(), &epoch, anchored.expose()];
        parts.iter().for_each(|part| mac.update(part));
        Hash(mac.finalize().into_bytes().into())
    }
}
