//! SHA-256 as it is used for envelopes, statements and rows.
//!
//! Never: a hash of plaintext; that would be an oracle for the server.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::id::bytes_id;

bytes_id! {
    /// A SHA-256 (FIPS 180-4).
    Hash[32];
    /// The first 8 bytes of a [`struct@Hash`]: enough to notice that a row is another one, not to trust it.
    ShortHash[8];
}

impl Hash {
    /// The hash of the parts written one after the other.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        parts.iter().for_each(|part| hasher.update(part));
        Self(hasher.finalize().into())
    }

    /// Its first 8 bytes.
    #[must_use]
    pub fn short(&self) -> ShortHash {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        ShortHash([a, b, c, d, e, f, g, h])
    }
}
