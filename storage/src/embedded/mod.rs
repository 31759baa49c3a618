//! The store on SQLite, in one folder: for one node, with the same contract as the clustered one.
//!
//! Never: an acknowledgement before SQLite's commit and the side file's number, or a start on a folder that lost either.

mod account_rows;
mod apply;
pub mod backup;
mod checks;
mod committer;
mod credential_rows;
mod erase;
mod fault;
mod folder;
mod gather;
mod head;
mod open;
#[cfg(feature = "conformance")]
pub mod probe;
mod readers;
mod reads;
mod request;
mod row;
mod schema;
mod side;
mod space;
mod totals;
mod verify;
mod wrap_rows;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cloudsync_engine::log::{Acquire, Commit, Current, Head, RecordAt};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::{DeviceId, FamilyId, LogId, RecordKey, Seq, ShortHash, UserId};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::COMMIT_SECONDS;
use crate::store::{
    Account, AcquireError, CommitError, CreateAccountError, Credentials, Family, History, Page, Pull, PullError, ReadError, SnapshotPage,
    Store, WriteError,
};
use crate::write::{Write, Written};
use apply::Prepared;
use checks::{Checks, Needs};
use committer::{Committer, Parts};
pub use folder::{FORMAT, Folder};
pub use open::{Loss, OpenError};
use readers::Readers;
use request::Request;
pub use space::Space;

/// Requests that wait for the committer; beyond, callers wait.
const QUEUE_REQUESTS: usize = 1024;

/// How an [`EmbeddedStore`] is set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that read.
    pub readers: usize,
    /// Heads that the committer remembers: about 1 KiB each. A log beyond them is read again at its next commit.
    pub heads_max: usize,
    /// The WAL is checkpointed when it is so long.
    pub wal_bytes_max: u64,
    /// Below so many bytes available, only what shrinks the store is written; at least the WAL's bound and 64 MiB, and 256 MiB.
    pub reserve_bytes: u64,
    /// Where the bytes available are read.
    pub space: Space,
    /// How often, at most.
    pub space_every: Duration,
    /// What is done about acknowledged groups that are not there.
    pub loss: Loss,
    /// Told of each step of a group: where a test stops the process.
    #[cfg(feature = "conformance")]
    pub probe: probe::Probe,
}

/// The least that [`Options::reserve_bytes`] may be.
const RESERVE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// What the reserve has beside the WAL.
const RESERVE_BESIDE_WAL_BYTES: u64 = 64 * 1024 * 1024;

impl Default for Options {
    fn default() -> Self {
        Self {
            readers: 2,
            heads_max: 32 * 1024,
            wal_bytes_max: 64 * 1024 * 1024,
            reserve_bytes: RESERVE_BYTES_MIN,
            space: Space::Measured,
            space_every: Duration::from_millis(250),
            loss: Loss::Refuse,
            #[cfg(feature = "conformance")]
            probe: probe::Probe::default(),
        }
    }
}

impl Options {
    fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes.max(self.wal_bytes_max + RESERVE_BESIDE_WAL_BYTES).max(RESERVE_BYTES_MIN)
    }
}

/// A [`Store`] in a folder. Dropped without [`close`](Self::close), it closes by itself a little later.
#[derive(Debug)]
pub struct EmbeddedStore {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    closed: watch::Receiver<()>,
    readers: Readers,
    checks: Arc<Checks>,
    rewinds: u64,
}

