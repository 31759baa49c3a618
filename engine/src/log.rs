//! A log's head row and what changes it: the words that the user's rules and the stores share.
//!
//! Never: deciding. The rules are in [`user`](crate::user), the durable forms in `storage`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cloudsync_protocol::codec::{self, DecodeError};
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::statement::{BatchStatement, PublicKey, RekeyStatement, RevokeStatement, RosterChange, RotateStatement};
use cloudsync_protocol::{
    CollectionName, CommitId, DeviceId, Entry, Envelope, Epoch, Generation, Hash, Header, LogId, Operation, OwnerId, RecordKey, Seq,
    ShortHash, TimelineId, Version, View,
};

use crate::roster::KeyringAt;

/// What a user's live and dead records weigh: exact, equal to what a recount finds (invariant Q1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Header + body + wrap of current versions that are not tombstones.
    pub live_bytes: u64,
    /// Records whose current version is not a tombstone.
    pub live_records: u64,
    /// Header + body + wrap of current tombstones.
    pub dead_bytes: u64,
    /// Records whose current version is a tombstone.
    pub dead_records: u64,
}

impl Figures {
    /// With one more current version.
    #[must_use]
    pub const fn with(mut self, current: &Current) -> Self {
        if current.dead {
            self.dead_bytes += current.bytes;
            self.dead_records += 1;
        } else {
            self.live_bytes += current.bytes;
            self.live_records += 1;
        }
        self
    }

    /// Without a version that is not current any more.
    #[must_use]
    pub const fn without(mut self, current: &Current) -> Self {
        if current.dead {
            self.dead_bytes = self.dead_bytes.saturating_sub(current.bytes);
            self.dead_records = self.dead_records.saturating_sub(1);
        } else {
            self.live_bytes = self.live_bytes.saturating_sub(current.bytes);
            self.live_records = self.live_records.saturating_sub(1);
        }
        self
    }

    /// Records, live and dead.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.live_records + self.dead_records
    }
}

/// A device's last committed push, as dedup keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The push.
    pub push: LastPush,
    /// How many operations it had: it was committed in `(push.seq − operations, push.seq]`.
    pub operations: u32,
    /// When the server committed it, in milliseconds since the epoch.
    pub server_ts: u64,
}

/// The one row per log that is only ever changed by compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The right to write.
    pub epoch: Epoch,
    /// Who won `epoch`.
    pub owner: OwnerId,
    /// The last committed operation.
    pub seq: Seq,
    /// The hash of that operation's row.
    pub row: ShortHash,
    /// The commit that moved `seq` there.
    pub commit: CommitId,
    /// The log's timeline.
    pub timeline: TimelineId,
    /// How often history was rewound.
    pub generation: Generation,
    /// Every timeline so far with the first `seq` of it, oldest first.
    pub lineage: Vec<(TimelineId, Seq)>,
    /// Current-state rows are known written up to here.
    pub state_seq: Seq,
    /// History up to here may be cut.
    pub floor: Seq,
    /// What the records weigh.
    pub figures: Figures,
    /// The keyring's version, from 1: that of the newest roster row that brought one.
    pub keyring_version: u64,
    /// The account key's epoch, from 1: what every put after this is wrapped under.
    pub key_epoch: u64,
    /// Per enrolled device that ever pushed: its last committed push.
    pub dedup: BTreeMap<DeviceId, Settled>,
    /// Every collection that ever had a record, at most `COLLECTIONS_MAX`.
    pub collections: BTreeSet<CollectionName>,
}

impl Head {
    /// A log that nothing was committed to yet.
    #[must_use]
    pub fn new(epoch: Epoch, owner: OwnerId, timeline: TimelineId) -> Self {
        Self {
            epoch,
            owner,
            seq: Seq::ZERO,
            row: ShortHash::default(),
            commit: CommitId::default(),
            timeline,
            generation: Generation(0),
            lineage: vec![(timeline, Seq(1))],
            state_seq: Seq::ZERO,
            floor: Seq::ZERO,
            figures: Figures::default(),
            keyring_version: KeyringAt::FIRST.version,
            key_epoch: KeyringAt::FIRST.epoch,
            dedup: BTreeMap::new(),
            collections: BTreeSet::new(),
        }
    }
}

impl Head {
    /// Begins another timeline after the last committed operation: acknowledged history was given up `gone_back` times since
    /// the current one began.
    pub fn open_timeline(&mut self, timeline: TimelineId, gone_back: u64) {
        self.timeline = timeline;
        self.generation = Generation(self.generation.0 + gone_back);
        self.lineage.push((timeline, self.seq.next()));
    }

