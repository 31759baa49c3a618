//! What can be read of a log, each inside one read transaction.
//!
//! Never: a row skipped; a hole or a sum that does not fit is named.

use cloudsync_engine::log::{Current, Head, RecordAt};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::name::NameError;
use cloudsync_protocol::{CollectionName, Cursor, LogId, RecordId, RecordKey, Seq, ShortHash, TimelineId, Version};
use rusqlite::{Connection, OptionalExtension as _};

use super::head::{Found, load, tip};
use super::row::{ERASED_BYTES, decode_piece};
use super::schema::{row_id, seq_of};
use super::wrap_rows;
use crate::paging::{Budget, Stage, take_entry};
use crate::pieces::{Assembler, Content, Piece, damaged, record_at};
use crate::store::{History, Page, Pull, PullError, ReadError, SnapshotPage};

/// What a look-up asks: of a log, of a collection, of each record.
pub(super) const LIVE_KEY: &str = "SELECT key FROM logs WHERE id = ?1 AND length(head) > ?2";
pub(super) const COLLECTION_KEY: &str = "SELECT key FROM collection WHERE log = ?1 AND name = ?2";
pub(super) const NEWEST: &str =
    "SELECT version, seq FROM record WHERE log = ?1 AND collection = ?2 AND record = ?3 ORDER BY version DESC LIMIT 1";

pub(super) fn head(connection: &Connection, log: LogId) -> Result<Option<Head>, ReadError> {
    Ok(match load(connection, log)? {
        Found::Live(loaded) => Some(loaded.head),
        Found::Absent | Found::Erased => None,
    })
}

pub(super) fn roster(connection: &Connection, log: LogId, (after, until): (Seq, Seq)) -> Result<Vec<RosterRow>, ReadError> {
    let Some(key) = live_key(connection, log)? else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(
        "SELECT roster.id, log.row FROM roster LEFT JOIN log ON log.id = roster.id WHERE roster.id > ?1 AND roster.id <= ?2 ORDER BY roster.id",
    )?;
    let mut rows = statement.query((row_id(key, after.0), row_id(key, until.0)))?;
    let mut roster = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = Seq(seq_of(row.get(0)?));
        let bytes = row.get::<_, Option<Vec<u8>>>(1)?.ok_or_else(|| damaged(log, seq, "the row is missing"))?;
        let (piece, _) = decode_piece(log, seq, &bytes)?;
        match piece.content {
            Content::Change(change) => roster.push(RosterRow { seq, server_ts: piece.server_ts, change }),
            Content::Operation(_) => return Err(damaged(log, seq, "not a change of the roster")),
        }
    }
    Ok(roster)
}

