//! Opening: the header must say what was asked for, the wrap must open, the commitment must fit, and only then the
//! body is decrypted, unpadded and decompressed within bounds.
//!
//! Never: content given out before all of that held.

use cloudsync_protocol::envelope::EnvelopeError;
use cloudsync_protocol::limits::PAYLOAD_BYTES_MAX;
use cloudsync_protocol::{DeviceId, DeviceSeq, Envelope, Hash, Header, LogId, RecordKey, Version};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::gzip::{self, DecompressError};
use super::padding::{Packing, unpad};
use super::{CONTEXT_BODY, Plaintext, wrap};
use crate::keys::{AccountKeys, sealing};

/// What was asked for. What is not known beforehand is left open; the log always is.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    log: LogId,
    key: Option<&'a RecordKey>,
    version: Option<Version>,
    push: Option<(DeviceId, DeviceSeq)>,
}

impl<'a> Expected<'a> {
    /// Anything of this log.
    #[must_use]
    pub const fn of_log(log: LogId) -> Self {
        Self { log, key: None, version: None, push: None }
    }
    /// Of this record.
    #[must_use]
    pub const fn record(self, key: &'a RecordKey) -> Self {
        Self { key: Some(key), ..self }
    }
    /// Of this version.
    #[must_use]
    pub const fn version(self, version: Version) -> Self {
        Self { version: Some(version), ..self }
    }
    /// Signed by this device in this push.
    #[must_use]
    pub const fn pushed(self, device: DeviceId, device_seq: DeviceSeq) -> Self {
        Self { push: Some((device, device_seq)), ..self }
    }

    fn check(&self, header: &Header) -> Result<(), OpenError> {
        let same = |field, same| if same { Ok(()) } else { Err(OpenError::Mismatch { field }) };
        same("log", header.log == self.log)?;
        same("collection", self.key.is_none_or(|key| key.collection == header.collection))?;
        same("record", self.key.is_none_or(|key| key.record == header.record))?;
        same("version", header.version > Version::NONE && self.version.is_none_or(|version| version == header.version))?;
        same("parent", (header.version == Version(1)) == (header.parent == Hash::default()))?;
        same("device", self.push.is_none_or(|(device, _)| device == header.device))?;
        same("device_seq", self.push.is_none_or(|(_, device_seq)| device_seq == header.device_seq))
    }
}

/// Why an envelope is not to be believed, or can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not an envelope that this release knows, or one over a limit.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An authentic envelope maybe, but not the one asked for.
    #[error("envelope of another {field} than asked for")]
    Mismatch { field: &'static str },
    /// Wrapped under an account key that this device does not have.
    #[error("sealed under key epoch {epoch}, which this device does not have")]
    KeyMissing { epoch: u64 },
    /// Wrap, header or body were changed, or sealed by somebody without the key.
    #[error("content key does not open")]
    Wrap,
    /// The wrap holds another key than the one that the header commits to.
    #[error("content key is not the one that the header commits to")]
    Commitment,
    /// The body is another than its key was made for.
    #[error("body does not open")]
    Body,
    /// Sealed by somebody with the key, but not as this format says.
    #[error("body is not padded or packed as it must be")]
    Packing,
    /// It decompresses to more than a payload may be.
    #[error("content is over {PAYLOAD_BYTES_MAX} B when decompressed")]
    TooLong,
}

/// An envelope that held every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its header.
    pub header: Header,
    /// What it says.
    pub plaintext: Plaintext,
}

/// Opens one version, after checking that it is what was asked for.
pub fn open(keys: &AccountKeys, envelope: &Envelope, expected: &Expected<'_>) -> Result<Opened, OpenError> {
    let header = envelope.check()?;
    expected.check(&header)?;
    let epoch = wrap::epoch_of(&envelope.wrap).ok_or(OpenError::Wrap)?;
    let account_key = keys.get(epoch).ok_or(OpenError::KeyMissing { epoch: epoch.0 })?;
    let key = account_key.collection_key(&header.collection);
    let content_key = wrap::unwrap(&key, &envelope.wrap, envelope.hash()).ok_or(OpenError::Wrap)?;
    if !bool::from(wrap::commitment(&content_key).as_bytes().ct_eq(header.commitment.as_bytes())) {
        return Err(OpenError::Commitment);
    }
    let aad = [CONTEXT_BODY, &envelope.header].concat();
    let padded = sealing::open(&content_key, &envelope.body, &aad).ok_or(OpenError::Body)?;
    let (packing, content) = unpad(&padded).ok_or(OpenError::Packing)?;
    let value = match packing {
        Packing::Raw => Zeroizing::new(content.to_vec()),
        Packing::Gzip => gzip::decompress(content).map_err(|error| match error {
            DecompressError::Malformed => OpenError::Packing,
            DecompressError::TooLong => OpenError::TooLong,
        })?,
    };
    let plaintext = match (header.is_tombstone(), value.is_empty()) {
        (false, _) => Plaintext::Value(value),
        (true, true) => Plaintext::Tombstone,
        (true, false) => return Err(OpenError::Packing),
    };
    Ok(Opened { header, plaintext })
}
