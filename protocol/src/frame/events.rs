//! What a server says by itself of a log that a session attached to.
//!
//! Never: an answer; these carry no request.

use crate::entry::Entry;
use crate::hash::ShortHash;
use crate::id::TimelineId;
use crate::position::{DeviceSeq, Seq};

crate::wire_struct! {
    /// What was committed in `(from, to]`.
    pub struct Event {
        /// The log.
        pub log: u32,
        /// Its timeline.
        pub timeline: TimelineId,
        /// Exclusive: a receiver that is not here pulls.
        pub from: Seq,
        /// Inclusive.
        pub to: Seq,
        /// Whole and contiguous.
        pub entries: Vec<Entry>,
    }
}

crate::wire_struct! {
    /// A push of this very session was committed in `(from, to]`: its bodies are in the outbox.
    pub struct Committed {
        /// The log.
        pub log: u32,
        /// Its timeline.
        pub timeline: TimelineId,
        /// Exclusive: a receiver that is not here pulls.
        pub from: Seq,
        /// Inclusive.
        pub to: Seq,
        /// The push.
        pub device_seq: DeviceSeq,
        /// The first 8 bytes of the last row's hash.
        pub row: ShortHash,
        /// When the server committed it, in milliseconds since the epoch.
        pub server_ts: u64,
    }
}

crate::wire_struct! {
    /// The log's head.
    pub struct HeadAt {
        /// The log.
        pub log: u32,
        /// Its timeline.
        pub timeline: TimelineId,
        /// Its stable head.
        pub head: Seq,
    }
}

crate::wire_struct! {
    /// Events were dropped: attach again, then pull.
    pub struct Lagging {
        /// The log.
        pub log: u32,
        /// The head when that was noticed.
        pub head: Seq,
    }
}
