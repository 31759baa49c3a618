//! One transaction on the replica's tables, and how rows are asked for in it.
//!
//! Never: a rule, or a statement outside the transaction that the store began.

use cloudsync_engine::replica::{EditId, RESERVED_COLLECTION, TablesError};
use rusqlite::{Connection, Params, params};

use super::codec::{Columns, DELETED, failed, signed};
use super::rows::PAUSED;

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

    pub(super) fn execute(&self, table: &'static str, sql: &str, params: impl Params) -> Result<(), TablesError> {
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params));
        done.map(|_| ()).map_err(failed(table))
    }

    /// How many records there are that are not deleted.
    pub fn records_count(&self) -> Result<u64, TablesError> {
        let sql = "SELECT count(*) AS number FROM records WHERE content <> ?1 AND collection <> ?2";
        let count = self.one("records", (sql, params![DELETED, RESERVED_COLLECTION]), |row| row.number("number"))?;
        Ok(count.unwrap_or_default())
    }

    /// How many edits from that one on are paused.
    pub fn paused_from(&self, first: EditId) -> Result<u64, TablesError> {
        let sql = "SELECT count(*) AS number FROM edits WHERE state = ?1 AND id >= ?2";
        Ok(self.one("edits", (sql, params![PAUSED, signed(first.0)]), |row| row.number("number"))?.unwrap_or_default())
    }

    pub(super) fn all<T>(
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

    pub(super) fn one<T>(
        &self,
        table: &'static str,
        query: (&str, impl Params),
        read: impl Fn(&Columns<'_, '_>) -> Result<T, TablesError>,
    ) -> Result<Option<T>, TablesError> {
        Ok(self.all(table, query, read)?.pop())
    }
}
