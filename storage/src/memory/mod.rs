//! The store in memory, with faults: for tests and simulation, where a write may be lost, late or of unknown outcome.
//!
//! Never: for keeping anything.

mod accounts;
mod faults;
mod log;
mod observed;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cloudsync_engine::log::{Acquire, Commit, Current, Head, RecordAt};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::{DeviceId, Epoch, FamilyId, LogId, RecordKey, Seq, ShortHash, TimelineId, UserId};

use crate::store::{
    Account, AcquireError, CommitError, CreateAccountError, Credentials, Family, History, Page, Pull, PullError, ReadError, SnapshotPage,
    Store, WriteError,
};
use crate::write::{Write, Written};
use accounts::Accounts;
pub use faults::{Fault, Faults, Rates, Reach, Target};
use log::Log;
pub use observed::{ObservedStore, Observer};

/// A [`Store`] in memory. Clones share what they hold.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<LogId, Log>,
    accounts: Accounts,
    parked: Vec<Parked>,
    rewinds: u64,
}

/// What a [`MemoryStore`] held at a moment.
#[derive(Debug, Clone)]
pub struct Saved {
    logs: BTreeMap<LogId, Log>,
    accounts: Accounts,
    rewinds: u64,
}

/// A compare-and-set whose coordinator was paused.
#[derive(Debug)]
enum Parked {
    Acquire(Acquire, Epoch),
    Commit(Box<Commit>),
    Write(Write),
}

impl MemoryStore {
    /// An empty store without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with these faults.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// The faults' handle.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What it holds now, as a backup would.
    #[must_use]
    pub fn save(&self) -> Saved {
        let state = self.state();
        Saved { logs: state.logs.clone(), accounts: state.accounts.clone(), rewinds: state.rewinds }
    }

    /// Goes back to what was saved, as a restore does while nothing runs: what is parked is gone, and logs open new timelines.
    pub fn rewind(&self, saved: Saved) {
        let mut state = self.state();
        let rewinds = state.rewinds.max(saved.rewinds) + 1;
        *state = State { logs: saved.logs, accounts: saved.accounts, parked: Vec::new(), rewinds };
    }

