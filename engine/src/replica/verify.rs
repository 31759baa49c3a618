//! Whether an entry is what its device signed, and follows what was read before.
//!
//! Never: an entry skipped. One that does not verify stops the replica, and says which.

use std::collections::BTreeMap;
use std::fmt;

use cloudsync_protocol::statement::{BatchStatement, PublicKey};
use cloudsync_protocol::{Batch, DeviceId, DeviceSeq, Entry, Hash, LogId, Operation, RecordKey, Seq, Version, codec};

use super::{Content, LastBatch, Me, Opener, Record, Replica, Tables, TablesError};
use crate::batch::{self, Checked, VerifyError};
use crate::roster::{Roster, RowError};

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The batch's parts do not fit, its device is not enrolled there, or did not sign it.
    #[error(transparent)]
    Batch(#[from] VerifyError),
    /// It does not follow the device's batch before.
    #[error("it does not follow the device's batch {last}")]
    Chain { last: DeviceSeq },
    /// A change of the roster that can't be.
    #[error(transparent)]
    Roster(#[from] RowError),
    /// The roster has another identity than the account's.
    #[error("the identity is {found}, the account's is {expected}")]
    Identity { found: PublicKey, expected: PublicKey },
    /// Something wrapped under another account key than the log had come to there.
    #[error("wrapped under account key {found}, the log had come to {expected} there")]
    KeyEpoch { found: u64, expected: u64 },
    /// A version that does not follow the one held.
    #[error("version {version} of {key} does not follow version {held}")]
    Version { key: RecordKey, version: Version, held: Version },
    /// A header that is not one, or of another log.
    #[error("a row whose header does not fit: {0}")]
    Header(String),
    /// Another row stands where one was read before.
    #[error("another row stands at {seq} than was read there")]
    OtherRow { seq: Seq },
    /// A record that was read is not in the snapshot.
    #[error("{key}, read at version {held}, is left out")]
    LeftOut { key: RecordKey, held: Version },
    /// A row of a snapshot that does not open, in place of a version that does.
    #[error("{key} does not open, and version {held} does, which is held")]
    Unreadable { key: RecordKey, held: Version },
    /// A page whose rows are not in order of key, or that does not go on where it ended.
    #[error("rows that are not in their order")]
    Disordered,
}

/// An entry at which the replica stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untrusted {
    /// Its first number.
    pub seq: Seq,
    /// Who is said to have made it; nothing for a roster row.
    pub device: Option<DeviceId>,
    /// In which of its pushes.
    pub device_seq: Option<DeviceSeq>,
    /// The statement's hash (of a row without one, the envelope's).
    pub hash: Hash,
    /// What is wrong.
    pub why: Why,
}

impl Untrusted {
    pub(super) fn of(entry: &Entry, why: Why) -> Self {
        let (signed, statement) = match entry {
            Entry::Batch(batch) => (&batch.signed, codec::decode::<BatchStatement>(&batch.signed.statement).ok()),
            Entry::Roster(row) => (row.change.signed(), None),
        };
        Self {
            seq: entry.first(),
            device: statement.as_ref().map(|statement| statement.device),
            device_seq: statement.as_ref().map(|statement| statement.device_seq),
            hash: signed.hash(),
            why,
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.device, self.device_seq) {
            (Some(device), Some(number)) => write!(f, "batch {number} of device {device} at {}: {}", self.seq, self.why),
            (Some(device), None) => write!(f, "a row of device {device} at {}: {}", self.seq, self.why),
            (None, _) => write!(f, "the entry at {}: {}", self.seq, self.why),
        }
    }
}

impl std::error::Error for Untrusted {}

/// A batch that was verified, opened and found to follow what is held.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) checked: Checked,
    /// One for each put.
    pub(super) records: Vec<Record>,
}

/// Why a batch is not read.
#[derive(Debug)]
pub(super) enum Halt {
    /// It does not verify.
    Untrusted(Why),
    /// It is sealed under an account key that this device does not have yet.
    NeedsKeys { epoch: u64 },
}

impl<T: Into<Why>> From<T> for Halt {
    fn from(why: T) -> Self {
        Self::Untrusted(why.into())
    }
}

