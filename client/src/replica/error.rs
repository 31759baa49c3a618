//! Why the local replica can't be used.
//!
//! Never: a value of a record in a message.

use std::path::PathBuf;

use cloudsync_engine::replica::TablesError;
use rusqlite::ErrorCode;

/// Why the local replica can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file is not there.
    #[error("the local replica {} is missing", file.display())]
    Missing {
        /// Where it should be.
        file: PathBuf,
    },
    /// A newer release made it.
    #[error("the local replica was written by a newer release: it has format {found}, this one knows {known}")]
    FormatUnknown {
        /// As it says.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// An older release made it, and this one does not read it.
    #[error("the local replica was written by an older release: it has format {found}, this one knows {known} only")]
    FormatOutdated {
        /// As it says.
        found: i64,
        /// The only one known.
        known: i64,
    },
    /// What is stored is not what was written.
    #[error("the local replica is damaged: {place}: {why}")]
    Damaged {
        /// Which part.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// Another process has been writing for as long as we wait.
    #[error("the local replica has been locked for {waited_s} s by {holder}")]
    Busy {
        /// How long we waited, in seconds.
        waited_s: u64,
        /// Which process, how far it is known, and what to do about it.
        holder: String,
    },
    /// The profile was signed out while this process ran.
    #[error("the profile was signed out meanwhile")]
    Closed,
    /// The disk is full, or refuses.
    #[error("the local replica can't be used: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// From SQLite, with what was being done.
    pub(super) fn of(error: &rusqlite::Error, place: &str) -> Self {
        let why = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Busy { waited_s: super::store::BUSY_TIMEOUT.as_secs(), holder: "another process".to_owned() }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch | ErrorCode::SchemaChanged) => {
                Self::Damaged { place: place.to_owned(), why }
            }
            Some(_) => Self::Unavailable(why),
            None => Self::Damaged { place: place.to_owned(), why },
        }
    }
}

impl From<StoreError> for TablesError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { place, why } => Self::Damaged { place, why },
            StoreError::Missing { .. }
            | StoreError::FormatUnknown { .. }
            | StoreError::FormatOutdated { .. }
            | StoreError::Busy { .. }
            | StoreError::Closed
            | StoreError::Unavailable(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<TablesError> for StoreError {
    fn from(error: TablesError) -> Self {
        match error {
            TablesError::Damaged { place, why } => Self::Damaged { place, why },
            TablesError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
