//! Makes a keyring, or another one with a new password in it.
//!
//! Never: a half of a kind that is there already, or halves in another order than readers ask for.

use bytes::Bytes;
use cloudsync_protocol::limits::KEYRING_BYTES_MAX;
use cloudsync_protocol::statement::{PublicKey, Signed};
use cloudsync_protocol::{Hash, codec};
use zeroize::Zeroizing;

use super::{
    AccountSecrets, CONTEXT, EARLIER_KEY_BYTES, ExportKey, FORMAT, Half, KIND_DEVICE, KIND_PASSWORD, KeyringStatement, Opener, SealError,
    half_info, secrets_aad,
};
use crate::keys::recovery::RecoveryCode;
use crate::keys::sealing::{seal, seal_to};
use crate::keys::secret::random;

/// Seals the account's secrets for the password and the recovery code.
pub fn seal_keyring(secrets: &AccountSecrets, password: &ExportKey, code: &RecoveryCode) -> Result<Bytes, SealError> {
    seal_keyring_for(secrets, (password, code), Vec::new())
}

/// The same for devices as well, each by its agreement key.
pub fn seal_keyring_for(
    secrets: &AccountSecrets,
    (password, code): (&ExportKey, &RecoveryCode),
    mut members: Vec<PublicKey>,
) -> Result<Bytes, SealError> {
    let mut halves = vec![half(secrets, Opener::Password(password))?, half(secrets, Opener::Recovery(code))?];
    members.sort();
    members.dedup();
    for public in members {
        halves.push(device_half(secrets, public)?);
    }
    let current = secrets.account.current();
    signed(
        secrets,
        &KeyringStatement {
            format: FORMAT,
            log: secrets.log(),
            epoch: current.epoch.0,
            identity_epoch: secrets.identity.epoch,
            identity: secrets.identity.signing.public(),
            halves,
            secrets: seal_secrets(secrets, random()).into(),
        },
    )
}

/// The same keyring for another password: every other half and the sealed secrets stay as they are, byte for byte. The blob is one
/// that was checked.
pub fn with_password(blob: &[u8], secrets: &AccountSecrets, password: &ExportKey) -> Result<Bytes, SealError> {
    let before: Signed = codec::decode(blob)?;
    let mut statement: KeyringStatement = codec::decode(&before.statement)?;
    statement.halves.retain(|half| half.kind != KIND_PASSWORD);
    statement.halves.insert(0, half(secrets, Opener::Password(password))?);
    signed(secrets, &statement)
}

fn half(secrets: &AccountSecrets, opener: Opener<'_>) -> Result<Half, SealError> {
    let (log, current, identity) = (secrets.log(), secrets.account.current(), &secrets.identity);
    let public = opener.pair().public();
    let sealed = seal_to(&public, &half_info(log, current.epoch, opener.kind()), current.key.expose()).ok_or(SealError::Half)?;
    let anchor = opener.anchor(log, (identity.epoch, &identity.signing.public()), current);
    Ok(Half { kind: opener.kind(), public, sealed: sealed.into(), anchor })
}

fn device_half(secrets: &AccountSecrets, public: PublicKey) -> Result<Half, SealError> {
    let current = secrets.account.current();
    let info = half_info(secrets.log(), current.epoch, KIND_DEVICE);
    let sealed = seal_to(&public, &info, current.key.expose()).ok_or(SealError::Half)?;
    Ok(Half { kind: KIND_DEVICE, public, sealed: sealed.into(), anchor: Hash::default() })
}

fn signed(secrets: &AccountSecrets, statement: &KeyringStatement) -> Result<Bytes, SealError> {
    let statement = codec::encode(statement);
    let signature = secrets.identity.signing.sign(CONTEXT, &statement)?;
    let blob = codec::encode(&Signed { statement: statement.into(), signature });
    if blob.len() > KEYRING_BYTES_MAX {
        return Err(SealError::TooLarge { bytes: blob.len(), bytes_max: KEYRING_BYTES_MAX });
    }
    Ok(blob.into())
}

pub(super) fn seal_secrets(secrets: &AccountSecrets, nonce: [u8; 12]) -> Vec<u8> {
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
