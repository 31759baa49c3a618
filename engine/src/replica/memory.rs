//! Tables as maps, for tests and simulation. A transaction is a clone: put it back to roll back.
//!
//! Never: more than [`Tables`] says.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::{CollectionName, DeviceId, DeviceSeq, ErrorCode, Hash, RecordKey, Seq, ShortHash, TimelineId};

use super::{
    BatchState, Content, Deleted, Edit, EditCounts, EditId, EditState, LastBatch, Lineage, Lost, LostId, LostState, Marks, OutboxBatch,
    Record, Tables, TablesError, Wrapped,
};

/// A replica's tables in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryTables {
    marks: Marks,
    records: BTreeMap<RecordKey, Record>,
    roster: BTreeMap<Seq, RosterRow>,
    last_batches: BTreeMap<DeviceId, LastBatch>,
    edits: BTreeMap<EditId, Edit>,
    batches: BTreeMap<(DeviceId, DeviceSeq), OutboxBatch>,
    lineages: BTreeMap<TimelineId, Lineage>,
    lost: BTreeMap<(RecordKey, Hash), Lost>,
    revoked_before: BTreeMap<DeviceId, Option<ErrorCode>>,
}

impl MemoryTables {
    /// Fresh ones.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// In order of id.
    fn lost_where(&self, wanted: impl Fn(&Lost) -> bool) -> Vec<Lost> {
        let mut lost: Vec<Lost> = self.lost.values().filter(|lost| wanted(lost)).cloned().collect();
        lost.sort_by_key(|lost| lost.id);
        lost
    }
}

fn wanted(key: &RecordKey, collection: Option<&CollectionName>, after: Option<&RecordKey>) -> bool {
    collection.is_none_or(|collection| key.collection == *collection) && after.is_none_or(|after| key > after)
}

impl Tables for MemoryTables {
    fn marks(&self) -> Result<Marks, TablesError> {
        Ok(self.marks.clone())
    }
    fn set_marks(&mut self, marks: &Marks) -> Result<(), TablesError> {
        self.marks = marks.clone();
        Ok(())
    }

    fn record(&self, key: &RecordKey) -> Result<Option<Record>, TablesError> {
        Ok(self.records.get(key).cloned())
    }
    fn record_at(&self, seq: Seq) -> Result<Option<Record>, TablesError> {
        Ok(self.records.values().find(|record| record.seq == seq).cloned())
    }
    fn put_record(&mut self, record: &Record) -> Result<(), TablesError> {
        self.records.insert(record.key.clone(), record.clone());
        Ok(())
    }
    fn records(&self, collection: Option<&CollectionName>, after: Option<&RecordKey>, count: usize) -> Result<Vec<Record>, TablesError> {
        Ok(self.records.values().filter(|record| wanted(&record.key, collection, after)).take(count).cloned().collect())
    }
    fn wrapped_below(&self, epoch: u64, count: usize) -> Result<Vec<Wrapped>, TablesError> {
        let is_below = |record: &&Record| record.envelope.key_epoch() < epoch && record.content != Content::Damaged;
        let mut below: Vec<&Record> = self.records.values().filter(is_below).collect();
        below.sort_by_key(|record| record.seq);
        Ok(below.into_iter().take(count).map(Record::wrapped).collect())
    }
    fn set_wrap(&mut self, key: &RecordKey, wrap: &Bytes) -> Result<(), TablesError> {
        if let Some(record) = self.records.get_mut(key) {
            record.envelope.wrap = wrap.clone();
        }
        Ok(())
    }
    fn damaged(&self) -> Result<u64, TablesError> {
        Ok(self.records.values().filter(|record| record.content == Content::Damaged).count() as u64)
    }
    fn live_bytes(&self) -> Result<u64, TablesError> {
        let live = self.records.values().filter(|record| record.content != Content::Deleted);
        Ok(live.map(|record| record.envelope.bytes()).sum())
    }

