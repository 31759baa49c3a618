//! What `status --check` says of a replica and of the server's records.
//!
//! Never: a difference counted and not named.

use cloudsync_client::sdk::{Checked, Difference};
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::output::{counted, visible};

/// Named in the message; all are in the object.
const NAMED_MAX: usize = 20;

/// What a comparison found.
#[derive(Debug, Serialize)]
pub(crate) struct CheckJson {
    /// The head that the server's records are of.
    seq: u64,
    /// Compared here, deleted ones too.
    records: u64,
    server_records: u64,
    differences: Vec<DifferenceJson>,
}

#[derive(Debug, Serialize)]
struct DifferenceJson {
    collection: String,
    id: String,
    /// `missing`, `extra`, `other` or `damaged`.
    difference: &'static str,
    /// The version here.
    version: Option<u64>,
    server_version: Option<u64>,
}

impl CheckJson {
    pub(crate) fn new(checked: &Checked) -> Self {
        let differences = checked.differences.iter().map(|(key, difference)| {
            let (version, server_version) = match *difference {
                Difference::Missing { theirs } => (None, Some(theirs.0)),
                Difference::Extra { ours } | Difference::Damaged { ours } => (Some(ours.0), None),
                Difference::Other { ours, theirs } => (Some(ours.0), Some(theirs.0)),
            };
            let (collection, id) = (key.collection.to_string(), key.record.to_string());
            DifferenceJson { collection, id, difference: difference.name(), version, server_version }
        });
        let differences = differences.collect();
        Self { seq: checked.seq.0, records: checked.records, server_records: checked.server_records, differences }
    }

    pub(crate) fn said(&self) -> String {
        let records = counted(self.records, "record");
        match self.differences.len() {
            0 => format!("{records} as the server holds them"),
            several => format!("{} of {records}", counted(several as u64, "difference")),
        }
    }
}

/// Why that is damage; nothing where there is no difference.
pub(crate) fn differs(checked: &Checked) -> Option<Failure> {
    if checked.differences.is_empty() {
        return None;
    }
    let named: Vec<String> = checked
        .differences
        .iter()
        .take(NAMED_MAX)
        .map(|(key, difference)| format!("{} ({})", visible(&key.to_string()), difference.name()))
        .collect();
    let more = checked.differences.len() - named.len();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let message = format!("the replica is not what the server holds: {}{more}", named.join(", "));
    let help = "send what is queued by `cloudsync sync`, then `cloudsync logout --discard` and log in again: the replica is read anew";
    Some(Failure::new(Exit::Damage, "replica_differs", message, help))
}
