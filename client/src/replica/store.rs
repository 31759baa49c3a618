//! The database file: opened, checked, and used one transaction at a time.
//!
//! Never: a file that others may read, a commit that is not on the disk, a wait beyond [`PATIENCE`].

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLockReadGuard};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::process::{Process, State};
use super::schema::{APPLICATION_ID, FORMAT, TABLES};
use super::transaction::SqliteTables;
use super::turnstile::Turnstile;
use super::writer::Note;
use super::{StoreError, pause};

/// How long a transaction waits for a process that was stopped inside one.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long for processes that work.
const PATIENCE: Duration = Duration::from_secs(15);
/// How soon to look again whether a lock is free.
const POLL: Duration = Duration::from_millis(2);
/// How soon to look again at whom we wait for.
const LOOK: Duration = Duration::from_millis(500);

/// SQLite asks at each attempt in vain whether to go on; its own pauses grow to 100 ms, too long between short transactions.
fn wait_on(attempts: i32) -> bool {
    std::thread::sleep(POLL);
    u128::from(attempts.unsigned_abs()) * POLL.as_millis() < BUSY_TIMEOUT.as_millis()
}

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read: waits for nobody. Refused when the profile was signed out.
    Read,
    /// Read and write: waits for its turn. Refused when the profile was signed out.
    Write,
    /// Read and write, even when the profile was signed out: for signing in and out.
    WriteSignedOut,
}

/// An open replica.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    writer: Note,
    turnstile: Turnstile,
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
            found => Err(of_another_release(found)),
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
            found => Err(of_another_release(found)),
        }
    }

    fn connect(file: &Path) -> Result<Self, StoreError> {
        let failed = |error: rusqlite::Error| StoreError::of(&error, &file.display().to_string());
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(file, flags).map_err(failed)?;
        // A statement's plan is made once, whatever is bound to it. Otherwise SQLite, built with its statistics, plans some of ours
        // anew at each use: of a first sync's time that was two fifths.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
        connection.busy_handler(Some(wait_on)).map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        let (writer, turnstile) = (Note::at(&file.with_extension("writer")), Turnstile::beside(file));
        let store = Self { connection: Mutex::new(connection), writer, turnstile, file: file.to_owned() };
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
            StoreError::Busy { waited_s, .. } => StoreError::Busy { waited_s, holder: named(self.writer.holder()) },
            StoreError::Missing { .. }
            | StoreError::FormatUnknown { .. }
            | StoreError::FormatOutdated { .. }
            | StoreError::Damaged { .. }
            | StoreError::Closed
            | StoreError::Unavailable(_) => error,
        }
    }

    /// Runs one transaction: committed when `work` succeeds, else rolled back.
    pub fn transact<T, E: From<StoreError>>(
        &self,
        access: Access,
        work: impl FnOnce(&mut SqliteTables<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let place = self.file.display().to_string();
        let failed = |error: rusqlite::Error| self.named(StoreError::of(&error, &place));
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let (gate, transaction) = match access {
            Access::Read => (pause::enter(), Transaction::new_unchecked(&connection, TransactionBehavior::Deferred).map_err(failed)?),
            Access::Write | Access::WriteSignedOut => self.begin_writing(&connection)?,
        };
        let mut tables = SqliteTables::new(&transaction);
        match access {
            Access::Read | Access::Write => tables.check_open()?,
            Access::WriteSignedOut => {}
        }
        let done = work(&mut tables)?;
        transaction.commit().map_err(failed)?;
        drop(gate);
        Ok(done)
    }

    /// Waits for its turn and begins. A process that waits for its turn may be stopped meanwhile, one that has it may not.
    fn begin_writing<'a>(&self, connection: &'a Connection) -> Result<(RwLockReadGuard<'static, ()>, Transaction<'a>), StoreError> {
        let since = Instant::now();
        let mut look_at = BUSY_TIMEOUT;
        loop {
            let gate = pause::enter();
            if let Some(passage) = self.turnstile.try_pass() {
                match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
                    Ok(transaction) => {
                        self.writer.sign();
                        drop(passage);
                        return Ok((gate, transaction));
                    }
                    Err(error) => {
                        let error = StoreError::of(&error, &self.file.display().to_string());
                        if !matches!(error, StoreError::Busy { .. }) {
                            return Err(error);
                        }
                    }
                }
            } else {
                drop(gate);
                std::thread::sleep(POLL);
            }
            let waited = since.elapsed();
            if waited >= look_at {
                self.look_whom_we_wait_for(waited)?;
                look_at = waited + LOOK;
            }
        }
    }

    /// Waits on for processes that work, not for one that was stopped.
    fn look_whom_we_wait_for(&self, waited: Duration) -> Result<(), StoreError> {
        let writer = self.writer.holder();
        let stopped = |process: &Process| process.state == State::Stopped;
        let stopped = writer.clone().filter(stopped).or_else(|| self.turnstile.holder().filter(stopped));
        if stopped.is_none() && waited < PATIENCE {
            return Ok(());
        }
        Err(StoreError::Busy { waited_s: waited.as_secs(), holder: named(stopped.or(writer)) })
    }
}

const fn of_another_release(found: i64) -> StoreError {
    if found < FORMAT { StoreError::FormatOutdated { found, known: FORMAT } } else { StoreError::FormatUnknown { found, known: FORMAT } }
}

fn named(holder: Option<Process>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |process| process.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_that_writes_syncs_each_commit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("replica.db");
        for store in [Store::open_or_create(&file).unwrap(), Store::open(&file).unwrap()] {
            let connection = store.connection.lock().unwrap();
            let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
            let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            // FULL is 2: the WAL is synced by each commit. NORMAL (1) and OFF (0) lose edits that were said to be kept.
            assert_eq!((synchronous, journal.as_str()), (2, "wal"));
        }
    }
}
