//! The keyring: one blob on the server that gives the account's secrets back to who knows the password or the
//! recovery code, and to nobody else.
//!
//! Never: a secret used before everything was checked. HPKE does not say who sealed, so a dishonest server could seal
//! an account key of its own to the password's public half; the anchor, which only password or code can make, names
//! the identity, and the identity signs the blob.

use bytes::Bytes;
use cloudsync_engine::verify;
use cloudsync_protocol::codec::{self, DecodeError};
use cloudsync_protocol::limits::KEYRING_BYTES_MAX;
use cloudsync_protocol::statement::{PublicKey, Signed};
use cloudsync_protocol::{Hash, LogId, UserId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::account::{AccountKey, AccountKeys, KeyEpoch, RecordIdKey};
use super::device::{AgreementPair, Identity, SignError, SigningPair};
use super::recovery::RecoveryCode;
use super::sealing::{open, open_with, seal, seal_to};
use super::secret::{Secret, derive, random};

/// The blob's format.
pub const FORMAT: u8 = 1;
/// Before the statement when it is signed, and in HPKE's info.
pub const CONTEXT: &[u8] = b"cs1/keyring";
const CONTEXT_ANCHOR: &[u8] = b"cs1/anchor";
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
            Self::Password(_) => 1,
            Self::Recovery(_) => 2,
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
    /// HMAC-SHA-256(HKDF(secret, "cs1/anchor"), "cs1/anchor" ‖ log ‖ identity epoch ‖ identity).
    #[must_use]
    pub fn anchor(self, log: LogId, identity_epoch: u64, identity: &PublicKey) -> Hash {
        let material = match self {
            Self::Password(export_key) => export_key.0.expose().as_slice(),
            Self::Recovery(code) => code.material(),
        };
        let key = derive(material, &[CONTEXT_ANCHOR]);
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
        let parts: [&[u8]; 4] = [CONTEXT_ANCHOR, log.as_bytes(), &identity_epoch.to_be_bytes(), identity.as_bytes()];
        parts.iter().for_each(|part| mac.update(part));
        Hash(mac.finalize().into_bytes().into())
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
        /// 1 password, 2 recovery code.
        pub kind: u8,
        /// X25519: what a rotating device seals the next account key to.
        pub public: PublicKey,
        /// HPKE of the account key: encapsulated key (32 B) ‖ ciphertext (48 B).
        pub sealed: Bytes,
        /// See [`Opener::anchor`].
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
        /// One for each opener.
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
    /// No half is sealed to this password or code.
    #[error("keyring was not made for this password or recovery code")]
    NoHalf,
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

/// Seals the account's secrets for each opener.
pub fn seal_keyring(secrets: &AccountSecrets, openers: &[Opener<'_>]) -> Result<Bytes, SealError> {
    let (log, current, identity) = (secrets.log(), secrets.account.current(), &secrets.identity);
    let half = |opener: &Opener<'_>| {
        let public = opener.pair().public();
        let sealed = seal_to(&public, &half_info(log, current.epoch, opener.kind()), current.key.expose()).ok_or(SealError::Half)?;
        let anchor = opener.anchor(log, identity.epoch, &identity.signing.public());
        Ok(Half { kind: opener.kind(), public, sealed: sealed.into(), anchor })
    };
    let statement = codec::encode(&KeyringStatement {
        format: FORMAT,
        log,
        epoch: current.epoch.0,
        identity_epoch: identity.epoch,
        identity: identity.signing.public(),
        halves: openers.iter().map(half).collect::<Result<_, SealError>>()?,
        secrets: seal_secrets(secrets, random()).into(),
    });
    let signature = identity.signing.sign(CONTEXT, &statement)?;
    let blob = codec::encode(&Signed { statement: statement.into(), signature });
    if blob.len() > KEYRING_BYTES_MAX {
        return Err(SealError::TooLarge { bytes: blob.len(), bytes_max: KEYRING_BYTES_MAX });
    }
    Ok(blob.into())
}

/// Opens a keyring: anchor, signature, account key, secrets, and that they belong to the identity vouched for.
pub fn open_keyring(blob: &[u8], user: UserId, opener: Opener<'_>) -> Result<AccountSecrets, OpenError> {
    let log = LogId::from(user);
    let signed: Signed = codec::decode(blob)?;
    let FormatOnly { format } = codec::decode(&signed.statement)?;
    if format != FORMAT {
        return Err(OpenError::FormatUnknown { format });
    }
    let statement: KeyringStatement = codec::decode(&signed.statement)?;
    if statement.log != log {
        return Err(OpenError::OtherLog);
    }
    let pair = opener.pair();
    let public = pair.public();
    let half = statement.halves.iter().find(|half| half.kind == opener.kind() && half.public == public).ok_or(OpenError::NoHalf)?;
    let anchor = opener.anchor(log, statement.identity_epoch, &statement.identity);
    if !bool::from(anchor.as_bytes().ct_eq(half.anchor.as_bytes())) {
        return Err(OpenError::Anchor);
    }
    verify::statement(&statement.identity, CONTEXT, &signed).map_err(|_| OpenError::Signature)?;
    let epoch = KeyEpoch(statement.epoch);
    let key = open_with(&pair, &half_info(log, epoch, opener.kind()), &half.sealed).ok_or(OpenError::Damaged("account key"))?;
    let key = Secret::from_slice(&key).ok_or(OpenError::Damaged("account key"))?;
    open_secrets(&statement, user, AccountKey { epoch, key })
}

fn half_info(log: LogId, epoch: KeyEpoch, kind: u8) -> Vec<u8> {
    [CONTEXT, log.as_bytes(), &epoch.0.to_be_bytes(), &[kind]].concat()
}

fn secrets_aad(log: LogId, epoch: KeyEpoch) -> Vec<u8> {
    [CONTEXT_SECRETS, log.as_bytes(), &epoch.0.to_be_bytes()].concat()
}

pub(crate) fn seal_secrets(secrets: &AccountSecrets, nonce: [u8; 12]) -> Vec<u8> {
    let current = secrets.account.current();
    let mut plaintext = Zeroizing::new(Vec::with_capacity(96 + secrets.account.earlier().count() * EARLIER_KEY_BYTES));
    plaintext.extend_from_slice(secrets.identity.signing.seed().expose());
    plaintext.extend_from_slice(secrets.identity.sharing.secret().expose());
    plaintext.extend_from_slice(secrets.record_ids.0.expose());
    for earlier in secrets.account.earlier() {
        plaintext.extend_from_slice(&earlier.epoch.0.to_be_bytes());
        plaintext.extend_from_slice(earlier.key.expose());
    }
    seal(&current.identity_wrapping_key(), nonce, &plaintext, &secrets_aad(secrets.log(), current.epoch))
}

fn open_secrets(statement: &KeyringStatement, user: UserId, current: AccountKey) -> Result<AccountSecrets, OpenError> {
    let damaged = OpenError::Damaged("the account's secrets");
    let aad = secrets_aad(statement.log, current.epoch);
    let plaintext = open(&current.identity_wrapping_key(), &statement.secrets, &aad).ok_or(damaged.clone())?;
    let mut rest = plaintext.as_slice();
    let mut next = || {
        let (secret, after) = rest.split_first_chunk::<32>()?;
        rest = after;
        Some(Secret::new(*secret))
    };
    let (Some(seed), Some(sharing), Some(record_ids)) = (next(), next(), next()) else { return Err(damaged) };
    let identity =
        Identity { epoch: statement.identity_epoch, signing: SigningPair::from_seed(&seed), sharing: AgreementPair::from_secret(&sharing) };
    if identity.signing.public() != statement.identity {
        return Err(OpenError::Damaged("its secrets belong to another identity"));
    }
    let mut earlier = Vec::new();
    while let Some((epoch, after)) = rest.split_first_chunk::<8>() {
        let (key, after) = after.split_first_chunk::<32>().ok_or(damaged.clone())?;
        earlier.push(AccountKey { epoch: KeyEpoch(u64::from_be_bytes(*epoch)), key: Secret::new(*key) });
        rest = after;
    }
    if !rest.is_empty() {
        return Err(damaged);
    }
    Ok(AccountSecrets { user, account: AccountKeys::new(current, earlier), identity, record_ids: RecordIdKey(record_ids) })
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