pub(super) fn look_up(connection: &Connection, log: LogId, records: &[RecordKey]) -> Result<Vec<Option<Current>>, ReadError> {
    let Some(key) = live_key(connection, log)? else { return Ok(vec![None; records.len()]) };
    let current = |record: &RecordKey| {
        let Some(place) = versions(connection, key, record)? else { return Ok(None) };
        let newest = connection
            .prepare_cached(NEWEST)?
            .query_row((key, place, record.record.as_str()), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let Some((version, seq)) = newest else { return Ok(None) };
        let (version, seq) = (Version(version.cast_unsigned()), Seq(seq.cast_unsigned()));
        let Row { envelope, origin, .. } = record_row(connection, (log, key), seq)?;
        let header = envelope.check().map_err(|error| damaged(log, seq, error.to_string()))?;
        if header.version != version || header.key() != *record {
            return Err(damaged(log, seq, "the index names it as another record's row"));
        }
        Ok(Some(Current { adopted: origin.is_some(), ..Current::of(seq, &envelope, &header) }))
    };
    records.iter().map(current).collect()
}

pub(super) fn look_up_rows(connection: &Connection, log: LogId, seqs: &[Seq]) -> Result<Vec<Option<RecordAt>>, ReadError> {
    let Some(key) = live_key(connection, log)? else { return Ok(vec![None; seqs.len()]) };
    let at = |seq: &Seq| {
        let row = piece(connection, (log, key), *seq)?.and_then(|piece| piece.into_row(*seq));
        row.map(|row| record_at(log, &row)).transpose()
    };
    seqs.iter().map(at).collect()
}

pub(super) fn row_hash(connection: &Connection, log: LogId, seq: Seq) -> Result<Option<ShortHash>, ReadError> {
    let Some(key) = live_key(connection, log)? else { return Ok(None) };
    Ok(piece(connection, (log, key), seq)?.map(|piece| piece.hash().short()))
}

pub(super) fn pull(connection: &Connection, log: LogId, pull: Pull) -> Result<Page, PullError> {
    let Pull { timeline, from, to, bytes_max } = pull;
    let head = tip(connection, log)?.ok_or(PullError::Timeline(TimelineId::default()))?;
    if !head.lineage.iter().any(|(own, _)| *own == timeline) {
        return Err(PullError::Timeline(head.timeline));
    }
    if from < head.floor {
        return Err(PullError::BelowFloor { floor: head.floor });
    }
    let mut page = Page { entries: Vec::new(), to: from, head: head.seq, lineage: head.lineage };
    let wanted = to.min(head.seq);
    if from >= wanted {
        return Ok(page);
    }
    let sql = "SELECT id, row FROM log WHERE id > ?1 AND id <= ?2 ORDER BY id";
    let mut statement = connection.prepare_cached(sql).map_err(ReadError::from)?;
    let mut rows = statement.query((row_id(head.key, from.0), row_id(head.key, head.seq.0))).map_err(ReadError::from)?;
    let mut assembler = Assembler::new(log, from);
    let mut bytes = 0;
    while let Some(row) = rows.next().map_err(ReadError::from)? {
        let (seq, piece) = read_piece(log, row)?;
        if seq == from.next() && piece.is_inside_batch() {
            return Err(PullError::InsideBatch { from });
        }
        if let Some(entry) = assembler.push(seq, piece)?
            && take_entry(&mut page, entry, &mut bytes, (wanted, bytes_max)).is_break()
        {
            return Ok(page);
        }
    }
    Err(assembler.missing().into())
}

pub(super) fn snapshot(
    connection: &Connection,
    log: LogId,
    (resume, bytes_max): (Option<SnapshotToken>, usize),
) -> Result<SnapshotPage, PullError> {
    let Some(head) = tip(connection, log)? else {
        return match resume {
            Some(_) => Err(PullError::Timeline(TimelineId::default())),
            None => Ok(SnapshotPage { start: Cursor::default(), roster: Vec::new(), rows: Vec::new(), resume: None }),
        };
    };
    let key = head.key;
    let mut stage = Stage::of((head.timeline, head.seq), resume)?;
    let mut budget = Budget::new(bytes_max);
    let row = if stage.start == head.seq { head.row } else { row_hash(connection, log, stage.start)?.unwrap_or_default() };
    let start = Cursor { timeline: head.timeline, seq: stage.start, row };
    let mut page = SnapshotPage { start, roster: Vec::new(), rows: Vec::new(), resume: None };
    if let Some(after) = stage.roster_after.map(|after| after.min(stage.start)) {
        (page.roster, stage.roster_after) = budget.take_roster(roster(connection, log, (after, stage.start))?);
        if stage.roster_after.is_some() {
            page.resume = Some(stage.token(head.timeline));
            return Ok(page);
        }
    }
    let first = stage.last.as_ref().map(|last| last.collection.clone());
    for (collection, place) in collections(connection, key, first.as_ref())? {
        let mut after = stage.last.as_ref().filter(|last| last.collection == collection).map(|last| last.record.clone());
        while let Some((record, seq)) = next_record(connection, (key, place), after.as_ref())? {
            if budget.is_spent() {
                page.resume = Some(stage.token(head.timeline));
                return Ok(page);
            }
            let row = record_row(connection, (log, key), seq)?;
            budget.add_row(&row);
            page.rows.push(row);
            stage.last = Some(RecordKey { collection: collection.clone(), record: record.clone() });
            after = Some(record);
        }
    }
    Ok(page)
}

pub(super) fn history(connection: &Connection, log: LogId, history: &History) -> Result<(Vec<Row>, bool), ReadError> {
    let Some(key) = live_key(connection, log)? else { return Ok((Vec::new(), false)) };
    let Some(place) = versions(connection, key, &history.record)? else { return Ok((Vec::new(), false)) };
    let before = history.before.map_or(i64::MAX, |version| i64::try_from(version.0).unwrap_or(i64::MAX));
    let mut statement = connection.prepare_cached(
        "SELECT seq FROM record WHERE log = ?1 AND collection = ?2 AND record = ?3 AND version < ?4 ORDER BY version DESC",
    )?;
    let mut found = statement.query((key, place, history.record.record.as_str(), before))?;
    let mut rows: Vec<Row> = Vec::new();
    let mut budget = Budget::new(history.bytes_max);
    while let Some(row) = found.next()? {
        if rows.len() >= history.count as usize || budget.is_spent() {
            return Ok((rows, true));
        }
        let seq = Seq(row.get::<_, i64>(0)?.cast_unsigned());
        let row = record_row(connection, (log, key), seq)?;
        budget.add_row(&row);
        rows.push(row);
    }
    Ok((rows, false))
}

pub(super) fn ping(connection: &Connection) -> Result<(), ReadError> {
    super::totals::read(connection).map(drop)
}

fn live_key(connection: &Connection, log: LogId) -> Result<Option<i64>, ReadError> {
    let key = connection.prepare_cached(LIVE_KEY)?.query_row((log.as_bytes(), ERASED_BYTES), |row| row.get(0)).optional()?;
    Ok(key)
}

fn collection_key(connection: &Connection, key: i64, name: &CollectionName) -> Result<Option<i64>, ReadError> {
    let place = connection.prepare_cached(COLLECTION_KEY)?.query_row((key, name.as_str()), |row| row.get(0)).optional()?;
    Ok(place)
}

/// The collections from that one on, in the order of their names.
fn collections(connection: &Connection, key: i64, from: Option<&CollectionName>) -> Result<Vec<(CollectionName, i64)>, ReadError> {
    let mut statement = connection.prepare_cached("SELECT name, key FROM collection WHERE log = ?1 AND name >= ?2 ORDER BY name")?;
    let mut rows = statement.query((key, from.map_or("", CollectionName::as_str)))?;
    let mut collections = Vec::new();
    while let Some(row) = rows.next()? {
        let damaged = |error: NameError| ReadError::Damaged { place: "the collections".into(), why: error.to_string() };
        collections.push((CollectionName::new(row.get::<_, String>(0)?).map_err(damaged)?, row.get(1)?));
    }
    Ok(collections)
}

/// Under which number the record's versions stand.
fn versions(connection: &Connection, key: i64, record: &RecordKey) -> Result<Option<i64>, ReadError> {
    collection_key(connection, key, &record.collection)
}

/// The next record of a collection, with the `seq` of its current version.
fn next_record(connection: &Connection, (key, place): (i64, i64), after: Option<&RecordId>) -> Result<Option<(RecordId, Seq)>, ReadError> {
    let next = connection
        .prepare_cached(
            "SELECT record, seq FROM record WHERE log = ?1 AND collection = ?2 AND record > ?3 ORDER BY record, version DESC LIMIT 1",
        )?
        .query_row((key, place, after.map_or("", RecordId::as_str)), |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    let Some((record, seq)) = next else { return Ok(None) };
    let record = RecordId::new(record).map_err(|error| ReadError::Damaged { place: "the record index".into(), why: error.to_string() })?;
    Ok(Some((record, Seq(seq.cast_unsigned()))))
}

fn record_row(connection: &Connection, (log, key): (LogId, i64), seq: Seq) -> Result<Row, ReadError> {
    let piece = piece(connection, (log, key), seq)?.ok_or_else(|| damaged(log, seq, "the row is missing"))?;
    let mut row = piece.into_row(seq).ok_or_else(|| damaged(log, seq, "not a record's row"))?;
    wrap_rows::put_into(connection, (log, key), &mut row)?;
    Ok(row)
}

fn piece(connection: &Connection, (log, key): (LogId, i64), seq: Seq) -> Result<Option<Piece>, ReadError> {
    if seq.0 >= super::schema::SEQ_END {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached("SELECT id, row FROM log WHERE id = ?1")?;
    let mut rows = statement.query([row_id(key, seq.0)])?;
    match rows.next()? {
        Some(row) => read_piece(log, row).map(|(_, piece)| Some(piece)),
        None => Ok(None),
    }
}

fn read_piece(log: LogId, row: &rusqlite::Row<'_>) -> Result<(Seq, Piece), ReadError> {
    let seq = Seq(seq_of(row.get(0)?));
    let bytes = row.get_ref(1)?.as_blob().map_err(|error| damaged(log, seq, error.to_string()))?;
    decode_piece(log, seq, bytes).map(|(piece, _)| (seq, piece))
}
