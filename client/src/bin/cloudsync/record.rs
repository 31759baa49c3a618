//! Records and edits as they are shown. The names of the JSON fields are stable: see `docs/cli.md`.
//!
//! Never: a name that changes, or a field of another meaning.

use cloudsync_client::sdk::DeviceInfo;
use cloudsync_engine::replica::{Change, Conflict, Content, LostConflict, Pending, Reason, Shown};
use cloudsync_protocol::{CollectionName, RecordId, RecordKey};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args;
use crate::failure::{Failure, FailureJson};
use crate::value;

/// A record.
#[derive(Debug, Serialize)]
pub(crate) struct RecordJson {
    pub(crate) collection: String,
    pub(crate) id: String,
    /// The committed version that is held; 0 when there is none.
    pub(crate) version: u64,
    pub(crate) deleted: bool,
    pub(crate) value: Box<RawValue>,
    /// The version does not open: it was made with other keys, or wrongly.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) damaged: bool,
    /// It is this device's edit, not committed yet.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) pending: bool,
    /// There is a parked edit of it, which is not shown here.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) conflict: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

pub(crate) fn key(record: &args::Record) -> Result<RecordKey, Failure> {
    let collection = CollectionName::new(record.collection.as_str()).map_err(Failure::usage)?;
    let id = RecordId::new(record.id.as_str()).map_err(Failure::usage)?;
    Ok(RecordKey { collection, record: id })
}

impl RecordJson {
    pub(crate) fn new(key: &RecordKey, version: u64, content: &Content) -> Self {
        Self {
            collection: key.collection.to_string(),
            id: key.record.to_string(),
            version,
            deleted: *content == Content::Deleted,
            value: value::json(content),
            damaged: *content == Content::Damaged,
            pending: false,
            conflict: false,
        }
    }

    pub(crate) fn shown(shown: &Shown) -> Self {
        let pending = shown.pending != Pending::Committed;
        Self { pending, conflict: shown.conflict.is_some(), ..Self::new(&shown.key, shown.version.0, &shown.content) }
    }

    pub(crate) const NAMES: [&'static str; 5] = ["collection", "id", "version", "state", "value"];

    pub(crate) fn row(&self) -> Vec<String> {
        let states = [(self.deleted, "deleted"), (self.damaged, "damaged"), (self.pending, "pending"), (self.conflict, "conflict")];
        let states: Vec<&str> = states.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name).collect();
        vec![self.collection.clone(), self.id.clone(), self.version.to_string(), states.join(","), self.value.get().to_owned()]
    }
}

/// What came of a `put` or `delete`.
#[derive(Debug, Serialize)]
pub(crate) struct EditJson<'a> {
    #[serde(flatten)]
    pub(crate) record: RecordJson,
    pub(crate) acknowledged: bool,
    /// It is in history, below a later edit of another device, which is current at that version.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) yielded: bool,
    /// Why the server took nothing, where it is to be tried later: `store_full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<FailureJson<'a>>,
}

/// What `watch` shows.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeJson {
    pub(crate) seq: u64,
    #[serde(flatten)]
    pub(crate) record: RecordJson,
    pub(crate) device: String,
    pub(crate) device_id: String,
}

impl ChangeJson {
    pub(crate) fn new(change: &Change, device: String) -> Self {
        let record = RecordJson::new(&change.key, change.version.0, &change.content);
        Self { seq: change.seq.0, record, device, device_id: change.device.to_string() }
    }

    pub(crate) fn row(&self) -> Vec<String> {
        let mut row = vec![self.seq.to_string(), self.device.clone()];
        row.extend(self.record.row());
        row
    }
}

/// One side of a conflict.
#[derive(Debug, Serialize)]
pub(crate) struct SideJson {
    pub(crate) version: u64,
    pub(crate) deleted: bool,
    pub(crate) value: Box<RawValue>,
}

impl SideJson {
    /// The value, or that it is deleted: a text value has quotes around it.
    fn words(&self) -> &str {
        if self.deleted { "deleted" } else { self.value.get() }
    }
}

