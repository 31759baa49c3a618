//! The one thread that writes: it merges everything that waits, of all logs, into one numbered transaction a group, then
//! notes the number in the side file, then answers.
//!
//! Never: an answer before both. A group whose COMMIT failed is of unknown outcome for everybody in it, and nothing is
//! written again before the database was opened and looked at anew.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, watch};

use super::account_rows::{self, Effect};
use super::apply::{self, Room};
use super::erase::{self, Swept};
use super::fault::Fault;
use super::folder::Folder;
use super::gather::{Expected, gather};
use super::head::Cache;
use super::open::Opened;
#[cfg(feature = "conformance")]
use super::probe::{Probe, Step};
use super::request::{Outcome, Request, Sweep, count_error};
use super::schema;
use super::side::SideFile;
use super::space::Gauge;
use super::totals;
use crate::metrics::{FSYNC_SECONDS, GROUP_OPERATIONS};
use crate::store::{CommitError, ReadError, WriteError};
use crate::write::{Write, Written};

/// Between two attempts to open the database again.
const REOPEN_EVERY: Duration = Duration::from_millis(250);
/// How long a checkpoint waits for readers of the WAL's beginning.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(25);

/// What the committer is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) folder: Folder,
    pub(super) opened: Opened,
    pub(super) gauge: Gauge,
    pub(super) heads_max: usize,
    pub(super) wal_bytes_max: u64,
}

#[derive(Debug)]
pub(super) struct Committer {
    folder: Folder,
    database: PathBuf,
    connection: Option<Connection>,
    reopened: Option<Instant>,
    side: SideFile,
    number: u64,
    cache: Cache,
    gauge: Gauge,
    sweeps: VecDeque<Sweep>,
    wal_pages: Arc<AtomicU64>,
    wal_pages_max: u64,
    checkpoint_at: u64,
    checkpoints: Checkpoint,
    #[cfg(feature = "conformance")]
    probe: Probe,
}

/// What becomes of the WAL's bytes, once they are in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checkpoint {
    /// They are written over by and by.
    Reusing,
    /// They go, for something was erased.
    Emptying,
}

impl Checkpoint {
    const fn statement(self) -> &'static str {
        match self {
            Self::Reusing => "PRAGMA wal_checkpoint(RESTART)",
            Self::Emptying => "PRAGMA wal_checkpoint(TRUNCATE)",
        }
    }
}

/// Why a transaction did not commit.
enum Failed {
    /// Nothing was written.
    GivenUp(Fault),
    /// The COMMIT itself failed.
    InDoubt(String),
}

impl Committer {
    pub(super) fn new(parts: Parts) -> rusqlite::Result<Self> {
        let Parts { folder, opened, gauge, heads_max, wal_bytes_max } = parts;
        let sweeps = erase::unfinished(&opened.writer)?.into_iter().map(|key| Sweep { key, reply: None }).collect();
        let wal_pages_max = (wal_bytes_max / schema::PAGE_BYTES).max(1);
        let mut committer = Self {
            database: folder.database(),
            folder,
            connection: None,
            reopened: None,
            side: opened.side,
            number: opened.totals.number,
            cache: Cache::new(heads_max),
            gauge,
            sweeps,
            wal_pages: Arc::default(),
            wal_pages_max,
            checkpoint_at: wal_pages_max,
            checkpoints: Checkpoint::Reusing,
            #[cfg(feature = "conformance")]
            probe: Probe::default(),
        };
        committer.adopt(opened.writer)?;
        Ok(committer)
    }

    #[cfg(feature = "conformance")]
    pub(super) fn probed(self, probe: Probe) -> Self {
        Self { probe, ..self }
    }

