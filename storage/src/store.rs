//! The contract of every backend, in intents rather than keys and values. The conformance suite runs against each.
//!
//! Never: a default that hides a missing intent, or an outcome guessed. A time-out is [`CommitError::Unknown`], which a
//! read alone never resolves: acquire again, then look at the head.

use async_trait::async_trait;
use bytes::Bytes;
use cloudsync_engine::log::{Acquire, Commit, Current, Head, NewCredentials, RecordAt};
use cloudsync_engine::user::ReadTrouble;
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::statement::PublicKey;
use cloudsync_protocol::{Cursor, DeviceId, Entry, FamilyId, LogId, RecordKey, Seq, ShortHash, TimelineId, UserId, Version, View};

/// Why a read has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What was stored is not what was written; nothing is skipped.
    #[error("damaged: {place}: {why}")]
    Damaged { place: String, why: String },
    /// The store can't be reached, or did not answer in time.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

impl ReadError {
    /// What rules and clients are told of it; where and why goes to the operator's log.
    #[must_use]
    pub fn logged(&self) -> ReadTrouble {
        match self {
            Self::Damaged { place, why } => {
                tracing::error!(place, why, "store damaged");
                ReadTrouble::Damaged
            }
            Self::Unavailable(why) => {
                tracing::warn!(why, "store unavailable");
                ReadTrouble::Unavailable
            }
        }
    }
}

/// Why a log was not acquired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// The head's epoch is of a later view: refresh the view, don't take.
    #[error("owned under later view {0}")]
    LaterView(View),
    /// Another attempt won meanwhile, or the outcome is not known: start over with a new nonce.
    #[error("in doubt: start over with a new nonce")]
    InDoubt,
    /// The user was erased, for ever.
    #[error("erased")]
    Erased,
    /// The head can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No room even for a head row.
    #[error("store full")]
    Full,
}

/// Why a commit is not known to be durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The head has another epoch or seq: nothing of this commit is visible, nor will be.
    #[error("fenced")]
    Fenced,
    /// It may have been applied, may be applied later, or never.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Below the reserve: nothing was written.
    #[error("store full: {available_bytes} B available, {reserve_bytes} B kept in reserve")]
    Full { available_bytes: u64, reserve_bytes: u64 },
    /// Nothing was written.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

/// Why a page can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// History after `from` was cut by retention: take a snapshot.
    #[error("history begins after {floor}")]
    BelowFloor { floor: Seq },
    /// `from`, or where a snapshot is said to have begun, is not the end of an entry.
    #[error("{from} is not the end of an entry")]
    InsideBatch { from: Seq },
    /// The log has another timeline now; a log that is not there, or was erased, has the zero one.
    #[error("timeline is {0}")]
    Timeline(TimelineId),
    /// It can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Which entries are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pull {
    /// The timeline that the caller reads by: the log's, or an earlier one of its own.
    pub timeline: TimelineId,
    /// The end of an entry: 0, or a cursor's `seq`.
    pub from: Seq,
    /// The last wanted; the entry that holds it comes whole. What is above the head is not there yet.
    pub to: Seq,
    /// Entries are added until this is passed; at least one.
    pub bytes_max: usize,
}

/// Which versions of a record are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The record.
    pub record: RecordKey,
    /// Only versions below this one.
    pub before: Option<Version>,
    /// At most so many.
    pub count: u32,
    /// Rows are added until this is passed; at least one.
    pub bytes_max: usize,
}

/// Contiguous entries of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// From `from + 1` on, whole.
    pub entries: Vec<Entry>,
    /// The last `seq` in it; `from` when it is empty.
    pub to: Seq,
    /// The head when it was read.
    pub head: Seq,
    /// The log's timelines then, with the first `seq` of each.
    pub lineage: Vec<(TimelineId, Seq)>,
}

