//! The two ways of sealing: AES-256-GCM under a key, HPKE to a public key. Used by keyring, names and envelopes.
//!
//! Never: a nonce used twice under one key; every caller draws a fresh one, but for tests and vectors.

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use cloudsync_protocol::statement::PublicKey;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _, single_shot_open, single_shot_seal};
use zeroize::Zeroizing;

use super::device::AgreementPair;
use super::secret::Secret;

pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;
/// HPKE's encapsulated X25519 key.
const ENCAPSULATED_BYTES: usize = 32;

/// nonce ‖ ciphertext ‖ tag, by AES-256-GCM (NIST SP 800-38D).
pub(crate) fn seal(key: &Secret<32>, nonce: [u8; NONCE_BYTES], plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
    let cipher = Aes256Gcm::new(key.expose().into());
    let payload = Payload { msg: plaintext, aad };
    let sealed = cipher.encrypt(&Nonce::from(nonce), payload).expect("what is sealed is far below GCM's 64 GiB");
    [nonce.as_slice(), &sealed].concat()
}

/// Opens what [`seal`] made; nothing when a byte differs.
pub(crate) fn open(key: &Secret<32>, sealed: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let cipher = Aes256Gcm::new(key.expose().into());
    cipher.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad }).ok().map(Zeroizing::new)
}

/// Encapsulated key (32 B) ‖ ciphertext ‖ tag: HPKE base mode (RFC 9180) with X25519, HKDF-SHA-256, AES-256-GCM.
/// Nothing when `public` is not a key that can be sealed to. It does not say who sealed.
pub(crate) fn seal_to(public: &PublicKey, info: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public.as_bytes()).ok()?;
    let (encapsulated, sealed) =
        single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&OpModeS::Base, &public, info, plaintext, &[]).ok()?;
    Some([encapsulated.to_bytes().as_slice(), &sealed].concat())
}

/// Opens what [`seal_to`] made.
pub(crate) fn open_with(pair: &AgreementPair, info: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (encapsulated, sealed) = sealed.split_first_chunk::<ENCAPSULATED_BYTES>()?;
    let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(pair.secret().expose()).ok()?;
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
    single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&OpModeR::Base, &secret, &encapsulated, info, sealed, &[])
        .ok()
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_to_a_key_opens_with_that_key_and_that_purpose_only() {
        let pair = AgreementPair::random();
        let sealed = seal_to(&pair.public(), b"purpose", b"secret").unwrap();
        assert_eq!(open_with(&pair, b"purpose", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(open_with(&pair, b"another", &sealed), None);
        assert_eq!(open_with(&AgreementPair::random(), b"purpose", &sealed), None);
    }

    #[test]
    fn the_agreement_pair_and_hpke_agree_on_the_public_half() {
        let pair = AgreementPair::random();
        let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(pair.secret().expose()).unwrap();
        assert_eq!(X25519HkdfSha256::sk_to_pk(&secret).to_bytes().as_slice(), pair.public().as_bytes());
    }

    #[test]
    fn too_short_a_text_does_not_open() {
        assert_eq!(open(&Secret::new([1; 32]), &[0; 11], &[]), None);
        assert_eq!(open(&Secret::new([1; 32]), &[0; 12], &[]), None);
    }
}