    /// How many compare-and-sets are parked.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.state().parked.len()
    }

    /// Applies the oldest parked compare-and-set, if its condition still holds.
    pub fn unpark_one(&self) {
        let mut state = self.state();
        if !state.parked.is_empty() {
            state.unpark(0);
        }
    }

    /// Applies every parked compare-and-set, oldest first, those whose condition still holds.
    pub fn unpark_all(&self) {
        let mut state = self.state();
        while !state.parked.is_empty() {
            state.unpark(0);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before every call: a parked compare-and-set may arrive.
    fn enter(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        if let Some(index) = self.faults.draw_unpark(state.parked.len()) {
            state.unpark(index);
        }
        state
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T, ReadError> {
        let state = self.enter();
        match self.faults.draw_read() {
            Reach::Up => Ok(read(&state)),
            Reach::Down => Err(ReadError::Unavailable("a fault".into())),
        }
    }

    fn read_log<T: Default>(&self, log: LogId, read: impl FnOnce(&Log) -> T) -> Result<T, ReadError> {
        self.read(|state| state.logs.get(&log).map(read).unwrap_or_default())
    }

    fn write(&self, write: Write) -> Result<Written, WriteError> {
        let mut state = self.enter();
        let unknown = || WriteError::Unknown("a fault".into());
        match self.faults.draw(Target::Write) {
            Fault::Full if !write.spares_room() => Err(WriteError::Full),
            Fault::None | Fault::Full => Ok(state.write(write)),
            Fault::Lost => Err(unknown()),
            Fault::Late => {
                state.parked.push(Parked::Write(write));
                Err(unknown())
            }
            Fault::Applied => {
                state.write(write);
                Err(unknown())
            }
            Fault::Unavailable => Err(WriteError::Unavailable("a fault".into())),
        }
    }
}

impl State {
    fn log(&mut self, id: LogId) -> &mut Log {
        self.logs.entry(id).or_insert_with(|| Log::new(id))
    }

    fn take(&mut self, acquire: &Acquire, epoch: Epoch) {
        let rewinds = self.rewinds;
        self.log(acquire.log).take(acquire, epoch, rewinds);
    }

    fn unpark(&mut self, index: usize) {
        match self.parked.remove(index) {
            Parked::Acquire(acquire, epoch) => self.take(&acquire, epoch),
            Parked::Commit(commit) => {
                // Nobody waits for this answer any more.
                let _ = self.move_head(&commit);
            }
            Parked::Write(write) => {
                self.write(write);
            }
        }
    }

    /// The compare-and-set of a commit: credentials and wraps are seen exactly with its head.
    fn move_head(&mut self, commit: &Commit) -> Result<(), CommitError> {
        let user = UserId(commit.log.0);
        if commit.credentials.is_some() && self.accounts.account(user).is_none() {
            return Err(CommitError::Unavailable("the log has no account".into()));
        }
        self.log(commit.log).move_head(commit)?;
        if let Some(new) = &commit.credentials {
            self.accounts.replace(user, new);
        }
        Ok(())
    }

    fn is_erased(&self, user: UserId) -> bool {
        self.logs.get(&user.into()).is_some_and(Log::is_erased)
    }

    fn write(&mut self, write: Write) -> Written {
        match write {
            Write::Erase(log) => {
                self.log(log).erase();
                self.accounts.erase(UserId(log.0));
                Written::Done
            }
            Write::CreateAccount(account, _) if self.is_erased(account.user) => Written::UserTaken,
            Write::CreateAccount(account, credentials) => self.accounts.create(account, credentials),
            Write::CreateFamily(family) if self.is_erased(family.user) => Written::Refused,
            Write::CreateFamily(family) => self.accounts.create_family(family),
            Write::AdvanceFamily(id, number, expires_ts) => self.accounts.advance_family(id, number, expires_ts),
            Write::RevokeFamily(id) => self.accounts.revoke(|family| family.id == id),
            Write::RevokeFamilies(user, device) => self.accounts.revoke(|family| family.user == user && family.device == device),
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn backend(&self) -> &'static str {
        "memory"
    }

    fn rewinds(&self) -> u64 {
        self.state().rewinds
    }

    async fn acquire(&self, acquire: Acquire) -> Result<Head, AcquireError> {
        let mut state = self.enter();
        let fault = self.faults.draw(Target::Acquire);
        if fault == Fault::Unavailable {
            return Err(ReadError::Unavailable("a fault".into()).into());
        }
        let epoch = state.log(acquire.log).epoch_for(&acquire)?;
        match fault {
            Fault::None => state.take(&acquire, epoch),
            Fault::Full => return Err(AcquireError::Full),
            Fault::Applied => {
                state.take(&acquire, epoch);
                return Err(AcquireError::InDoubt);
            }
            Fault::Late => {
                state.parked.push(Parked::Acquire(acquire, epoch));
                return Err(AcquireError::InDoubt);
            }
            Fault::Lost | Fault::Unavailable => return Err(AcquireError::InDoubt),
        }
        let log = state.log(acquire.log);
        log.head().filter(|head| head.owner == acquire.owner).cloned().ok_or(AcquireError::InDoubt)
    }

    async fn read_head(&self, log: LogId) -> Result<Option<Head>, ReadError> {
        self.read_log(log, |log| log.head().cloned())
    }

    async fn roster(&self, log: LogId) -> Result<Vec<RosterRow>, ReadError> {
        self.read_log(log, Log::roster)
    }

    async fn look_up(&self, log: LogId, records: Vec<RecordKey>) -> Result<Vec<Option<Current>>, ReadError> {
        self.read(|state| match state.logs.get(&log) {
            Some(log) => records.iter().map(|record| log.look_up(record)).collect(),
            None => Ok(vec![None; records.len()]),
        })?
    }

    async fn look_up_rows(&self, log: LogId, seqs: Vec<Seq>) -> Result<Vec<Option<RecordAt>>, ReadError> {
        self.read(|state| match state.logs.get(&log) {
            Some(log) => seqs.iter().map(|seq| log.record_at(*seq)).collect(),
            None => Ok(vec![None; seqs.len()]),
        })?
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        crate::pieces::assert_shape(&commit);
        let mut state = self.enter();
        let fault = self.faults.draw(Target::Commit);
        match fault {
            Fault::Full => return Err(CommitError::Full { available_bytes: 0, reserve_bytes: 0 }),
            Fault::Unavailable => return Err(CommitError::Unavailable("a fault".into())),
            Fault::None | Fault::Lost | Fault::Late | Fault::Applied => {}
        }
        state.log(commit.log).write_rows(&commit);
        match fault {
            Fault::None => return state.move_head(&commit),
            Fault::Applied => {
                // Applied or fenced: the answer is lost either way.
                let _ = state.move_head(&commit);
            }
            Fault::Late => state.parked.push(Parked::Commit(Box::new(commit))),
            Fault::Lost | Fault::Full | Fault::Unavailable => {}
        }
        Err(CommitError::Unknown("a fault".into()))
    }

    async fn row_hash(&self, log: LogId, seq: Seq) -> Result<Option<ShortHash>, ReadError> {
        self.read_log(log, |log| log.row_hash(seq))
    }

    async fn pull(&self, log: LogId, pull: Pull) -> Result<Page, PullError> {
        self.read(|state| match state.logs.get(&log) {
            Some(log) => log.pull(pull),
            None => Err(PullError::Timeline(TimelineId::default())),
        })?
    }

    async fn snapshot(&self, log: LogId, resume: Option<SnapshotToken>, bytes_max: usize) -> Result<SnapshotPage, PullError> {
        self.read(|state| match state.logs.get(&log) {
            Some(log) => log.snapshot(resume, bytes_max),
            None => Log::new(log).snapshot(resume, bytes_max),
        })?
    }

    async fn history(&self, log: LogId, history: History) -> Result<(Vec<Row>, bool), ReadError> {
        self.read(|state| match state.logs.get(&log) {
            Some(log) => log.history(&history),
            None => Ok((Vec::new(), false)),
        })?
    }

    async fn erase(&self, log: LogId) -> Result<(), WriteError> {
        self.write(Write::Erase(log)).map(drop)
    }

    async fn create_account(&self, account: Account, credentials: Credentials) -> Result<(), CreateAccountError> {
        self.write(Write::CreateAccount(account, credentials))?.created()
    }

    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, ReadError> {
        self.read(|state| state.accounts.by_email(email))
    }

    async fn account(&self, user: UserId) -> Result<Option<Account>, ReadError> {
        self.read(|state| state.accounts.account(user))
    }

    async fn credentials(&self, user: UserId) -> Result<Option<Credentials>, ReadError> {
        self.read(|state| state.accounts.credentials(user))
    }

    async fn create_family(&self, family: Family) -> Result<(), WriteError> {
        self.write(Write::CreateFamily(family)).map(drop)
    }

    async fn family(&self, id: FamilyId) -> Result<Option<Family>, ReadError> {
        self.read(|state| state.accounts.family(id))
    }

    async fn advance_family(&self, id: FamilyId, number: u64, expires_ts: u64) -> Result<bool, WriteError> {
        self.write(Write::AdvanceFamily(id, number, expires_ts)).map(Written::did)
    }

    async fn revoke_family(&self, id: FamilyId) -> Result<(), WriteError> {
        self.write(Write::RevokeFamily(id)).map(drop)
    }

    async fn revoke_families(&self, user: UserId, device: DeviceId) -> Result<(), WriteError> {
        self.write(Write::RevokeFamilies(user, device)).map(drop)
    }

    async fn ping(&self) -> Result<(), ReadError> {
        self.read(|_| ())
    }
}