    fn records_above(&self, seq: Seq, count: usize) -> Result<Vec<Record>, TablesError> {
        let mut above: Vec<Record> = self.records.values().filter(|record| record.seq > seq).cloned().collect();
        above.sort_by_key(|record| record.seq);
        above.truncate(count);
        Ok(above)
    }
    fn remove_record(&mut self, key: &RecordKey) -> Result<(), TablesError> {
        self.records.remove(key);
        Ok(())
    }
    fn row_at_most(&self, seq: Seq) -> Result<Option<(Seq, ShortHash)>, TablesError> {
        let records = self.records.values().map(|record| (record.seq, record.hash.short()));
        let roster = self.roster.values().map(|row| (row.seq, row.change.signed().hash().short()));
        Ok(records.chain(roster).filter(|(at, _)| *at <= seq).max())
    }

    fn lineages(&self) -> Result<Vec<Lineage>, TablesError> {
        Ok(self.lineages.values().cloned().collect())
    }
    fn put_lineage(&mut self, lineage: &Lineage) -> Result<(), TablesError> {
        if let Some((last, _)) = lineage.last() {
            self.lineages.insert(*last, lineage.clone());
        }
        Ok(())
    }
    fn lost_of(&self, key: &RecordKey) -> Result<Vec<Lost>, TablesError> {
        Ok(self.lost_where(|lost| lost.record.key == *key))
    }
    fn put_lost(&mut self, lost: &Lost) -> Result<(), TablesError> {
        self.lost.insert((lost.record.key.clone(), lost.record.hash), lost.clone());
        Ok(())
    }
    fn remove_lost(&mut self, key: &RecordKey, hash: Hash) -> Result<(), TablesError> {
        self.lost.remove(&(key.clone(), hash));
        Ok(())
    }
    fn lost_waiting(&self, deleted: Deleted, after: LostId, count: usize) -> Result<Vec<Lost>, TablesError> {
        let deletes = |lost: &Lost| if lost.record.content == Content::Deleted { Deleted::Yes } else { Deleted::No };
        let mut lost = self.lost_where(|lost| lost.state == LostState::Waiting && lost.id > after && deletes(lost) == deleted);
        lost.truncate(count);
        Ok(lost)
    }
    fn lost_paused(&self, after: LostId, grows_max: u64, count: usize) -> Result<Vec<Lost>, TablesError> {
        let fits = |lost: &Lost| matches!(lost.state, LostState::Paused { grows } if lost.id > after && grows <= grows_max);
        let mut lost = self.lost_where(fits);
        lost.truncate(count);
        Ok(lost)
    }
    fn lost_refused(&self) -> Result<Vec<Lost>, TablesError> {
        let mut lost = self.lost_where(|lost| !lost.is_pending());
        lost.sort_by(|a, b| (&a.record.key, a.id).cmp(&(&b.record.key, b.id)));
        Ok(lost)
    }
    fn lost_keys(
        &self,
        collection: Option<&CollectionName>,
        after: Option<&RecordKey>,
        count: usize,
    ) -> Result<Vec<RecordKey>, TablesError> {
        let mut keys: Vec<RecordKey> = self.lost.keys().map(|(key, _)| key).filter(|key| wanted(key, collection, after)).cloned().collect();
        keys.dedup();
        keys.truncate(count);
        Ok(keys)
    }
    fn lower_forks(&mut self, fork: Seq) -> Result<(), TablesError> {
        self.lost.values_mut().for_each(|lost| lost.fork = lost.fork.min(fork));
        Ok(())
    }
    fn retry_refused_lost(&mut self) -> Result<(), TablesError> {
        self.lost.values_mut().filter(|lost| !lost.is_pending()).for_each(|lost| lost.state = LostState::Waiting);
        Ok(())
    }
    fn revoked_before(&self) -> Result<Vec<(DeviceId, Option<ErrorCode>)>, TablesError> {
        Ok(self.revoked_before.iter().map(|(device, given_up)| (*device, *given_up)).collect())
    }
    fn put_revoked_before(&mut self, device: DeviceId, given_up: Option<ErrorCode>) -> Result<(), TablesError> {
        self.revoked_before.insert(device, given_up);
        Ok(())
    }

