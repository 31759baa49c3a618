//! The store in memory under a test's eyes: it is told of calls, and may hold each of them up.
//!
//! Never: an outcome other than the memory store's own.

use std::fmt;

use async_trait::async_trait;
use cloudsync_engine::log::{Acquire, Commit, Current, Head, RecordAt};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::{DeviceId, FamilyId, LogId, RecordKey, Seq, ShortHash, UserId};

use super::MemoryStore;
use crate::store::{
    Account, AcquireError, CommitError, CreateAccountError, Credentials, Family, History, Page, Pull, PullError, ReadError, SnapshotPage,
    Store, WriteError,
};

/// Is told of an [`ObservedStore`]'s calls; the call goes on when it returns.
#[async_trait]
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Before an acquire.
    async fn acquire_begins(&self) {}
    /// Before a commit.
    async fn commit_begins(&self) {}
    /// After it happened, before anybody is told what became of it.
    async fn commit_ended(&self) {}
    /// Before a pull.
    async fn pull_begins(&self) {}
}

/// A [`MemoryStore`] with an [`Observer`].
#[derive(Debug, Default)]
pub struct ObservedStore<O> {
    /// What it hands every call on to.
    pub store: MemoryStore,
    /// Who is told.
    pub observer: O,
}

#[async_trait]
impl<O: Observer> Store for ObservedStore<O> {
    fn backend(&self) -> &'static str {
        self.store.backend()
    }
    fn rewinds(&self) -> u64 {
        self.store.rewinds()
    }
    async fn acquire(&self, acquire: Acquire) -> Result<Head, AcquireError> {
        self.observer.acquire_begins().await;
        self.store.acquire(acquire).await
    }
    async fn read_head(&self, log: LogId) -> Result<Option<Head>, ReadError> {
        self.store.read_head(log).await
    }
    async fn roster(&self, log: LogId) -> Result<Vec<RosterRow>, ReadError> {
        self.store.roster(log).await
    }
    async fn look_up(&self, log: LogId, records: Vec<RecordKey>) -> Result<Vec<Option<Current>>, ReadError> {
        self.store.look_up(log, records).await
    }
    async fn look_up_rows(&self, log: LogId, seqs: Vec<Seq>) -> Result<Vec<Option<RecordAt>>, ReadError> {
        self.store.look_up_rows(log, seqs).await
    }
    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.observer.commit_begins().await;
        let outcome = self.store.commit(commit).await;
        self.observer.commit_ended().await;
        outcome
    }
    async fn row_hash(&self, log: LogId, seq: Seq) -> Result<Option<ShortHash>, ReadError> {
        self.store.row_hash(log, seq).await
    }
    async fn pull(&self, log: LogId, pull: Pull) -> Result<Page, PullError> {
        self.observer.pull_begins().await;
        self.store.pull(log, pull).await
    }
    async fn snapshot(&self, log: LogId, resume: Option<SnapshotToken>, bytes_max: usize) -> Result<SnapshotPage, PullError> {
        self.store.snapshot(log, resume, bytes_max).await
    }
    async fn history(&self, log: LogId, history: History) -> Result<(Vec<Row>, bool), ReadError> {
        self.store.history(log, history).await
    }
    async fn erase(&self, log: LogId) -> Result<(), WriteError> {
        self.store.erase(log).await
    }
    async fn create_account(&self, account: Account, credentials: Credentials) -> Result<(), CreateAccountError> {
        self.store.create_account(account, credentials).await
    }
    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, ReadError> {
        self.store.account_by_email(email).await
    }
    async fn account(&self, user: UserId) -> Result<Option<Account>, ReadError> {
        self.store.account(user).await
    }
    async fn credentials(&self, user: UserId) -> Result<Option<Credentials>, ReadError> {
        self.store.credentials(user).await
    }
    async fn create_family(&self, family: Family) -> Result<(), WriteError> {
        self.store.create_family(family).await
    }
    async fn family(&self, id: FamilyId) -> Result<Option<Family>, ReadError> {
        self.store.family(id).await
    }
    async fn advance_family(&self, id: FamilyId, number: u64, expires_ts: u64) -> Result<bool, WriteError> {
        self.store.advance_family(id, number, expires_ts).await
    }
    async fn revoke_family(&self, id: FamilyId) -> Result<(), WriteError> {
        self.store.revoke_family(id).await
    }
    async fn revoke_families(&self, user: UserId, device: DeviceId) -> Result<(), WriteError> {
        self.store.revoke_families(user, device).await
    }
    async fn ping(&self) -> Result<(), ReadError> {
        self.store.ping().await
    }
}
