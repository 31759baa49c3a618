//! A log as rows, one per operation: entries are taken apart when they are written and put together when they are read.
//!
//! Never: a row skipped or an entry guessed; whatever does not fit is named as damage.

use cloudsync_engine::log::{Commit, RecordAt};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::statement::{RosterChange, Signed};
use cloudsync_protocol::{Batch, Entry, Hash, LogId, Operation, Seq};

use crate::store::ReadError;

/// One row of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// When the server committed it, in milliseconds since the epoch.
    pub(crate) server_ts: u64,
    /// With a batch's first operation: the batch.
    pub(crate) begins: Option<Begin>,
    /// What the row is.
    pub(crate) content: Content,
}

/// What a batch has beside its operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begin {
    /// The batch's statement.
    pub(crate) signed: Signed,
    /// How many operations it has.
    pub(crate) operations: u32,
}

/// A row is an operation of a batch or a change of the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Operation(Operation),
    Change(RosterChange),
}

impl Piece {
    /// The row's hash, whose first bytes a cursor carries.
    pub(crate) fn hash(&self) -> Hash {
        match &self.content {
            Content::Operation(operation) => operation.hash(),
            Content::Change(change) => change.signed().hash(),
        }
    }

    /// Whether an entry that begins with this row would be a torn one.
    pub(crate) const fn is_inside_batch(&self) -> bool {
        self.begins.is_none() && matches!(self.content, Content::Operation(_))
    }

    /// The row as snapshots and history give it; `None` for what writes no record.
    pub(crate) fn into_row(self, seq: Seq) -> Option<Row> {
        match self.content {
            Content::Operation(operation) => {
                let origin = operation.origin();
                operation.envelope().cloned().map(|envelope| Row { seq, server_ts: self.server_ts, envelope, origin })
            }
            Content::Change(_) => None,
        }
    }
}

/// Takes an entry apart, in order.
pub(crate) fn split(entry: &Entry) -> Vec<(Seq, Piece)> {
    match entry {
        Entry::Batch(batch) => {
            let count = u32::try_from(batch.operations.len()).expect("PUSH_OPERATIONS_MAX fits 32 bits");
            let piece = |(index, operation): (usize, &Operation)| {
                let begins = (index == 0).then(|| Begin { signed: batch.signed.clone(), operations: count });
                let content = Content::Operation(operation.clone());
                (batch.first.plus(index as u64), Piece { server_ts: batch.server_ts, begins, content })
            };
            batch.operations.iter().enumerate().map(piece).collect()
        }
        Entry::Roster(row) => {
            vec![(row.seq, Piece { server_ts: row.server_ts, begins: None, content: Content::Change(row.change.clone()) })]
        }
    }
}

/// Panics if a commit is not what [`Commit`] says: a bug above, caught before it is durable.
pub(crate) fn assert_shape(commit: &Commit) {
    let mut end = commit.after;
    for entry in &commit.entries {
        assert_eq!(entry.first(), end.next(), "entries of a commit are contiguous");
        if let Entry::Batch(batch) = entry {
            assert!(!batch.operations.is_empty(), "a batch has at least one operation");
        }
        end = entry.last();
    }
    let last = commit.entries.last().expect("a commit has at least one entry");
    assert_eq!(commit.head.seq, end, "a commit's head is at its last operation");
    assert_eq!(commit.head.row, last.last_hash().short(), "a commit's head has the hash of its last row");
}

/// Which version of which record a row is.
pub(crate) fn record_at(log: LogId, row: &Row) -> Result<RecordAt, ReadError> {
    let header = row.envelope.check().map_err(|error| damaged(log, row.seq, error.to_string()))?;
    Ok(RecordAt { key: header.key(), version: header.version, hash: row.envelope.hash() })
}

/// Names damage at a row.
pub(crate) fn damaged(log: LogId, seq: Seq, why: impl Into<String>) -> ReadError {
    ReadError::Damaged { place: format!("log {log}, seq {seq}"), why: why.into() }
}

/// Puts rows together again and checks that they are contiguous.
#[derive(Debug)]
pub(crate) struct Assembler {
    log: LogId,
    next: Seq,
    open: Option<(Batch, usize)>,
}

impl Assembler {
    /// For rows from `from + 1` on.
    pub(crate) const fn new(log: LogId, from: Seq) -> Self {
        Self { log, next: from.next(), open: None }
    }

    /// Takes the next row; gives an entry when that row was its last.
    pub(crate) fn push(&mut self, seq: Seq, piece: Piece) -> Result<Option<Entry>, ReadError> {
        if seq != self.next {
            return Err(self.missing());
        }
        self.next = seq.next();
        match piece.content {
            Content::Operation(operation) => self.push_operation(seq, (piece.server_ts, piece.begins), operation),
            Content::Change(change) => match self.open {
                Some(_) => Err(damaged(self.log, seq, "a change of the roster inside a batch")),
                None => Ok(Some(Entry::Roster(RosterRow { seq, server_ts: piece.server_ts, change }))),
            },
        }
    }

    /// The error for rows that end too early.
    pub(crate) fn missing(&self) -> ReadError {
        damaged(self.log, self.next, "the row is missing")
    }

    fn push_operation(
        &mut self,
        seq: Seq,
        (server_ts, begins): (u64, Option<Begin>),
        operation: Operation,
    ) -> Result<Option<Entry>, ReadError> {
        let (mut batch, count) = match (self.open.take(), begins) {
            (None, Some(begin)) => {
                let batch = Batch { first: seq, server_ts, signed: begin.signed, operations: Vec::new() };
                (batch, begin.operations as usize)
            }
            (Some(open), None) => open,
            (None, None) => return Err(damaged(self.log, seq, "an operation without its batch's statement before it")),
            (Some((batch, count)), Some(_)) => {
                let why = format!("a batch begins inside the one from {} with {count} operations", batch.first);
                return Err(damaged(self.log, seq, why));
            }
        };
        batch.operations.push(operation);
        if batch.operations.len() == count {
            return Ok(Some(Entry::Batch(batch)));
        }
        self.open = Some((batch, count));
        Ok(None)
    }
}
