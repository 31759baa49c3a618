//! What a batch must be on sight: statement and operations fit each other. Shared by the server, before it looks anything
//! up, and by client replicas, before they believe a page or an event.
//!
//! Never: a look-up, or a body opened.

use std::collections::BTreeMap;

use cloudsync_protocol::codec::{self, DecodeError};
use cloudsync_protocol::entry::{Batch, Rewrap};
use cloudsync_protocol::envelope::EnvelopeError;
use cloudsync_protocol::limits::{CLOCK_AHEAD_MAX, PUSH_OPERATIONS_MAX, REWRAP_ITEM_BYTES, REWRAP_ITEMS_MAX};
use cloudsync_protocol::statement::{BatchStatement, CONTEXT_BATCH, FORMAT, Signed};
use cloudsync_protocol::{DeviceId, ErrorCode, Hash, Header, LogId, Operation, RecordKey, Seq};

use crate::roster::Roster;
use crate::verify;

/// What is wrong with a statement, whatever its operations are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not a statement.
    #[error("not a batch statement: {0}")]
    Decode(#[from] DecodeError),
    /// A format of a newer release.
    #[error("unknown statement format {0}")]
    Format(u8),
    /// Made for another log.
    #[error("made for log {0}")]
    Log(LogId),
    /// Made by another device than the one that sends it.
    #[error("made by device {0}")]
    Device(DeviceId),
    /// Pushes are counted from 1.
    #[error("device_seq is 0")]
    Zero,
}

/// What is wrong with one operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationIssue {
    /// The envelope is refused on sight.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A header field is not what the push says.
    #[error("header field {0} does not fit the push")]
    Field(&'static str),
    /// The hybrid clock is too far ahead.
    #[error("hybrid clock {ahead_ms} ms ahead of the server's")]
    ClockAhead { ahead_ms: u64 },
}

/// One operation that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operation {index}: {issue}")]
pub struct OperationError {
    /// Which of the batch, from 0.
    pub index: usize,
    /// Its record, where the header says so much.
    pub key: Option<RecordKey>,
    /// What is wrong.
    pub issue: OperationIssue,
}

impl OperationError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match &self.issue {
            OperationIssue::Envelope(EnvelopeError::Header(_) | EnvelopeError::Unknown { .. } | EnvelopeError::TooSmall { .. })
            | OperationIssue::Field(_) => ErrorCode::HeaderInvalid,
            OperationIssue::Envelope(EnvelopeError::TooLarge { part, .. }) => match part.as_bytes() {
                b"body" => ErrorCode::BodyTooLarge,
                _ => ErrorCode::HeaderInvalid,
            },
            OperationIssue::ClockAhead { .. } => ErrorCode::ClockAhead,
        }
    }
}

/// Why a batch is refused on sight.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The statement itself.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// No operation, or too many.
    #[error("{0} operations, allowed are 1 to {PUSH_OPERATIONS_MAX}")]
    Operations(usize),
    /// The statement lists other envelopes than there are.
    #[error("the statement's hashes are not those of the operations, from operation {index} on")]
    Hashes { index: usize },
    /// New wraps beside another operation: they stand alone in their batch.
    #[error("new wraps stand alone in their batch")]
    Mixed,
    /// New wraps that are not whole items, none or too many of them, or not in order of `seq`.
    #[error("{0} B of new wraps: allowed are 1 to {REWRAP_ITEMS_MAX} of {REWRAP_ITEM_BYTES} B, in order of seq")]
    Rewrap(usize),
    /// Operations that do not fit; every one of them.
    #[error("{} operations do not fit, the first: {}", .0.len(), .0.first().map_or_else(String::new, ToString::to_string))]
    Invalid(Vec<OperationError>),
}

/// A batch whose parts fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What was signed.
    pub statement: BatchStatement,
    /// The statement's hash: the batch's name.
    pub hash: Hash,
    /// The header of each put and each adopt, in order; none of new wraps.
    pub headers: Vec<Header>,
    /// Their envelopes' hashes.
    hashes: Vec<Hash>,
}

impl Checked {
    /// The envelope hash of operation `index`: what its header's successor names as parent.
    #[must_use]
    pub fn envelope_hash(&self, index: usize) -> Hash {
        self.hashes.get(index).copied().unwrap_or_default()
    }
}

/// Decodes a statement and checks what needs no operations.
pub fn statement(log: LogId, signed: &Signed) -> Result<BatchStatement, StatementError> {
    let statement: BatchStatement = codec::decode(&signed.statement)?;
    if statement.format != FORMAT {
        return Err(StatementError::Format(statement.format));
    }
    if statement.log != log {
        return Err(StatementError::Log(statement.log));
    }
    if statement.device_seq.0 == 0 { Err(StatementError::Zero) } else { Ok(statement) }
}

/// Checks that statement and operations fit each other. Names every operation that does not.
pub fn check(log: LogId, signed: &Signed, operations: &[Operation]) -> Result<Checked, BatchError> {
    check_operations(statement(log, signed)?, signed, operations)
}

