//! Ed25519 as this project verifies it: strictly, so that one statement has one valid signature (RFC 8032, 5.1.7, with
//! small-order keys and non-canonical encodings refused).
//!
//! Never: signing. Keys live in the client.

use cloudsync_protocol::statement::{Carrier, PublicKey, Signature, Signed, hello_message, refresh_message};
use cloudsync_protocol::{DeviceId, Nonce, UserId};
use ed25519_dalek::VerifyingKey;

/// The key is not a key, or the signature is not its.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureInvalid;

/// Whether `signature` is `key`'s over exactly `message`.
pub fn message(key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), SignatureInvalid> {
    let key = VerifyingKey::from_bytes(key.as_bytes()).map_err(|_| SignatureInvalid)?;
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0)).map_err(|_| SignatureInvalid)
}

/// Whether a statement was signed by `key` in that `context`.
pub fn statement(key: &PublicKey, context: &[u8], signed: &Signed) -> Result<(), SignatureInvalid> {
    message(key, &[context, &signed.statement].concat(), &signed.signature)
}

/// What an access token says, once it is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Whose it is.
    pub user: UserId,
    /// The device that it was given to.
    pub device: DeviceId,
    /// In milliseconds since the epoch; it no longer holds at that moment.
    pub expires_ts: u64,
}

/// What a device shows to open a session, or to go on with one under a fresh token.
#[derive(Clone)]
pub struct HelloProof {
    /// What the server sent first on this connection.
    pub nonce: Nonce,
    /// How the bytes travel.
    pub carrier: Carrier,
    /// SHA-256 of it is signed; it is verified elsewhere.
    pub token: String,
    /// By the device's key.
    pub signature: Signature,
}

impl std::fmt::Debug for HelloProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HelloProof").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

impl HelloProof {
    /// Whether it was signed by `key`.
    pub fn verify(&self, key: &PublicKey) -> Result<(), SignatureInvalid> {
        message(key, &hello_message(&self.nonce, self.carrier, &self.token), &self.signature)
    }
}

/// Whether a refresh, log-out or enrol proof was signed by `key`.
pub fn refresh(key: &PublicKey, nonce: &Nonce, refresh_token: &str, signature: &Signature) -> Result<(), SignatureInvalid> {
    message(key, &refresh_message(nonce, refresh_token), signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Peer, SessionId};
    use crate::user::Event;

    #[test]
    fn debug_shows_no_token() {
        let token = "a.secret.token".to_owned();
        let proof = HelloProof { nonce: Nonce([1; 32]), carrier: Carrier::Quic, token, signature: Signature([7; 64]) };
        let peer = Peer { session: SessionId(1), device: DeviceId([1; 16]) };
        for text in [format!("{proof:?}"), format!("{:?}", Event::Open { peer, proof: proof.clone() })] {
            assert!(text.contains("HelloProof") && !text.contains("secret"), "{text}");
        }
    }
}