impl EmbeddedStore {
    /// Opens the store in a folder that this process holds; blocking, since the whole database is read and checked.
    pub fn open(folder: Folder, options: &Options) -> Result<Self, OpenError> {
        let database = folder.database();
        let opened = open::open(&folder, options.loss)?;
        let (checks, rewinds) = (Arc::new(Checks::new(opened.damaged)), opened.totals.rewinds);
        let io = |error: &dyn std::error::Error| OpenError::Io { path: database.clone(), why: error.to_string() };
        let readers = Readers::start(&database, options.readers).map_err(|error| io(&error))?;
        let gauge = space::Gauge::new(folder.path(), options.space.clone(), options.reserve_bytes(), options.space_every);
        let parts = Parts { folder, opened, gauge, heads_max: options.heads_max, wal_bytes_max: options.wal_bytes_max };
        let committer = Committer::new(parts).map_err(|error| io(&error))?;
        #[cfg(feature = "conformance")]
        let committer = committer.probed(options.probe.clone());
        let (requests, queue) = mpsc::channel(QUEUE_REQUESTS);
        let (alive, closed) = watch::channel(());
        let work = move || committer.run(queue, alive);
        thread::Builder::new().name("store-commit".into()).spawn(work).map_err(|error| io(&error))?;
        Ok(Self { requests: Mutex::new(Some(requests)), closed, readers, checks, rewinds })
    }

    /// Lets what waits be done, empties the WAL and gives the folder back. What is asked afterwards is unavailable.
    pub async fn close(&self) {
        self.readers.close().await;
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut closed = self.closed.clone();
        // Nothing is ever sent: the channel's end is the news.
        while closed.changed().await.is_ok() {}
    }

    /// Asks the committer. The error says whether the request was taken, and so whether it may have been done.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Unanswered> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Unanswered::Closed)?;
        let (reply, answer) = oneshot::channel();
        requests.send(request(reply)).await.map_err(|_| Unanswered::Closed)?;
        drop(requests);
        answer.await.map_err(|_| Unanswered::Lost)
    }

    /// Reads of a log that was looked at, or is now.
    async fn read<T, E>(
        &self,
        (log, needs): (LogId, Needs),
        read: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + Send + 'static,
    {
        let checks = Arc::clone(&self.checks);
        let checked = move |connection: &Connection| {
            checks.demand(connection, log, needs)?;
            read(connection)
        };
        self.readers.run(checked).await
    }

    async fn write(&self, write: Write) -> Result<Written, WriteError> {
        match self.ask(|reply| Request::Write(write, reply)).await {
            Ok(result) => result,
            Err(Unanswered::Closed) => Err(WriteError::Unavailable(CLOSED.into())),
            Err(Unanswered::Lost) => Err(WriteError::Unknown(LOST.into())),
        }
    }
}

/// Why the committer gave no answer.
enum Unanswered {
    /// It did not take the request.
    Closed,
    /// It ended with the request taken.
    Lost,
}

const CLOSED: &str = "the store is closed";
const LOST: &str = "the committer ended";

