//! The one row of `groups`: the number of the newest group, how often the database went back, and how many rows the small
//! tables have, so that a row that is gone is missed.
//!
//! Never: a number that nothing vouches for; the row has a sum.

use rusqlite::Connection;

use super::row::sum;
use crate::store::ReadError;

/// What the row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// The newest group's.
    pub(super) number: u64,
    /// How often acknowledged groups were given up, by a restore or an accepted loss.
    pub(super) rewinds: u64,
    pub(super) logs: u64,
    /// Rows of credentials are as many.
    pub(super) accounts: u64,
    pub(super) families: u64,
}

/// A table that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Accounts,
    Families,
}

impl Totals {
    fn sum(&self) -> [u8; 8] {
        let numbers = [self.number, self.rewinds, self.logs, self.accounts, self.families];
        sum(&[b"cs1/totals", &numbers.map(u64::to_be_bytes).concat()])
    }
}

/// In a new database.
pub(super) fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("INSERT INTO groups VALUES (1, 0, 0, 0, 0, 0, ?1)", [Totals::default().sum()]).map(drop)
}

/// Reads and checks them.
pub(super) fn read(connection: &Connection) -> Result<Totals, ReadError> {
    let (totals, stored) = unchecked(connection)?;
    if totals.sum().as_slice() == stored {
        return Ok(totals);
    }
    Err(ReadError::Damaged { place: "the row of `groups`".into(), why: "its sum does not fit".into() })
}

/// How often the database went back.
pub(super) fn rewinds(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached("SELECT rewinds FROM groups")?.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// Counts a log that is about to be added, and gives its key. Within a group, before [`seal`].
pub(super) fn new_log(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("UPDATE groups SET logs = logs + 1 RETURNING logs")?.query_row([], |row| row.get(0))
}

/// Counts rows that were added or deleted. Within a group, before [`seal`].
pub(super) fn add(connection: &Connection, table: Table, rows: isize) -> rusqlite::Result<()> {
    let sql = match table {
        Table::Accounts => "UPDATE groups SET accounts = accounts + ?1",
        Table::Families => "UPDATE groups SET families = families + ?1",
    };
    if rows == 0 { Ok(()) } else { connection.prepare_cached(sql)?.execute([rows]).map(drop) }
}

/// The last statement of a group: numbers it, and seals the row.
pub(super) fn seal(connection: &Connection, number: u64) -> rusqlite::Result<()> {
    let (totals, _) = unchecked(connection)?;
    write(connection, &Totals { number, ..totals })
}

/// Replaces the row.
pub(super) fn write(connection: &Connection, totals: &Totals) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE groups SET number = ?1, rewinds = ?2, logs = ?3, accounts = ?4, families = ?5, sum = ?6")?
        .execute((
            totals.number.cast_signed(),
            totals.rewinds.cast_signed(),
            totals.logs.cast_signed(),
            totals.accounts.cast_signed(),
            totals.families.cast_signed(),
            totals.sum(),
        ))
        .map(drop)
}

fn unchecked(connection: &Connection) -> rusqlite::Result<(Totals, Vec<u8>)> {
    let mut statement = connection.prepare_cached("SELECT number, rewinds, logs, accounts, families, sum FROM groups")?;
    statement.query_row([], |row| {
        let count = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let totals = Totals { number: count(0)?, rewinds: count(1)?, logs: count(2)?, accounts: count(3)?, families: count(4)? };
        Ok((totals, row.get(5)?))
    })
}
