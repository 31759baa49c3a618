//! The database file: opened, checked, and used one transaction at a time.
//!
//! Never: a file that others may read, a commit that is not on the disk, a wait beyond [`BUSY_TIMEOUT`].

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::schema::{APPLICATION_ID, FORMAT, TABLES};
use super::tables::SqliteTables;
use super::writer::WriterNote;
use super::{StoreError, pause};

/// How long a transaction waits for another process's.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Read only: waits for nobody.
    Reading,
    /// Write; refused when the profile was signed out.
    Writing,
    /// Write, signed out or not.
    WritingClosed,
}

/// An open replica.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    writer: WriterNote,
    file: PathBuf,
}

impl Store {
    /// Opens one that must be there.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        if !file.exists() {
            return Err(StoreError::Missing { file: file.to_owned() });
        }
        let store = Self::connect(file)?;
        match store.format()? {
            FORMAT => Ok(store),
            0 => Err(StoreError::Damaged { place: file.display().to_string(), why: "it has no tables".to_owned() }),
            found => Err(StoreError::FormatUnknown { found, known: FORMAT }),
        }
    }

    /// Opens one, making it first where there is none. Needs the profile's lock.
    pub fn open_or_create(file: &Path) -> Result<Self, StoreError> {
        // SQLite gives the files beside it the mode of this one.
        let mut options = OpenOptions::new();
        let made = options.write(true).create(true).truncate(false).mode(0o600).open(file);
        made.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let store = Self::connect(file)?;
        match store.format()? {
            FORMAT => Ok(store),
            0 => store.create().map(|()| store),
            found => Err(StoreError::FormatUnknown { found, known: FORMAT }),
        }
    }

    fn connect(file: &Path) -> Result<Self, StoreError> {
        let failed = |error: rusqlite::Error| StoreError::of(&error, &file.display().to_string());
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        let writer = WriterNote::beside(file);
        let store = Self { connection: Mutex::new(connection), writer, file: file.to_owned() };
        store.on(|connection| connection.pragma_update(None, "journal_mode", "WAL"))?;
        Ok(store)
    }

    fn format(&self) -> Result<i64, StoreError> {
        self.on(|connection| connection.pragma_query_value(None, "user_version", |row| row.get(0)))
    }

    fn create(&self) -> Result<(), StoreError> {
        self.on(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()
        })
    }

    fn on<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut connection).map_err(|error| self.named(StoreError::of(&error, &self.file.display().to_string())))
    }

    /// Says who holds the lock.
    fn named(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Busy { .. } => StoreError::Busy { holder: self.writer.holder() },
            StoreError::Missing { .. }
            | StoreError::FormatUnknown { .. }
            | StoreError::Damaged { .. }
            | StoreError::Closed
            | StoreError::Unavailable(_) => error,
        }
    }

    /// Runs one transaction: committed when `work` succeeds, else rolled back.
    pub fn transact<T, E: From<StoreError>>(&self, begin: Begin, work: impl FnOnce(&mut SqliteTables<'_>) -> Result<T, E>) -> Result<T, E> {
        let place = self.file.display().to_string();
        let failed = |error: rusqlite::Error| self.named(StoreError::of(&error, &place));
        let gate = pause::enter();
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let behavior = match begin {
            Begin::Reading => TransactionBehavior::Deferred,
            Begin::Writing | Begin::WritingClosed => TransactionBehavior::Immediate,
        };
        let transaction = connection.transaction_with_behavior(behavior).map_err(failed)?;
        let mut tables = SqliteTables::new(&transaction);
        match begin {
            Begin::Reading => tables.check_open()?,
            Begin::Writing => {
                self.writer.sign();
                tables.check_open()?;
            }
            Begin::WritingClosed => self.writer.sign(),
        }
        let done = work(&mut tables)?;
        transaction.commit().map_err(failed)?;
        drop(gate);
        Ok(done)
    }

    /// Changes whenever another process commits.
    pub fn version(&self) -> Result<i64, StoreError> {
        self.on(|connection| connection.pragma_query_value(None, "data_version", |row| row.get(0)))
    }
}