    /// Until every sender is gone and everything that they sent is answered. `closed` says so by being dropped.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>, closed: watch::Sender<()>) {
        let mut expected = Expected::after(0, Instant::now(), Instant::now());
        loop {
            let first = if self.sweeps.is_empty() { queue.blocking_recv() } else { queue.try_recv().ok() };
            match first {
                Some(first) => {
                    let group = gather(&mut queue, first, expected);
                    let (requests, began) = (group.len(), Instant::now());
                    self.group(group);
                    expected = Expected::after(requests, began, Instant::now());
                }
                None if self.sweeps.is_empty() => break,
                None => {}
            }
            self.sweep();
            self.checkpoint();
        }
        self.close();
        // The folder's lock goes with this value: whoever waits may open it again at once.
        drop(self);
        drop(closed);
    }

    fn group(&mut self, mut requests: Vec<Request>) {
        metrics::histogram!(GROUP_OPERATIONS).record(count(&requests));
        let room = self.room();
        let outcome = self.transact(|connection, cache| {
            let outcomes = requests.iter().map(|request| apply_one(connection, cache, request, room)).collect::<Result<Vec<_>, _>>()?;
            let changed = outcomes.iter().any(Outcome::changed);
            Ok((outcomes, changed))
        });
        match outcome {
            Ok(outcomes) => {
                self.gauge.wrote(requests.iter().map(Request::bytes).sum());
                let sweeps = requests.into_iter().zip(outcomes).filter_map(|(request, outcome)| request.answer(outcome));
                self.sweeps.extend(sweeps);
                #[cfg(feature = "conformance")]
                self.probe.tell(Step::Answered, self.number);
            }
            Err(Failed::InDoubt(why)) => requests.into_iter().for_each(|request| request.answer_unknown(&why)),
            // Whose fault it was is not known: each on its own.
            Err(Failed::GivenUp(_)) if requests.len() > 1 => requests.into_iter().for_each(|request| self.group(vec![request])),
            Err(Failed::GivenUp(fault)) => {
                let bytes = (self.gauge.short(Instant::now()).unwrap_or(0), self.gauge.reserve_bytes());
                requests.drain(..).for_each(|request| request.refuse(fault.clone(), bytes));
            }
        }
    }

    /// One step of the oldest erase.
    fn sweep(&mut self) {
        let Some(sweep) = self.sweeps.pop_front() else { return };
        let swept =
            self.transact(|connection, _| Ok((erase::overwriting(connection, |connection| erase::sweep(connection, sweep.key))?, true)));
        let answer = match swept {
            Ok(Swept::Some) => return self.sweeps.push_front(sweep),
            Ok(Swept::All) => {
                // What was erased still stands in the WAL.
                (self.checkpoints, self.checkpoint_at) = (Checkpoint::Emptying, 0);
                self.checkpoint();
                Ok(Written::Done)
            }
            Err(Failed::GivenUp(Fault::Full)) => Err(WriteError::Full),
            Err(Failed::GivenUp(Fault::Read(error))) => Err(error.into()),
            Err(Failed::InDoubt(why)) => Err(WriteError::Unknown(why)),
        };
        if let Some(reply) = sweep.reply {
            // The erase is durable either way; whoever asked may have gone.
            let _ = reply.send(answer);
        }
    }

    /// Runs one numbered group, or nothing if nothing changed.
    fn transact<T>(&mut self, work: impl FnOnce(&Connection, &mut Cache) -> Result<(T, bool), Fault>) -> Result<T, Failed> {
        let connection = self.connection().map_err(|why| Failed::GivenUp(Fault::Read(ReadError::Unavailable(why))))?;
        let given_up = |fault: Fault| Failed::GivenUp(fault);
        let number = self.number + 1;
        let done = connection.execute_batch("BEGIN IMMEDIATE").map_err(Fault::from).and_then(|()| {
            let (done, changed) = work(&connection, &mut self.cache)?;
            if changed {
                totals::seal(&connection, number)?;
                #[cfg(feature = "conformance")]
                self.probe.tell(Step::Written, number);
            }
            Ok((done, changed))
        });
        let (done, changed) = match done {
            Ok(done) => done,
            Err(fault) => {
                self.cache.clear();
                if connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok() {
                    self.connection = Some(connection);
                }
                return Err(given_up(fault));
            }
        };
        let began = Instant::now();
        if let Err(error) = connection.execute_batch(if changed { "COMMIT" } else { "ROLLBACK" }) {
            tracing::error!(%error, number, "a group's commit failed, its outcome is unknown");
            self.cache.clear();
            return Err(Failed::InDoubt(error.to_string()));
        }
        self.connection = Some(connection);
        if changed {
            metrics::histogram!(FSYNC_SECONDS).record(began.elapsed().as_secs_f64());
            self.number = number;
            #[cfg(feature = "conformance")]
            self.probe.tell(Step::Committed, number);
            self.promise();
            #[cfg(feature = "conformance")]
            self.probe.tell(Step::Promised, number);
        }
        Ok(done)
    }

    fn promise(&self) {
        if let Err(error) = self.side.promise(self.number) {
            // The group is durable; only the check at the next open knows less.
            count_error("side_file");
            tracing::error!(%error, number = self.number, "the side file was not written");
        }
    }

    /// The connection, opened again if it was given up; put back by who took it.
    fn connection(&mut self) -> Result<Connection, String> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let now = Instant::now();
        if self.reopened.is_some_and(|at| now.duration_since(at) < REOPEN_EVERY) {
            return Err("the database is being opened again".into());
        }
        self.reopened = Some(now);
        let connection = schema::writer(&self.database).map_err(|error| error.to_string())?;
        let number = totals::read(&connection).map_err(|error| error.to_string())?.number;
        if number < self.number {
            return Err(format!("the database is at group {number}, {} were acknowledged", self.number));
        }
        tracing::warn!(number, was = self.number, "the database was opened again");
        self.number = number;
        self.promise();
        self.adopt(connection).map_err(|error| error.to_string())?;
        self.connection.take().ok_or_else(|| "the database was not kept".into())
    }

    fn adopt(&mut self, mut connection: Connection) -> rusqlite::Result<()> {
        let pages = Arc::clone(&self.wal_pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: std::ffi::c_int| {
            pages.store(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Keeps the WAL within its bound. Readers are short, so waiting for them is too; but for a backup's, which reads on for as long
    /// as it copies: the WAL grows meanwhile, and nobody who commits waits for it.
    fn checkpoint(&mut self) {
        let pages = self.wal_pages.load(Ordering::Relaxed);
        if pages < self.checkpoint_at {
            return;
        }
        let Some(connection) = &self.connection else { return };
        let restarted = connection.busy_timeout(CHECKPOINT_PATIENCE).and_then(|()| {
            let restarted = connection.query_row(self.checkpoints.statement(), [], |row| row.get::<_, bool>(0));
            connection.busy_timeout(schema::BUSY_TIMEOUT).and(restarted)
        });
        let step = (self.wal_pages_max / 8).max(1);
        match restarted {
            Ok(false) => {
                self.wal_pages.store(0, Ordering::Relaxed);
                (self.checkpoints, self.checkpoint_at) = (Checkpoint::Reusing, self.wal_pages_max);
            }
            // A reader was in the way: once more a little later.
            Ok(true) => self.checkpoint_at = pages + step,
            Err(error) => {
                count_error("checkpoint");
                tracing::error!(%error, "checkpoint failed");
                self.checkpoint_at = pages + step;
            }
        }
    }

    fn room(&mut self) -> Room {
        let reserve_bytes = self.gauge.reserve_bytes();
        self.gauge.short(Instant::now()).map_or(Room::Enough, |available_bytes| Room::Short { available_bytes, reserve_bytes })
    }

    /// A clean stop: the WAL emptied, then the mark removed.
    fn close(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let emptied = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .and_then(|()| schema::checkpoint_on_close(&connection))
            .and_then(|()| connection.close().map_err(|(_, error)| error));
        let marked = emptied.map_err(|error| error.to_string()).and_then(|()| {
            std::fs::remove_file(self.folder.running()).and_then(|()| self.folder.sync()).map_err(|error| error.to_string())
        });
        if let Err(error) = marked {
            tracing::warn!(error, "the store did not close cleanly, the next start will check it");
        }
    }
}

fn apply_one(connection: &Connection, cache: &mut Cache, request: &Request, room: Room) -> Result<Outcome, Fault> {
    match (request, room) {
        (Request::Acquire(acquire, _), _) => Ok(Outcome::Acquired(apply::acquire(connection, cache, acquire, room)?)),
        (Request::Commit(prepared, _), _) => {
            if let Some(full) = room.refuses(prepared) {
                count_error("full");
                return Ok(Outcome::Committed(Err(full)));
            }
            let result = apply::commit(connection, cache, prepared)?;
            if result == Err(CommitError::Fenced) {
                count_error("fenced");
            }
            Ok(Outcome::Committed(result))
        }
        (Request::Write(write, _), Room::Short { .. }) if !write.spares_room() => {
            count_error("full");
            Ok(Outcome::Written(Err(WriteError::Full)))
        }
        (Request::Write(write, _), _) => {
            if let Write::Erase(log) = write {
                cache.take(*log);
            }
            Ok(match account_rows::write(connection, write)? {
                Effect::Written(written) => Outcome::Written(Ok(written)),
                Effect::Erasing { key } => Outcome::Erasing { key },
            })
        }
    }
}

fn count(requests: &[Request]) -> f64 {
    let operations: usize = requests.iter().map(Request::operations).sum();
    u32::try_from(operations).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "committer_disk_tests.rs"]
mod disk_tests;
