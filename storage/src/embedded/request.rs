//! What is asked of the committer, and how each is answered.
//!
//! Never: an answer before its group is durable.

use cloudsync_engine::log::{Acquire, Head};
use tokio::sync::oneshot;

use super::apply::Prepared;
use super::fault::Fault;
use crate::metrics::ERRORS;
use crate::store::{AcquireError, CommitError, ReadError, WriteError};
use crate::write::{Write, Written};

pub(super) type Reply<T, E> = oneshot::Sender<Result<T, E>>;

#[derive(Debug)]
pub(super) enum Request {
    Acquire(Acquire, Reply<Head, AcquireError>),
    Commit(Box<Prepared>, Reply<(), CommitError>),
    Write(Write, Reply<Written, WriteError>),
}

/// What a request did inside the transaction.
#[derive(Debug)]
pub(super) enum Outcome {
    Acquired(Result<Head, AcquireError>),
    Committed(Result<(), CommitError>),
    Written(Result<Written, WriteError>),
    /// Written, and answered once the log of this key is swept.
    Erasing {
        key: i64,
    },
}

/// An erase whose rows are still to go; nobody waits for one that an earlier stop cut short.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) key: i64,
    pub(super) reply: Option<Reply<Written, WriteError>>,
}

impl Outcome {
    /// Whether there is something to commit.
    pub(super) const fn changed(&self) -> bool {
        match self {
            Self::Acquired(result) => result.is_ok(),
            Self::Committed(result) => result.is_ok(),
            Self::Written(result) => matches!(result, Ok(Written::Done)),
            Self::Erasing { .. } => true,
        }
    }
}

impl Request {
    /// Rows that it writes.
    pub(super) fn operations(&self) -> usize {
        match self {
            Self::Commit(prepared, _) => prepared.operations(),
            Self::Acquire(..) | Self::Write(..) => 0,
        }
    }

    /// Bytes that it writes, about.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Commit(prepared, _) => prepared.bytes(),
            Self::Acquire(..) | Self::Write(..) => 0,
        }
    }

    /// After its group is durable. A caller that has gone does not matter: it could not know the outcome either way.
    pub(super) fn answer(self, outcome: Outcome) -> Option<Sweep> {
        match (self, outcome) {
            (Self::Acquire(_, reply), Outcome::Acquired(result)) => drop(reply.send(result)),
            (Self::Commit(_, reply), Outcome::Committed(result)) => drop(reply.send(result)),
            (Self::Write(_, reply), Outcome::Written(result)) => drop(reply.send(result)),
            (Self::Write(_, reply), Outcome::Erasing { key }) => return Some(Sweep { key, reply: Some(reply) }),
            (Self::Acquire(..) | Self::Commit(..) | Self::Write(..), outcome) => unreachable!("not this request's: {outcome:?}"),
        }
        None
    }

    /// Its group's commit failed half-way.
    pub(super) fn answer_unknown(self, why: &str) {
        count_error("unknown");
        match self {
            Self::Acquire(_, reply) => drop(reply.send(Err(AcquireError::InDoubt))),
            Self::Commit(_, reply) => drop(reply.send(Err(CommitError::Unknown(why.into())))),
            Self::Write(_, reply) => drop(reply.send(Err(WriteError::Unknown(why.into())))),
        }
    }

    /// It was not written, for this reason.
    pub(super) fn refuse(self, fault: Fault, (available_bytes, reserve_bytes): (u64, u64)) {
        count_error(match &fault {
            Fault::Full => "full",
            Fault::Read(ReadError::Damaged { .. }) => "damaged",
            Fault::Read(ReadError::Unavailable(_)) => "unavailable",
        });
        match (self, fault) {
            (Self::Acquire(_, reply), Fault::Full) => drop(reply.send(Err(AcquireError::Full))),
            (Self::Acquire(_, reply), Fault::Read(error)) => drop(reply.send(Err(error.into()))),
            (Self::Commit(_, reply), Fault::Full) => drop(reply.send(Err(CommitError::Full { available_bytes, reserve_bytes }))),
            (Self::Commit(_, reply), Fault::Read(error)) => drop(reply.send(Err(CommitError::Unavailable(error.to_string())))),
            (Self::Write(_, reply), Fault::Full) => drop(reply.send(Err(WriteError::Full))),
            (Self::Write(_, reply), Fault::Read(error)) => drop(reply.send(Err(error.into()))),
        }
    }
}

pub(super) fn count_error(outcome: &'static str) {
    metrics::counter!(ERRORS, "outcome" => outcome).increment(1);
}
