//! What the answer to a claim says of the batches that this device signed.
//!
//! Never: a new batch while an older one might still commit before it.

use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::{Seq, TimelineId};

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
        match batch {
            Some(batch) => {
                let operations = batch.made.len();
                let from = last.seq.0.checked_sub(operations as u64).map(Seq);
                self.commit(&batch, from.ok_or(ClaimError::Misplaced { seq: last.seq, operations })?)?;
            }
            None => {
                marks.last_committed = Some(last).filter(|last| last.device_seq.0 > 0);
                self.tables.set_marks(&marks)?;
            }
        }
        match self.open_batch()? {
            Some(open) if open.prev_hash != last.hash => self.close(&open, |_| Verdict::Again)?,
            Some(_) | None => {}
        }
        Ok(ClaimOutcome::Push)
    }
}
