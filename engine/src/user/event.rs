//! What reaches a user's rules: requests of sessions, account calls, and what the store said.
//!
//! Never: an answer. Those are effects.

use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{CommitId, ErrorCode, Failure, OwnerId, ShortHash, View, frame};

use crate::log::{Current, Head, NewCredentials, RecordAt};
use crate::session::{Peer, SessionId};
use crate::verify::HelloProof;

/// One read that the rules asked for; its outcome carries the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// One account call that changes the roster, numbered by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What an account call asks of its user's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountChange {
    /// In order; all or none.
    pub changes: Vec<RosterChange>,
    /// The keyring's version that the caller's ticket was given for: of another one nothing is appended.
    pub ticket_version: u64,
    /// What the account is opened by afterwards, where a keyring row is among the changes.
    pub credentials: Option<NewCredentials>,
}

/// What a look-up found, each in the order asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Of each record the current version.
    pub records: Vec<Option<Current>>,
    /// Of each row the record that it wrote.
    pub rows: Vec<Option<RecordAt>>,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// First, once: become the owner.
    Start,
    /// The time that [`User::wake_at_ms`](super::User::wake_at_ms) named has come.
    Wake,

    /// A device says hello; its token was verified. Answered by [`Effect::Opened`](super::Effect::Opened).
    Open { peer: Peer, proof: HelloProof },
    /// A session is over.
    Closed { session: SessionId },
    /// A session wants to be on the fan-out list.
    Attach { peer: Peer, attach: frame::Attach },
    /// A session wants to push.
    Claim { peer: Peer, claim: frame::Claim },
    /// A signed batch; `frame_bytes` is how long the frame was that it came in.
    Push { peer: Peer, push: frame::Push, frame_bytes: usize },
    /// A session revokes a device.
    ChangeRoster { peer: Peer, change: frame::ChangeRoster },
    /// An account call enrols, or changes keys. Answered by [`Effect::Enrolled`](super::Effect::Enrolled).
    ByAccount { call: CallId, change: AccountChange },

    /// The log is erased in the store, for ever: whatever waits or is under way is not there any more.
    Erased,

    /// What became of [`Effect::Acquire`](super::Effect::Acquire).
    Acquired { owner: OwnerId, outcome: AcquireOutcome },
    /// Every roster row, in order.
    RosterRead { read: ReadId, outcome: Result<Vec<RosterRow>, ReadTrouble> },
    /// The head, read serially; nothing for a log that does not exist.
    HeadRead { read: ReadId, outcome: Result<Option<Head>, ReadTrouble> },
    /// A row's hash; nothing for one that was cut or never was.
    RowRead { read: ReadId, outcome: Result<Option<ShortHash>, ReadTrouble> },
    /// What was looked up.
    Found { read: ReadId, outcome: Result<Found, ReadTrouble> },
    /// What became of [`Effect::Persist`](super::Effect::Persist).
    Persisted { commit: CommitId, outcome: CommitOutcome },
}

/// Why the store could not read. Where and why is for the operator's log: the shell has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadTrouble {
    /// What was stored is not what was written.
    Damaged,
    /// It can't be reached, or did not answer in time.
    Unavailable,
}

impl ReadTrouble {
    /// What a client is told of it, or when to try again.
    #[must_use]
    pub fn failure(self, request: u32, retry_after_ms: u32) -> Failure {
        match self {
            Self::Damaged => {
                let message = "what was stored is not what was written; the operator has been told where";
                Failure::new(request, ErrorCode::StoreDamaged, message)
            }
            Self::Unavailable => Failure::store_unavailable(request, retry_after_ms),
        }
    }
}

/// What became of an attempt to become the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcquireOutcome {
    /// This attempt won; the head as it is now.
    Won(Box<Head>),
    /// The head's epoch is of a later view.
    LaterView(View),
    /// Another attempt won meanwhile, or nobody knows.
    InDoubt,
    /// The user was erased.
    Erased,
    /// No room for a head.
    Full,
    /// The head can't be read.
    Trouble(ReadTrouble),
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is there for good.
    Durable,
    /// The head has another epoch or seq: this owner is not the owner any more.
    Fenced,
    /// It may have been applied, may be later, or never.
    Unknown,
    /// Nothing was written: no room.
    Full,
    /// Nothing was written: the store can't be reached.
    Unavailable,
}
