//! Whether a replica holds what the server holds: each record's version and hash, and whether the bytes here are whole.
//!
//! Never: a difference told that was only a commit on its way; what changed meanwhile is newer here, and not compared.

use std::collections::BTreeMap;

use cloudsync_engine::replica::{Content, Opener as _, Record, Tables as _};
use cloudsync_protocol::{Hash, RecordKey, Seq, Version};

use super::keys::DeviceSeal;
use super::{Error, Online};
use crate::connection;
use crate::replica::Access;

/// Records of one question to the tables.
const PAGE: usize = 500;

/// How a record here is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The server has it, the replica does not.
    Missing {
        /// The server's version.
        theirs: Version,
    },
    /// The replica has it, the server does not.
    Extra {
        /// The version here.
        ours: Version,
    },
    /// Another version, or one of other bytes.
    Other {
        /// The version here.
        ours: Version,
        /// The server's.
        theirs: Version,
    },
    /// What is stored here is not what its hash or its envelope says.
    Damaged {
        /// The version here.
        ours: Version,
    },
}

impl Difference {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Extra { .. } => "extra",
            Self::Other { .. } => "other",
            Self::Damaged { .. } => "damaged",
        }
    }
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// The head that the server's records are of.
    pub seq: Seq,
    /// Records of the replica that were looked at, deleted ones too.
    pub records: u64,
    /// Those of the server.
    pub server_records: u64,
    /// What is not as it should be, by record.
    pub differences: BTreeMap<RecordKey, Difference>,
}

/// A record as the server has it.
#[derive(Debug, Clone, Copy)]
struct Theirs {
    version: Version,
    seq: Seq,
    hash: Hash,
}

impl Online {
    /// Reads every record's current version from the server and compares the replica with it.
    pub async fn check(&mut self) -> Result<Checked, Error> {
        // Where the server was rewound, what follows from that is done first.
        self.catch_up().await?;
        let (start, mut theirs) = self.server_records().await?;
        let mut checked = Checked { seq: start, server_records: theirs.len() as u64, ..Checked::default() };
        // Whatever was committed up to now is here afterwards.
        self.catch_up().await?;
        let client = self.client.clone();
        let shared = std::sync::Arc::clone(&client.shared);
        client
            .tables(Access::Read, move |tables| {
                let keys = shared.keys.fresh(tables)?;
                let mut after = None;
                loop {
                    let page = tables.records(None, after.as_ref(), PAGE)?;
                    for record in &page {
                        checked.records += 1;
                        let theirs = theirs.remove(&record.key);
                        let found = if is_whole(record, &DeviceSeal(&keys)) {
                            difference(record, theirs, start)
                        } else {
                            Some(Difference::Damaged { ours: record.version })
                        };
                        checked.differences.extend(found.map(|difference| (record.key.clone(), difference)));
                    }
                    after = page.last().map(|record| record.key.clone());
                    if page.len() < PAGE {
                        break;
                    }
                }
                let missing = theirs.into_iter().map(|(key, theirs)| (key, Difference::Missing { theirs: theirs.version }));
                checked.differences.extend(missing);
                Ok::<_, Error>(checked)
            })
            .await
    }

    /// Every record that the server has, and the head that it began to give them at.
    async fn server_records(&self) -> Result<(Seq, BTreeMap<RecordKey, Theirs>), Error> {
        let (mut start, mut theirs) = (Seq::ZERO, BTreeMap::new());
        let mut pages = self.session.snapshot_pages(None);
        while let Some(page) = pages.next().await {
            let page = page?;
            start = page.start.seq;
            for row in page.rows {
                let header = row.envelope.check().map_err(|error| connection::Error::Protocol(error.to_string()))?;
                theirs.insert(header.key(), Theirs { version: header.version, seq: row.seq, hash: row.envelope.hash() });
            }
        }
        Ok((start, theirs))
    }
}

/// What a record here differs in; one that was committed after the server gave its own is newer, and none.
fn difference(ours: &Record, theirs: Option<Theirs>, start: Seq) -> Option<Difference> {
    match theirs {
        None if ours.seq > start => None,
        None => Some(Difference::Extra { ours: ours.version }),
        Some(theirs) if ours.seq > theirs.seq && ours.seq > start => None,
        Some(theirs) if ours.hash == theirs.hash && ours.version == theirs.version => None,
        Some(theirs) => Some(Difference::Other { ours: ours.version, theirs: theirs.version }),
    }
}

/// Whether its bytes are those of its hash, and its value the one that was sealed in them. One that never opened says so itself.
fn is_whole(record: &Record, seal: &DeviceSeal<'_>) -> bool {
    if record.envelope.hash() != record.hash {
        return false;
    }
    let Ok(header) = record.envelope.check() else { return false };
    let is_of_it = header.key() == record.key && header.version == record.version;
    is_of_it && (record.content == Content::Damaged || seal.open(&header, &record.envelope).is_ok_and(|content| content == record.content))
}