/// [`check`], with the statement decoded already.
pub fn check_operations(statement: BatchStatement, signed: &Signed, operations: &[Operation]) -> Result<Checked, BatchError> {
    if operations.is_empty() || operations.len() > PUSH_OPERATIONS_MAX {
        return Err(BatchError::Operations(operations.len()));
    }
    if statement.envelopes.len() != operations.len() {
        return Err(BatchError::Hashes { index: statement.envelopes.len().min(operations.len()) });
    }
    if let Some(index) = operations.iter().zip(&statement.envelopes).position(|(operation, stated)| operation.stated_hash() != *stated) {
        return Err(BatchError::Hashes { index });
    }
    if let [Operation::Rewrap(rewrap)] = operations {
        check_rewrap(rewrap)?;
        return Ok(Checked { hash: signed.hash(), statement, headers: Vec::new(), hashes: Vec::new() });
    }
    let mut headers = Vec::with_capacity(operations.len());
    let mut errors = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        let Some(envelope) = operation.envelope() else { return Err(BatchError::Mixed) };
        match envelope.check() {
            Ok(header) => {
                if let Err(issue) = check_header(&statement, operation, &header) {
                    errors.push(OperationError { index, key: Some(header.key()), issue });
                }
                headers.push(header);
            }
            Err(error) => {
                let key = codec::decode::<Header>(&envelope.header).ok().map(|header| header.key());
                errors.push(OperationError { index, key, issue: error.into() });
            }
        }
    }
    errors.extend(adopted_twice(operations, &headers));
    if !errors.is_empty() {
        return Err(BatchError::Invalid(errors));
    }
    // Of a put the statement's hash is the envelope's: no body is hashed a second time.
    let hash = |(operation, stated): (&Operation, &Hash)| match operation {
        Operation::Adopt(adopt) => adopt.envelope.hash(),
        Operation::Put(_) | Operation::Rewrap(_) => *stated,
    };
    let hashes = operations.iter().zip(&statement.envelopes).map(hash).collect();
    Ok(Checked { hash: signed.hash(), statement, headers, hashes })
}

fn check_rewrap(rewrap: &Rewrap) -> Result<(), BatchError> {
    let bytes = rewrap.items.len();
    let is_whole = bytes.is_multiple_of(REWRAP_ITEM_BYTES) && (1..=REWRAP_ITEMS_MAX).contains(&(bytes / REWRAP_ITEM_BYTES));
    let rises = rewrap.items().map(|item| item.seq).is_sorted_by(|one, next| one < next);
    if is_whole && rises { Ok(()) } else { Err(BatchError::Rewrap(bytes)) }
}

/// A record that is adopted has no other operation in its batch.
fn adopted_twice(operations: &[Operation], headers: &[Header]) -> Vec<OperationError> {
    if operations.iter().all(|operation| operation.origin().is_none()) {
        return Vec::new();
    }
    let mut of_record: BTreeMap<_, usize> = BTreeMap::new();
    for header in headers {
        *of_record.entry((&header.collection, &header.record)).or_default() += 1;
    }
    let adopts = operations.iter().zip(headers).enumerate().filter(|(_, (operation, _))| operation.origin().is_some());
    let twice = adopts.filter(|(_, (_, header))| of_record.get(&(&header.collection, &header.record)).is_some_and(|count| *count > 1));
    twice.map(|(index, (_, header))| OperationError { index, key: Some(header.key()), issue: OperationIssue::Field("record") }).collect()
}

fn check_header(statement: &BatchStatement, operation: &Operation, header: &Header) -> Result<(), OperationIssue> {
    let field = |name, fits| if fits { Ok(()) } else { Err(OperationIssue::Field(name)) };
    field("log", header.log == statement.log)?;
    let Some(put) = operation.as_put() else {
        // It was signed by its device, in another push, and stands for itself.
        return field("version", header.version.0 > 0);
    };
    field("device", header.device == statement.device)?;
    field("device_seq", header.device_seq == statement.device_seq)?;
    field("version", put.base.0.checked_add(1) == Some(header.version.0))?;
    field("parent", header.version.0 != 1 || header.parent == Hash::default())
}

/// The puts whose hybrid clock is more than `CLOCK_AHEAD_MAX` ahead of `now_ms`. Only the server asks this.
#[must_use]
pub fn clocks_ahead((headers, operations): (&[Header], &[Operation]), now_ms: u64) -> Vec<OperationError> {
    let latest_ms = now_ms.saturating_add(u64::try_from(CLOCK_AHEAD_MAX.as_millis()).unwrap_or(u64::MAX));
    let ahead = headers.iter().zip(operations).enumerate();
    let ahead = ahead.filter(|(_, (header, operation))| operation.origin().is_none() && header.hlc.ms() > latest_ms);
    ahead
        .map(|(index, (header, _))| {
            let issue = OperationIssue::ClockAhead { ahead_ms: header.hlc.ms().saturating_sub(now_ms) };
            OperationError { index, key: Some(header.key()), issue }
        })
        .collect()
}

/// Why a receiver does not believe a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Its parts do not fit.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Its device was not enrolled when it was committed.
    #[error("device {device} was not enrolled at {seq}")]
    NotEnrolled { device: DeviceId, seq: Seq },
    /// Its signature is not the device's.
    #[error("batch {device_seq} of device {device} is not signed by it")]
    Signature { device: DeviceId, device_seq: cloudsync_protocol::DeviceSeq },
}

/// What a receiving replica checks of a committed batch: shape, device enrolled at that `seq`, signature. The chain
/// (`prev_hash`) is the replica's to check: it knows what it has seen of the device.
pub fn verify(log: LogId, roster: &Roster, batch: &Batch) -> Result<Checked, VerifyError> {
    let checked = check(log, &batch.signed, &batch.operations)?;
    let device = checked.statement.device;
    let enrolled = roster.enrolled_at(device, batch.first).ok_or(VerifyError::NotEnrolled { device, seq: batch.first })?;
    verify::statement(&enrolled.signing, CONTEXT_BATCH, &batch.signed)
        .map_err(|_| VerifyError::Signature { device, device_seq: checked.statement.device_seq })?;
    Ok(checked)
}
