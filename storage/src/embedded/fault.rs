//! What SQLite's errors mean to the callers of a store.
//!
//! Never: an error told apart by its text.

use rusqlite::ErrorCode;

use crate::store::ReadError;

/// Why a transaction was given up before its commit: nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// No room.
    Full,
    /// Damage, or whatever SQLite says.
    Read(ReadError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if is_full(&error) { Self::Full } else { Self::Read(error.into()) }
    }
}

/// Whether there was no room: for rows, or for the WAL's index, which SQLite calls a failure to size its shared memory.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    let shared_memory = error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
    shared_memory || error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        let shape = matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
        );
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { place: "the database".into(), why: error.to_string() }
            }
            Some(_) | None if shape => Self::Damaged { place: "the database".into(), why: error.to_string() },
            Some(_) | None => Self::Unavailable(error.to_string()),
        }
    }
}
