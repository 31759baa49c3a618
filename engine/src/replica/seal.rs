//! What the replica asks of whoever holds the keys.
//!
//! Never: a key, or a guess: what an opener says does not open is marked damaged.

use bytes::Bytes;
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::{DeviceId, DeviceSeq, Envelope, ErrorCode, Hash, Header, LogId, RecordKey, Seq, Signature, Version};

use super::Content;

/// A version that is to be sealed: everything that its header says, but for the commitment.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The log.
    pub log: LogId,
    /// The record.
    pub key: &'a RecordKey,
    /// The version that it will be.
    pub version: Version,
    /// The hash of the envelope that it was made from; zero for version 1.
    pub parent: Hash,
    /// This device.
    pub device: DeviceId,
    /// The push that it will be signed in.
    pub device_seq: DeviceSeq,
    /// When it was made.
    pub hlc: Hlc,
    /// What it says.
    pub content: &'a Content,
}

/// A content key as it is wrapped, and what it is to be wrapped anew with. Neither body nor value are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The record.
    pub key: RecordKey,
    /// Where that version was committed; 0 for one that is not.
    pub seq: Seq,
    /// The envelope's hash, which a wrap is bound to.
    pub hash: Hash,
    /// The envelope's header.
    pub header: Bytes,
    /// Its wrap.
    pub wrap: Bytes,
}

/// Why a value was not sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// This value can't be a record, now or later: its edit is parked with that code.
    #[error("{code}: {message}")]
    Unfit { code: ErrorCode, message: String },
    /// Nothing can be sealed now.
    #[error("can't seal: {0}")]
    Failed(String),
}

/// Seals and signs for this device.
pub trait Sealer {
    /// Seals one version.
    fn seal(&self, draft: &Draft<'_>) -> Result<Envelope, SealError>;
    /// The newest account key's epoch: what [`seal`](Self::seal) and [`rewrap`](Self::rewrap) wrap under.
    fn sealing_epoch(&self) -> u64;
    /// The content key of an envelope with that header, hash and wrap, wrapped under the newest account key; nothing where the wrap
    /// does not open, or what was made of it would not.
    fn rewrap(&self, wrapped: &Wrapped) -> Option<Bytes>;
    /// Signs a message (context ‖ statement) with the device's Ed25519 key.
    fn sign(&self, message: &[u8]) -> Signature;
}

/// Why an envelope did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was tampered with, or sealed by somebody who does not have the key.
    #[error("does not open: {0}")]
    Forged(String),
    /// It needs a key epoch that this device does not have.
    #[error("sealed under key epoch {epoch}, which this device does not have")]
    KeyMissing { epoch: u64 },
}

/// Opens what other devices sealed.
pub trait Opener {
    /// The newest account key's epoch: what is sealed under a later one is not damaged, its key is to be fetched.
    fn key_epoch(&self) -> u64;
    /// Opens one version; its header was decoded and fits its place. A tombstone is opened (authenticated) too.
    fn open(&self, header: &Header, envelope: &Envelope) -> Result<Content, OpenError>;
}
