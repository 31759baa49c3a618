//! What a log holds: batches of operations and changes of the roster, and single rows as snapshots give them.
//!
//! Never: a partial batch; pages and events hold whole entries.

use bytes::Bytes;

use crate::envelope::Envelope;
use crate::hash::{Hash, ShortHash};
use crate::id::TimelineId;
use crate::limits::REWRAP_ITEM_BYTES;
use crate::position::{Seq, Version};
use crate::statement::{RosterChange, Signed};

const CONTEXT_ADOPT: &[u8] = b"cs1/adopt";
const CONTEXT_REWRAP: &[u8] = b"cs1/rewrap";

crate::wire_struct! {
    /// A record's next version.
    pub struct Put {
        /// The version that it was made from; the header's is one more.
        pub base: Version,
        /// The new version.
        pub envelope: Envelope,
    }
}

crate::wire_struct! {
    /// Where a version was first committed by a put, before a rewind lost it.
    #[derive(Copy)]
    pub struct Origin {
        /// The timeline of then.
        pub timeline: TimelineId,
        /// Its number there.
        pub seq: Seq,
    }
}

crate::wire_struct! {
    /// Brings back a version that a rewind lost, byte for byte.
    pub struct Adopt {
        /// The hash of the version that it replaces; zero for none.
        pub over: Hash,
        /// Where it was first committed.
        pub origin: Origin,
        /// The version, as its device made it.
        pub envelope: Envelope,
    }
}

impl Adopt {
    /// What its statement lists: a server must not be able to change what else it says.
    #[must_use]
    pub fn stated_hash(&self) -> Hash {
        let Self { over, origin, envelope } = self;
        let seq = origin.seq.0.to_be_bytes();
        Hash::of(&[CONTEXT_ADOPT, envelope.hash().as_bytes(), over.as_bytes(), origin.timeline.as_bytes(), &seq])
    }
}

crate::wire_struct! {
    /// New wraps of the same content keys, under a newer account key. Versions and bodies stay.
    pub struct Rewrap {
        /// The account key's epoch.
        pub epoch: u64,
        /// [`REWRAP_ITEM_BYTES`] each: seq (8 B, big endian) ‖ short hash (8 B) of the row ‖ nonce (12 B) ‖ content key (32 B) ‖ tag (16 B).
        pub items: Bytes,
    }
}

/// One new wrap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrapItem {
    /// The row's number.
    pub seq: Seq,
    /// The first bytes of its hash.
    pub row: ShortHash,
    /// As it is to stand in the envelope, epoch included.
    pub wrap: Bytes,
}

impl Rewrap {
    /// SHA-256 of context ‖ epoch ‖ items: what its statement lists and a cursor carries.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&[CONTEXT_REWRAP, &self.epoch.to_be_bytes(), &self.items])
    }

    /// Its items, in order; what is left over behind the last whole one is not among them.
    pub fn items(&self) -> impl Iterator<Item = RewrapItem> {
        let (items, _) = self.items.as_chunks::<REWRAP_ITEM_BYTES>();
        items.iter().map(|item| {
            let (seq, rest) = item.split_first_chunk().expect("an item begins with 8 bytes of its seq");
            let (row, wrapped) = rest.split_first_chunk().expect("and 8 of its row's hash");
            let wrap = [&self.epoch.to_be_bytes(), wrapped].concat().into();
            RewrapItem { seq: Seq(u64::from_be_bytes(*seq)), row: ShortHash(*row), wrap }
        })
    }
}

crate::wire_enum! {
    /// One operation of a push; takes one `seq`.
    pub enum Operation {
        /// Writes a record, or its tombstone.
        Put(Put) = 1,
        /// Brings back a version that a rewind lost.
        Adopt(Adopt) = 2,
        /// Wraps content keys anew; alone in its push.
        Rewrap(Rewrap) = 3,
    }
}

