//! One transaction on the replica's tables, as the engine asks for it.
//!
//! Never: a rule, or a statement outside the transaction that the store began.

use cloudsync_engine::replica::{
    BatchState, Edit, EditCounts, EditId, EditState, LastBatch, Made, Marks, OutboxBatch, Owner, Reason, Record, SnapshotProgress, Tables,
    TablesError, Usage,
};
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::statement::{Signature, Signed};
use cloudsync_protocol::{
    CollectionName, Cursor, DeviceId, DeviceSeq, Envelope, ErrorCode, Generation, Hash, LogId, RecordKey, Seq, ShortHash, TimelineId,
    Version, codec as wire,
};
use rusqlite::{Connection, Params, params};

use super::codec::{Columns, DELETED, content, damaged, encoded, failed, limit, signed};

const WAITING: i64 = 0;
const SIGNED: i64 = 1;
const PARKED: i64 = 2;
const PAUSED: i64 = 3;
const OPEN: i64 = 0;
const CLOSED: i64 = 1;
const COMMITTED: i64 = 2;
const REASON_STALE: &str = "stale";
/// Before every key: nothing sorts before the empty text, which no name is.
const FIRST: &str = "";

/// One transaction.
#[derive(Debug)]
pub struct SqliteTables<'a> {
    connection: &'a Connection,
}

impl<'a> SqliteTables<'a> {
    pub(super) const fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    pub(super) const fn connection(&self) -> &'a Connection {
        self.connection
    }

    fn execute(&self, table: &'static str, sql: &str, params: impl Params) -> Result<(), TablesError> {
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params));
        done.map(|_| ()).map_err(failed(table))
    }

    /// How many records there are that are not deleted.
    pub fn records_count(&self) -> Result<u64, TablesError> {
        let count =
            self.one("records", ("SELECT count(*) AS number FROM records WHERE content <> ?1", [DELETED]), |row| row.number("number"))?;
        Ok(count.unwrap_or_default())
    }

    /// How many edits from that one on are paused.
    pub fn paused_from(&self, first: EditId) -> Result<u64, TablesError> {
        let sql = "SELECT count(*) AS number FROM edits WHERE state = ?1 AND id >= ?2";
        Ok(self.one("edits", (sql, params![PAUSED, signed(first.0)]), |row| row.number("number"))?.unwrap_or_default())
    }

    fn all<T>(
        &self,
        table: &'static str,
        (sql, params): (&str, impl Params),
        read: impl Fn(&Columns<'_, '_>) -> Result<T, TablesError>,
    ) -> Result<Vec<T>, TablesError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(failed(table))?;
        let mut rows = statement.query(params).map_err(failed(table))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(failed(table))? {
            all.push(read(&Columns { table, row })?);
        }
        Ok(all)
    }

    fn one<T>(
        &self,
        table: &'static str,
        query: (&str, impl Params),
        read: impl Fn(&Columns<'_, '_>) -> Result<T, TablesError>,
    ) -> Result<Option<T>, TablesError> {
        Ok(self.all(table, query, read)?.pop())
    }
}

fn read_marks(row: &Columns<'_, '_>) -> Result<Marks, TablesError> {
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
    })
}

fn read_usage(row: &Columns<'_, '_>) -> Result<Option<Usage>, TablesError> {
    let [used, limit, at] = ["used_bytes", "quota_bytes", "used_at"].map(|name| row.optional_number(name));
    Ok(match (used?, limit?, at?) {
        (Some(used), Some(limit), Some(at)) => Some(Usage { used, limit, at: Seq(at) }),
        (_, _, _) => None,
    })
}

fn read_record(row: &Columns<'_, '_>) -> Result<Record, TablesError> {
    let record = Record {
        key: row.key()?,
        version: Version(row.number("version")?),
        seq: Seq(row.number("seq")?),
        hash: row.id("hash", Hash::from_slice)?,
        device: row.id("device", DeviceId::from_slice)?,
        hlc: row.hlc()?,
        content: row.content()?,
        envelope: Envelope { header: row.bytes("header")?, body: row.bytes("body")?, wrap: row.bytes("wrap")? },
    };
    Ok(record)
}

fn read_edit(row: &Columns<'_, '_>) -> Result<Edit, TablesError> {
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
    })
}

