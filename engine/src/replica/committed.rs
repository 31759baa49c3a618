//! What follows when one of this profile's own batches is known committed, however that became known.
//!
//! Never: the cursor; only pages and events move it.

use std::collections::BTreeSet;

use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::{DeviceSeq, Hash, Seq};

use super::settle::Verdict;
use super::{BatchState, OutboxBatch, Record, Replica, Tables, TablesError};

impl<T: Tables> Replica<'_, T> {
    /// Writes the batch's rows, ends its edits, and closes the batch that counted on another predecessor.
    pub(super) fn commit(&mut self, batch: &OutboxBatch, from: Seq) -> Result<(), TablesError> {
        if matches!(batch.state, BatchState::Committed { .. }) {
            return Ok(());
        }
        let to = from.plus(batch.made.len() as u64);
        self.tables.set_batch_state(batch.device, batch.device_seq, BatchState::Committed { from, to })?;
        let (mut marks, mut keys) = (self.tables.marks()?, BTreeSet::new());
        self.take_own_wraps(batch)?;
        for (made, number) in batch.writes().zip(1..) {
            let written = (made.envelope()?, made.operation.origin());
            let record = Record::new(&made.header()?, written, from.plus(number), made.content.clone());
            self.done(made)?;
            match self.tables.record(&record.key)? {
                Some(held) if held.seq > record.seq => marks.clock = marks.clock.max(record.hlc),
                held => {
                    marks.count(held.as_ref(), &record);
                    self.tables.put_record(&record)?;
                    self.is_back(&record)?;
                }
            }
            keys.insert(record.key);
        }
        self.tables.set_marks(&marks)?;
        self.reconcile_all(keys)?;
        if batch.device == self.me.device {
            self.committed_last(LastPush { device_seq: batch.device_seq, hash: batch.hash, seq: to })?;
        }
        self.wake()
    }

    /// Takes note of this device's last committed push, if that is news.
    pub(super) fn committed_last(&mut self, last: LastPush) -> Result<(), TablesError> {
        let mut marks = self.tables.marks()?;
        if marks.last_committed.is_none_or(|known| known.device_seq < last.device_seq) {
            marks.last_committed = Some(last);
            self.tables.set_marks(&marks)?;
            self.close_overtaken(last.device_seq, last.hash)?;
        }
        self.prune()
    }

    /// The unanswered batch can commit only after the device's last committed one.
    fn close_overtaken(&mut self, device_seq: DeviceSeq, hash: Hash) -> Result<(), TablesError> {
        match self.open_batch()? {
            Some(open) if open.device_seq < device_seq || open.prev_hash != hash => self.close(&open, |_| Verdict::Again),
            Some(_) | None => Ok(()),
        }
    }

    /// Forgets batches that can't matter any more: never to commit, or committed and read past.
    pub(super) fn prune(&mut self) -> Result<(), TablesError> {
        let marks = self.tables.marks()?;
        let Some(known) = marks.last_committed else { return Ok(()) };
        for (device, device_seq, state) in self.tables.batches()? {
            let is_own = device == self.me.device;
            let over = match state {
                BatchState::Open => false,
                BatchState::Closed if is_own => device_seq < known.device_seq,
                // Of the device that this profile was: once its last push was read, it is recognised or never will be.
                BatchState::Closed => self.roster()?.is_revoked_at(device, marks.cursor.seq),
                BatchState::Committed { to, .. } => (!is_own || device_seq < known.device_seq) && to <= marks.cursor.seq,
            };
            if over {
                self.tables.remove_batch(device, device_seq)?;
            }
        }
        Ok(())
    }
}