impl<T: Tables> Replica<'_, T> {
    /// The roster as read so far: each row was verified when it was stored.
    pub(super) fn roster(&self) -> Result<Roster, TablesError> {
        Roster::restore(self.me.log, &self.tables.roster()?)
            .map_err(|error| TablesError::Damaged { place: "the roster".into(), why: error.to_string() })
    }

    /// Everything that there is to check of a batch; nothing is written. What is the device's own and does not open is damaged,
    /// and stops nobody.
    pub(super) fn verify(&self, roster: &Roster, batch: &Batch, opener: &impl Opener) -> Result<Result<Verified, Halt>, TablesError> {
        let checked = match batch::verify(self.me.log, roster, batch) {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error.into())),
        };
        if let Err(why) = follows(&checked.statement, self.tables.last_batch(checked.statement.device)?) {
            return Ok(Err(why.into()));
        }
        // Whoever was revoked has every key up to here, and none from here on.
        let epoch = roster.key_epoch_at(batch.first);
        if let Err(why) = are_under(epoch, &batch.operations) {
            return Ok(Err(why.into()));
        }
        if epoch > opener.key_epoch() {
            return Ok(Err(Halt::NeedsKeys { epoch }));
        }
        let mut records = Vec::with_capacity(checked.headers.len());
        for ((operation, header), number) in batch.operations.iter().zip(&checked.headers).zip(0..) {
            let Some(envelope) = operation.envelope() else { continue };
            let content = opener.open(header, envelope).unwrap_or(Content::Damaged);
            records.push(Record::new(header, (envelope, operation.origin()), batch.first.plus(number), content));
        }
        let over = |(operation, header): (&Operation, &cloudsync_protocol::Header)| match operation {
            Operation::Adopt(adopt) => adopt.over,
            Operation::Put(_) | Operation::Rewrap(_) => header.parent,
        };
        let parents = batch.operations.iter().zip(&checked.headers).map(over);
        Ok(self.versions_follow(&records, parents)?.map(|()| Verified { checked, records }).map_err(Halt::from))
    }

    /// Each version must be the next of its record, made from the one held (or, brought back, a later one, over the one held), unless a
    /// later one is held already.
    fn versions_follow(&self, records: &[Record], parents: impl Iterator<Item = Hash>) -> Result<Result<(), Why>, TablesError> {
        let mut latest: BTreeMap<&RecordKey, (Seq, Version, Hash)> = BTreeMap::new();
        for (record, parent) in records.iter().zip(parents) {
            let held = match latest.get(&record.key) {
                Some(held) => *held,
                None => self
                    .tables
                    .record(&record.key)?
                    .map_or((Seq::ZERO, Version::NONE, Hash::default()), |held| (held.seq, held.version, held.hash)),
            };
            let (seq, version, hash) = held;
            if seq == record.seq && hash != record.hash {
                return Ok(Err(Why::OtherRow { seq }));
            }
            if seq >= record.seq {
                // Versions rise with the log: a row said to be later is of a later version.
                if seq > record.seq && version <= record.version {
                    return Ok(Err(Why::Version { key: record.key.clone(), version: record.version, held: version }));
                }
                continue;
            }
            let rises = if record.origin.is_some() { record.version > version } else { record.version == version.next() };
            if !rises || parent != hash {
                return Ok(Err(Why::Version { key: record.key.clone(), version: record.version, held: version }));
            }
            latest.insert(&record.key, (record.seq, record.version, record.hash));
        }
        Ok(Ok(()))
    }
}

/// Whether a roster, once it has come to the identity that this device knows, has that very one.
pub(super) fn of_account(roster: &Roster, me: &Me) -> Result<(), Why> {
    match roster.identity_of(me.identity_epoch) {
        Some(identity) if identity.signing != me.identity => Err(Why::Identity { found: identity.signing, expected: me.identity }),
        Some(_) | None => Ok(()),
    }
}

/// Whether a roster that was read ends before what this device has seen: it was led back, and says nothing of who may write.
pub(super) fn is_behind(roster: &Roster, me: &Me) -> bool {
    roster.identity().is_some_and(|identity| identity.identity_epoch < me.identity_epoch)
}

/// Everything of a batch is wrapped under the account key that the log had come to.
fn are_under(expected: u64, operations: &[Operation]) -> Result<(), Why> {
    let other = operations.iter().map(Operation::key_epoch).find(|found| *found != expected);
    other.map_or(Ok(()), |found| Err(Why::KeyEpoch { found, expected }))
}

/// Whether a statement follows its device's last batch, as far as that is known.
fn follows(statement: &BatchStatement, last: Option<LastBatch>) -> Result<(), Why> {
    match last {
        Some(LastBatch { device_seq, hash })
            if statement.device_seq <= device_seq || hash.is_some_and(|hash| hash != statement.prev_hash) =>
        {
            Err(Why::Chain { last: device_seq })
        }
        Some(_) | None => Ok(()),
    }
}

/// Decodes a row's header and checks that it is of this log.
pub(super) fn header(log: LogId, envelope: &cloudsync_protocol::Envelope) -> Result<cloudsync_protocol::Header, Why> {
    let header = envelope.check().map_err(|error| Why::Header(error.to_string()))?;
    if header.log != log {
        return Err(Why::Header(format!("of log {}", header.log)));
    }
    // An edit of it would be one more.
    if header.version == Version(u64::MAX) { Err(Why::Header("of the last version there is".to_owned())) } else { Ok(header) }
}
