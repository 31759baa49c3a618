//! Sweeping an erased log's rows, a bounded number a transaction, so that a large log holds nobody up.
//!
//! Never: the row in `logs`: it says for ever that the log was erased.

use rusqlite::{Connection, OptionalExtension as _};

use super::row::ERASED_BYTES;
use super::schema::{self, row_id};

const ROWS_MAX: usize = 500;

/// Whether there is more to sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swept {
    Some,
    All,
}

/// Does something whose deletions leave nothing behind: pages that come free are overwritten too, which costs writes.
pub(super) fn overwriting<T, E: From<rusqlite::Error>>(
    connection: &Connection,
    deletes: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    connection.pragma_update(None, "secure_delete", "ON")?;
    let deleted = deletes(connection);
    connection.pragma_update(None, "secure_delete", schema::SECURE_DELETE)?;
    deleted
}

/// Deletes some rows of the log.
pub(super) fn sweep(connection: &Connection, key: i64) -> rusqlite::Result<Swept> {
    let range = (row_id(key, 0), row_id(key + 1, 0), ROWS_MAX.cast_signed() as i64);
    let rows = connection
        .prepare_cached("DELETE FROM log WHERE id IN (SELECT id FROM log WHERE id >= ?1 AND id < ?2 LIMIT ?3)")?
        .execute(range)?;
    if rows == ROWS_MAX {
        return Ok(Swept::Some);
    }
    let wraps = connection
        .prepare_cached("DELETE FROM wrap WHERE id IN (SELECT id FROM wrap WHERE id >= ?1 AND id < ?2 LIMIT ?3)")?
        .execute(range)?;
    if wraps == ROWS_MAX {
        return Ok(Swept::Some);
    }
    let boundary = connection
        .prepare_cached("SELECT collection, record FROM record WHERE log = ?1 ORDER BY collection, record LIMIT 1 OFFSET ?2")?
        .query_row((key, range.2), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    if let Some((collection, record)) = boundary {
        connection
            .prepare_cached("DELETE FROM record WHERE log = ?1 AND (collection, record) <= (?2, ?3)")?
            .execute((key, collection, record))?;
        return Ok(Swept::Some);
    }
    connection.prepare_cached("DELETE FROM record WHERE log = ?1")?.execute([key])?;
    connection.prepare_cached("DELETE FROM collection WHERE log = ?1")?.execute([key])?;
    for index in ["roster", "rewrap"] {
        connection.prepare_cached(&format!("DELETE FROM {index} WHERE id >= ?1 AND id < ?2"))?.execute((range.0, range.1))?;
    }
    Ok(Swept::All)
}

/// Erased logs that still have rows: an erase that a stop cut short.
pub(super) fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare(
        "SELECT key FROM logs WHERE length(head) = ?1 AND (EXISTS (SELECT 1 FROM record WHERE record.log = logs.key)
         OR EXISTS (SELECT 1 FROM log WHERE id >= logs.key << 36 AND id < (logs.key + 1) << 36)
         OR EXISTS (SELECT 1 FROM wrap WHERE id >= logs.key << 36 AND id < (logs.key + 1) << 36))",
    )?;
    statement.query_map([ERASED_BYTES], |row| row.get(0))?.collect()
}
