//! What a log's index must have, looked at once before the log is first used: that nothing is missing is known by that alone,
//! since a row that is not there has no sum.
//!
//! Never: a body read. A log's rows are checked when they are read; here it is that each of them is found.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use cloudsync_protocol::{LogId, Seq};
use rusqlite::Connection;

use super::head::{Tip, tip};
use super::row::{decode_piece, record_sum};
use super::schema::{row_id, seq_of};
use super::verify::Damaged;
use crate::pieces::{Content, damaged};
use crate::store::ReadError;

/// What a read relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// That the log's newest rows are there: acquiring, and pages of the log.
    Tip,
    /// That every change of the roster is there.
    Roster,
    /// That whatever is not found never was: look-ups, snapshots, history.
    Index,
}

/// What was found of a log that is not sound.
#[derive(Debug, Clone)]
struct Verdict {
    tip: Result<(), ReadError>,
    roster: Result<(), ReadError>,
    index: Result<(), ReadError>,
}

/// The logs that were looked at since the start.
#[derive(Debug)]
pub(super) struct Checks {
    at_start: Damaged,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    sound: HashSet<LogId>,
    unsound: HashMap<LogId, Verdict>,
}

impl Checks {
    pub(super) fn new(at_start: Damaged) -> Self {
        Self { at_start, known: Mutex::default() }
    }

    /// Whether a log was looked at and is whole.
    pub(super) fn is_sound(&self, log: LogId) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).sound.contains(&log)
    }

    /// Fails if what the read needs is known to be damaged; looks at the log if nobody did.
    pub(super) fn demand(&self, connection: &Connection, log: LogId, needs: Needs) -> Result<(), ReadError> {
        if self.is_sound(log) {
            return Ok(());
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).unsound.get(&log).cloned();
        let verdict = match known {
            Some(verdict) => verdict,
            // A log that is not there, or was erased, has nothing to look at.
            None => match tip(connection, log)? {
                None => return self.absent(connection, log),
                Some(tip) => {
                    let verdict = look(connection, log, &tip)?;
                    let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                    if verdict.tip.is_ok() && verdict.index.is_ok() {
                        known.sound.insert(log);
                        return Ok(());
                    }
                    tracing::error!(%log, tip = ?verdict.tip, index = ?verdict.index, "a log is damaged");
                    known.unsound.insert(log, verdict.clone());
                    verdict
                }
            },
        };
        match needs {
            Needs::Tip => verdict.tip,
            Needs::Roster => verdict.roster,
            Needs::Index => verdict.index,
        }
    }

    fn absent(&self, connection: &Connection, log: LogId) -> Result<(), ReadError> {
        let erased = connection.prepare_cached("SELECT 1 FROM logs WHERE id = ?1")?.exists([log.as_bytes()])?;
        if erased { Ok(()) } else { not_found("logs", self.at_start.logs) }
    }

    /// For an account or credentials that were not found.
    pub(super) fn no_account(&self) -> Result<(), ReadError> {
        not_found("accounts", self.at_start.accounts)
    }

    /// For a refresh family that was not found.
    pub(super) fn no_family(&self) -> Result<(), ReadError> {
        not_found("log-ins", self.at_start.families)
    }
}

fn not_found(what: &str, damaged: u64) -> Result<(), ReadError> {
    if damaged == 0 {
        return Ok(());
    }
    let why = format!("{damaged} rows are damaged, and what is not found may be one of them");
    Err(ReadError::Damaged { place: what.into(), why })
}

/// Looks at a log once, for who keeps no note of it.
pub(super) fn examine(connection: &Connection, log: LogId) -> Result<(), ReadError> {
    let Some(tip) = tip(connection, log)? else { return Ok(()) };
    let Verdict { tip, index, .. } = look(connection, log, &tip)?;
    tip.and(index)
}

