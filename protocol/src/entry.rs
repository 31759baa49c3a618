//! What a log holds: batches of operations and changes of the roster, and single rows as snapshots give them.
//!
//! Never: a partial batch; pages and events hold whole entries.

use crate::envelope::Envelope;
use crate::hash::Hash;
use crate::position::{Seq, Version};
use crate::statement::{RosterChange, Signed};

crate::wire_struct! {
    /// A record's next version.
    pub struct Put {
        /// The version that it was made from; the header's is one more.
        pub base: Version,
        /// The new version.
        pub envelope: Envelope,
    }
}

crate::wire_enum! {
    /// One operation of a push; takes one `seq`.
    pub enum Operation {
        /// Writes a record, or its tombstone.
        Put(Put) = 1,
    }
}

impl Operation {
    /// The row's hash, whose first bytes a cursor carries.
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Put(put) => put.envelope.hash(),
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
    /// Its last number.
    #[must_use]
    pub fn last(&self) -> Seq {
        match self {
            Self::Batch(batch) => Seq(batch.first.0 + (batch.operations.len() as u64).saturating_sub(1)),
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
    /// What counts against `EVENT_BODY_BYTES_MAX`: the bodies alone.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.operations.iter().map(|Operation::Put(put)| put.envelope.body.len()).sum(),
            Self::Roster(_) => 0,
        }
    }
    /// What a page counts: bodies, headers, wraps, statements, signatures, and 32 B of framing each.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Batch(batch) => {
                let operations: u64 = batch.operations.iter().map(|Operation::Put(put)| put.envelope.bytes()).sum();
                batch.signed.statement.len() + 96 + 32 * batch.operations.len() + usize::try_from(operations).unwrap_or(usize::MAX)
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
    }
}
