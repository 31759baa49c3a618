//! Secret bytes, the randomness that makes them and the one key derivation.
//!
//! Never: a secret that prints itself, is compared in variable time, or stays in memory after it is dropped.

use std::fmt;

use hkdf::Hkdf;
use rand::TryRng as _;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` bytes that nobody else may see.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes bytes over.
    #[must_use]
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
    /// Fresh ones.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }
    /// From a slice of exactly the right length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
    /// The bytes.
    #[must_use]
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(…)")
    }
}

/// `N` bytes of the operating system's randomness.
///
/// # Panics
/// When the system has none: there is nothing safe to go on with.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// HKDF-SHA-256 (RFC 5869) without salt; `info` is the parts one after the other.
#[must_use]
pub fn derive(material: &[u8], info: &[&[u8]]) -> Secret<32> {
    let mut bytes = [0; 32];
    Hkdf::<Sha256>::new(None, material).expand_multi_info(info, &mut bytes).expect("32 bytes are within HKDF's bound");
    Secret(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let text = format!("{:?}", Secret::new([0x61; 32]));
        assert_eq!(text, "Secret<32>(…)");
    }

    #[test]
    fn random_bytes_differ_from_draw_to_draw() {
        assert_ne!(random::<32>(), random::<32>());
    }

    #[test]
    fn derivation_depends_on_material_and_on_info() {
        let base = derive(b"material", &[b"a", b"b"]);
        assert_eq!(base, derive(b"material", &[b"ab"]), "parts are simply concatenated");
        assert_ne!(base, derive(b"material", &[b"ac"]));
        assert_ne!(base, derive(b"other", &[b"ab"]));
    }
}