/// Reads the log's whole index: each row is as it was written and none comes twice, so that none is missing if there are as many
/// as the log has operations.
fn look(connection: &Connection, log: LogId, tip: &Tip) -> Result<Verdict, ReadError> {
    let mut found = Found::default();
    let read = records(connection, log, tip, &mut found).and(others(connection, tip.key, &mut found));
    let index = read.and_then(|()| {
        let why = format!("{} of {} rows of its index are there", found.rows, tip.seq);
        if found.rows == tip.seq.0 { Ok(()) } else { Err(ReadError::Damaged { place: format!("log {log}"), why }) }
    });
    // Only the newest rows can be gone without a gap: the index names one that the log has not.
    let newest = if found.newest > tip.seq { Err(damaged(log, tip.seq.next(), "the row is missing")) } else { Ok(()) };
    let index = newest.clone().and(index);
    // Without a roster nobody can be let in, not even to read: it is worth a longer look.
    let roster = if index.is_ok() { Ok(()) } else { newest.clone().and_then(|()| roster_alone(connection, (log, tip.key))) };
    Ok(Verdict { tip: newest, roster, index })
}

/// Reads all of the log: each change of the roster must be in its index.
fn roster_alone(connection: &Connection, (log, key): (LogId, i64)) -> Result<(), ReadError> {
    let range = (row_id(key, 0), row_id(key + 1, 0));
    let mut statement = connection.prepare_cached("SELECT id FROM roster WHERE id >= ?1 AND id < ?2")?;
    let known: HashSet<i64> = statement.query_map(range, |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut statement = connection.prepare_cached("SELECT id, row FROM log WHERE id >= ?1 AND id < ?2")?;
    let mut rows = statement.query(range)?;
    while let Some(row) = rows.next()? {
        let (id, seq) = (row.get(0)?, Seq(seq_of(row.get(0)?)));
        let (piece, _) = decode_piece(log, seq, &row.get::<_, Vec<u8>>(1)?)?;
        if matches!(piece.content, Content::Change(_)) && !known.contains(&id) {
            return Err(damaged(log, seq, "the roster's index lacks it"));
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Found {
    rows: u64,
    newest: Seq,
}

impl Found {
    fn row(&mut self, seq: Seq) {
        self.rows += 1;
        self.newest = self.newest.max(seq);
    }
}

fn records(connection: &Connection, log: LogId, tip: &Tip, found: &mut Found) -> Result<(), ReadError> {
    let wrong = |why: &str| ReadError::Damaged { place: format!("log {log}, index"), why: why.into() };
    let mut statement = connection.prepare_cached("SELECT key, name FROM collection WHERE log = ?1")?;
    let names: HashMap<i64, String> = statement.query_map([tip.key], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let complete = tip.collections.iter().all(|name| names.values().any(|known| known == name.as_str()));
    let mut sound = if complete { Ok(()) } else { Err(wrong("a collection is missing")) };
    let mut statement = connection.prepare_cached(
        "SELECT collection, record, version, seq, sum FROM record WHERE log = ?1 ORDER BY collection, record, version DESC",
    )?;
    let mut rows = statement.query([tip.key])?;
    let mut last: Option<(i64, String, u64)> = None;
    while let Some(row) = rows.next()? {
        let (collection, version, seq) =
            (row.get::<_, i64>(0)?, row.get::<_, i64>(2)?.cast_unsigned(), row.get::<_, i64>(3)?.cast_unsigned());
        let record = row.get_ref(1)?.as_str().map_err(|_| wrong("a record's id is no text"))?;
        let name = names.get(&collection).map(String::as_str);
        if name.map(|name| record_sum(log, (name, record), (version, seq))) != Some(row.get(4)?) {
            sound = Err(wrong("a row's sum does not fit"));
            continue;
        }
        let rises = last.as_ref().is_none_or(|(before, id, newer)| {
            (*before, id.as_str(), std::cmp::Reverse(*newer)) < (collection, record, std::cmp::Reverse(version))
        });
        if !rises {
            sound = Err(wrong("rows are out of order"));
        }
        found.row(Seq(seq));
        last = Some((collection, record.to_owned(), version));
    }
    sound
}

/// The rows of the log that write no record.
fn others(connection: &Connection, key: i64, found: &mut Found) -> Result<(), ReadError> {
    let ids = "SELECT id FROM roster WHERE id >= ?1 AND id < ?2 UNION ALL SELECT id FROM rewrap WHERE id >= ?1 AND id < ?2";
    let mut statement = connection.prepare_cached(ids)?;
    let mut rows = statement.query((row_id(key, 0), row_id(key + 1, 0)))?;
    while let Some(row) = rows.next()? {
        found.row(Seq(seq_of(row.get(0)?)));
    }
    Ok(())
}
