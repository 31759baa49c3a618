//! The outbox: batches that this device signed. Once signed, a batch's bytes never change and its number names them.
//!
//! Never: a second unanswered batch, a number used twice, or a batch forgotten that could still commit.

use cloudsync_protocol::entry::{Put, Rewrap};
use cloudsync_protocol::limits::{BODY_BYTES_MAX, PUSH_BYTES_MAX, PUSH_OPERATIONS_MAX};
use cloudsync_protocol::statement::{self, BatchStatement, CONTEXT_BATCH, Signed};
use cloudsync_protocol::{DeviceId, DeviceSeq, Envelope, ErrorCode, Hash, Header, Operation, RecordKey, Seq, Version, codec};

use super::verify::is_behind;
use super::{Content, Draft, Edit, EditId, EditState, Reason, Replica, SealError, Sealer, Tables, TablesError};
use crate::roster::{Roster, Standing};
use crate::verify;

/// What is known of a signed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchState {
    /// Not answered. At most one batch is.
    Open,
    /// Refused, or overtaken: its edits went on without it. Kept because a copy under way might still commit.
    Closed,
    /// Committed in `(from, to]`; its rows are written. Kept until the log was read to there.
    Committed {
        /// Exclusive.
        from: Seq,
        /// Inclusive.
        to: Seq,
    },
}

/// One operation, with what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// As sent.
    pub operation: Operation,
    /// As the edit said; of a re-wrap, which says nothing, [`Content::Deleted`].
    pub content: Content,
}

impl Made {
    /// The version that it writes.
    pub(super) fn envelope(&self) -> Result<&Envelope, TablesError> {
        let damaged = || TablesError::Damaged { place: "a signed batch".into(), why: "an operation that writes no record".into() };
        self.operation.envelope().ok_or_else(damaged)
    }
    /// The version that an edit was made from; nothing for what is brought back.
    pub(super) fn base(&self) -> Option<Version> {
        self.operation.as_put().map(|put| put.base)
    }
    /// The header, which was checked before it was signed.
    pub(super) fn header(&self) -> Result<Header, TablesError> {
        codec::decode(&self.envelope()?.header)
            .map_err(|error| TablesError::Damaged { place: "a signed batch".into(), why: error.to_string() })
    }
    pub(super) fn key(&self) -> Result<RecordKey, TablesError> {
        self.header().map(|header| header.key())
    }
}

/// A signed batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxBatch {
    /// Who signed it: this device, or the one that this profile was before it enrolled anew.
    pub device: DeviceId,
    /// Its number.
    pub device_seq: DeviceSeq,
    /// The batch that it follows; zero for none.
    pub prev_hash: Hash,
    /// The statement's hash: its name.
    pub hash: Hash,
    /// The statement and its signature.
    pub signed: Signed,
    /// In order: of each record one, or an edit that yields and what it yields to, next to each other; or one re-wrap.
    pub made: Vec<Made>,
    /// What is known of it.
    pub state: BatchState,
}

impl OutboxBatch {
    /// The operations as they are pushed.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.made.iter().map(|made| made.operation.clone()).collect()
    }

    /// Those that write a record, in order.
    pub(super) fn writes(&self) -> impl DoubleEndedIterator<Item = &Made> {
        self.made.iter().filter(|made| made.operation.envelope().is_some())
    }

    /// The new wraps that it is, if it is that.
    pub(super) fn rewrap(&self) -> Option<&Rewrap> {
        self.made.iter().find_map(|made| made.operation.as_rewrap())
    }
}

/// Why there is no batch to send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutgoingError {
    /// The keys can't be used.
    #[error("can't seal: {0}")]
    Seal(String),
    /// What the sealer gave is not what it was asked for, or its signature does not verify: it is not sent.
    #[error("a batch of our own does not verify: {0}")]
    Unsound(String),
    /// The tables did not answer.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

/// Bytes that count and are neither operations nor hashes: lengths, statement fields, signature, each at its longest.
pub(super) const FIXED_BYTES: usize = 192;
/// A hash in a statement, as encoded.
pub(super) const HASH_BYTES: usize = Hash::LENGTH + 2;
/// Left free below `PUSH_BYTES_MAX`, so that nobody's way of counting makes a signed batch one that can't be pushed.
pub(super) const MARGIN_BYTES: usize = 64;
const _: () = assert!(FIXED_BYTES + MARGIN_BYTES + BODY_BYTES_MAX * 2 < PUSH_BYTES_MAX);

