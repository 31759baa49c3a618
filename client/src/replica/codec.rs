//! Rust values to SQLite's and back.
//!
//! Never: a value that does not fit taken for one that does; it is damage, with its column named.

use bytes::Bytes;
use cloudsync_engine::replica::{Content, TablesError};
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::{RecordKey, codec};
use rusqlite::Row;
use rusqlite::types::FromSql;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

const VALUE: i64 = 0;
pub(super) const DELETED: i64 = 1;
/// Of committed records only.
pub(super) const DAMAGED: i64 = 2;

/// SQLite's error as the tables', with the table's name.
pub(super) fn failed(table: &'static str) -> impl Fn(rusqlite::Error) -> TablesError {
    move |error| StoreError::of(&error, table).into()
}

pub(super) fn damaged(place: &str, why: impl ToString) -> TablesError {
    TablesError::Damaged { place: place.to_owned(), why: why.to_string() }
}

/// The bits as SQLite has them.
pub(super) const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// A count of rows for LIMIT.
pub(super) fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// One row, read by the names of its columns.
pub(super) struct Columns<'a, 'b> {
    pub(super) table: &'static str,
    pub(super) row: &'a Row<'b>,
}

impl Columns<'_, '_> {
    pub(super) fn get<T: FromSql>(&self, name: &str) -> Result<T, TablesError> {
        self.row.get(name).map_err(failed(self.table))
    }
    pub(super) fn number(&self, name: &str) -> Result<u64, TablesError> {
        self.get::<i64>(name).map(i64::cast_unsigned)
    }
    pub(super) fn optional_number(&self, name: &str) -> Result<Option<u64>, TablesError> {
        self.get::<Option<i64>>(name).map(|number| number.map(i64::cast_unsigned))
    }
    pub(super) fn bytes(&self, name: &str) -> Result<Bytes, TablesError> {
        self.get::<Vec<u8>>(name).map(Bytes::from)
    }
    /// An id or hash of fixed length.
    pub(super) fn id<T>(&self, name: &str, from: impl Fn(&[u8]) -> Option<T>) -> Result<T, TablesError> {
        from(&self.get::<Vec<u8>>(name)?).ok_or_else(|| self.wrong(name, "not of its length"))
    }
    pub(super) fn optional_id<T>(&self, name: &str, from: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, TablesError> {
        let bytes = self.get::<Option<Vec<u8>>>(name)?;
        bytes.map(|bytes| from(&bytes).ok_or_else(|| self.wrong(name, "not of its length"))).transpose()
    }
    /// Something in the protocol's own encoding.
    pub(super) fn decoded<T: DeserializeOwned>(&self, name: &str) -> Result<T, TablesError> {
        codec::decode(&self.get::<Vec<u8>>(name)?).map_err(|error| self.wrong(name, error))
    }
    pub(super) fn optional_decoded<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, TablesError> {
        let bytes = self.get::<Option<Vec<u8>>>(name)?;
        bytes.map(|bytes| codec::decode(&bytes).map_err(|error| self.wrong(name, error))).transpose()
    }
    pub(super) fn key(&self) -> Result<RecordKey, TablesError> {
        let collection = self.get::<String>("collection")?;
        let record = self.get::<String>("record")?;
        let collection = cloudsync_protocol::CollectionName::new(collection).map_err(|error| self.wrong("collection", error))?;
        let record = cloudsync_protocol::RecordId::new(record).map_err(|error| self.wrong("record", error))?;
        Ok(RecordKey { collection, record })
    }
    pub(super) fn content(&self) -> Result<Content, TablesError> {
        match (self.get::<i64>("content")?, self.get::<Option<Vec<u8>>>("value")?) {
            (VALUE, Some(value)) => Ok(Content::Value(value.into())),
            (DELETED, None) => Ok(Content::Deleted),
            (DAMAGED, None) => Ok(Content::Damaged),
            (_, _) => Err(self.wrong("content", "neither a value nor a deletion nor damage")),
        }
    }
    pub(super) fn hlc(&self) -> Result<Hlc, TablesError> {
        self.number("hlc").map(Hlc)
    }
    pub(super) fn wrong(&self, name: &str, why: impl ToString) -> TablesError {
        damaged(&format!("{}.{name}", self.table), why)
    }
}

/// `content` and `value`.
pub(super) fn content(content: &Content) -> (i64, Option<&[u8]>) {
    match content {
        Content::Value(value) => (VALUE, Some(value)),
        Content::Deleted => (DELETED, None),
        Content::Damaged => (DAMAGED, None),
    }
}

pub(super) fn encoded<T: Serialize>(value: Option<&T>) -> Option<Vec<u8>> {
    value.map(codec::encode)
}
