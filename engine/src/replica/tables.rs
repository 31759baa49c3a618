//! What a replica keeps, as small typed intents. The client implements them on SQLite, tests on maps.
//!
//! Never: a rule. An implementor stores what it is given, reads its own writes, and makes one transaction of all calls
//! between begin and commit.

use bytes::Bytes;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::{CollectionName, Cursor, DeviceId, DeviceSeq, ErrorCode, Generation, Hash, LogId, RecordKey, Seq, ShortHash};

use super::{BatchState, Deleted, Edit, EditId, Lineage, Lost, LostId, OutboxBatch, Record, Wrapped};

/// Why tables did not answer. Whatever was under way is rolled back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TablesError {
    /// What is stored is not what was written.
    #[error("the local replica is damaged: {place}: {why}")]
    Damaged { place: String, why: String },
    /// It can't be read or written now.
    #[error("the local replica does not answer: {0}")]
    Unavailable(String),
}

/// Whose tables these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The account's log.
    pub log: LogId,
    /// The device whose outbox it is.
    pub device: DeviceId,
}

/// A snapshot that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// Where to pull from once it is complete.
    pub start: Cursor,
    /// What to ask for next.
    pub resume: SnapshotToken,
}

/// How full the quota is, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use: as told, and what was written above `at` since.
    pub used: u64,
    /// Bytes allowed.
    pub limit: u64,
    /// The last `seq` that the server counted.
    pub at: Seq,
}

/// The single values of a replica: one row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Nothing in fresh tables.
    pub owner: Option<Owner>,
    /// How far the log was read. `seq` 0: nothing yet.
    pub cursor: Cursor,
    /// The log's generation, as last told.
    pub generation: Generation,
    /// The latest stamp among committed records.
    pub clock: Hlc,
    /// Set while a snapshot is under way.
    pub snapshot: Option<SnapshotProgress>,
    /// The highest number that this device ever signed.
    pub highest_signed: DeviceSeq,
    /// This device's last push that is known committed.
    pub last_committed: Option<LastPush>,
    /// The newest edit's id.
    pub last_edit: EditId,
    /// Nothing until a server told.
    pub usage: Option<Usage>,
    /// Every timeline of the log, as last told; empty in fresh tables.
    pub lineage: Lineage,
    /// After a rewind: the next claim says where the own chain stands.
    pub chain_anew: bool,
    /// The newest lost version's id.
    pub last_lost: LostId,
}

/// Where a device's chain of batches stands, as read from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastBatch {
    /// Its last batch; 0 for none.
    pub device_seq: DeviceSeq,
    /// Its hash (zero for none); nothing after a snapshot, which has no statements.
    pub hash: Option<Hash>,
}

/// How many edits there are of each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EditCounts {
    /// In no batch yet.
    pub waiting: u64,
    /// In a signed batch that is not answered.
    pub signed: u64,
    /// Paused for want of room.
    pub paused: u64,
    /// Parked as conflicts.
    pub parked: u64,
    /// Lost versions that are to be brought back: not in a batch yet, or not answered.
    pub lost: u64,
    /// Lost versions that the quota has no room for.
    pub lost_paused: u64,
    /// Lost versions that are conflicts.
    pub lost_refused: u64,
}

impl EditCounts {
    /// Those that are to be committed yet: all but the conflicts.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.waiting + self.signed + self.paused + self.lost + self.lost_paused
    }

    /// Whether there is nothing to send: what is paused is not sent.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.waiting + self.signed + self.lost == 0
    }
}

/// One transaction on what a replica keeps.
pub trait Tables {
    /// The single values; [`Marks::default`] when nothing was stored.
    fn marks(&self) -> Result<Marks, TablesError>;
    /// Replaces them.
    fn set_marks(&mut self, marks: &Marks) -> Result<(), TablesError>;

    /// A committed record's current version, tombstones included.
    fn record(&self, key: &RecordKey) -> Result<Option<Record>, TablesError>;
    /// The record whose current version was committed there.
    fn record_at(&self, seq: Seq) -> Result<Option<Record>, TablesError>;
    /// Inserts or replaces it.
    fn put_record(&mut self, record: &Record) -> Result<(), TablesError>;
    /// In key order: at most `count` with a key after `after`, of one collection or all.
    fn records(&self, collection: Option<&CollectionName>, after: Option<&RecordKey>, count: usize) -> Result<Vec<Record>, TablesError>;

    /// At most `count` records that open and are wrapped under an account key before that epoch, in order of `seq`.
    fn wrapped_below(&self, epoch: u64, count: usize) -> Result<Vec<Wrapped>, TablesError>;
    /// Gives the record another wrap, if it is there.
    fn set_wrap(&mut self, key: &RecordKey, wrap: &Bytes) -> Result<(), TablesError>;

    /// How many records are [`Content::Damaged`](super::Content).
    fn damaged(&self) -> Result<u64, TablesError>;
    /// Header + body + wrap of the records that are not deleted, together.
    fn live_bytes(&self) -> Result<u64, TablesError>;

    /// At most `count` records above a `seq`, in order of that.
    fn records_above(&self, seq: Seq, count: usize) -> Result<Vec<Record>, TablesError>;
    /// Removes it, if it is there.
    fn remove_record(&mut self, key: &RecordKey) -> Result<(), TablesError>;
    /// The highest row, of a record or of the roster, at a `seq` or below.
    fn row_at_most(&self, seq: Seq) -> Result<Option<(Seq, ShortHash)>, TablesError>;