impl<T: Tables> Replica<'_, T> {
    /// The batch to push now: the unanswered one as it is, else a new one of what was lost, else of the waiting edits; nothing when there
    /// are none, when this device was revoked, or while devices are to be revoked again.
    pub fn outgoing(&mut self, sealer: &impl Sealer) -> Result<Option<OutboxBatch>, OutgoingError> {
        let roster = self.roster()?;
        // Keys that are missing are fetched first; a log that was led back gets nothing.
        if roster.keyring().epoch > sealer.sealing_epoch() || is_behind(&roster, self.me) {
            return Ok(None);
        }
        if let Some(batch) = self.open_batch()? {
            return Ok(Some(batch));
        }
        if !self.may_send(&roster)? {
            return Ok(None);
        }
        let marks = self.tables.marks()?;
        let device_seq = marks.highest_signed.next();
        // What stands in the log is known once the snapshot is complete.
        let is_read = marks.snapshot.is_none() && marks.cursor.seq > Seq::ZERO;
        let (lost, mut made) = if is_read { self.adoptable()? } else { (Vec::new(), Vec::new()) };
        let mut edits = Vec::new();
        if made.is_empty() {
            (edits, made) = self.seal_waiting(sealer, device_seq)?;
        }
        if made.is_empty() {
            return Ok(None);
        }
        self.note_adopting(lost, device_seq)?;
        for mut edit in edits {
            edit.state = EditState::Signed(device_seq);
            self.tables.put_edit(&edit)?;
        }
        self.sign_next(sealer, made).map(Some)
    }

    /// Signs what is the device's next push, and keeps it.
    pub(super) fn sign_next(&mut self, sealer: &impl Sealer, made: Vec<Made>) -> Result<OutboxBatch, OutgoingError> {
        let mut marks = self.tables.marks()?;
        let device_seq = marks.highest_signed.next();
        let prev_hash = marks.last_committed.map_or_else(Hash::default, |last| last.hash);
        let batch = self.sign(sealer, device_seq, prev_hash, made)?;
        marks.highest_signed = device_seq;
        self.tables.put_batch(&batch)?;
        self.tables.set_marks(&marks)?;
        Ok(batch)
    }

    /// Not once it was revoked: its edits wait for the device that this profile becomes. Nor while devices are to be revoked again.
    pub(super) fn may_send(&self, roster: &Roster) -> Result<bool, TablesError> {
        let is_revoked = matches!(roster.standing(self.me.device), Standing::Revoked(_));
        Ok(!is_revoked && !self.is_revoked_before()? && self.to_revoke()?.is_empty())
    }

    /// This device's unanswered batch.
    pub(super) fn open_batch(&self) -> Result<Option<OutboxBatch>, TablesError> {
        let open = self.tables.batches()?.into_iter().find(|(device, _, state)| *device == self.me.device && *state == BatchState::Open);
        open.map_or(Ok(None), |(device, device_seq, _)| self.tables.batch(device, device_seq))
    }

    fn seal_waiting(&mut self, sealer: &impl Sealer, device_seq: DeviceSeq) -> Result<(Vec<Edit>, Vec<Made>), OutgoingError> {
        let (mut edits, mut made, mut after) = (Vec::new(), Vec::new(), EditId::default());
        let mut bytes = FIXED_BYTES + MARGIN_BYTES;
        while made.len() < PUSH_OPERATIONS_MAX {
            let waiting = self.tables.waiting(after, PUSH_OPERATIONS_MAX - made.len())?;
            let Some(last) = waiting.last() else { break };
            after = last.id;
            for edit in waiting {
                // It was made from a version that is to be brought back first.
                if self.is_restoring(&edit.key)? {
                    continue;
                }
                let sealed = self.seal_edit(sealer, device_seq, &edit)?;
                if sealed.is_empty() {
                    continue;
                }
                bytes += sealed.iter().map(|made| codec::encode(&made.operation).len() + HASH_BYTES).sum::<usize>();
                if bytes > PUSH_BYTES_MAX || made.len() + sealed.len() > PUSH_OPERATIONS_MAX {
                    return Ok((edits, made));
                }
                made.extend(sealed);
                edits.push(edit);
            }
        }
        Ok((edits, made))
    }

    /// Seals one edit, and above one that yields what it yields to. One that can't be a record is parked, so that it blocks nothing.
    fn seal_edit(&mut self, sealer: &impl Sealer, device_seq: DeviceSeq, edit: &Edit) -> Result<Vec<Made>, OutgoingError> {
        let held = self.tables.record(&edit.key)?;
        if held.as_ref().map_or_else(Default::default, |record| (record.version, record.hash)) != (edit.base, edit.parent) {
            return Err(OutgoingError::Unsound(format!("the edit of {} is not made from the version held", edit.key)));
        }
        let draft = Draft {
            log: self.me.log,
            key: &edit.key,
            version: edit.base.next(),
            parent: edit.parent,
            device: self.me.device,
            device_seq,
            hlc: edit.hlc,
            content: &edit.content,
        };
        let mut made = Vec::with_capacity(2);
        match seal(sealer, &draft)? {
            Ok(operation) => made.push(Made { operation, content: edit.content.clone() }),
            Err(code) => return Ok(self.park(edit, Reason::Refused(code)).map(|()| Vec::new())?),
        }
        if let Some(winner) = held.filter(|_| edit.yields) {
            let parent = made.iter().map(|made| made.operation.hash()).next_back().unwrap_or_default();
            let draft = Draft { version: draft.version.next(), parent, hlc: winner.hlc, content: &winner.content, ..draft };
            match seal(sealer, &draft)? {
                Ok(operation) => made.push(Made { operation, content: winner.content.clone() }),
                Err(code) => return Ok(self.park(edit, Reason::Refused(code)).map(|()| Vec::new())?),
            }
        }
        Ok(made)
    }

    pub(super) fn park(&mut self, edit: &Edit, reason: Reason) -> Result<(), TablesError> {
        self.tables.put_edit(&Edit { state: EditState::Parked(reason), yields: false, ..edit.clone() })
    }

    fn sign(&self, sealer: &impl Sealer, device_seq: DeviceSeq, prev_hash: Hash, made: Vec<Made>) -> Result<OutboxBatch, OutgoingError> {
        let statement = BatchStatement {
            format: statement::FORMAT,
            log: self.me.log,
            device: self.me.device,
            device_seq,
            prev_hash,
            envelopes: made.iter().map(|made| made.operation.stated_hash()).collect(),
            seen: Vec::new(),
        };
        let bytes = codec::encode(&statement);
        let signature = sealer.sign(&[CONTEXT_BATCH, &bytes].concat());
        let signed = Signed { statement: bytes.into(), signature };
        if verify::statement(&self.me.signing, CONTEXT_BATCH, &signed).is_err() {
            return Err(OutgoingError::Unsound("the signature is not by this device's key".into()));
        }
        Ok(OutboxBatch { device: self.me.device, device_seq, prev_hash, hash: signed.hash(), signed, made, state: BatchState::Open })
    }
}

