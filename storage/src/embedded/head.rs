//! Heads: read from their row and brought up to date from the rows after it, and the committer's bounded cache of them.
//!
//! Never: a head that the rows do not bear out; a missing or damaged row is named.

use std::collections::{BTreeSet, HashMap};

use cloudsync_engine::log::Head;
use cloudsync_protocol::{CollectionName, LogId, Seq, ShortHash, TimelineId};
use rusqlite::{Connection, OptionalExtension as _};

use super::row::{Place, decode_head, decode_piece};
use super::schema::{row_id, seq_of};
use crate::pieces::{Assembler, damaged};
use crate::store::ReadError;

/// A log's row in `logs`.
#[derive(Debug)]
pub(super) enum Found {
    Absent,
    Erased,
    Live(Box<Loaded>),
}

/// A live log.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    /// Its small number.
    pub(super) key: i64,
    /// Up to date.
    pub(super) head: Head,
    /// Where the head stood when its row was last written.
    pub(super) written: Seq,
    /// How often the database had gone back when the head's timeline was opened.
    pub(super) rewinds: u64,
}

/// Reads a log's head.
pub(super) fn load(connection: &Connection, log: LogId) -> Result<Found, ReadError> {
    let Some((key, bytes)) = stored(connection, log)? else { return Ok(Found::Absent) };
    let Some((mut head, rewinds)) = decode_head(Place { key, log }, &bytes)? else { return Ok(Found::Erased) };
    let written = head.seq;
    catch_up(connection, (log, key), &mut head)?;
    Ok(Found::Live(Box::new(Loaded { key, head, written, rewinds })))
}

fn stored(connection: &Connection, log: LogId) -> Result<Option<(i64, Vec<u8>)>, ReadError> {
    let row = connection
        .prepare_cached("SELECT key, head FROM logs WHERE id = ?1")?
        .query_row([log.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row)
}

/// What pages need of a head: its row and the log's last one say it, so that damage between them hides no other row.
#[derive(Debug)]
pub(super) struct Tip {
    pub(super) key: i64,
    pub(super) timeline: TimelineId,
    pub(super) lineage: Vec<(TimelineId, Seq)>,
    pub(super) seq: Seq,
    pub(super) row: ShortHash,
    pub(super) floor: Seq,
    /// As they were when the head's row was written: there may be more by now.
    pub(super) collections: BTreeSet<CollectionName>,
}

/// Reads a live log's tip.
pub(super) fn tip(connection: &Connection, log: LogId) -> Result<Option<Tip>, ReadError> {
    let Some((key, bytes)) = stored(connection, log)? else { return Ok(None) };
    let Some((head, _)) = decode_head(Place { key, log }, &bytes)? else { return Ok(None) };
    let Head { timeline, lineage, seq, row, floor, collections, .. } = head;
    let mut tip = Tip { key, timeline, lineage, seq, row, floor, collections };
    let last = connection
        .prepare_cached("SELECT id, row FROM log WHERE id > ?1 AND id < ?2 ORDER BY id DESC LIMIT 1")?
        .query_row((row_id(key, seq.0), row_id(key + 1, 0)), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))
        .optional()?;
    if let Some((id, bytes)) = last {
        let seq = Seq(seq_of(id));
        let (piece, trailer) = decode_piece(log, seq, &bytes)?;
        let trailer = trailer.ok_or_else(|| damaged(log, seq, "the last row of its commit is missing"))?;
        (tip.seq, tip.row, tip.floor) = (seq, piece.hash().short(), trailer.floor);
    }
    Ok(Some(tip))
}

/// Brings a head up to date from the rows after it.
fn catch_up(connection: &Connection, (log, key): (LogId, i64), head: &mut Head) -> Result<(), ReadError> {
    let mut statement = connection.prepare_cached("SELECT id, row FROM log WHERE id > ?1 AND id < ?2 ORDER BY id")?;
    let mut rows = statement.query((row_id(key, head.seq.0), row_id(key + 1, 0)))?;
    let mut assembler = Assembler::new(log, head.seq);
    let mut last = None;
    while let Some(row) = rows.next()? {
        let seq = Seq(seq_of(row.get(0)?));
        let (piece, trailer) = decode_piece(log, seq, row.get_ref(1)?.as_blob().map_err(|error| damaged(log, seq, error.to_string()))?)?;
        if let Some(entry) = assembler.push(seq, piece)? {
            // Figures come with the commit's trailer: the versions that were replaced need not be looked up.
            head.follow(&entry, |_, _| None).map_err(|error| damaged(log, entry.first(), error.to_string()))?;
        }
        last = Some((seq, trailer));
    }
    match last {
        None => Ok(()),
        Some((_, Some(trailer))) => {
            trailer.put_into(head);
            Ok(())
        }
        Some((seq, None)) => Err(damaged(log, seq, "the last row of its commit is missing")),
    }
}

/// A log as the committer remembers it.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) loaded: Loaded,
    pub(super) collections: HashMap<CollectionName, i64>,
}

/// The heads of logs that committed lately: two generations, the older dropped when the younger is full.
#[derive(Debug)]
pub(super) struct Cache {
    young: HashMap<LogId, Box<Cached>>,
    old: HashMap<LogId, Box<Cached>>,
    logs_max: usize,
}

impl Cache {
    pub(super) fn new(logs_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), logs_max }
    }

    /// Takes a log out, to be put back once it was changed.
    pub(super) fn take(&mut self, log: LogId) -> Option<Box<Cached>> {
        self.young.remove(&log).or_else(|| self.old.remove(&log))
    }

    pub(super) fn put(&mut self, log: LogId, cached: Box<Cached>) {
        if self.young.len() >= self.logs_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(log, cached);
    }

    /// After a group that did not commit: nothing remembered is true any more.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}