    fn remove_roster_above(&mut self, seq: Seq) -> Result<(), TablesError> {
        self.roster.retain(|at, _| *at <= seq);
        Ok(())
    }
    fn clear_last_batches(&mut self) -> Result<(), TablesError> {
        self.last_batches.clear();
        Ok(())
    }
    fn roster(&self) -> Result<Vec<RosterRow>, TablesError> {
        Ok(self.roster.values().cloned().collect())
    }
    fn put_roster_row(&mut self, row: &RosterRow) -> Result<(), TablesError> {
        self.roster.insert(row.seq, row.clone());
        Ok(())
    }
    fn last_batch(&self, device: DeviceId) -> Result<Option<LastBatch>, TablesError> {
        Ok(self.last_batches.get(&device).copied())
    }
    fn set_last_batch(&mut self, device: DeviceId, last: LastBatch) -> Result<(), TablesError> {
        self.last_batches.insert(device, last);
        Ok(())
    }

    fn edits_of(&self, key: &RecordKey) -> Result<Vec<Edit>, TablesError> {
        Ok(self.edits.values().filter(|edit| edit.key == *key).cloned().collect())
    }
    fn put_edit(&mut self, edit: &Edit) -> Result<(), TablesError> {
        self.edits.insert(edit.id, edit.clone());
        Ok(())
    }
    fn remove_edit(&mut self, id: EditId) -> Result<(), TablesError> {
        self.edits.remove(&id);
        Ok(())
    }
    fn waiting(&self, after: EditId, count: usize) -> Result<Vec<Edit>, TablesError> {
        let waiting = self.edits.values().filter(|edit| edit.id > after && edit.state == EditState::Waiting);
        Ok(waiting.take(count).cloned().collect())
    }
    fn paused(&self, after: EditId, grows_max: u64, count: usize) -> Result<Vec<Edit>, TablesError> {
        let fits = |edit: &&Edit| matches!(edit.state, EditState::Paused { grows } if edit.id > after && grows <= grows_max);
        Ok(self.edits.values().filter(fits).take(count).cloned().collect())
    }
    fn parked(&self) -> Result<Vec<Edit>, TablesError> {
        let mut parked: Vec<Edit> = self.edits.values().filter(|edit| matches!(edit.state, EditState::Parked(_))).cloned().collect();
        parked.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(parked)
    }
    fn edits(&self, collection: Option<&CollectionName>, after: Option<&RecordKey>, count: usize) -> Result<Vec<Edit>, TablesError> {
        let mut edits: Vec<Edit> = self.edits.values().filter(|edit| wanted(&edit.key, collection, after)).cloned().collect();
        edits.sort_by(|a, b| (&a.key, a.id).cmp(&(&b.key, b.id)));
        edits.truncate(count);
        Ok(edits)
    }
    fn edit_counts(&self) -> Result<EditCounts, TablesError> {
        let mut counts = EditCounts::default();
        for edit in self.edits.values() {
            match edit.state {
                EditState::Waiting => counts.waiting += 1,
                EditState::Signed(_) => counts.signed += 1,
                EditState::Paused { .. } => counts.paused += 1,
                EditState::Parked(_) => counts.parked += 1,
            }
        }
        for lost in self.lost.values() {
            match lost.state {
                LostState::Waiting | LostState::Signed(_) => counts.lost += 1,
                LostState::Paused { .. } => counts.lost_paused += 1,
                LostState::Refused(_) => counts.lost_refused += 1,
            }
        }
        Ok(counts)
    }

    fn batch(&self, device: DeviceId, device_seq: DeviceSeq) -> Result<Option<OutboxBatch>, TablesError> {
        Ok(self.batches.get(&(device, device_seq)).cloned())
    }
    fn put_batch(&mut self, batch: &OutboxBatch) -> Result<(), TablesError> {
        self.batches.insert((batch.device, batch.device_seq), batch.clone());
        Ok(())
    }
    fn batches(&self) -> Result<Vec<(DeviceId, DeviceSeq, BatchState)>, TablesError> {
        Ok(self.batches.values().map(|batch| (batch.device, batch.device_seq, batch.state)).collect())
    }
    fn set_batch_state(&mut self, device: DeviceId, device_seq: DeviceSeq, state: BatchState) -> Result<(), TablesError> {
        if let Some(batch) = self.batches.get_mut(&(device, device_seq)) {
            batch.state = state;
        }
        Ok(())
    }
    fn remove_batch(&mut self, device: DeviceId, device_seq: DeviceSeq) -> Result<(), TablesError> {
        self.batches.remove(&(device, device_seq));
        Ok(())
    }
}