    /// The head after `entry`, in place: `seq`, `row`, `figures`, `keyring_version`, `key_epoch`, `dedup` and `collections`. What is not in an entry
    /// (`commit`, `epoch`, …) is the caller's. `replaced` gives the version that an operation replaced, by its index and
    /// header: `None` for a new record, and for a record's second operation of a batch what the first made of it.
    ///
    /// The engine makes new heads by this, and stores rebuild them: at every entry both find the same head.
    ///
    /// On an error (rows that nobody checked, so damage) the head is as it was.
    pub fn follow(&mut self, entry: &Entry, mut replaced: impl FnMut(usize, &Header) -> Option<Current>) -> Result<(), DecodeError> {
        match entry {
            Entry::Batch(batch) => {
                let statement: BatchStatement = codec::decode(&batch.signed.statement)?;
                let operations = batch.operations.iter().enumerate();
                let written: Vec<_> = operations.filter_map(|(index, operation)| Some((index, operation, operation.envelope()?))).collect();
                let header = |(_, _, envelope): &(usize, &Operation, &Envelope)| codec::decode::<Header>(&envelope.header);
                let headers = written.iter().map(header).collect::<Result<Vec<_>, _>>()?;
                for (header, (index, operation, envelope)) in headers.into_iter().zip(written) {
                    let adopted = operation.origin().is_some();
                    let current = Current { adopted, ..Current::of(batch.first.plus(index as u64), envelope, &header) };
                    let before = replaced(index, &header);
                    self.figures = before.map_or(self.figures, |before| self.figures.without(&before)).with(&current);
                    self.collections.insert(header.collection);
                }
                let push = LastPush { device_seq: statement.device_seq, hash: batch.signed.hash(), seq: entry.last() };
                let operations = u32::try_from(batch.operations.len()).unwrap_or(u32::MAX);
                self.dedup.insert(statement.device, Settled { push, operations, server_ts: batch.server_ts });
            }
            Entry::Roster(row) => match &row.change {
                RosterChange::Revoke(change) => {
                    self.dedup.remove(&codec::decode::<RevokeStatement>(&change.signed.statement)?.device);
                }
                RosterChange::Rotate(change) => {
                    let RotateStatement { version, epoch, members, .. } = codec::decode(&change.signed.statement)?;
                    (self.keyring_version, self.key_epoch) = (version, epoch);
                    self.dedup.retain(|device, _| members.iter().any(|member| member.device == *device));
                }
                RosterChange::Rekey(change) => {
                    self.keyring_version = codec::decode::<RekeyStatement>(&change.signed.statement)?.version;
                }
                RosterChange::Identity(_) | RosterChange::Enrol(_) => {}
            },
        }
        self.seq = entry.last();
        self.row = entry.last_hash().short();
        Ok(())
    }
}

/// A record's current version, as the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    /// The version.
    pub version: Version,
    /// Where it was committed.
    pub seq: Seq,
    /// The envelope's hash.
    pub hash: Hash,
    /// Header + body + wrap.
    pub bytes: u64,
    /// Whether it is a tombstone.
    pub dead: bool,
    /// Whether it was brought back after a rewind.
    pub adopted: bool,
}

impl Current {
    /// What an envelope that was put as `seq` is as a current version.
    #[must_use]
    pub fn of(seq: Seq, envelope: &Envelope, header: &Header) -> Self {
        Self { version: header.version, seq, hash: envelope.hash(), bytes: envelope.bytes(), dead: header.is_tombstone(), adopted: false }
    }

    /// What it weighs against the quota: a tombstone nothing.
    #[must_use]
    pub const fn live_bytes(self) -> u64 {
        if self.dead { 0 } else { self.bytes }
    }
}

/// One attempt to become a log's owner. Every attempt has a fresh `owner`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acquire {
    /// The log.
    pub log: LogId,
    /// The view that the node serves by.
    pub view: View,
    /// A fresh random nonce.
    pub owner: OwnerId,
    /// The timeline to give a log that does not exist yet; random.
    pub timeline: TimelineId,
}

/// The epoch that an acquire tries to win: `max(epoch + 1, view × 2^24)`, so that an owner by an old view can never
/// take a log back.
#[must_use]
pub fn epoch_to_win(current: Epoch, view: View) -> Epoch {
    current.next().max(Epoch(view.0 << 24))
}

/// The view that an epoch was won under.
#[must_use]
pub const fn view_of(epoch: Epoch) -> View {
    View(epoch.0 >> 24)
}

/// What is made durable as one: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The log.
    pub log: LogId,
    /// The head that this commit follows; the compare-and-set asks for `epoch = head.epoch AND seq = after`.
    pub after: Seq,
    /// Contiguous from `after + 1` to `head.seq`; at least one.
    pub entries: Vec<Entry>,
    /// The head as it will be, with this attempt's fresh `commit` in it.
    pub head: Head,
    /// What the account is opened by from here on; nothing leaves it as it is. Visible exactly with `head`.
    pub credentials: Option<NewCredentials>,
    /// Wraps that take the place of those that rows have, where they still may.
    pub wraps: Vec<NewWrap>,
}

/// What an account is opened by once a keyring row is committed.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCredentials {
    /// The keyring's version: the head's.
    pub version: u64,
    /// The keyring blob.
    pub keyring: Bytes,
    /// Ed25519: another recovery code's public half; nothing keeps the one there is.
    pub recovery: Option<PublicKey>,
    /// The OPAQUE record of another password; nothing keeps the one there is.
    pub record: Option<Bytes>,
}

/// No record, which guesses of the password could be tried on.
impl std::fmt::Debug for NewCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewCredentials").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Another wrap of a row. It is taken if the record's newest version is that row still, and the wrap there is of an earlier
/// account key; else it has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWrap {
    /// The row.
    pub seq: Seq,
    /// Its record.
    pub key: RecordKey,
    /// Its version.
    pub version: Version,
    /// The wrap, `WRAP_BYTES` of it.
    pub wrap: Bytes,
}

/// What stands at a `seq`, if it writes a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordAt {
    /// The record.
    pub key: RecordKey,
    /// The version that was committed there.
    pub version: Version,
    /// The envelope's hash.
    pub hash: Hash,
}
