//! Tables as maps, for tests and simulation. A transaction is a clone: put it back to roll back.
//!
//! Never: more than [`Tables`] says.

use std::collections::BTreeMap;

use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::{CollectionName, DeviceId, DeviceSeq, RecordKey, Seq};

use super::{BatchState, Content, Edit, EditCounts, EditId, EditState, LastBatch, Marks, OutboxBatch, Record, Tables, TablesError};

/// A replica's tables in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryTables {
    marks: Marks,
    records: BTreeMap<RecordKey, Record>,
    roster: BTreeMap<Seq, RosterRow>,
    last_batches: BTreeMap<DeviceId, LastBatch>,
    edits: BTreeMap<EditId, Edit>,
    batches: BTreeMap<(DeviceId, DeviceSeq), OutboxBatch>,
}

impl MemoryTables {
    /// Fresh ones.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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
    fn damaged(&self) -> Result<u64, TablesError> {
        Ok(self.records.values().filter(|record| record.content == Content::Damaged).count() as u64)
    }
    fn live_bytes(&self) -> Result<u64, TablesError> {
        let live = self.records.values().filter(|record| record.content != Content::Deleted);
        Ok(live.map(|record| record.envelope.bytes()).sum())
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
