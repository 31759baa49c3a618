//! The replica's tables, as the engine asks for them.
//!
//! Never: a rule, or a statement outside the transaction that the store began.

use bytes::Bytes;
use cloudsync_engine::replica::{
    BatchState, Deleted, Edit, EditCounts, EditId, EditState, LastBatch, Lineage, Lost, LostId, Made, Marks, OutboxBatch, Reason, Record,
    Tables, TablesError, Wrapped,
};
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::envelope::key_epoch;
use cloudsync_protocol::statement::{Signature, Signed};
use cloudsync_protocol::{CollectionName, DeviceId, DeviceSeq, Envelope, ErrorCode, Hash, RecordKey, Seq, ShortHash, codec as wire};
use rusqlite::params;

use super::codec::{DELETED, content, damaged, encoded, limit, signed};
use super::lost_rows;
use super::rows::{
    PARKED, PAUSED, REASON_STALE, SIGNED, WAITING, batch_state, bounds, names, read_batch_state, read_edit, read_marks, read_record,
};
use super::transaction::SqliteTables;

impl Tables for SqliteTables<'_> {
    fn marks(&self) -> Result<Marks, TablesError> {
        Ok(self.one("marks", ("SELECT * FROM marks", []), read_marks)?.unwrap_or_default())
    }

    fn set_marks(&mut self, marks: &Marks) -> Result<(), TablesError> {
        let Marks {
            owner,
            cursor,
            generation,
            clock,
            snapshot,
            highest_signed,
            last_committed,
            last_edit,
            usage,
            lineage,
            chain_anew,
            last_lost,
        } = marks;
        self.execute(
            "marks",
            "INSERT OR REPLACE INTO marks VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
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
                wire::encode(lineage),
                chain_anew,
                signed(last_lost.0),
            ],
        )
    }

    fn record(&self, key: &RecordKey) -> Result<Option<Record>, TablesError> {
        self.one("records", ("SELECT * FROM records WHERE collection = ?1 AND record = ?2", names(key)), read_record)
    }

    fn record_at(&self, seq: Seq) -> Result<Option<Record>, TablesError> {
        self.one("records", ("SELECT * FROM records WHERE seq = ?1", [signed(seq.0)]), read_record)
    }

    fn put_record(&mut self, record: &Record) -> Result<(), TablesError> {
        let (collection, id) = names(&record.key);
        let (kind, value) = content(&record.content);
        let Envelope { header, body, wrap } = &record.envelope;
        self.execute(
            "records",
            "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
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
                encoded(record.origin.as_ref()),
                signed(record.envelope.key_epoch()),
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

    fn wrapped_below(&self, epoch: u64, count: usize) -> Result<Vec<Wrapped>, TablesError> {
        let sql = "SELECT collection, record, seq, hash, header, wrap FROM records WHERE epoch < ?1 AND content <> 2 ORDER BY seq LIMIT ?2";
        self.all("records", (sql, params![signed(epoch), limit(count)]), |row| {
            let (seq, hash) = (Seq(row.number("seq")?), row.id("hash", Hash::from_slice)?);
            Ok(Wrapped { key: row.key()?, seq, hash, header: row.bytes("header")?, wrap: row.bytes("wrap")? })
        })
    }

    fn set_wrap(&mut self, key: &RecordKey, wrap: &Bytes) -> Result<(), TablesError> {
        let (collection, record) = names(key);
        let sql = "UPDATE records SET wrap = ?3, epoch = ?4 WHERE collection = ?1 AND record = ?2";
        self.execute("records", sql, params![collection, record, &wrap[..], signed(key_epoch(wrap))])
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

    fn records_above(&self, seq: Seq, count: usize) -> Result<Vec<Record>, TablesError> {
        let sql = "SELECT * FROM records WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        self.all("records", (sql, params![signed(seq.0), limit(count)]), read_record)
    }

    fn remove_record(&mut self, key: &RecordKey) -> Result<(), TablesError> {
        self.execute("records", "DELETE FROM records WHERE collection = ?1 AND record = ?2", names(key))
    }

    fn row_at_most(&self, seq: Seq) -> Result<Option<(Seq, ShortHash)>, TablesError> {
        let upto = i64::try_from(seq.0).unwrap_or(i64::MAX);
        let record = self.one("records", ("SELECT seq, hash FROM records WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1", [upto]), |row| {
            Ok((Seq(row.number("seq")?), row.id("hash", Hash::from_slice)?.short()))
        })?;
        let row: Option<RosterRow> =
            self.one("roster", ("SELECT * FROM roster WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1", [upto]), |row| row.decoded("row"))?;
        Ok(record.into_iter().chain(row.map(|row| (row.seq, row.change.signed().hash().short()))).max())
    }

    fn lineages(&self) -> Result<Vec<Lineage>, TablesError> {
        self.all("timelines", ("SELECT * FROM timelines", []), |row| row.decoded("lineage"))
    }

    fn put_lineage(&mut self, lineage: &Lineage) -> Result<(), TablesError> {
        let Some((last, _)) = lineage.last() else { return Ok(()) };
        self.execute("timelines", "INSERT OR REPLACE INTO timelines VALUES (?1, ?2)", params![last.0, wire::encode(lineage)])
    }

    fn lost_of(&self, key: &RecordKey) -> Result<Vec<Lost>, TablesError> {
        self.all("lost", ("SELECT * FROM lost WHERE collection = ?1 AND record = ?2 ORDER BY id", names(key)), lost_rows::read)
    }

    fn put_lost(&mut self, lost: &Lost) -> Result<(), TablesError> {
        lost_rows::put(self, lost)
    }

    fn remove_lost(&mut self, key: &RecordKey, hash: Hash) -> Result<(), TablesError> {
        let (collection, record) = names(key);
        let sql = "DELETE FROM lost WHERE collection = ?1 AND record = ?2 AND hash = ?3";
        self.execute("lost", sql, params![collection, record, hash.0])
    }

    fn lost_waiting(&self, deleted: Deleted, after: LostId, count: usize) -> Result<Vec<Lost>, TablesError> {
        let sql = match deleted {
            Deleted::Yes => "SELECT * FROM lost WHERE state = ?1 AND id > ?2 AND content = ?4 ORDER BY id LIMIT ?3",
            Deleted::No => "SELECT * FROM lost WHERE state = ?1 AND id > ?2 AND content <> ?4 ORDER BY id LIMIT ?3",
        };
        self.all("lost", (sql, params![WAITING, signed(after.0), limit(count), DELETED]), lost_rows::read)
    }

    fn lost_paused(&self, after: LostId, grows_max: u64, count: usize) -> Result<Vec<Lost>, TablesError> {
        let grows_max = i64::try_from(grows_max).unwrap_or(i64::MAX);
        let sql = "SELECT * FROM lost WHERE state = ?1 AND id > ?2 AND grows <= ?3 ORDER BY id LIMIT ?4";
        self.all("lost", (sql, params![PAUSED, signed(after.0), grows_max, limit(count)]), lost_rows::read)
    }

    fn lost_refused(&self) -> Result<Vec<Lost>, TablesError> {
        self.all("lost", ("SELECT * FROM lost WHERE state = ?1 ORDER BY collection, record, id", [PARKED]), lost_rows::read)
    }

    fn lost_keys(
        &self,
        collection: Option<&CollectionName>,
        after: Option<&RecordKey>,
        count: usize,
    ) -> Result<Vec<RecordKey>, TablesError> {
        let (collection, after_collection, after_record) = bounds(collection, after);
        let sql = "SELECT DISTINCT collection, record FROM lost WHERE (?1 IS NULL OR collection = ?1) AND (collection, record) > (?2, ?3) \
                   ORDER BY collection, record LIMIT ?4";
        self.all("lost", (sql, params![collection, after_collection, after_record, limit(count)]), |row| row.key())
    }

    fn lower_forks(&mut self, fork: Seq) -> Result<(), TablesError> {
        let fork = i64::try_from(fork.0).unwrap_or(i64::MAX);
        self.execute("lost", "UPDATE lost SET fork = ?1 WHERE fork > ?1", [fork])
    }

    fn retry_refused_lost(&mut self) -> Result<(), TablesError> {
        self.execute("lost", "UPDATE lost SET state = ?1, reason = NULL WHERE state = ?2", [WAITING, PARKED])
    }

    fn revoked_before(&self) -> Result<Vec<(DeviceId, Option<ErrorCode>)>, TablesError> {
        self.all("revoked_before", ("SELECT * FROM revoked_before ORDER BY device", []), |row| {
            let given_up = row.get::<Option<String>>("given_up")?;
            Ok((row.id("device", DeviceId::from_slice)?, given_up.map(|code| ErrorCode::from_name(&code))))
        })
    }

    fn put_revoked_before(&mut self, device: DeviceId, given_up: Option<ErrorCode>) -> Result<(), TablesError> {
        let params = params![device.0, given_up.map(ErrorCode::name)];
        self.execute("revoked_before", "INSERT OR REPLACE INTO revoked_before VALUES (?1, ?2)", params)
    }

    fn remove_roster_above(&mut self, seq: Seq) -> Result<(), TablesError> {
        self.execute("roster", "DELETE FROM roster WHERE seq > ?1", [signed(seq.0)])
    }

    fn clear_last_batches(&mut self) -> Result<(), TablesError> {
        self.execute("chains", "DELETE FROM chains", [])
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
            "INSERT OR REPLACE INTO edits VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
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
                edit.yields,
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
        let rows = self.all("lost", ("SELECT state, count(*) AS number FROM lost GROUP BY state", []), |row| {
            Ok((row.get::<i64>("state")?, row.number("number")?))
        })?;
        for (state, number) in rows {
            match state {
                WAITING | SIGNED => counts.lost += number,
                PAUSED => counts.lost_paused = number,
                PARKED => counts.lost_refused = number,
                _ => return Err(damaged("lost.state", "not a state of a lost version")),
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
            "INSERT OR REPLACE INTO batches VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
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
            self.execute("made", "INSERT OR REPLACE INTO made VALUES (?1, ?2, ?3, ?4, ?5, ?6)", params)?;
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