    /// Every lineage that this device was on, but the current one.
    fn lineages(&self) -> Result<Vec<Lineage>, TablesError>;
    /// Inserts it, or replaces the one of that last timeline.
    fn put_lineage(&mut self, lineage: &Lineage) -> Result<(), TablesError>;
    /// A record's lost versions, in order of id.
    fn lost_of(&self, key: &RecordKey) -> Result<Vec<Lost>, TablesError>;
    /// Inserts it, or replaces the one of that record and hash.
    fn put_lost(&mut self, lost: &Lost) -> Result<(), TablesError>;
    /// Removes it, if it is there.
    fn remove_lost(&mut self, key: &RecordKey, hash: Hash) -> Result<(), TablesError>;
    /// At most `count` waiting ones with an id above `after`, in order of id.
    fn lost_waiting(&self, deleted: Deleted, after: LostId, count: usize) -> Result<Vec<Lost>, TablesError>;
    /// At most `count` paused ones with an id above `after` that grow by at most `grows_max`, in order of id.
    fn lost_paused(&self, after: LostId, grows_max: u64, count: usize) -> Result<Vec<Lost>, TablesError>;
    /// Every refused one, in order of key, then id.
    fn lost_refused(&self) -> Result<Vec<Lost>, TablesError>;
    /// At most `count` records that have any, with a key after `after`, of one collection or all, in order of key.
    fn lost_keys(
        &self,
        collection: Option<&CollectionName>,
        after: Option<&RecordKey>,
        count: usize,
    ) -> Result<Vec<RecordKey>, TablesError>;
    /// No fork of a lost version is above that one.
    fn lower_forks(&mut self, fork: Seq) -> Result<(), TablesError>;
    /// Refused ones wait again.
    fn retry_refused_lost(&mut self) -> Result<(), TablesError>;
    /// Devices that a lost row revoked, and why a further revoke was given up.
    fn revoked_before(&self) -> Result<Vec<(DeviceId, Option<ErrorCode>)>, TablesError>;
    /// Inserts or replaces it.
    fn put_revoked_before(&mut self, device: DeviceId, given_up: Option<ErrorCode>) -> Result<(), TablesError>;

    /// Removes the roster's rows above a `seq`.
    fn remove_roster_above(&mut self, seq: Seq) -> Result<(), TablesError>;
    /// Forgets where every device's chain stands.
    fn clear_last_batches(&mut self) -> Result<(), TablesError>;
    /// Every roster row read so far, in order of `seq`.
    fn roster(&self) -> Result<Vec<RosterRow>, TablesError>;
    /// Inserts or replaces the one of that `seq`.
    fn put_roster_row(&mut self, row: &RosterRow) -> Result<(), TablesError>;
    /// Where a device's chain stands.
    fn last_batch(&self, device: DeviceId) -> Result<Option<LastBatch>, TablesError>;
    /// Replaces it.
    fn set_last_batch(&mut self, device: DeviceId, last: LastBatch) -> Result<(), TablesError>;

    /// A record's edits, in order of id. There are at most two: one signed and one waiting, or one alone.
    fn edits_of(&self, key: &RecordKey) -> Result<Vec<Edit>, TablesError>;
    /// Inserts or replaces the one of that id.
    fn put_edit(&mut self, edit: &Edit) -> Result<(), TablesError>;
    /// Removes the one of that id, if it is there.
    fn remove_edit(&mut self, id: EditId) -> Result<(), TablesError>;
    /// The first `count` waiting edits with an id above `after`, in order of id.
    fn waiting(&self, after: EditId, count: usize) -> Result<Vec<Edit>, TablesError>;
    /// The first `count` paused edits with an id above `after` that grow by at most `grows_max`, in order of id.
    fn paused(&self, after: EditId, grows_max: u64, count: usize) -> Result<Vec<Edit>, TablesError>;
    /// Every parked edit, in order of key.
    fn parked(&self) -> Result<Vec<Edit>, TablesError>;
    /// In order of key, then id: at most `count` with a key after `after`, of one collection or all.
    fn edits(&self, collection: Option<&CollectionName>, after: Option<&RecordKey>, count: usize) -> Result<Vec<Edit>, TablesError>;
    /// How many there are of each state.
    fn edit_counts(&self) -> Result<EditCounts, TablesError>;

    /// A signed batch.
    fn batch(&self, device: DeviceId, device_seq: DeviceSeq) -> Result<Option<OutboxBatch>, TablesError>;
    /// Inserts it, or replaces the one of that device and number.
    fn put_batch(&mut self, batch: &OutboxBatch) -> Result<(), TablesError>;
    /// Every kept batch as `(device, device_seq, state)`, in that order.
    fn batches(&self) -> Result<Vec<(DeviceId, DeviceSeq, BatchState)>, TablesError>;
    /// Changes the state of one that is there.
    fn set_batch_state(&mut self, device: DeviceId, device_seq: DeviceSeq, state: BatchState) -> Result<(), TablesError>;
    /// Removes it, if it is there.
    fn remove_batch(&mut self, device: DeviceId, device_seq: DeviceSeq) -> Result<(), TablesError>;
}