/// A conflict.
#[derive(Debug, Serialize)]
pub(crate) struct ConflictJson {
    pub(crate) collection: String,
    pub(crate) id: String,
    /// `stale`, or why the server refuses the edit.
    pub(crate) reason: &'static str,
    /// This device's edit, with the version that it was made from.
    pub(crate) mine: SideJson,
    /// What the record says; nothing when it never was committed.
    pub(crate) current: Option<SideJson>,
    /// Of a version that was committed and lost: its hash, which `conflicts drop --lost` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<String>,
    /// Why it can't be brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'static str>,
}

/// An edit that was given up, with the version that it was made from.
#[derive(Debug, Serialize)]
pub(crate) struct DroppedJson {
    #[serde(flatten)]
    pub(crate) record: RecordJson,
    /// What the record says; nothing when it never was committed.
    pub(crate) current: Option<SideJson>,
}

impl DroppedJson {
    pub(crate) fn new(conflict: &Conflict) -> Self {
        let mine = &conflict.mine;
        let current = conflict.current.as_ref().map(|record| side(record.version.0, &record.content));
        Self { record: RecordJson::new(&mine.key, mine.base.0, &mine.content), current }
    }

    pub(crate) fn lost(conflict: &LostConflict) -> Self {
        let record = &conflict.lost.record;
        let current = conflict.current.as_ref().map(|record| side(record.version.0, &record.content));
        Self { record: RecordJson::new(&record.key, record.version.0, &record.content), current }
    }
}

fn side(version: u64, content: &Content) -> SideJson {
    SideJson { version, deleted: *content == Content::Deleted, value: value::json(content) }
}

impl ConflictJson {
    pub(crate) fn new(conflict: &Conflict) -> Self {
        let reason = match conflict.reason {
            Reason::Stale => "stale",
            Reason::Refused(code) => code.name(),
        };
        Self {
            collection: conflict.mine.key.collection.to_string(),
            id: conflict.mine.key.record.to_string(),
            reason,
            mine: side(conflict.mine.base.0, &conflict.mine.content),
            current: conflict.current.as_ref().map(|current| side(current.version.0, &current.content)),
            lost: None,
            code: None,
        }
    }

    pub(crate) fn lost(conflict: &LostConflict) -> Self {
        let record = &conflict.lost.record;
        Self {
            collection: record.key.collection.to_string(),
            id: record.key.record.to_string(),
            reason: "lost",
            mine: side(record.version.0, &record.content),
            current: conflict.current.as_ref().map(|current| side(current.version.0, &current.content)),
            lost: Some(record.hash.to_string()),
            code: Some(conflict.code.name()),
        }
    }

    pub(crate) const NAMES: [&'static str; 5] = ["collection", "id", "reason", "mine", "current"];

    pub(crate) fn row(&self) -> Vec<String> {
        let current = self.current.as_ref().map_or("-", SideJson::words);
        vec![self.collection.clone(), self.id.clone(), self.reason.to_owned(), self.mine.words().to_owned(), current.to_owned()]
    }
}

/// A device.
#[derive(Debug, Serialize)]
pub(crate) struct DeviceJson {
    pub(crate) device: String,
    pub(crate) device_id: String,
    /// Whether it is this one.
    pub(crate) own: bool,
    pub(crate) revoked: bool,
    pub(crate) enrolled_seq: u64,
    pub(crate) revoked_seq: Option<u64>,
}

impl DeviceJson {
    pub(crate) fn new(device: &DeviceInfo) -> Self {
        Self {
            device: device.name.clone(),
            device_id: device.id.to_string(),
            own: device.own,
            revoked: device.revoked.is_some(),
            enrolled_seq: device.enrolled.0,
            revoked_seq: device.revoked.map(|seq| seq.0),
        }
    }

    pub(crate) const NAMES: [&'static str; 3] = ["device", "id", "state"];

    pub(crate) fn row(&self) -> Vec<String> {
        let state = match (self.own, self.revoked) {
            (true, false) => "this device",
            (_, true) => "revoked",
            (false, false) => "enrolled",
        };
        vec![self.device.clone(), self.device_id.clone(), state.to_owned()]
    }
}