/// One version as an operation, or why its content can't be one.
fn seal(sealer: &impl Sealer, draft: &Draft<'_>) -> Result<Result<Operation, ErrorCode>, OutgoingError> {
    match sealer.seal(draft) {
        Ok(envelope) if envelope.body.len() <= BODY_BYTES_MAX => {
            check_sealed(draft, &envelope).map_err(OutgoingError::Unsound)?;
            Ok(Ok(Put { base: Version(draft.version.0.saturating_sub(1)), envelope }.into()))
        }
        Ok(_) => Ok(Err(ErrorCode::BodyTooLarge)),
        Err(SealError::Unfit { code, .. }) => Ok(Err(code)),
        Err(SealError::Failed(why)) => Err(OutgoingError::Seal(why)),
    }
}

/// Checks that an envelope says what was asked for: a wrong one would be fixed by the signature for good.
fn check_sealed(draft: &Draft<'_>, envelope: &Envelope) -> Result<(), String> {
    let header = envelope.check().map_err(|error| format!("{}: {error}", ErrorCode::HeaderInvalid))?;
    let deleted = matches!(draft.content, Content::Deleted);
    let fits = header.log == draft.log
        && header.collection == draft.key.collection
        && header.record == draft.key.record
        && header.version == draft.version
        && header.parent == draft.parent
        && header.device == draft.device
        && header.device_seq == draft.device_seq
        && header.hlc == draft.hlc
        && header.is_tombstone() == deleted;
    if fits { Ok(()) } else { Err(format!("the header of {} is not what was asked for", draft.key)) }
}
