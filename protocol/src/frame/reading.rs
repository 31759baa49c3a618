//! What a session asks of a log, and its pages: attaching, the log, the state, a record's versions.
//!
//! Never: a position that moves by itself. What a page covers it says.

use crate::entry::{Entry, RosterRow, Row};
use crate::id::{LogId, TimelineId};
use crate::name::{CollectionName, RecordId, RecordKey};
use crate::position::{Cursor, Generation, Seq, Version};

crate::wire_struct! {
    /// Puts the session on the log's fan-out list.
    pub struct Attach {
        /// Not 0.
        pub request: u32,
        /// The log; 0 is the user's own.
        pub log: u32,
        /// How far the replica has read.
        pub cursor: Cursor,
    }
}

crate::wire_struct! {
    /// Events above `head` follow; pages bring the rest.
    pub struct Attached {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Its id.
        pub id: LogId,
        /// The head of that moment.
        pub head: Seq,
        /// The log's timeline.
        pub timeline: TimelineId,
        /// The log's generation.
        pub generation: Generation,
        /// History up to here may be cut: a cursor below takes a snapshot.
        pub floor: Seq,
        /// Bytes of the user's live records at that head: header + body + wrap.
        pub used_bytes: u64,
        /// How many are allowed.
        pub quota_bytes: u64,
        /// Every timeline of the log with the first `seq` of it, oldest first.
        pub lineage: Vec<(TimelineId, Seq)>,
    }
}

crate::wire_struct! {
    /// Asks for the next page after `from`.
    pub struct Pull {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Where to start: exclusive.
        pub from: Cursor,
        /// Where to stop: inclusive, at most the head.
        pub to: Seq,
    }
}

crate::wire_struct! {
    /// What was committed in `(from, to]`.
    pub struct Page {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Its timeline.
        pub timeline: TimelineId,
        /// Exclusive; the request's.
        pub from: Seq,
        /// Inclusive; may be short of what was asked for.
        pub to: Seq,
        /// The head when the page was read.
        pub head: Seq,
        /// Whole, contiguous, from `from + 1` to `to`.
        pub entries: Vec<Entry>,
    }
}

crate::wire_struct! {
    /// Asks for a page of the current state.
    pub struct Snapshot {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Where to go on; nothing to begin.
        pub resume: Option<SnapshotToken>,
    }
}

crate::wire_struct! {
    /// Where a snapshot stands.
    pub struct SnapshotToken {
        /// The log's timeline when it began.
        pub timeline: TimelineId,
        /// The head when it began.
        pub start: Seq,
        /// The last record given.
        pub last: Option<RecordKey>,
        /// While the roster is given: the last roster row given.
        pub roster_after: Option<Seq>,
    }
}

crate::wire_struct! {
    /// A page of the current state; the first ones have the roster.
    pub struct SnapshotPage {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// Timeline and head when the snapshot began, and the hash of that row: where to pull from afterwards.
        pub start: Cursor,
        /// On the first pages: every roster row up to `start`, in order.
        pub roster: Vec<RosterRow>,
        /// In key order, tombstones included; a row may be newer than `start`.
        pub rows: Vec<Row>,
        /// Where to go on; nothing when this was the last page.
        pub resume: Option<SnapshotToken>,
    }
}

crate::wire_struct! {
    /// Asks for versions of a record, newest first.
    pub struct History {
        /// Not 0.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// The record's collection.
        pub collection: CollectionName,
        /// The record's id.
        pub record: RecordId,
        /// Only versions below this one; nothing for the newest.
        pub before: Option<Version>,
        /// At least 1; a wish for more than `HISTORY_ROWS_MAX` is answered with so many.
        pub count: u32,
    }
}

crate::wire_struct! {
    /// Versions of a record, newest first.
    pub struct Versions {
        /// The request's.
        pub request: u32,
        /// The log.
        pub log: u32,
        /// At most as many as were asked for, and about `PAGE_BYTES`.
        pub rows: Vec<Row>,
        /// Whether older ones are there.
        pub more: bool,
    }
}
