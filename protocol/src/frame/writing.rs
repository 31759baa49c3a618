//! What a session does to a log: claims, pushes, changes of the roster.
//!
//! Never: an answer that is not durable.

use crate::entry::Operation;
use crate::error::LastPush;
use crate::hash::Hash;
use crate::id::TimelineId;
use crate::position::{DeviceSeq, Seq};
use crate::statement::{RosterChange, Signed};

crate::wire_struct! {
    /// Asks for the right to push.
    pub struct Claim {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
    }
}

crate::wire_struct! {
    /// This session alone may push for its device now.
    pub struct Claimed {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// The device's last committed push.
        pub last: LastPush,
    }
}

crate::wire_struct! {
    /// A signed batch, all or nothing.
    pub struct Push {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// A [`BatchStatement`](crate::statement::BatchStatement) and its signature.
        pub signed: Signed,
        /// As the statement lists them.
        pub operations: Vec<Operation>,
    }
}

impl Push {
    /// What counts against `PUSH_BYTES_MAX`: statement, signature and operations as encoded, whatever the request id.
    #[must_use]
    pub fn counted_bytes(&self) -> usize {
        crate::codec::encode(&self.signed).len() + crate::codec::encode(&self.operations).len()
    }
}

crate::wire_struct! {
    /// Committed, durably, as `(from, to]`.
    pub struct Pushed {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// The push.
        pub device_seq: DeviceSeq,
        /// The batch's hash.
        pub hash: Hash,
        /// The log's timeline.
        pub timeline: TimelineId,
        /// Exclusive.
        pub from: Seq,
        /// Inclusive.
        pub to: Seq,
    }
}

crate::wire_struct! {
    /// Appends a signed change of the roster.
    pub struct ChangeRoster {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// The change.
        pub change: RosterChange,
    }
}

crate::wire_struct! {
    /// Committed, durably.
    pub struct RosterChanged {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Its number.
        pub seq: Seq,
    }
}
