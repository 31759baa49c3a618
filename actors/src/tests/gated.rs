//! The store in memory behind gates: commits, and what became of them, wait until a test lets them through. Calls are counted.
//!
//! Never: an outcome other than the memory store's own.

use async_trait::async_trait;
use cloudsync_engine::log::{Acquire, Commit, Current, Head, RecordAt};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::{DeviceId, FamilyId, LogId, RecordKey, Seq, ShortHash, UserId};
use cloudsync_storage::Store;
use cloudsync_storage::memory::MemoryStore;
use cloudsync_storage::store::{
    Account, AcquireError, CommitError, CreateAccountError, Credentials, Family, History, Page, Pull, PullError, ReadError, SnapshotPage,
    WriteError,
};
use tokio::sync::watch;

/// Whether calls go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Shut,
}

#[derive(Debug)]
pub(crate) struct GatedStore {
    pub(crate) inner: MemoryStore,
    pub(crate) commits: watch::Sender<Gate>,
    pub(crate) commits_begun: watch::Sender<usize>,
    /// What became of a commit, after it did.
    pub(crate) verdicts: watch::Sender<Gate>,
    pub(crate) commits_done: watch::Sender<usize>,
    pub(crate) acquires_begun: watch::Sender<usize>,
    pub(crate) pulls_begun: watch::Sender<usize>,
}

impl GatedStore {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        let (gate, count) = (|| watch::channel(Gate::Open).0, || watch::channel(0).0);
        Self {
            inner,
            commits: gate(),
            commits_begun: count(),
            verdicts: gate(),
            commits_done: count(),
            acquires_begun: count(),
            pulls_begun: count(),
        }
    }
}

#[async_trait]
impl Store for GatedStore {
    fn backend(&self) -> &'static str {
        "gated"
    }
    fn rewinds(&self) -> u64 {
        self.inner.rewinds()
    }
    async fn acquire(&self, acquire: Acquire) -> Result<Head, AcquireError> {
        self.acquires_begun.send_modify(|count| *count += 1);
        self.inner.acquire(acquire).await
    }
    async fn read_head(&self, log: LogId) -> Result<Option<Head>, ReadError> {
        self.inner.read_head(log).await
    }
    async fn roster(&self, log: LogId) -> Result<Vec<RosterRow>, ReadError> {
        self.inner.roster(log).await
    }
    async fn look_up(&self, log: LogId, records: Vec<RecordKey>) -> Result<Vec<Option<Current>>, ReadError> {
        self.inner.look_up(log, records).await
    }
    async fn look_up_rows(&self, log: LogId, seqs: Vec<Seq>) -> Result<Vec<Option<RecordAt>>, ReadError> {
        self.inner.look_up_rows(log, seqs).await
    }
    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.commits_begun.send_modify(|count| *count += 1);
        self.commits.subscribe().wait_for(|gate| *gate == Gate::Open).await.expect("the store lives");
        let outcome = self.inner.commit(commit).await;
        self.commits_done.send_modify(|count| *count += 1);
        self.verdicts.subscribe().wait_for(|gate| *gate == Gate::Open).await.expect("the store lives");
        outcome
    }
    async fn row_hash(&self, log: LogId, seq: Seq) -> Result<Option<ShortHash>, ReadError> {
        self.inner.row_hash(log, seq).await
    }
    async fn pull(&self, log: LogId, pull: Pull) -> Result<Page, PullError> {
        self.pulls_begun.send_modify(|count| *count += 1);
        self.inner.pull(log, pull).await
    }
    async fn snapshot(&self, log: LogId, resume: Option<SnapshotToken>, bytes_max: usize) -> Result<SnapshotPage, PullError> {
        self.inner.snapshot(log, resume, bytes_max).await
    }
    async fn history(&self, log: LogId, history: History) -> Result<(Vec<Row>, bool), ReadError> {
        self.inner.history(log, history).await
    }
    async fn erase(&self, log: LogId) -> Result<(), WriteError> {
        self.inner.erase(log).await
    }
    async fn create_account(&self, account: Account, credentials: Credentials) -> Result<(), CreateAccountError> {
        self.inner.create_account(account, credentials).await
    }
    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, ReadError> {
        self.inner.account_by_email(email).await
    }
    async fn account(&self, user: UserId) -> Result<Option<Account>, ReadError> {
        self.inner.account(user).await
    }
    async fn credentials(&self, user: UserId) -> Result<Option<Credentials>, ReadError> {
        self.inner.credentials(user).await
    }
    async fn create_family(&self, family: Family) -> Result<(), WriteError> {
        self.inner.create_family(family).await
    }
    async fn family(&self, id: FamilyId) -> Result<Option<Family>, ReadError> {
        self.inner.family(id).await
    }
    async fn advance_family(&self, id: FamilyId, number: u64, expires_ts: u64) -> Result<bool, WriteError> {
        self.inner.advance_family(id, number, expires_ts).await
    }
    async fn revoke_family(&self, id: FamilyId) -> Result<(), WriteError> {
        self.inner.revoke_family(id).await
    }
    async fn revoke_families(&self, user: UserId, device: DeviceId) -> Result<(), WriteError> {
        self.inner.revoke_families(user, device).await
    }
    async fn ping(&self) -> Result<(), ReadError> {
        self.inner.ping().await
    }
}