impl Operation {
    /// The row's hash, whose first bytes a cursor carries.
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Put(put) => put.envelope.hash(),
            Self::Adopt(adopt) => adopt.envelope.hash(),
            Self::Rewrap(rewrap) => rewrap.hash(),
        }
    }

    /// What a batch's statement lists of it.
    #[must_use]
    pub fn stated_hash(&self) -> Hash {
        match self {
            Self::Adopt(adopt) => adopt.stated_hash(),
            Self::Put(_) | Self::Rewrap(_) => self.hash(),
        }
    }

    /// The version of a record that it writes, if it writes one.
    #[must_use]
    pub const fn envelope(&self) -> Option<&Envelope> {
        match self {
            Self::Put(put) => Some(&put.envelope),
            Self::Adopt(adopt) => Some(&adopt.envelope),
            Self::Rewrap(_) => None,
        }
    }

    /// Where that version was first committed, if this brings it back.
    #[must_use]
    pub const fn origin(&self) -> Option<Origin> {
        match self {
            Self::Adopt(adopt) => Some(adopt.origin),
            Self::Put(_) | Self::Rewrap(_) => None,
        }
    }

    /// The put that it is, if it is one.
    #[must_use]
    pub const fn as_put(&self) -> Option<&Put> {
        match self {
            Self::Put(put) => Some(put),
            Self::Adopt(_) | Self::Rewrap(_) => None,
        }
    }

    /// The new wraps that it is, if it is those.
    #[must_use]
    pub const fn as_rewrap(&self) -> Option<&Rewrap> {
        match self {
            Self::Rewrap(rewrap) => Some(rewrap),
            Self::Put(_) | Self::Adopt(_) => None,
        }
    }

    /// The account key's epoch under which it wraps.
    #[must_use]
    pub fn key_epoch(&self) -> u64 {
        match self {
            Self::Put(Put { envelope, .. }) | Self::Adopt(Adopt { envelope, .. }) => envelope.key_epoch(),
            Self::Rewrap(rewrap) => rewrap.epoch,
        }
    }

    /// What counts against `EVENT_BODY_BYTES_MAX`: its body, or its new wraps.
    fn body_bytes(&self) -> usize {
        match self {
            Self::Put(Put { envelope, .. }) | Self::Adopt(Adopt { envelope, .. }) => envelope.body.len(),
            Self::Rewrap(rewrap) => rewrap.items.len(),
        }
    }

    /// Its parts, without what is round them.
    fn bytes(&self) -> usize {
        match self {
            Self::Put(Put { envelope, .. }) | Self::Adopt(Adopt { envelope, .. }) => {
                envelope.header.len() + envelope.body.len() + envelope.wrap.len()
            }
            Self::Rewrap(rewrap) => rewrap.items.len(),
        }
    }
}

crate::wire_struct! {
    /// A committed push: its operations have the numbers `first`, `first + 1`, …
    pub struct Batch {
        /// The first operation's number.
        pub first: Seq,
        /// When the server committed it, in milliseconds since the epoch.
        pub server_ts: u64,
        /// A [`BatchStatement`](crate::statement::BatchStatement) and its device's signature.
        pub signed: Signed,
        /// At least one.
        pub operations: Vec<Operation>,
    }
}

crate::wire_struct! {
    /// A committed change of the roster.
    pub struct RosterRow {
        /// Its number.
        pub seq: Seq,
        /// When the server committed it, in milliseconds since the epoch.
        pub server_ts: u64,
        /// The change.
        pub change: RosterChange,
    }
}

crate::wire_enum! {
    /// One whole thing that was committed.
    pub enum Entry {
        /// A push.
        Batch(Batch) = 1,
        /// A change of the roster.
        Roster(RosterRow) = 2,
    }
}

impl Entry {
    /// Its first number.
    #[must_use]
    pub const fn first(&self) -> Seq {
        match self {
            Self::Batch(batch) => batch.first,
            Self::Roster(row) => row.seq,
        }
    }
    /// Its last number; the last there is when its rows go past that, which no honest log does.
    #[must_use]
    pub fn last(&self) -> Seq {
        match self {
            Self::Batch(batch) => Seq(batch.first.0.saturating_add((batch.operations.len() as u64).saturating_sub(1))),
            Self::Roster(row) => row.seq,
        }
    }
    /// When it was committed, in milliseconds since the epoch.
    #[must_use]
    pub const fn server_ts(&self) -> u64 {
        match self {
            Self::Batch(batch) => batch.server_ts,
            Self::Roster(row) => row.server_ts,
        }
    }
    /// The hash of its last row.
    #[must_use]
    pub fn last_hash(&self) -> Hash {
        match self {
            Self::Batch(batch) => batch.operations.last().map(Operation::hash).unwrap_or_default(),
            Self::Roster(row) => row.change.signed().hash(),
        }
    }
    /// What counts against `EVENT_BODY_BYTES_MAX`: bodies and new wraps alone.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.operations.iter().map(Operation::body_bytes).sum(),
            Self::Roster(_) => 0,
        }
    }
    /// What a page counts: bodies, headers, wraps, statements, signatures, and 32 B of framing each.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Batch(batch) => {
                let operations: usize = batch.operations.iter().map(Operation::bytes).sum();
                batch.signed.statement.len() + 96 + 32 * batch.operations.len() + operations
            }
            Self::Roster(row) => row.change.signed().statement.len() + 96,
        }
    }
}

crate::wire_struct! {
    /// A record's current version, as a snapshot gives it: without the batch that it came in.
    pub struct Row {
        /// Its number.
        pub seq: Seq,
        /// When the server committed it, in milliseconds since the epoch.
        pub server_ts: u64,
        /// The version.
        pub envelope: Envelope,
        /// Where it was first committed, if it was brought back after a rewind.
        pub origin: Option<Origin>,
    }
}
