//! Edits that this device made and that are not committed yet.
//!
//! A record has at most one signed edit, and at most one waiting or parked edit after it: a new edit of a record whose
//! edit is in no batch yet becomes one with it. A paused edit is its record's only one.
//!
//! Never: an edit that disappears. It is committed, settled by equal content, dropped by its user, or still here.

use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::{DeviceSeq, ErrorCode, Hash, RecordKey, Version};

use super::policy::{RESERVED_COLLECTION, is_reserved};
use super::{Content, Replica, Tables, TablesError};

/// Counts edits of a replica, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EditId(pub u64);

/// Why an edit is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The record has a newer version with other content.
    Stale,
    /// The server, or the sealer, refuses it.
    Refused(ErrorCode),
}

/// How far an edit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditState {
    /// In no batch.
    Waiting,
    /// In this device's signed batch of that number, which is not answered.
    Signed(DeviceSeq),
    /// The quota has no room for it: it waits for that, and goes by itself.
    Paused {
        /// By how many bytes its record would grow.
        grows: u64,
    },
    /// A conflict, for its user to settle.
    Parked(Reason),
}

/// One edit, or several of one record that became one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Its place in the queue: the first edit's that it took in.
    pub id: EditId,
    /// The newest edit's that it took in.
    pub last: EditId,
    /// The record.
    pub key: RecordKey,
    /// What the record is to say.
    pub content: Content,
    /// The version that it was made from; one more than the signed edit's base before it.
    pub base: Version,
    /// That version's envelope hash; zero for none. Base and parent are fixed by what was shown when the edit was made:
    /// nothing but an edit onto current, its own predecessor being committed, or its collection's policy changes them.
    pub parent: Hash,
    /// When it was made; zero for what was imported, which never goes over an edit.
    pub hlc: Hlc,
    /// How far it is.
    pub state: EditState,
    /// It lost to a later one, by its collection's policy: it goes into history, below that one again, and is not shown.
    pub yields: bool,
}

/// What an edit is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// What the device shows: the version that the replica holds, or its own edit before.
    Replica,
    /// The record's current version, settling a parked conflict of it.
    Current,
}

/// An edit as a user makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEdit {
    /// The record.
    pub key: RecordKey,
    /// What it is to say.
    pub content: Content,
    /// What it is made from.
    pub onto: Onto,
    /// By the server's clock as far as known, in milliseconds since the epoch.
    pub now_ms: u64,
}

/// Whether an edit has a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamped {
    /// Later than all that was seen.
    Now,
    /// Earlier than every edit.
    Never,
}

/// Why an edit is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The record has a parked conflict: edit onto current, or drop it.
    #[error("{key} has a parked conflict")]
    Conflicted { key: RecordKey },
    /// The collection has the account's own settings.
    #[error("collection {RESERVED_COLLECTION} is not for records")]
    Reserved,
    /// The tables did not answer.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

/// What has become of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// In no batch yet.
    Waiting,
    /// In a signed batch.
    Signed,
    /// It waits for room.
    Paused {
        /// By how many bytes its record would grow.
        grows: u64,
    },
    /// A conflict.
    Parked(Reason),
    /// Committed, settled by equal content, or dropped by its user.
    Gone,
}

impl<T: Tables> Replica<'_, T> {
    /// Queues an edit.
    pub fn edit(&mut self, new: NewEdit) -> Result<EditId, EditError> {
        if is_reserved(&new.key.collection) {
            return Err(EditError::Reserved);
        }
        self.queue(new, Stamped::Now)
    }

    /// Queues what comes from elsewhere: it adds what is not there, and where devices differ it goes over nobody's edit.
    pub fn import(&mut self, key: RecordKey, content: Content) -> Result<EditId, EditError> {
        if is_reserved(&key.collection) {
            return Err(EditError::Reserved);
        }
        self.queue(NewEdit { key, content, onto: Onto::Replica, now_ms: 0 }, Stamped::Never)
    }

    pub(super) fn queue(&mut self, new: NewEdit, stamped: Stamped) -> Result<EditId, EditError> {
        let mut marks = self.tables.marks()?;
        let id = EditId(marks.last_edit.0 + 1);
        marks.last_edit = id;
        let held = self.tables.record(&new.key)?;
        let lost = self.tables.lost_of(&new.key)?;
        // It is made from what is shown.
        let shown = Self::restoring(&lost).map(|lost| &lost.record).or(held.as_ref());
        let (base, parent) = shown.map_or_else(Default::default, |record| (record.version, record.hash));
        for lost in lost.iter().filter(|lost| !lost.is_pending()) {
            match new.onto {
                Onto::Replica => return Err(EditError::Conflicted { key: new.key }),
                Onto::Current => self.tables.remove_lost(&lost.record.key, lost.record.hash)?,
            }
        }
        let NewEdit { key, content, onto, now_ms } = new;
        let hlc = Hlc::default();
        let mut edit = Edit { id, last: id, key, content, base, parent, hlc, state: EditState::Waiting, yields: false };
        let (mut above, mut seen) = (None, marks.clock);
        for held in self.tables.edits_of(&edit.key)? {
            match held.state {
                EditState::Parked(_) if onto == Onto::Replica => return Err(EditError::Conflicted { key: edit.key }),
                EditState::Parked(_) => self.tables.remove_edit(held.id)?,
                EditState::Signed(device_seq) => above = Some(device_seq),
                // A paused one with this in it may fit: it waits for its turn again.
                EditState::Waiting | EditState::Paused { .. } => {
                    above = None;
                    (edit.id, edit.hlc) = (held.id, held.hlc);
                    // What yields is not shown: this was made from what is.
                    if !held.yields {
                        (edit.base, edit.parent) = (held.base, held.parent);
                    }
                }
            }
            // Also later than what it goes over here, whatever became of this machine's clock meanwhile.
            seen = seen.max(held.hlc);
        }
        if stamped == Stamped::Now {
            edit.hlc = seen.tick(now_ms);
        }
        if let Some(device_seq) = above {
            (edit.base, edit.parent) = self.last_in_batch(device_seq, &edit.key)?;
        }
        self.tables.put_edit(&edit)?;
        self.tables.set_marks(&marks)?;
        Ok(id)
    }

    /// What this device's signed edit of that record makes of it: known before it is committed.
    fn last_in_batch(&self, device_seq: DeviceSeq, key: &RecordKey) -> Result<(Version, Hash), TablesError> {
        let batch = self.tables.batch(self.me.device, device_seq)?;
        for made in batch.iter().flat_map(|batch| batch.writes().rev()) {
            let header = made.header()?;
            if header.key() == *key {
                return Ok((header.version, made.operation.hash()));
            }
        }
        Err(TablesError::Damaged { place: format!("batch {device_seq}"), why: format!("the signed edit of {key} is not in it") })
    }

    /// What has become of an edit. One that later edits of its record went over counts as done when those are.
    pub fn fate(&self, key: &RecordKey, id: EditId) -> Result<Fate, TablesError> {
        let edits = self.tables.edits_of(key)?;
        let fate = edits.iter().find(|edit| edit.id <= id && id <= edit.last).map_or(Fate::Gone, |edit| match edit.state {
            EditState::Waiting => Fate::Waiting,
            EditState::Signed(_) => Fate::Signed,
            EditState::Paused { grows } => Fate::Paused { grows },
            EditState::Parked(reason) => Fate::Parked(reason),
        });
        Ok(fate)
    }
}