fn read_batch_state(row: &Columns<'_, '_>) -> Result<BatchState, TablesError> {
    match (row.get::<i64>("state")?, row.optional_number("from_seq")?, row.optional_number("to_seq")?) {
        (OPEN, None, None) => Ok(BatchState::Open),
        (CLOSED, None, None) => Ok(BatchState::Closed),
        (COMMITTED, Some(from), Some(to)) => Ok(BatchState::Committed { from: Seq(from), to: Seq(to) }),
        (_, _, _) => Err(row.wrong("state", "not a state of a batch")),
    }
}

fn batch_state(state: BatchState) -> (i64, Option<i64>, Option<i64>) {
    match state {
        BatchState::Open => (OPEN, None, None),
        BatchState::Closed => (CLOSED, None, None),
        BatchState::Committed { from, to } => (COMMITTED, Some(signed(from.0)), Some(signed(to.0))),
    }
}

fn names(key: &RecordKey) -> (&str, &str) {
    (key.collection.as_str(), key.record.as_str())
}

/// The bounds of a listing: a collection or all (nothing), and the key to go on after.
fn bounds<'a>(collection: Option<&'a CollectionName>, after: Option<&'a RecordKey>) -> (Option<&'a str>, &'a str, &'a str) {
    let (after_collection, after_record) = after.map_or((FIRST, FIRST), names);
    (collection.map(CollectionName::as_str), after_collection, after_record)
}

