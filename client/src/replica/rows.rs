//! Rows of the replica's tables as what the engine calls them, and the words that stand in them.
//!
//! Never: a row that says what can't be taken as it can; it is damage, and named.

use cloudsync_engine::replica::{
    BatchState, Edit, EditId, EditState, LostId, Marks, Owner, Reason, Record, SnapshotProgress, TablesError, Usage,
};
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::{
    CollectionName, Cursor, DeviceId, DeviceSeq, Envelope, ErrorCode, Generation, Hash, LogId, RecordKey, Seq, ShortHash, TimelineId,
    Version,
};

use super::codec::{Columns, signed};

pub(super) const WAITING: i64 = 0;
pub(super) const SIGNED: i64 = 1;
pub(super) const PARKED: i64 = 2;
pub(super) const PAUSED: i64 = 3;
pub(super) const OPEN: i64 = 0;
pub(super) const CLOSED: i64 = 1;
pub(super) const COMMITTED: i64 = 2;
pub(super) const REASON_STALE: &str = "stale";
/// Before every key: nothing sorts before the empty text, which no name is.
pub(super) const FIRST: &str = "";

pub(super) fn read_marks(row: &Columns<'_, '_>) -> Result<Marks, TablesError> {
    let log = row.optional_id("owner_log", LogId::from_slice)?;
    let device = row.optional_id("owner_device", DeviceId::from_slice)?;
    let start = row.optional_decoded::<Cursor>("snapshot_start")?;
    let resume = row.optional_decoded("snapshot_resume")?;
    Ok(Marks {
        owner: log.zip(device).map(|(log, device)| Owner { log, device }),
        cursor: Cursor {
            timeline: row.id("timeline", TimelineId::from_slice)?,
            seq: Seq(row.number("seq")?),
            row: row.id("row", ShortHash::from_slice)?,
        },
        generation: Generation(row.number("generation")?),
        clock: Hlc(row.number("clock")?),
        snapshot: start.zip(resume).map(|(start, resume)| SnapshotProgress { start, resume }),
        highest_signed: DeviceSeq(row.number("highest_signed")?),
        last_committed: row.optional_decoded("last_committed")?,
        last_edit: EditId(row.number("last_edit")?),
        usage: read_usage(row)?,
        lineage: row.decoded("lineage")?,
        chain_anew: row.get("chain_anew")?,
        last_lost: LostId(row.number("last_lost")?),
    })
}

pub(super) fn read_usage(row: &Columns<'_, '_>) -> Result<Option<Usage>, TablesError> {
    let [used, limit, at] = ["used_bytes", "quota_bytes", "used_at"].map(|name| row.optional_number(name));
    Ok(match (used?, limit?, at?) {
        (Some(used), Some(limit), Some(at)) => Some(Usage { used, limit, at: Seq(at) }),
        (_, _, _) => None,
    })
}

pub(super) fn read_record(row: &Columns<'_, '_>) -> Result<Record, TablesError> {
    let record = Record {
        key: row.key()?,
        version: Version(row.number("version")?),
        seq: Seq(row.number("seq")?),
        hash: row.id("hash", Hash::from_slice)?,
        device: row.id("device", DeviceId::from_slice)?,
        hlc: row.hlc()?,
        content: row.content()?,
        envelope: Envelope { header: row.bytes("header")?, body: row.bytes("body")?, wrap: row.bytes("wrap")? },
        origin: row.optional_decoded("origin")?,
    };
    Ok(record)
}

pub(super) fn read_edit(row: &Columns<'_, '_>) -> Result<Edit, TablesError> {
    let facts = (row.optional_number("device_seq")?, row.get::<Option<String>>("reason")?, row.optional_number("grows")?);
    let state = match (row.get::<i64>("state")?, facts) {
        (WAITING, (None, None, None)) => EditState::Waiting,
        (SIGNED, (Some(device_seq), None, None)) => EditState::Signed(DeviceSeq(device_seq)),
        (PARKED, (None, Some(reason), None)) if reason == REASON_STALE => EditState::Parked(Reason::Stale),
        (PARKED, (None, Some(code), None)) => EditState::Parked(Reason::Refused(ErrorCode::from_name(&code))),
        (PAUSED, (None, None, Some(grows))) => EditState::Paused { grows },
        (_, _) => return Err(row.wrong("state", "not a state of an edit")),
    };
    Ok(Edit {
        id: EditId(row.number("id")?),
        last: EditId(row.number("last")?),
        key: row.key()?,
        content: row.content()?,
        base: Version(row.number("base")?),
        parent: row.id("parent", Hash::from_slice)?,
        hlc: row.hlc()?,
        state,
        yields: row.get("yields")?,
    })
}

pub(super) fn read_batch_state(row: &Columns<'_, '_>) -> Result<BatchState, TablesError> {
    match (row.get::<i64>("state")?, row.optional_number("from_seq")?, row.optional_number("to_seq")?) {
        (OPEN, None, None) => Ok(BatchState::Open),
        (CLOSED, None, None) => Ok(BatchState::Closed),
        (COMMITTED, Some(from), Some(to)) => Ok(BatchState::Committed { from: Seq(from), to: Seq(to) }),
        (_, _, _) => Err(row.wrong("state", "not a state of a batch")),
    }
}

pub(super) fn batch_state(state: BatchState) -> (i64, Option<i64>, Option<i64>) {
    match state {
        BatchState::Open => (OPEN, None, None),
        BatchState::Closed => (CLOSED, None, None),
        BatchState::Committed { from, to } => (COMMITTED, Some(signed(from.0)), Some(signed(to.0))),
    }
}

pub(super) fn names(key: &RecordKey) -> (&str, &str) {
    (key.collection.as_str(), key.record.as_str())
}

/// The bounds of a listing: a collection or all (nothing), and the key to go on after.
pub(super) fn bounds<'a>(collection: Option<&'a CollectionName>, after: Option<&'a RecordKey>) -> (Option<&'a str>, &'a str, &'a str) {
    let (after_collection, after_record) = after.map_or((FIRST, FIRST), names);
    (collection.map(CollectionName::as_str), after_collection, after_record)
}
