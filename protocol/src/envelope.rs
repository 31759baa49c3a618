//! A record as it travels and as it is stored: header in the clear (but authenticated), body and wrap sealed.
//!
//! Never: opening or sealing one; keys live in the client. The server reads headers and sizes only.

use bytes::Bytes;

use crate::codec::{self, DecodeError};
use crate::hash::Hash;
use crate::id::{DeviceId, LogId};
use crate::limits::{BODY_BYTES_MAX, BODY_BYTES_MIN, HEADER_BYTES_MAX, TOMBSTONE_BODY_BYTES_MAX, WRAP_BYTES};
use crate::name::{CollectionName, RecordId, RecordKey};
use crate::position::{DeviceSeq, Version};

/// The envelope format that this code writes.
pub const FORMAT: u8 = 1;
/// AES-256-GCM for body and wrap, HKDF-SHA-256 for keys and commitment.
pub const SUITE_AES_256_GCM: u8 = 1;
/// [`Header::flags`]: the record is deleted; its body is a sealed tombstone.
pub const FLAG_TOMBSTONE: u8 = 1;
const FLAGS_KNOWN: u8 = FLAG_TOMBSTONE;

/// A hybrid logical clock: milliseconds since the epoch × 2^16 + a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first stamp of a millisecond.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms << 16)
    }
    /// Its millisecond.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0 >> 16
    }
    /// The stamp of a new edit: later than every stamp seen, and not earlier than the clock.
    #[must_use]
    pub fn tick(self, now_ms: u64) -> Self {
        Self(self.0.saturating_add(1)).max(Self::from_ms(now_ms))
    }
}

crate::wire_struct! {
    /// What the server may read of a record. Kept and hashed as the bytes that the client wrote.
    pub struct Header {
        /// [`FORMAT`].
        pub format: u8,
        /// [`SUITE_AES_256_GCM`].
        pub suite: u8,
        /// The log that it belongs to.
        pub log: LogId,
        /// The record's collection.
        pub collection: CollectionName,
        /// The record's id.
        pub record: RecordId,
        /// The version that this envelope is: base + 1.
        pub version: Version,
        /// The hash of the envelope that it was made from; zero for version 1.
        pub parent: Hash,
        /// The device that made it.
        pub device: DeviceId,
        /// The device's push that it was signed in.
        pub device_seq: DeviceSeq,
        /// When it was made, by the device's hybrid clock.
        pub hlc: Hlc,
        /// [`FLAG_TOMBSTONE`] or 0.
        pub flags: u8,
        /// HKDF of the content key: GCM commits to no key, this does.
        pub commitment: Hash,
    }
}

impl Header {
    /// Names the record.
    #[must_use]
    pub fn key(&self) -> RecordKey {
        RecordKey { collection: self.collection.clone(), record: self.record.clone() }
    }
    /// Whether this version deletes the record.
    #[must_use]
    pub const fn is_tombstone(&self) -> bool {
        self.flags & FLAG_TOMBSTONE != 0
    }
}

/// Why an envelope is refused on sight, without looking anything up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The header is not a header.
    #[error("header: {0}")]
    Header(#[from] DecodeError),
    /// A format, suite or flag of a newer release.
    #[error("unknown format {format}, suite {suite} or flags {flags}")]
    Unknown { format: u8, suite: u8, flags: u8 },
    /// A part is longer than its limit.
    #[error("{part} of {bytes} bytes, allowed are {bytes_max}")]
    TooLarge { part: &'static str, bytes: usize, bytes_max: usize },
    /// A part is shorter than sealing ever makes it.
    #[error("{part} of {bytes} bytes, at least {bytes_min} are needed")]
    TooSmall { part: &'static str, bytes: usize, bytes_min: usize },
}

crate::wire_struct! {
    /// One version of one record.
    pub struct Envelope {
        /// [`Header`], as encoded by the client.
        pub header: Bytes,
        /// nonce (12 B) ‖ ciphertext ‖ tag (16 B).
        pub body: Bytes,
        /// epoch (8 B, big endian) ‖ nonce (12 B) ‖ wrapped content key (32 B) ‖ tag (16 B). Renewed by rotation, so not hashed.
        pub wrap: Bytes,
    }
}

/// The account key's epoch of a wrap; 0, which is none, of one that is too short.
#[must_use]
pub fn key_epoch(wrap: &[u8]) -> u64 {
    wrap.first_chunk().map_or(0, |epoch| u64::from_be_bytes(*epoch))
}

impl Envelope {
    /// SHA-256 of header ‖ body.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&[&self.header, &self.body])
    }

    /// The epoch of the account key that the content key is wrapped under.
    #[must_use]
    pub fn key_epoch(&self) -> u64 {
        key_epoch(&self.wrap)
    }

    /// What counts against the user's quota.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.header.len() + self.body.len() + self.wrap.len()) as u64
    }

    /// Decodes the header and checks every bound that needs no look-up.
    pub fn check(&self) -> Result<Header, EnvelopeError> {
        let too_large =
            |part, bytes, bytes_max| if bytes > bytes_max { Err(EnvelopeError::TooLarge { part, bytes, bytes_max }) } else { Ok(()) };
        too_large("header", self.header.len(), HEADER_BYTES_MAX)?;
        let header: Header = codec::decode(&self.header)?;
        if header.format != FORMAT || header.suite != SUITE_AES_256_GCM || header.flags & !FLAGS_KNOWN != 0 {
            return Err(EnvelopeError::Unknown { format: header.format, suite: header.suite, flags: header.flags });
        }
        let body_bytes_max = if header.is_tombstone() { TOMBSTONE_BODY_BYTES_MAX } else { BODY_BYTES_MAX };
        too_large("body", self.body.len(), body_bytes_max)?;
        if self.body.len() < BODY_BYTES_MIN {
            return Err(EnvelopeError::TooSmall { part: "body", bytes: self.body.len(), bytes_min: BODY_BYTES_MIN });
        }
        // Suite 1 makes wraps of one length only.
        if self.wrap.len() < WRAP_BYTES {
            return Err(EnvelopeError::TooSmall { part: "wrap", bytes: self.wrap.len(), bytes_min: WRAP_BYTES });
        }
        too_large("wrap", self.wrap.len(), WRAP_BYTES)?;
        Ok(header)
    }
}
