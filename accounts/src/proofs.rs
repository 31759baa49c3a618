//! Proof that the other end holds a device's key.
//!
//! Never: a signature over bytes that another statement could also have; the message comes from `protocol::statement`.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use cloudsync_protocol::Nonce;
use cloudsync_protocol::statement::{PublicKey, Signature, refresh_message};

/// Whether `proof` is `signing`'s over this connection's nonce and `token`.
pub(crate) fn holds(signing: &PublicKey, nonce: &Nonce, token: &str, proof: &Signature) -> bool {
    UnparsedPublicKey::new(&ED25519, signing.as_bytes()).verify(&refresh_message(nonce, token), &proof.0).is_ok()
}
