//! What the answer to a claim says of the batches that this device signed.
//!
//! Never: a new batch while an older one might still commit before it.

use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::{DeviceSeq, Hash, Seq, TimelineId};

use super::settle::Verdict;
use super::{Replica, Tables, TablesError};

/// What to do after a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// Push what [`Replica::outgoing`] gives.
    Push,
    /// The log has a push of this device that these tables never signed: the profile was rolled back or copied. Enrol as a
    /// new device, then [`Replica::enrolled_anew`]; edits are kept.
    RolledBack {
        /// The push that is not ours.
        last: LastPush,
    },
}

/// Why a claim's answer was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The push is placed where it can't be.
    #[error("the device's last push is said to end at {seq}, and has {operations} operations")]
    Misplaced { seq: Seq, operations: usize },
    /// The session is of another timeline than the replica.
    #[error("the log was rewound")]
    Timeline,
    /// The tables did not answer.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

impl<T: Tables> Replica<'_, T> {
    /// Takes in `claimed`, or the `last` of a `settled` or `chain_moved`: that batch is committed, lower ones never will
    /// be, a higher one is sent as it is if it follows that batch, else its edits are batched anew.
    ///
    /// An answer that is older than what is known by now (another process of the profile got further) changes nothing.
    pub fn claimed(&mut self, timeline: TimelineId, last: LastPush) -> Result<ClaimOutcome, ClaimError> {
        self.is_ours(timeline)?.map_err(|_| ClaimError::Timeline)?;
        self.stands_at(last)
    }

    pub(super) fn stands_at(&mut self, last: LastPush) -> Result<ClaimOutcome, ClaimError> {
        if self.tables.marks()?.chain_anew {
            return self.stands_anew(last);
        }
        let known = self.tables.marks()?.last_committed;
        let (known_seq, known_hash) = known.map_or_else(Default::default, |known| (known.device_seq, known.hash));
        if last.device_seq < known_seq || (last.device_seq == known_seq && last.hash == known_hash) {
            return Ok(ClaimOutcome::Push);
        }
        match self.tables.batch(self.me.device, last.device_seq)? {
            Some(batch) if last.device_seq > known_seq && batch.hash == last.hash => {
                let operations = batch.made.len();
                let from = last.seq.0.checked_sub(operations as u64).map(Seq);
                self.commit(&batch, from.ok_or(ClaimError::Misplaced { seq: last.seq, operations })?)?;
                Ok(ClaimOutcome::Push)
            }
            Some(_) | None => Ok(ClaimOutcome::RolledBack { last }),
        }
    }

    /// After a rewind the chain stands where the log says, unless these tables never came so far.
    fn stands_anew(&mut self, last: LastPush) -> Result<ClaimOutcome, ClaimError> {
        let mut marks = self.tables.marks()?;
        let batch = self.tables.batch(self.me.device, last.device_seq)?;
        if last.device_seq > marks.highest_signed || batch.as_ref().is_some_and(|batch| batch.hash != last.hash) {
            return Ok(ClaimOutcome::RolledBack { last });
        }
        marks.chain_anew = false;
        self.tables.set_marks(&marks)?;
        if let Some(batch) = batch {
            let operations = batch.made.len();
            let from = last.seq.0.checked_sub(operations as u64).map(Seq);
            self.commit(&batch, from.ok_or(ClaimError::Misplaced { seq: last.seq, operations })?)?;
        }
        // One that was known committed before the rewind, and is left, is no news to the outbox; where the chain stands is.
        if last.device_seq > DeviceSeq(0) {
            self.committed_last(last)?;
        }
        let stands = self.tables.marks()?.last_committed.map_or_else(Hash::default, |known| known.hash);
        match self.open_batch()? {
            Some(open) if open.prev_hash != stands => self.close(&open, |_| Verdict::Again)?,
            Some(_) | None => {}
        }
        Ok(ClaimOutcome::Push)
    }
}