#[async_trait]
impl Store for EmbeddedStore {
    fn backend(&self) -> &'static str {
        "embedded"
    }

    fn rewinds(&self) -> u64 {
        self.rewinds
    }

    async fn acquire(&self, acquire: Acquire) -> Result<Head, AcquireError> {
        if !self.checks.is_sound(acquire.log) {
            self.read((acquire.log, Needs::Tip), |_| Ok::<_, ReadError>(())).await?;
        }
        match self.ask(|reply| Request::Acquire(acquire, reply)).await {
            Ok(result) => result,
            Err(Unanswered::Closed) => Err(ReadError::Unavailable(CLOSED.into()).into()),
            Err(Unanswered::Lost) => Err(AcquireError::InDoubt),
        }
    }

    async fn read_head(&self, log: LogId) -> Result<Option<Head>, ReadError> {
        self.read((log, Needs::Tip), move |connection| reads::head(connection, log)).await
    }

    async fn roster(&self, log: LogId) -> Result<Vec<RosterRow>, ReadError> {
        self.read((log, Needs::Roster), move |connection| reads::roster(connection, log, (Seq::ZERO, Seq(schema::SEQ_END - 1)))).await
    }

    async fn look_up(&self, log: LogId, records: Vec<RecordKey>) -> Result<Vec<Option<Current>>, ReadError> {
        self.read((log, Needs::Index), move |connection| reads::look_up(connection, log, &records)).await
    }

    async fn look_up_rows(&self, log: LogId, seqs: Vec<Seq>) -> Result<Vec<Option<RecordAt>>, ReadError> {
        self.read((log, Needs::Index), move |connection| reads::look_up_rows(connection, log, &seqs)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let began = Instant::now();
        let prepared = Box::new(Prepared::new(commit));
        let result = match self.ask(|reply| Request::Commit(prepared, reply)).await {
            Ok(result) => result,
            Err(Unanswered::Closed) => Err(CommitError::Unavailable(CLOSED.into())),
            Err(Unanswered::Lost) => Err(CommitError::Unknown(LOST.into())),
        };
        metrics::histogram!(COMMIT_SECONDS).record(began.elapsed().as_secs_f64());
        result
    }

    async fn row_hash(&self, log: LogId, seq: Seq) -> Result<Option<ShortHash>, ReadError> {
        self.read((log, Needs::Tip), move |connection| reads::row_hash(connection, log, seq)).await
    }

    async fn pull(&self, log: LogId, pull: Pull) -> Result<Page, PullError> {
        self.read((log, Needs::Tip), move |connection| reads::pull(connection, log, pull)).await
    }

    async fn snapshot(&self, log: LogId, resume: Option<SnapshotToken>, bytes_max: usize) -> Result<SnapshotPage, PullError> {
        self.read((log, Needs::Index), move |connection| reads::snapshot(connection, log, (resume, bytes_max))).await
    }

    async fn history(&self, log: LogId, history: History) -> Result<(Vec<Row>, bool), ReadError> {
        self.read((log, Needs::Index), move |connection| reads::history(connection, log, &history)).await
    }

    async fn erase(&self, log: LogId) -> Result<(), WriteError> {
        self.write(Write::Erase(log)).await.map(drop)
    }

    async fn create_account(&self, account: Account, credentials: Credentials) -> Result<(), CreateAccountError> {
        // An account of that address may be among the damaged ones.
        let present = self.account_by_email(&account.email).await.map_err(WriteError::from)?;
        if present.is_none() {
            self.account(account.user).await.map_err(WriteError::from)?;
        }
        self.write(Write::CreateAccount(account, credentials)).await?.created()
    }

    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, ReadError> {
        let email = email.to_owned();
        let found = self.readers.run(move |connection| account_rows::by_email(connection, &email)).await?;
        found.map_or_else(|| self.checks.no_account().map(|()| None), |found| Ok(Some(found)))
    }

    async fn account(&self, user: UserId) -> Result<Option<Account>, ReadError> {
        let found = self.readers.run(move |connection| account_rows::account(connection, user)).await?;
        found.map_or_else(|| self.checks.no_account().map(|()| None), |found| Ok(Some(found)))
    }

    async fn credentials(&self, user: UserId) -> Result<Option<Credentials>, ReadError> {
        let found = self.readers.run(move |connection| credential_rows::read(connection, user)).await?;
        found.map_or_else(|| self.checks.no_account().map(|()| None), |found| Ok(Some(found)))
    }

    async fn create_family(&self, family: Family) -> Result<(), WriteError> {
        self.write(Write::CreateFamily(family)).await.map(drop)
    }

    async fn family(&self, id: FamilyId) -> Result<Option<Family>, ReadError> {
        let found = self.readers.run(move |connection| account_rows::family(connection, id)).await?;
        found.map_or_else(|| self.checks.no_family().map(|()| None), |found| Ok(Some(found)))
    }

    async fn advance_family(&self, id: FamilyId, number: u64, expires_ts: u64) -> Result<bool, WriteError> {
        self.write(Write::AdvanceFamily(id, number, expires_ts)).await.map(Written::did)
    }

    async fn revoke_family(&self, id: FamilyId) -> Result<(), WriteError> {
        self.write(Write::RevokeFamily(id)).await.map(drop)
    }

    async fn revoke_families(&self, user: UserId, device: DeviceId) -> Result<(), WriteError> {
        self.write(Write::RevokeFamilies(user, device)).await.map(drop)
    }

    async fn ping(&self) -> Result<(), ReadError> {
        if self.closed.has_changed().is_err() {
            return Err(ReadError::Unavailable(LOST.into()));
        }
        self.readers.run(reads::ping).await
    }
}
