//! Bringing back what a rewind lost: which versions go into a batch, and what an answer means for each.
//!
//! Never: two of one record in a batch, or the same again after it was found stale.

use std::collections::BTreeSet;

use cloudsync_protocol::entry::Adopt;
use cloudsync_protocol::limits::{PUSH_BYTES_MAX, PUSH_OPERATIONS_MAX};
use cloudsync_protocol::{DeviceSeq, ErrorCode, Operation, codec};

use super::lost::{Deleted, Judged, LOST_AT_A_TIME, Lost, LostId, LostState};
use super::outbox::{FIXED_BYTES, HASH_BYTES, MARGIN_BYTES};
use super::settle::Verdict;
use super::{Made, Reason, Replica, Tables, TablesError};

impl<T: Tables> Replica<'_, T> {
    /// What is brought back next, deletions first: else an older version that another device still has would stand again before.
    pub(super) fn adoptable(&mut self) -> Result<(Vec<Lost>, Vec<Made>), TablesError> {
        let (mut chosen, mut made, mut keys) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut bytes = FIXED_BYTES + MARGIN_BYTES;
        for deleted in [Deleted::Yes, Deleted::No] {
            let mut after = LostId::default();
            loop {
                let page = self.tables.lost_waiting(deleted, after, LOST_AT_A_TIME)?;
                let Some(last) = page.last() else { break };
                after = last.id;
                for lost in page {
                    let Some(operation) = self.adopt(&lost)? else { continue };
                    if !keys.insert(lost.record.key.clone()) {
                        continue;
                    }
                    bytes += codec::encode(&operation).len() + HASH_BYTES;
                    if bytes > PUSH_BYTES_MAX || made.len() == PUSH_OPERATIONS_MAX {
                        return Ok((chosen, made));
                    }
                    made.push(Made { operation, content: lost.record.content.clone() });
                    chosen.push(lost);
                }
            }
        }
        Ok((chosen, made))
    }

    /// Nothing for one that has to wait, or that is settled by this.
    fn adopt(&mut self, lost: &Lost) -> Result<Option<Operation>, TablesError> {
        // Of several of one record the one that was lost last comes first.
        let of_record = self.tables.lost_of(&lost.record.key)?;
        if Self::restoring(&of_record).is_some_and(|last| last.id != lost.id) {
            return Ok(None);
        }
        let current = self.tables.record(&lost.record.key)?;
        match self.judge(lost, current.as_ref())? {
            Judged::Over(over) => Ok(Some(Adopt { over, origin: lost.origin, envelope: lost.record.envelope.clone() }.into())),
            Judged::Ask => Ok(None),
            Judged::Gone => self.forget(lost).map(|()| None),
            Judged::Stale => self.refuse_lost(lost, ErrorCode::Stale).map(|()| None),
        }
    }

    pub(super) fn note_adopting(&mut self, chosen: Vec<Lost>, device_seq: DeviceSeq) -> Result<(), TablesError> {
        for lost in chosen {
            self.tables.put_lost(&Lost { state: LostState::Signed(device_seq), ..lost })?;
        }
        Ok(())
    }

    /// Its batch will not commit, as far as is known.
    pub(super) fn release(&mut self, made: &Made, device_seq: DeviceSeq, verdict: Verdict) -> Result<(), TablesError> {
        let Operation::Adopt(adopt) = &made.operation else { return Ok(()) };
        let (key, hash) = (made.key()?, made.operation.hash());
        let signed = |lost: &Lost| lost.record.hash == hash && lost.state == LostState::Signed(device_seq);
        let Some(lost) = self.tables.lost_of(&key)?.into_iter().find(signed) else { return Ok(()) };
        match verdict {
            Verdict::Again => self.tables.put_lost(&Lost { state: LostState::Waiting, ..lost }),
            Verdict::Pause(grows) => self.pause_lost(&lost, grows),
            // Its stamp is not asked for.
            Verdict::Ahead(_) => self.refuse_lost(&lost, ErrorCode::ClockAhead),
            Verdict::Park(Reason::Refused(code)) => self.refuse_lost(&lost, code),
            Verdict::Park(Reason::Stale) => {
                let current = self.tables.record(&key)?;
                match self.judge(&lost, current.as_ref())? {
                    // The server says otherwise, and would for ever.
                    Judged::Over(over) if over == adopt.over => self.refuse_lost(&lost, ErrorCode::Stale),
                    Judged::Over(_) | Judged::Ask | Judged::Gone | Judged::Stale => {
                        self.tables.put_lost(&Lost { state: LostState::Waiting, ..lost })
                    }
                }
            }
        }
    }
}