/// A page of the current state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPage {
    /// Timeline, head and row hash when the snapshot began (`S`).
    pub start: Cursor,
    /// The roster up to `S`, paged before the rows.
    pub roster: Vec<RosterRow>,
    /// In key order; may be newer than `S`.
    pub rows: Vec<Row>,
    /// Where to go on.
    pub resume: Option<SnapshotToken>,
}

/// An account as it is created.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Lower case.
    pub email: String,
    /// The user.
    pub user: UserId,
    /// In milliseconds since the epoch.
    pub created_ts: u64,
}

/// What an account is opened by: all four of one keyring version.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The keyring's version, from 1.
    pub version: u64,
    /// The OPAQUE registration record, serialised.
    pub opaque_record: Bytes,
    /// Ed25519: the recovery code's public half.
    pub recovery: PublicKey,
    /// The keyring blob.
    pub keyring: Bytes,
}

impl Credentials {
    /// Once a commit has brought others.
    #[must_use]
    pub fn replaced_by(self, new: &NewCredentials) -> Self {
        let NewCredentials { version, keyring, recovery, record } = new;
        Self {
            version: *version,
            opaque_record: record.clone().unwrap_or(self.opaque_record),
            recovery: recovery.unwrap_or(self.recovery),
            keyring: keyring.clone(),
        }
    }

    /// Whether the account of `other` is this one: the same password record and recovery key, of the same version.
    #[must_use]
    pub fn opens_as(&self, other: &Self) -> bool {
        (self.version, &self.opaque_record, self.recovery) == (other.version, &other.opaque_record, other.recovery)
    }
}

/// Not the record, which guesses of the password could be tried on.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Not the address.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why an account was not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateAccountError {
    /// There is an account with that address. Creating the very same account again, by the same password record and recovery key, is
    /// not an error, and changes nothing.
    #[error("address taken")]
    EmailTaken,
    /// That user id is taken.
    #[error("user id taken")]
    UserTaken,
    /// It was not, or may not have been, created.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why something other than a commit was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It may have been written or not: read, then decide.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Below the reserve: nothing was written.
    #[error("store full")]
    Full,
    /// Nothing was written.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// What stands there can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A refresh family: one log-in of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its id.
    pub id: FamilyId,
    /// Whose.
    pub user: UserId,
    /// Which device's.
    pub device: DeviceId,
    /// Ed25519: proofs are checked by it.
    pub signing: PublicKey,
    /// The number of the newest token, from 1.
    pub number: u64,
    /// Until when the newest token holds, in milliseconds since the epoch.
    pub expires_ts: u64,
    /// Whether it was ended: by a log-out, a revoke, or a token that somebody else used.
    pub revoked: bool,
}

/// The view of a node whose store went back so often: later than every view that what is lost was written by.
#[must_use]
pub const fn view_after(rewinds: u64) -> View {
    View(1 + (rewinds << 20))
}

