//! What a device and what the account is to others: an Ed25519 key that signs and an X25519 key that is sealed to.
//!
//! Never: a secret half outside this crate; callers sign through it.

use std::fmt;

use cloudsync_engine::verify;
use cloudsync_protocol::statement::{PublicKey, Signature};
use cloudsync_protocol::{DeviceId, UserId};
use ed25519_dalek::{Signer as _, SigningKey};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::secret::{Secret, random};

/// The signature that was just made does not verify: this machine computes wrongly, or its memory is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signature made here does not verify: memory or processor is faulty")]
pub struct SignError;

/// An Ed25519 key that checks every signature that it makes (RFC 8032; a faulty one can give the key away).
#[derive(Clone)]
pub struct SigningPair(SigningKey);

impl SigningPair {
    /// From its 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &Secret<32>) -> Self {
        Self(SigningKey::from_bytes(seed.expose()))
    }
    /// A fresh one.
    #[must_use]
    pub fn random() -> Self {
        Self::from_seed(&Secret::random())
    }
    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }
    /// Signs context ‖ statement, and checks what it made.
    pub fn sign(&self, context: &[u8], statement: &[u8]) -> Result<Signature, SignError> {
        let message = [context, statement].concat();
        let signature = Signature(self.0.sign(&message).to_bytes());
        verify::message(&self.public(), &message, &signature).map_err(|_| SignError)?;
        Ok(signature)
    }
    pub(crate) fn seed(&self) -> Secret<32> {
        Secret::new(self.0.to_bytes())
    }
}

impl fmt::Debug for SigningPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningPair({})", self.public())
    }
}

/// An X25519 key (RFC 7748) that others seal to.
#[derive(Clone)]
pub struct AgreementPair(StaticSecret);

impl AgreementPair {
    /// From its 32 secret bytes.
    #[must_use]
    pub fn from_secret(secret: &Secret<32>) -> Self {
        Self(StaticSecret::from(*secret.expose()))
    }
    /// A fresh one.
    #[must_use]
    pub fn random() -> Self {
        Self::from_secret(&Secret::random())
    }
    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }
    pub(crate) fn secret(&self) -> Secret<32> {
        Secret::new(*Zeroizing::new(self.0.to_bytes()))
    }
}

impl fmt::Debug for AgreementPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgreementPair({})", self.public())
    }
}

/// A device: its id and its own keys. The id is never reused, not even after it was revoked.
#[derive(Debug, Clone)]
pub struct DeviceKeys {
    /// The device.
    pub id: DeviceId,
    /// Signs batches and sessions.
    pub signing: SigningPair,
    /// A rotated account key is sealed to it.
    pub agreement: AgreementPair,
}

impl DeviceKeys {
    /// A new device.
    #[must_use]
    pub fn random() -> Self {
        Self { id: DeviceId(random()), signing: SigningPair::random(), agreement: AgreementPair::random() }
    }
}

/// The account's identity: signs its roster and its keyring.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Counts identities, from 1.
    pub epoch: u64,
    /// Signs.
    pub signing: SigningPair,
    /// Others seal to it when they share.
    pub sharing: AgreementPair,
}

impl Identity {
    /// The first identity of a new account.
    #[must_use]
    pub fn first() -> Self {
        Self { epoch: 1, signing: SigningPair::random(), sharing: AgreementPair::random() }
    }
}

/// A fresh user id.
#[must_use]
pub fn random_user() -> UserId {
    UserId(random())
}

#[cfg(test)]
mod tests {
    use cloudsync_protocol::id::hex;

    use super::*;

    #[test]
    fn a_signature_holds_for_its_own_context_and_statement_only() {
        let pair = SigningPair::from_seed(&Secret::new([3; 32]));
        let signature = pair.sign(b"cs1/batch", b"statement").unwrap();
        assert!(verify::message(&pair.public(), b"cs1/batchstatement", &signature).is_ok());
        assert!(verify::message(&pair.public(), b"cs1/enrolstatement", &signature).is_err());
        assert!(verify::message(&pair.public(), b"cs1/batchstatemenT", &signature).is_err());
        assert!(verify::message(&SigningPair::random().public(), b"cs1/batchstatement", &signature).is_err());
    }

    #[test]
    fn debug_shows_public_halves_only() {
        let device = DeviceKeys::random();
        let text = format!("{device:?}");
        assert!(text.contains(&device.signing.public().to_string()));
        let seed = hex(device.signing.seed().expose());
        let secret = hex(device.agreement.secret().expose());
        assert!(!text.contains(&seed) && !text.contains(&secret));
    }
}
