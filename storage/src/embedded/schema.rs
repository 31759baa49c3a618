//! The database's tables and how its connections are set.
//!
//! Never: a statement built from data.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::totals;

/// Bytes of a page.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Bits of a row's key that are its `seq`; the bits above are the log's.
pub(super) const SEQ_BITS: u32 = 36;
/// One past the last `seq` that a row's key holds.
pub(super) const SEQ_END: u64 = 1 << SEQ_BITS;
/// How long a writer waits for whoever else has the database.
pub(super) const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);
/// One past the last log.
pub(super) const LOG_END: i64 = 1 << (63 - SEQ_BITS);

/// - `logs`: one row a log ever acquired. `head` is the encoded head, or that it is erased. `key` counts them and is never reused.
/// - `log`: one row an operation, `id = key << 36 | seq`.
/// - `record`: where each version of each record is; the first row of a record is its current version. `sum` is of all of it.
/// - `collection`: a small number for each collection of a log.
/// - `roster`: which rows of `log` are changes of the roster; `rewrap`: which wrap content keys anew.
/// - `wrap`: the wrap that a row was given after it was committed, by the row's `id`.
/// - `credential`: what an account is opened by, of one keyring version: one row an account.
/// - `groups`: one row: the number of the newest group, how often the database went back, how many rows the small tables have,
///   and a sum of that.
pub(super) const TABLES: &str = "
CREATE TABLE groups (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, rewinds INTEGER NOT NULL,
    logs INTEGER NOT NULL, accounts INTEGER NOT NULL, families INTEGER NOT NULL, sum BLOB NOT NULL);
CREATE TABLE logs (key INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, head BLOB NOT NULL);
CREATE TABLE log (id INTEGER PRIMARY KEY, row BLOB NOT NULL);
CREATE TABLE record (log INTEGER NOT NULL, collection INTEGER NOT NULL, record TEXT NOT NULL, version INTEGER NOT NULL,
    seq INTEGER NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (log, collection, record, version DESC)) WITHOUT ROWID;
CREATE TABLE collection (log INTEGER NOT NULL, name TEXT NOT NULL, key INTEGER NOT NULL, PRIMARY KEY (log, name)) WITHOUT ROWID;
CREATE TABLE roster (id INTEGER PRIMARY KEY);
CREATE TABLE rewrap (id INTEGER PRIMARY KEY);
CREATE TABLE wrap (id INTEGER PRIMARY KEY, wrap BLOB NOT NULL, sum BLOB NOT NULL);
CREATE TABLE account (user BLOB PRIMARY KEY, email TEXT NOT NULL UNIQUE, created_ts INTEGER NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE credential (user BLOB PRIMARY KEY, version INTEGER NOT NULL, opaque_record BLOB NOT NULL, recovery BLOB NOT NULL,
    keyring BLOB NOT NULL, sum BLOB NOT NULL);
CREATE TABLE family (id BLOB PRIMARY KEY, user BLOB NOT NULL, device BLOB NOT NULL, signing BLOB NOT NULL,
    number INTEGER NOT NULL, expires_ts INTEGER NOT NULL, revoked INTEGER NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX family_of ON family (user, device);
";

/// Makes a database file that holds nothing yet.
pub(super) fn create(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES.cast_signed())?;
    connection.execute_batch(&format!("BEGIN;{TABLES}"))?;
    totals::begin(&connection)?;
    connection.execute_batch("COMMIT")?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.close().map_err(|(_, error)| error)
}

/// What is deleted is overwritten where that costs no further page.
pub(super) const SECURE_DELETE: &str = "FAST";

/// A connection that writes. Closing it leaves the WAL as it is until [`checkpoint_on_close`].
pub(super) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    plan_once(&connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "secure_delete", SECURE_DELETE)?;
    connection.pragma_update(None, "cache_size", -32 * 1024)?;
    Ok(connection)
}

/// From now on, closing the connection empties the WAL.
pub(super) fn checkpoint_on_close(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)
}

/// A connection that reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    plan_once(&connection)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "cache_size", -8 * 1024)?;
    Ok(connection)
}

/// A statement's plan is made once, whatever it is asked with. Otherwise SQLite, built with its statistics, plans some of ours
/// anew at each value that is bound: a look-up took twice as long.
fn plan_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// The key of a row of `log`.
pub(super) const fn row_id(log: i64, seq: u64) -> i64 {
    assert!(seq < SEQ_END, "a log ends at 2^36 operations");
    (log << SEQ_BITS) | seq.cast_signed()
}

/// The `seq` in a key of `log`.
pub(super) const fn seq_of(id: i64) -> u64 {
    id.cast_unsigned() & (SEQ_END - 1)
}