/// A durable home of logs and accounts. Shared by everything in a node; cheap to call from many tasks.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// A short name for logs and metrics.
    fn backend(&self) -> &'static str;

    /// How often acknowledged history was given up, by a restore or an accepted loss: the view that a node serves by is made of it
    /// ([`view_after`]), and the first acquire of each log after it opens a new timeline.
    fn rewinds(&self) -> u64;

    // --- logs -------------------------------------------------------------------------------------------------

    /// Becomes the log's owner under `epoch_to_win(head.epoch, view)`, creating the head of a log that does not exist.
    /// Returns the head as it is then, durable, with my nonce in it. Nothing conditioned on an older epoch can apply
    /// any more.
    async fn acquire(&self, acquire: Acquire) -> Result<Head, AcquireError>;

    /// Reads the head serially: after whatever was applied before. `None` for a log that was never acquired
    /// or was erased.
    async fn read_head(&self, log: LogId) -> Result<Option<Head>, ReadError>;

    /// Every roster row up to the head, in order.
    async fn roster(&self, log: LogId) -> Result<Vec<RosterRow>, ReadError>;

    /// The current version of each record, in the order asked; `None` for one that never existed.
    async fn look_up(&self, log: LogId, records: Vec<RecordKey>) -> Result<Vec<Option<Current>>, ReadError>;

    /// What record each row wrote, in the order asked; `None` for a row of another kind, above the head, cut, or not there.
    async fn look_up_rows(&self, log: LogId, seqs: Vec<Seq>) -> Result<Vec<Option<RecordAt>>, ReadError>;

    /// Makes a commit durable, if the head's epoch and seq are what it follows, with its credentials and wraps. Panics on a commit that is not contiguous or
    /// whose head is not at its last row: a bug of the caller.
    async fn commit(&self, commit: Commit) -> Result<(), CommitError>;

    /// The hash of the row at `seq`; `None` when it was cut or never was.
    async fn row_hash(&self, log: LogId, seq: Seq) -> Result<Option<ShortHash>, ReadError>;

    /// Whole entries of `(from, to]` until `bytes_max` is passed, checked to be contiguous.
    async fn pull(&self, log: LogId, pull: Pull) -> Result<Page, PullError>;

    /// The current state in key order, tombstones included, about `bytes_max` a page; each row with the newest wrap that it was given.
    async fn snapshot(&self, log: LogId, resume: Option<SnapshotToken>, bytes_max: usize) -> Result<SnapshotPage, PullError>;

    /// Versions of one record, newest first, each with the newest wrap that it was given, and whether there are older ones.
    async fn history(&self, log: LogId, history: History) -> Result<(Vec<Row>, bool), ReadError>;

    /// Erases the log for ever: its head says so, everything else of it goes, with the account, credentials and families of its user. Repeatable.
    async fn erase(&self, log: LogId) -> Result<(), WriteError>;

    // --- accounts ---------------------------------------------------------------------------------------------

    /// Creates an account with its first credentials (version 1): address and user are both unique, all or nothing. The user of
    /// an erased log stays taken, its address does not. Only commits change credentials afterwards.
    async fn create_account(&self, account: Account, credentials: Credentials) -> Result<(), CreateAccountError>;

    /// By its address, lower case.
    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, ReadError>;

    /// By its user.
    async fn account(&self, user: UserId) -> Result<Option<Account>, ReadError>;

    /// What the user's account is opened by, as of one commit.
    async fn credentials(&self, user: UserId) -> Result<Option<Credentials>, ReadError>;

    /// Adds a refresh family; the same again changes nothing, and for an erased user nothing is added.
    async fn create_family(&self, family: Family) -> Result<(), WriteError>;

    /// Reads a refresh family.
    async fn family(&self, id: FamilyId) -> Result<Option<Family>, ReadError>;

    /// Moves a family on to `number + 1` and `expires_ts` if it is at `number` (or, in a store that went back, below) and not revoked;
    /// says whether it did.
    async fn advance_family(&self, id: FamilyId, number: u64, expires_ts: u64) -> Result<bool, WriteError>;

    /// Revokes a family, for ever. Repeatable.
    async fn revoke_family(&self, id: FamilyId) -> Result<(), WriteError>;

    /// Revokes every family of a device. Repeatable.
    async fn revoke_families(&self, user: UserId, device: DeviceId) -> Result<(), WriteError>;

    /// Whether the store answers: a cheap read that touches what every request needs.
    async fn ping(&self) -> Result<(), ReadError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_an_accounts_password_record_nor_its_address() {
        let account = Account { email: "secret@example.com".to_owned(), user: UserId([1; 16]), created_ts: 1 };
        let secret = || Bytes::from_static(b"a secret record");
        let credentials = Credentials { version: 1, opaque_record: secret(), recovery: PublicKey([1; 32]), keyring: secret() };
        let text = format!("{account:?} {credentials:?}");
        assert!(text.contains("Account") && text.contains("Credentials") && !text.contains("secret"), "{text}");
    }
}