impl Tables for SqliteTables<'_> {
    fn marks(&self) -> Result<Marks, TablesError> {
        Ok(self.one("marks", ("SELECT * FROM marks", []), read_marks)?.unwrap_or_default())
    }

    fn set_marks(&mut self, marks: &Marks) -> Result<(), TablesError> {
        let Marks { owner, cursor, generation, clock, snapshot, highest_signed, last_committed, last_edit, usage } = marks;
        self.execute(
            "marks",
            "INSERT OR REPLACE INTO marks VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            params![
                owner.map(|owner| owner.log.0),
                owner.map(|owner| owner.device.0),
                cursor.timeline.0,
                signed(cursor.seq.0),
                cursor.row.0,
                signed(generation.0),
                signed(clock.0),
                encoded(snapshot.as_ref().map(|progress| &progress.start)),
                encoded(snapshot.as_ref().map(|progress| &progress.resume)),
                signed(highest_signed.0),
                encoded(last_committed.as_ref()),
                signed(last_edit.0),
                usage.map(|usage| signed(usage.used)),
                usage.map(|usage| signed(usage.limit)),
                usage.map(|usage| signed(usage.at.0)),
            ],
        )
    }

    fn record(&self, key: &RecordKey) -> Result<Option<Record>, TablesError> {
        self.one("records", ("SELECT * FROM records WHERE collection = ?1 AND record = ?2", names(key)), read_record)
    }

    fn put_record(&mut self, record: &Record) -> Result<(), TablesError> {
        let (collection, id) = names(&record.key);
        let (kind, value) = content(&record.content);
        let Envelope { header, body, wrap } = &record.envelope;
        self.execute(
            "records",
            "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                collection,
                id,
                signed(record.version.0),
                signed(record.seq.0),
                record.hash.0,
                record.device.0,
                signed(record.hlc.0),
                kind,
                value,
                &header[..],
                &body[..],
                &wrap[..],
            ],
        )
    }

    fn records(&self, collection: Option<&CollectionName>, after: Option<&RecordKey>, count: usize) -> Result<Vec<Record>, TablesError> {
        let (collection, after_collection, after_record) = bounds(collection, after);
        let params = params![collection, after_collection, after_record, limit(count)];
        let sql = match collection {
            Some(_) => {
                "SELECT * FROM records WHERE collection = ?1 AND (collection, record) > (?2, ?3) ORDER BY collection, record LIMIT ?4"
            }
            None => "SELECT * FROM records WHERE ?1 IS NULL AND (collection, record) > (?2, ?3) ORDER BY collection, record LIMIT ?4",
        };
        self.all("records", (sql, params), read_record)
    }

    fn damaged(&self) -> Result<u64, TablesError> {
        // The number stands in the text, so that the index of those rows is used.
        let count = self.one("records", ("SELECT count(*) AS number FROM records WHERE content = 2", []), |row| row.number("number"))?;
        Ok(count.unwrap_or_default())
    }

    fn live_bytes(&self) -> Result<u64, TablesError> {
        let sql = "SELECT coalesce(sum(length(header) + length(body) + length(wrap)), 0) AS number FROM records WHERE content <> 1";
        Ok(self.one("records", (sql, []), |row| row.number("number"))?.unwrap_or_default())
    }

    fn roster(&self) -> Result<Vec<RosterRow>, TablesError> {
        self.all("roster", ("SELECT * FROM roster ORDER BY seq", []), |row| row.decoded("row"))
    }

    fn put_roster_row(&mut self, row: &RosterRow) -> Result<(), TablesError> {
        self.execute("roster", "INSERT OR REPLACE INTO roster VALUES (?1, ?2)", params![signed(row.seq.0), wire::encode(row)])
    }

    fn last_batch(&self, device: DeviceId) -> Result<Option<LastBatch>, TablesError> {
        self.one("chains", ("SELECT * FROM chains WHERE device = ?1", [device.0]), |row| {
            Ok(LastBatch { device_seq: DeviceSeq(row.number("device_seq")?), hash: row.optional_id("hash", Hash::from_slice)? })
        })
    }

    fn set_last_batch(&mut self, device: DeviceId, last: LastBatch) -> Result<(), TablesError> {
        let params = params![device.0, signed(last.device_seq.0), last.hash.map(|hash| hash.0)];
        self.execute("chains", "INSERT OR REPLACE INTO chains VALUES (?1, ?2, ?3)", params)
    }

    fn edits_of(&self, key: &RecordKey) -> Result<Vec<Edit>, TablesError> {
        self.all("edits", ("SELECT * FROM edits WHERE collection = ?1 AND record = ?2 ORDER BY id", names(key)), read_edit)
    }

    fn put_edit(&mut self, edit: &Edit) -> Result<(), TablesError> {
        let (collection, id) = names(&edit.key);
        let (kind, value) = content(&edit.content);
        let (state, device_seq, reason, grows) = match edit.state {
            EditState::Waiting => (WAITING, None, None, None),
            EditState::Signed(device_seq) => (SIGNED, Some(signed(device_seq.0)), None, None),
            EditState::Paused { grows } => (PAUSED, None, None, Some(signed(grows))),
            EditState::Parked(Reason::Stale) => (PARKED, None, Some(REASON_STALE), None),
            EditState::Parked(Reason::Refused(code)) => (PARKED, None, Some(code.name()), None),
        };
        self.execute(
            "edits",
            "INSERT OR REPLACE INTO edits VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                signed(edit.id.0),
                signed(edit.last.0),
                collection,
                id,
                kind,
                value,
                signed(edit.base.0),
                edit.parent.0,
                signed(edit.hlc.0),
                state,
                device_seq,
                reason,
                grows,
            ],
        )
    }

    fn remove_edit(&mut self, id: EditId) -> Result<(), TablesError> {
        self.execute("edits", "DELETE FROM edits WHERE id = ?1", [signed(id.0)])
    }

    fn waiting(&self, after: EditId, count: usize) -> Result<Vec<Edit>, TablesError> {
        let sql = "SELECT * FROM edits WHERE state = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
        self.all("edits", (sql, params![WAITING, signed(after.0), limit(count)]), read_edit)
    }

    fn paused(&self, after: EditId, grows_max: u64, count: usize) -> Result<Vec<Edit>, TablesError> {
        // Room for so much is room for everything.
        let grows_max = i64::try_from(grows_max).unwrap_or(i64::MAX);
        let sql = "SELECT * FROM edits WHERE state = ?1 AND id > ?2 AND grows <= ?3 ORDER BY id LIMIT ?4";
        self.all("edits", (sql, params![PAUSED, signed(after.0), grows_max, limit(count)]), read_edit)
    }

    fn parked(&self) -> Result<Vec<Edit>, TablesError> {
        self.all("edits", ("SELECT * FROM edits WHERE state = ?1 ORDER BY collection, record, id", [PARKED]), read_edit)
    }

    fn edits(&self, collection: Option<&CollectionName>, after: Option<&RecordKey>, count: usize) -> Result<Vec<Edit>, TablesError> {
        let (collection, after_collection, after_record) = bounds(collection, after);
        let params = params![collection, after_collection, after_record, limit(count)];
        let sql = match collection {
            Some(_) => {
                "SELECT * FROM edits WHERE collection = ?1 AND (collection, record) > (?2, ?3) ORDER BY collection, record, id LIMIT ?4"
            }
            None => "SELECT * FROM edits WHERE ?1 IS NULL AND (collection, record) > (?2, ?3) ORDER BY collection, record, id LIMIT ?4",
        };
        self.all("edits", (sql, params), read_edit)
    }

    fn edit_counts(&self) -> Result<EditCounts, TablesError> {
        let mut counts = EditCounts::default();
        let rows = self.all("edits", ("SELECT state, count(*) AS number FROM edits GROUP BY state", []), |row| {
            Ok((row.get::<i64>("state")?, row.number("number")?))
        })?;
        for (state, number) in rows {
            match state {
                WAITING => counts.waiting = number,
                SIGNED => counts.signed = number,
                PAUSED => counts.paused = number,
                PARKED => counts.parked = number,
                _ => return Err(damaged("edits.state", "not a state of an edit")),
            }
        }
        Ok(counts)
    }

    fn batch(&self, device: DeviceId, device_seq: DeviceSeq) -> Result<Option<OutboxBatch>, TablesError> {
        let key = params![device.0, signed(device_seq.0)];
        let batch = self.one("batches", ("SELECT * FROM batches WHERE device = ?1 AND device_seq = ?2", key), |row| {
            let signature = row.id("signature", |bytes| bytes.try_into().ok().map(Signature))?;
            Ok(OutboxBatch {
                device,
                device_seq,
                prev_hash: row.id("prev_hash", Hash::from_slice)?,
                hash: row.id("hash", Hash::from_slice)?,
                signed: Signed { statement: row.bytes("statement")?, signature },
                made: Vec::new(),
                state: read_batch_state(row)?,
            })
        })?;
        let Some(mut batch) = batch else { return Ok(None) };
        let query = ("SELECT * FROM made WHERE device = ?1 AND device_seq = ?2 ORDER BY number", key);
        batch.made = self.all("made", query, |row| Ok(Made { operation: row.decoded("operation")?, content: row.content()? }))?;
        Ok(Some(batch))
    }

    fn put_batch(&mut self, batch: &OutboxBatch) -> Result<(), TablesError> {
        let (device, device_seq) = (batch.device.0, signed(batch.device_seq.0));
        let (state, from, to) = batch_state(batch.state);
        self.execute(
            "batches",
            "INSERT INTO batches VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                device,
                device_seq,
                batch.prev_hash.0,
                batch.hash.0,
                &batch.signed.statement[..],
                batch.signed.signature.0,
                state,
                from,
                to,
            ],
        )?;
        for (made, number) in batch.made.iter().zip(0_i64..) {
            let (kind, value) = content(&made.content);
            let params = params![device, device_seq, number, wire::encode(&made.operation), kind, value];
            self.execute("made", "INSERT INTO made VALUES (?1, ?2, ?3, ?4, ?5, ?6)", params)?;
        }
        Ok(())
    }

    fn batches(&self) -> Result<Vec<(DeviceId, DeviceSeq, BatchState)>, TablesError> {
        let sql = "SELECT device, device_seq, state, from_seq, to_seq FROM batches ORDER BY device, device_seq";
        self.all("batches", (sql, []), |row| {
            Ok((row.id("device", DeviceId::from_slice)?, DeviceSeq(row.number("device_seq")?), read_batch_state(row)?))
        })
    }

    fn set_batch_state(&mut self, device: DeviceId, device_seq: DeviceSeq, state: BatchState) -> Result<(), TablesError> {
        let (state, from, to) = batch_state(state);
        self.execute(
            "batches",
            "UPDATE batches SET state = ?3, from_seq = ?4, to_seq = ?5 WHERE device = ?1 AND device_seq = ?2",
            params![device.0, signed(device_seq.0), state, from, to],
        )
    }

    fn remove_batch(&mut self, device: DeviceId, device_seq: DeviceSeq) -> Result<(), TablesError> {
        let key = params![device.0, signed(device_seq.0)];
        self.execute("made", "DELETE FROM made WHERE device = ?1 AND device_seq = ?2", key)?;
        self.execute("batches", "DELETE FROM batches WHERE device = ?1 AND device_seq = ?2", key)
    }
}
