//! Store calls on behalf of a user's rules, and what the rules are told of their outcomes.
//!
//! Never: an outcome made better than it is. A call that panics is one whose outcome is not known.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use cloudsync_engine::log::{Acquire, Commit};
use cloudsync_engine::user::{AcquireOutcome, CommitOutcome, Event, Found, ReadId, ReadTrouble};
use cloudsync_protocol::{LogId, RecordKey, Seq};
use cloudsync_storage::Store;
use cloudsync_storage::store::{AcquireError, CommitError, ReadError};
use futures_util::FutureExt as _;

/// What a user's rules ask the store.
#[derive(Debug)]
pub(crate) enum Call {
    Acquire(Acquire),
    Roster { read: ReadId },
    Head { read: ReadId },
    Row { read: ReadId, seq: Seq },
    LookUp { read: ReadId, records: Vec<RecordKey>, rows: Vec<Seq> },
    Commit(Box<Commit>),
}

impl Call {
    /// What is to be said if the call is never heard of again.
    fn lost(&self) -> Event {
        match self {
            Self::Acquire(acquire) => Event::Acquired { owner: acquire.owner, outcome: AcquireOutcome::InDoubt },
            Self::Roster { read } => Event::RosterRead { read: *read, outcome: Err(ReadTrouble::Unavailable) },
            Self::Head { read } => Event::HeadRead { read: *read, outcome: Err(ReadTrouble::Unavailable) },
            Self::Row { read, .. } => Event::RowRead { read: *read, outcome: Err(ReadTrouble::Unavailable) },
            Self::LookUp { read, .. } => Event::Found { read: *read, outcome: Err(ReadTrouble::Unavailable) },
            Self::Commit(commit) => Event::Persisted { commit: commit.head.commit, outcome: CommitOutcome::Unknown },
        }
    }
}

/// Makes the call and says what became of it, whatever happens.
pub(crate) async fn call(store: Arc<dyn Store>, log: LogId, call: Call) -> Event {
    let lost = call.lost();
    AssertUnwindSafe(carry_out(&*store, log, call)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(backend = store.backend(), "a call of the store panicked: a bug");
        lost
    })
}

async fn carry_out(store: &dyn Store, log: LogId, call: Call) -> Event {
    match call {
        Call::Acquire(acquire) => {
            let outcome = store.acquire(acquire).await;
            Event::Acquired {
                owner: acquire.owner,
                outcome: outcome.map_or_else(acquire_outcome, |head| AcquireOutcome::Won(Box::new(head))),
            }
        }
        Call::Roster { read } => Event::RosterRead { read, outcome: store.roster(log).await.map_err(|error| error.logged()) },
        Call::Head { read } => Event::HeadRead { read, outcome: store.read_head(log).await.map_err(|error| error.logged()) },
        Call::Row { read, seq } => Event::RowRead { read, outcome: store.row_hash(log, seq).await.map_err(|error| error.logged()) },
        Call::LookUp { read, records, rows } => {
            Event::Found { read, outcome: look_up(store, log, (records, rows)).await.map_err(|error| error.logged()) }
        }
        Call::Commit(commit) => {
            let id = commit.head.commit;
            let outcome = store.commit(*commit).await;
            Event::Persisted { commit: id, outcome: outcome.map_or_else(|error| commit_outcome(&error), |()| CommitOutcome::Durable) }
        }
    }
}

async fn look_up(store: &dyn Store, log: LogId, (records, rows): (Vec<RecordKey>, Vec<Seq>)) -> Result<Found, ReadError> {
    let records = if records.is_empty() { Vec::new() } else { store.look_up(log, records).await? };
    let rows = if rows.is_empty() { Vec::new() } else { store.look_up_rows(log, rows).await? };
    Ok(Found { records, rows })
}

fn acquire_outcome(error: AcquireError) -> AcquireOutcome {
    match error {
        AcquireError::LaterView(view) => AcquireOutcome::LaterView(view),
        AcquireError::InDoubt => AcquireOutcome::InDoubt,
        AcquireError::Erased => AcquireOutcome::Erased,
        AcquireError::Full => AcquireOutcome::Full,
        AcquireError::Read(error) => AcquireOutcome::Trouble(error.logged()),
    }
}

fn commit_outcome(error: &CommitError) -> CommitOutcome {
    match error {
        CommitError::Fenced => CommitOutcome::Fenced,
        CommitError::Unknown(why) => {
            tracing::warn!(why, "a commit's outcome is not known");
            CommitOutcome::Unknown
        }
        CommitError::Full { available_bytes, reserve_bytes } => {
            tracing::warn!(available_bytes, reserve_bytes, "store full");
            CommitOutcome::Full
        }
        CommitError::Unavailable(why) => {
            tracing::warn!(why, "store unavailable");
            CommitOutcome::Unavailable
        }
    }
}
