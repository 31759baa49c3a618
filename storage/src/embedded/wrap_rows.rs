//! Wraps that rows were given after they were committed, beside the rows, which stay as they are.
//!
//! Never: a row of `log` written again, or a wrap of an earlier account key than the one that is there.

use bytes::Bytes;
use cloudsync_engine::log::NewWrap;
use cloudsync_protocol::entry::{Adopt, Put, Row};
use cloudsync_protocol::envelope::key_epoch;
use cloudsync_protocol::{CollectionName, LogId, Operation, Seq};
use rusqlite::{Connection, OptionalExtension as _};
use std::collections::HashMap;

use super::fault::Fault;
use super::row::{decode_piece_unsummed, sum};
use super::schema::row_id;
use crate::pieces::{Content, damaged};
use crate::store::ReadError;

/// Puts the newest wrap into a row.
pub(super) fn put_into(connection: &Connection, (log, key): (LogId, i64), row: &mut Row) -> Result<(), ReadError> {
    if let Some(wrap) = read(connection, (log, key), row.seq)? {
        row.envelope.wrap = wrap;
    }
    Ok(())
}

fn read(connection: &Connection, (log, key): (LogId, i64), seq: Seq) -> Result<Option<Bytes>, ReadError> {
    let found = connection
        .prepare_cached("SELECT wrap, sum FROM wrap WHERE id = ?1")?
        .query_row([row_id(key, seq.0)], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))
        .optional()?;
    let Some((wrap, stored)) = found else { return Ok(None) };
    if wrap_sum(log, seq, &wrap).as_slice() == stored {
        Ok(Some(wrap.into()))
    } else {
        Err(damaged(log, seq, "its newer wrap's sum does not fit"))
    }
}

/// Sets each wrap whose row is its record's newest version still, and has one of an earlier account key.
pub(super) fn set(
    connection: &Connection,
    (log, key): (LogId, i64),
    collections: &HashMap<CollectionName, i64>,
    wraps: &[NewWrap],
) -> Result<(), Fault> {
    for new in wraps {
        let Some(collection) = collections.get(&new.key.collection) else { continue };
        let newest: Option<(i64, i64)> = connection
            .prepare_cached(
                "SELECT version, seq FROM record WHERE log = ?1 AND collection = ?2 AND record = ?3 ORDER BY version DESC LIMIT 1",
            )?
            .query_row((key, collection, new.key.record.as_str()), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let is_newest = newest == Some((new.version.0.cast_signed(), new.seq.0.cast_signed()));
        if is_newest && epoch(connection, (log, key), new.seq)? < key_epoch(&new.wrap) {
            connection.prepare_cached("INSERT OR REPLACE INTO wrap (id, wrap, sum) VALUES (?1, ?2, ?3)")?.execute((
                row_id(key, new.seq.0),
                new.wrap.as_ref(),
                wrap_sum(log, new.seq, &new.wrap),
            ))?;
        }
    }
    Ok(())
}

/// Under which account key a record's row is wrapped now. The row's body is not hashed for it: whoever reads it does that.
fn epoch(connection: &Connection, (log, key): (LogId, i64), seq: Seq) -> Result<u64, ReadError> {
    if let Some(wrap) = read(connection, (log, key), seq)? {
        return Ok(key_epoch(&wrap));
    }
    let row =
        connection.prepare_cached("SELECT row FROM log WHERE id = ?1")?.query_row([row_id(key, seq.0)], |row| row.get::<_, Vec<u8>>(0));
    let row = row.optional()?.ok_or_else(|| damaged(log, seq, "the row is missing"))?;
    match decode_piece_unsummed(log, seq, &row)?.content {
        Content::Operation(Operation::Put(Put { envelope, .. }) | Operation::Adopt(Adopt { envelope, .. })) => Ok(envelope.key_epoch()),
        Content::Operation(Operation::Rewrap(_)) | Content::Change(_) => Err(damaged(log, seq, "not a record's row")),
    }
}

fn wrap_sum(log: LogId, seq: Seq, wrap: &[u8]) -> [u8; 8] {
    sum(&[log.as_bytes(), &seq.0.to_be_bytes(), wrap])
}
