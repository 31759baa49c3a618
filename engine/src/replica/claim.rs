//! What the answer to a claim says of the batches that this device signed.
//!
//! Never: a new batch while an older one might still commit before it.

use cloudsync_protocol::Seq;
use cloudsync_protocol::error::LastPush;

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
    /// The tables did not answer.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

impl<T: Tables> Replica<'_, T> {
    /// Takes in `claimed`, or the `last` of a `settled` or `chain_moved`: that batch is committed, lower ones never will
    /// be, a higher one is sent as it is if it follows that batch, else its edits are batched anew.
    ///
    /// An answer that is older than what is known by now (another process of the profile got further) changes nothing.
    pub fn claimed(&mut self, last: LastPush) -> Result<ClaimOutcome, ClaimError> {
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
}
