//! Committed records as a replica holds them, and the changes that it tells of.
//!
//! Never: a look into a value.

use bytes::Bytes;
use cloudsync_protocol::entry::Origin;
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::{DeviceId, DeviceSeq, Envelope, Hash, Header, RecordKey, Seq, Version};

use super::Wrapped;

/// What a version says, opened. Its `Debug` tells a value's length only.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// The app's value, opaque here.
    Value(Bytes),
    /// The record is deleted.
    Deleted,
    /// A committed version that is who signed it's, and does not open: made with other keys, or by a machine that computed
    /// wrongly. The envelope is kept; the record's next version replaces it. No edit says this.
    Damaged,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => write!(f, "Value({} B)", value.len()),
            Self::Deleted => f.write_str("Deleted"),
            Self::Damaged => f.write_str("Damaged"),
        }
    }
}

/// A record's current version. Keeps the envelope too: after a rewind it is pushed again, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Names it.
    pub key: RecordKey,
    /// From 1, on across deletion.
    pub version: Version,
    /// Where it was committed.
    pub seq: Seq,
    /// The envelope's hash: the parent of the next version.
    pub hash: Hash,
    /// Who made it.
    pub device: DeviceId,
    /// By its hybrid clock.
    pub hlc: Hlc,
    /// What it says.
    pub content: Content,
    /// As committed.
    pub envelope: Envelope,
    /// Where it was first committed, if it was brought back after a rewind.
    pub origin: Option<Origin>,
}

impl Record {
    /// How its content key is wrapped.
    #[must_use]
    pub fn wrapped(&self) -> Wrapped {
        let Envelope { header, wrap, .. } = &self.envelope;
        Wrapped { key: self.key.clone(), seq: self.seq, hash: self.hash, header: header.clone(), wrap: wrap.clone() }
    }

    /// From an envelope whose header was decoded and checked.
    pub(super) fn new(header: &Header, (envelope, origin): (&Envelope, Option<Origin>), seq: Seq, content: Content) -> Self {
        Self {
            key: header.key(),
            version: header.version,
            seq,
            hash: envelope.hash(),
            device: header.device,
            hlc: header.hlc,
            content,
            envelope: envelope.clone(),
            origin,
        }
    }

    /// Whether it opens, and takes the place of a copy of the same row that does not: where a wrap, or all of a snapshot's row, was
    /// spoiled on its way. Never an older version: that one was not to be read is no leave to go back.
    pub(super) fn heals(&self, held: &Self) -> bool {
        let opens = |record: &Self| record.content != Content::Damaged;
        opens(self) && !opens(held) && (held.seq, &held.key) == (self.seq, &self.key) && held.version <= self.version
    }
}

/// One committed version, in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it was committed.
    pub seq: Seq,
    /// The record.
    pub key: RecordKey,
    /// Its new version.
    pub version: Version,
    /// Who made it.
    pub device: DeviceId,
    /// In which of its pushes.
    pub device_seq: DeviceSeq,
    /// What it says.
    pub content: Content,
}

impl Change {
    pub(super) fn new(header: &Header, seq: Seq, content: Content) -> Self {
        Self { seq, key: header.key(), version: header.version, device: header.device, device_seq: header.device_seq, content }
    }
}
