//! [`SlowStore`]: the store in memory, whose commits take as long as a test says.
//!
//! Never: an outcome other than the memory store's own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// The store.
#[derive(Debug, Default)]
pub struct SlowStore {
    inner: MemoryStore,
    commit_ms: AtomicU64,
    begun: watch::Sender<usize>,
}

impl SlowStore {
    /// From now on a commit takes that long.
    pub fn commits_take(&self, time: Duration) {
        self.commit_ms.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// How many commits have begun, to be waited for.
    #[must_use]
    pub fn commits_begun(&self) -> watch::Receiver<usize> {
        self.begun.subscribe()
    }
}

#[async_trait]
impl Store for SlowStore {
    fn backend(&self) -> &'static str {
        "slow"
    }
    fn rewinds(&self) -> u64 {
        self.inner.rewinds()
    }
    async fn acquire(&self, acquire: Acquire) -> Result<Head, AcquireError> {
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
        self.begun.send_modify(|count| *count += 1);
        tokio::time::sleep(Duration::from_millis(self.commit_ms.load(Ordering::Acquire))).await;
        self.inner.commit(commit).await
    }
    async fn row_hash(&self, log: LogId, seq: Seq) -> Result<Option<ShortHash>, ReadError> {
        self.inner.row_hash(log, seq).await
    }
    async fn pull(&self, log: LogId, pull: Pull) -> Result<Page, PullError> {
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
