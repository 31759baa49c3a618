//! What a device's revocation says of the batches that it signed here: nothing of it can commit any more.
//!
//! Never: an edit lost, or one that was committed made again.

use std::collections::BTreeSet;

use cloudsync_protocol::{DeviceId, DeviceSeq, Hash, Version};

use super::settle::Verdict;
use super::{BatchState, OutboxBatch, Replica, Tables, TablesError};

impl<T: Tables> Replica<'_, T> {
    /// Settles what the outbox has of a device, once everything up to its revocation was read: its last push, and those that
    /// this follows, are committed; the edits of all others are kept, for whatever device this profile becomes.
    ///
    /// Where the revocation does not name the last push, it is the last one read.
    pub(super) fn settle_revoked(&mut self, device: DeviceId, last: Option<DeviceSeq>) -> Result<(), TablesError> {
        let read = self.tables.last_batch(device)?;
        let last = last.or(read.map(|read| read.device_seq)).unwrap_or_default();
        let read = read.filter(|read| read.device_seq == last).and_then(|read| read.hash);
        // The hash of the next lower committed batch, as far as it is known.
        let mut expected: Option<Hash> = read;
        let numbers: Vec<(DeviceSeq, BatchState)> =
            self.tables.batches()?.into_iter().filter(|(of, ..)| *of == device).map(|(_, device_seq, state)| (device_seq, state)).collect();
        for (device_seq, state) in numbers.into_iter().rev() {
            let Some(batch) = self.tables.batch(device, device_seq)? else { continue };
            let is_committed = match state {
                BatchState::Committed { .. } => true,
                BatchState::Open | BatchState::Closed => {
                    let in_chain = expected.map_or(device_seq == last, |expected| expected == batch.hash);
                    device_seq <= last && in_chain && self.is_in_log(&batch)?
                }
            };
            if is_committed {
                expected = Some(batch.prev_hash);
            }
            match state {
                BatchState::Committed { .. } => {}
                BatchState::Open | BatchState::Closed if is_committed => self.end(&batch)?,
                BatchState::Open => self.close(&batch, |_| Verdict::Again)?,
                BatchState::Closed => {}
            }
        }
        Ok(())
    }

    /// Whether every version of a batch is the record's own, or was followed by another.
    fn is_in_log(&self, batch: &OutboxBatch) -> Result<bool, TablesError> {
        for made in batch.writes() {
            let header = made.header()?;
            let held = self.tables.record(&header.key())?.map_or((Version::NONE, Hash::default()), |held| (held.version, held.hash));
            if held.0 < header.version || (held.0 == header.version && held.1 != made.operation.hash()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends the edits of a batch that committed, at numbers that nobody said; its rows came with a snapshot.
    fn end(&mut self, batch: &OutboxBatch) -> Result<(), TablesError> {
        self.tables.remove_batch(batch.device, batch.device_seq)?;
        let mut keys = BTreeSet::new();
        for made in batch.writes() {
            self.done(made)?;
            if let Some(record) = self.tables.record(&made.key()?)? {
                self.is_back(&record)?;
                keys.insert(record.key);
            }
        }
        self.reconcile_all(keys)
    }
}
