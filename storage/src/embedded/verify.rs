//! What a start checks of a database before anything is written: its pages, its tables, and every row of the small ones.
//!
//! Never: a write, or a look at the large tables' rows; those have sums that are checked when they are read, and
//! [`checks`](super::checks) finds what is missing of a log.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use cloudsync_protocol::LogId;
use rusqlite::Connection;

use super::account_rows;
use super::credential_rows;
use super::fault::is_full;
use super::row::{Place, decode_head};
use super::schema::TABLES;
use super::totals::Totals;
use crate::store::ReadError;

/// Why a database can't be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum VerifyError {
    #[error("{0}")]
    Damaged(String),
    #[error("no space is left")]
    Full,
    #[error("{0}")]
    Unreadable(String),
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { place, why } => Self::Damaged(format!("{place}: {why}")),
            ReadError::Unavailable(why) => Self::Unreadable(why),
        }
    }
}

impl From<rusqlite::Error> for VerifyError {
    fn from(error: rusqlite::Error) -> Self {
        if is_full(&error) { Self::Full } else { ReadError::from(error).into() }
    }
}

/// Damaged rows of the small tables. Which they were is not known: what is not found there may be one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Damaged {
    pub(super) logs: u64,
    pub(super) accounts: u64,
    pub(super) families: u64,
}

/// Of the first bytes of a database file, those that never change, as SQLite's "Database File Format" (1.3) has them: the magic
/// text, pages of 4096 B in WAL mode without reserved bytes, the payload fractions; then schema format 4, no vacuum, UTF-8.
const HEADER: [(usize, &[u8]); 4] =
    [(0, b"SQLite format 3\0\x10\x00\x02\x02\x00\x40\x20\x20"), (44, &[0, 0, 0, 4]), (52, &[0, 0, 0, 0, 0, 0, 0, 1]), (64, &[0, 0, 0, 0])];
const HEADER_BYTES: usize = 100;

/// Looks at a database file before SQLite does, which deletes the WAL of an empty one and takes another one's word for what it is.
pub(super) fn header(path: &Path) -> io::Result<Result<(), VerifyError>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    File::open(path)?.take(HEADER_BYTES as u64).read_to_end(&mut bytes)?;
    let fits = |(at, expected): &(usize, &[u8])| bytes.get(*at..at + expected.len()) == Some(*expected);
    Ok(if HEADER.iter().all(fits) { Ok(()) } else { Err(VerifyError::Damaged("the file does not begin as our database does".into())) })
}

/// Whether the tables are those that this code made.
pub(super) fn tables(connection: &Connection) -> Result<(), VerifyError> {
    let expected = Connection::open_in_memory()?;
    expected.execute_batch(TABLES)?;
    if declared(connection)? == declared(&expected)? {
        return Ok(());
    }
    Err(VerifyError::Damaged("its tables are not those of this format".into()))
}

fn declared(connection: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let mut statement = connection.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// Reads every page: SQLite's `integrity_check`.
pub(super) fn pages(connection: &Connection) -> Result<(), VerifyError> {
    let answer: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if answer == "ok" { Ok(()) } else { Err(VerifyError::Damaged(answer)) }
}

/// Reads every row of the small tables. Missing rows are an error, damaged ones are counted.
pub(super) fn small_tables(connection: &Connection, totals: &Totals) -> Result<Damaged, VerifyError> {
    let mut damaged = Damaged::default();
    let mut logs = connection.prepare("SELECT key, id, head FROM logs")?;
    let row = |row: &rusqlite::Row<'_>| {
        let place = Place { key: row.get(0)?, log: LogId(row.get(1)?) };
        Ok(decode_head(place, row.get_ref(2)?.as_blob()?).map(drop))
    };
    let found = count(logs.query_map([], row)?, &mut damaged.logs)?;
    same("logs", found, totals.logs)?;

    let mut accounts = connection.prepare("SELECT user, email, created_ts, sum FROM account")?;
    let found = count(accounts.query_map([], |row| Ok(account_rows::account_row(row)?.map(drop)))?, &mut damaged.accounts)?;
    same("accounts", found, totals.accounts)?;
    let mut credentials = connection.prepare("SELECT user, version, opaque_record, recovery, keyring, sum FROM credential")?;
    let found = count(credentials.query_map([], |row| Ok(credential_rows::credential_row(row)?.map(drop)))?, &mut damaged.accounts)?;
    same("credentials", found, totals.accounts)?;

    let mut families = connection.prepare("SELECT id, user, device, signing, number, expires_ts, revoked, sum FROM family")?;
    let found = count(families.query_map([], |row| Ok(account_rows::family_row(row)?.map(drop)))?, &mut damaged.families)?;
    same("log-ins", found, totals.families)?;
    Ok(damaged)
}

/// Counts the rows, and those among them that are damaged: of values that can't be, or with a sum that does not fit.
fn count(rows: impl Iterator<Item = rusqlite::Result<Result<(), ReadError>>>, damaged: &mut u64) -> Result<u64, VerifyError> {
    let mut found = 0;
    for row in rows {
        found += 1;
        let row = row.map_err(ReadError::from).and_then(|row| row);
        if let Err(error) = row {
            let ReadError::Damaged { .. } = &error else { return Err(error.into()) };
            tracing::error!(%error, "damage found at the start");
            *damaged += 1;
        }
    }
    Ok(found)
}

fn same(what: &str, found: u64, expected: u64) -> Result<(), VerifyError> {
    if found == expected { Ok(()) } else { Err(VerifyError::Damaged(format!("{found} {what} of {expected} are there"))) }
}
