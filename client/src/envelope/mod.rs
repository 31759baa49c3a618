//! Seals a version of a record into an envelope, and opens one that came from a server that is not trusted.
//!
//! Never: an envelope opened without saying what was asked for, and never plaintext or a key in an error.

mod gzip;
mod open;
mod padding;
mod seal;
#[cfg(test)]
mod tamper_tests;
mod wrap;

pub use open::{Expected, OpenError, Opened, open};
pub use padding::padded_bytes;
pub use seal::{Draft, SealError, seal};
#[cfg(test)]
pub(crate) use seal::{Draws, seal_with};
pub use wrap::{WRAP_BYTES, rewrap};

use zeroize::Zeroizing;

/// Before the header in the body's additional data.
const CONTEXT_BODY: &[u8] = b"cs1/rec";

/// What a version says, as it goes in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The app's value.
    Value(&'a [u8]),
    /// The record is deleted.
    Tombstone,
}

/// What a version says, as it comes out.
#[derive(Clone, PartialEq, Eq)]
pub enum Plaintext {
    /// The app's value.
    Value(Zeroizing<Vec<u8>>),
    /// The record is deleted.
    Tombstone,
}

impl std::fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => write!(f, "Value({} B)", value.len()),
            Self::Tombstone => f.write_str("Tombstone"),
        }
    }
}

impl std::fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => write!(f, "Value({} B)", value.len()),
            Self::Tombstone => f.write_str("Tombstone"),
        }
    }
}
