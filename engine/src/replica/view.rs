//! What the device would show its user: committed records with its own edits applied, conflicts only marked.
//!
//! Never: a parked edit shown as the record's value.

use std::collections::BTreeSet;

use cloudsync_protocol::{CollectionName, Cursor, RecordKey, Version};

use super::policy::is_reserved;
use super::{Content, Edit, EditCounts, EditState, Lost, Record, Replica, SnapshotProgress, Tables, TablesError, Usage};

/// Whether a value is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// It is.
    Committed,
    /// It is this device's edit; it becomes that version if nothing comes between.
    Edited {
        /// One more than its base.
        version: Version,
    },
    /// A rewind lost it, and this device brings it back.
    Restoring {
        /// As it was.
        version: Version,
    },
}

/// One record as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Names it.
    pub key: RecordKey,
    /// The committed version that the replica holds; 0 when there is none.
    pub version: Version,
    /// What it says, this device's edits applied.
    pub content: Content,
    /// Whether that is committed.
    pub pending: Pending,
    /// The parked edit of it, if there is one: not applied.
    pub conflict: Option<Edit>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// In key order, deleted ones included.
    pub records: Vec<Shown>,
    /// What to go on after; nothing when that was all.
    pub more: Option<RecordKey>,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How far the log was read.
    pub cursor: Cursor,
    /// A snapshot under way.
    pub snapshot: Option<SnapshotProgress>,
    /// Edits by state.
    pub edits: EditCounts,
    /// How full the quota is, as far as is known.
    pub usage: Option<Usage>,
    /// Records whose committed version does not open.
    pub damaged: u64,
}

impl<T: Tables> Replica<'_, T> {
    /// One record; nothing when it never was, neither here nor in the log. A conflict of a record that never was
    /// committed is in [`conflicts`](Self::conflicts) only.
    pub fn get(&self, key: &RecordKey) -> Result<Option<Shown>, TablesError> {
        let lost = self.tables.lost_of(key)?;
        Ok(shown(self.tables.record(key)?, Self::restoring(&lost), &self.tables.edits_of(key)?))
    }

    /// At most `count` records with a key after `after`, of one collection or all but the reserved one.
    pub fn list(&self, collection: Option<&CollectionName>, after: Option<&RecordKey>, count: usize) -> Result<Listing, TablesError> {
        let records = self.tables.records(collection, after, count)?;
        // At most two edits a record: twice as many are those of `count` records at least.
        let edited = self.tables.edits(collection, after, count.saturating_mul(2))?;
        let mut keys: Vec<RecordKey> = records.iter().map(|record| record.key.clone()).collect();
        keys.extend(edited.iter().map(|edit| edit.key.clone()));
        let lost: BTreeSet<RecordKey> = self.tables.lost_keys(collection, after, count)?.into_iter().collect();
        keys.extend(lost.iter().cloned());
        keys.sort();
        keys.dedup();
        keys.truncate(count);
        let more = if keys.len() == count { keys.last().cloned() } else { None };
        let mut list = Vec::with_capacity(keys.len());
        let (mut records, mut edited) = (records.into_iter().peekable(), edited.into_iter().peekable());
        for key in keys {
            let record = records.next_if(|record| record.key == key);
            let mut edits = Vec::new();
            while let Some(edit) = edited.next_if(|edit| edit.key == key) {
                edits.push(edit);
            }
            if collection.is_none() && is_reserved(&key.collection) {
                continue;
            }
            let lost = if lost.contains(&key) { self.tables.lost_of(&key)? } else { Vec::new() };
            list.extend(shown(record, Self::restoring(&lost), &edits));
        }
        Ok(Listing { records: list, more })
    }

    /// How things stand.
    pub fn status(&self) -> Result<Status, TablesError> {
        let marks = self.tables.marks()?;
        let (edits, damaged) = (self.tables.edit_counts()?, self.tables.damaged()?);
        Ok(Status { cursor: marks.cursor, snapshot: marks.snapshot, edits, usage: marks.usage, damaged })
    }
}

fn shown(record: Option<Record>, lost: Option<&Lost>, edits: &[Edit]) -> Option<Shown> {
    let conflict = edits.iter().find(|edit| matches!(edit.state, EditState::Parked(_))).cloned();
    let pending = edits.iter().rfind(|edit| !matches!(edit.state, EditState::Parked(_)) && !edit.yields);
    let version = record.as_ref().map_or(Version::NONE, |record| record.version);
    match (pending, lost, record) {
        (Some(edit), ..) => Some(Shown {
            key: edit.key.clone(),
            version,
            content: edit.content.clone(),
            pending: Pending::Edited { version: edit.base.next() },
            conflict,
        }),
        (None, Some(Lost { record: lost, .. }), _) => Some(Shown {
            key: lost.key.clone(),
            version,
            content: lost.content.clone(),
            pending: Pending::Restoring { version: lost.version },
            conflict,
        }),
        (None, None, Some(record)) => {
            Some(Shown { key: record.key, version, content: record.content, pending: Pending::Committed, conflict })
        }
        (None, None, None) => None,
    }
}
