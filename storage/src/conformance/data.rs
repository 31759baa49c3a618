//! A log's writer for the suite: real-looking batches and roster changes, and the head that each commit should make.
//!
//! Never: rules; it writes what the suite tells it to. Signatures are of the right length only.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloudsync_engine::log::{Acquire, Commit, Current, Figures, Head, NewCredentials, NewWrap, Settled};
use cloudsync_protocol::entry::{Adopt, Origin, Put, Rewrap, RosterRow};
use cloudsync_protocol::envelope::{FLAG_TOMBSTONE, FORMAT, Hlc, SUITE_AES_256_GCM};
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::statement::{
    self, BatchStatement, EnrolChange, EnrolStatement, Member, PublicKey, RekeyChange, RekeyStatement, RevokeChange, RevokeStatement,
    RosterChange, RotateChange, RotateStatement, Signed,
};
use cloudsync_protocol::{
    Batch, CollectionName, CommitId, DeviceId, DeviceSeq, Entry, Envelope, Hash, Header, LogId, Operation, OwnerId, RecordId, RecordKey,
    Seq, Signature, TimelineId, Version, View, codec,
};

use crate::store::{CommitError, Store};

/// A log id of its own for each number.
#[must_use]
pub fn log(number: u64) -> LogId {
    LogId(id(1, number))
}

/// A device.
#[must_use]
pub fn device(number: u64) -> DeviceId {
    DeviceId(id(2, number))
}

/// A nonce for an acquire.
#[must_use]
pub fn owner(number: u64) -> OwnerId {
    OwnerId(id(3, number))
}

/// A timeline.
#[must_use]
pub fn timeline(number: u64) -> TimelineId {
    TimelineId(id(4, number))
}

/// A record's key.
#[must_use]
pub fn key(collection: &str, record: &str) -> RecordKey {
    RecordKey { collection: CollectionName::new(collection).expect("a short name"), record: RecordId::new(record).expect("a short name") }
}

/// An acquire of `log` under `view` by the nonce of that number.
#[must_use]
pub fn acquire(log: LogId, view: u64, number: u64) -> Acquire {
    Acquire { log, view: View(view), owner: owner(number), timeline: timeline(number) }
}

fn id(kind: u8, number: u64) -> [u8; 16] {
    let mut id = [kind; 16];
    id.iter_mut().rev().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    id
}

/// What a put writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// A body of so many bytes.
    Live(usize),
    /// A tombstone.
    Dead,
}

/// Writes one log as its owner would, and remembers what it wrote.
#[derive(Debug, Clone)]
pub struct Writer {
    /// The head after everything that [`commit`](Self::commit) prepared.
    pub head: Head,
    /// Every entry so far.
    pub entries: Vec<Entry>,
    /// Each record's current version.
    pub current: BTreeMap<RecordKey, Current>,
    log: LogId,
    commits: u64,
    device_seqs: BTreeMap<DeviceId, (DeviceSeq, Hash)>,
}

impl Writer {
    /// Acquires the log.
    pub async fn acquire(store: &dyn Store, log: LogId) -> Self {
        Self::with_head(log, store.acquire(acquire(log, 1, 1)).await.expect("the suite's own log"))
    }

    /// For a log that was acquired and holds nothing.
    #[must_use]
    pub const fn with_head(log: LogId, head: Head) -> Self {
        Self { head, entries: Vec::new(), current: BTreeMap::new(), log, commits: 0, device_seqs: BTreeMap::new() }
    }

    /// Writes another log with the same right, which is none.
    #[must_use]
    pub fn for_log(log: LogId, like: &Self) -> Self {
        Self { log, ..like.clone() }
    }

    /// Which log.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.log
    }

    /// A batch of that device, after what was prepared before. Not yet in a commit.
    pub fn batch(&mut self, by: DeviceId, puts: &[(RecordKey, Write)]) -> Entry {
        let first = self.head.seq.next();
        let (last, prev_hash) = self.device_seqs.get(&by).copied().unwrap_or_default();
        let device_seq = last.next();
        let operations: Vec<Operation> = puts
            .iter()
            .enumerate()
            .map(|(index, (key, write))| self.put((by, device_seq), key, (*write, first.plus(index as u64))))
            .collect();
        let envelopes = operations.iter().map(Operation::hash).collect();
        let statement =
            BatchStatement { format: statement::FORMAT, log: self.log, device: by, device_seq, prev_hash, envelopes, seen: Vec::new() };
        let signed = sign(&statement);
        self.device_seqs.insert(by, (device_seq, signed.hash()));
        let entry = Entry::Batch(Batch { first, server_ts: 1_000 + first.0, signed, operations });
        self.follow(&entry);
        entry
    }

    /// A batch of one version that was first committed at `origin` and was lost. Not yet in a commit.
    pub fn adopting(&mut self, by: DeviceId, (key, write): (RecordKey, Write), origin: Origin) -> Entry {
        let (before, figures) = (self.current.get(&key).copied(), self.head.figures);
        let Entry::Batch(mut batch) = self.batch(by, &[(key.clone(), write)]) else { unreachable!("a batch") };
        let over = before.map_or(Hash::default(), |before| before.hash);
        let adopt = |operation: Operation| {
            let envelope = operation.envelope().expect("a put").clone();
            Operation::Adopt(Adopt { over, origin, envelope })
        };
        batch.operations = batch.operations.into_iter().map(adopt).collect();
        self.current.get_mut(&key).expect("just written").adopted = true;
        // The entry is another one than was followed, its row and what it weighs are the same.
        debug_assert!(figures != self.head.figures, "it was counted");
        let entry = Entry::Batch(batch);
        self.entries.pop();
        self.entries.push(entry.clone());
        entry
    }

    /// A change of the roster that enrols `new`.
    pub fn enrol(&mut self, new: DeviceId) -> Entry {
        let statement = EnrolStatement {
            format: statement::FORMAT,
            log: self.log,
            identity_epoch: 1,
            device: new,
            signing: PublicKey([5; 32]),
            agreement: PublicKey([6; 32]),
            name: Bytes::from_static(b"sealed"),
            client_ts: 1,
        };
        self.change(RosterChange::Enrol(EnrolChange { signed: sign(&statement) }))
    }

    /// A change of the roster that revokes `gone`.
    pub fn revoke(&mut self, gone: DeviceId) -> Entry {
        let last = self.device_seqs.get(&gone).map_or(DeviceSeq(0), |(device_seq, _)| *device_seq);
        let log = self.log;
        let statement =
            RevokeStatement { format: statement::FORMAT, log, identity_epoch: 1, device: gone, last, by: device(0), client_ts: 1 };
        self.head.dedup.remove(&gone);
        self.change(RosterChange::Revoke(RevokeChange { signed: sign(&statement) }))
    }

    /// What makes these entries, the newest prepared, durable.
    pub fn commit(&mut self, entries: Vec<Entry>) -> Commit {
        self.commits += 1;
        self.head.commit = CommitId(id(5, self.commits));
        self.head.state_seq = self.head.seq;
        let after = Seq(entries.first().map_or(0, |entry| entry.first().0 - 1));
        Commit { log: self.log, after, entries, head: self.head.clone(), credentials: None, wraps: Vec::new() }
    }

    /// Rotates keys: `stay` are the devices that are members afterwards. With the credentials that belong to it.
    pub fn rotate(&mut self, stay: &[DeviceId]) -> (Entry, NewCredentials) {
        let (version, epoch) = (self.head.keyring_version + 1, self.head.key_epoch + 1);
        let credentials = credentials(version, Some(Bytes::from(vec![u8::try_from(version).expect("a few"); 192])));
        let statement = RotateStatement {
            format: statement::FORMAT,
            log: self.log,
            identity_epoch: epoch,
            signing: PublicKey([5; 32]),
            sharing: PublicKey([6; 32]),
            by: device(0),
            version,
            epoch,
            keyring: Hash::of(&[&credentials.keyring]),
            recovery: credentials.recovery.expect("just made"),
            members: stay.iter().map(|stays| Member { device: *stays, enrol: Hash::default() }).collect(),
            revoked: Vec::new(),
            client_ts: 1,
        };
        (self.head.keyring_version, self.head.key_epoch) = (version, epoch);
        self.head.dedup.retain(|device, _| stay.contains(device));
        let endorsement = Signature([8; 64]);
        (self.change(RosterChange::Rotate(RotateChange { signed: sign(&statement), endorsement })), credentials)
    }

    /// Another keyring over the same account key, with its credentials: recovery code and password stay.
    pub fn rekey(&mut self) -> (Entry, NewCredentials) {
        let version = self.head.keyring_version + 1;
        let credentials = NewCredentials { recovery: None, ..credentials(version, None) };
        let keyring = Hash::of(&[&credentials.keyring]);
        let statement = RekeyStatement { format: statement::FORMAT, log: self.log, identity_epoch: 1, version, keyring, client_ts: 1 };
        self.head.keyring_version = version;
        (self.change(RosterChange::Rekey(RekeyChange { signed: sign(&statement) })), credentials)
    }

    /// A batch of that device that wraps a record's newest version anew, under the newest account key.
    pub fn rewrap(&mut self, by: DeviceId, key: &RecordKey) -> (Entry, NewWrap) {
        let current = *self.current.get(key).expect("written before");
        let epoch = self.head.key_epoch;
        let items = [&current.seq.0.to_be_bytes()[..], current.hash.short().as_bytes(), &[0xf0; 60]].concat();
        let rewrap = Rewrap { epoch, items: items.into() };
        let wrap = rewrap.items().next().expect("one item").wrap;
        let (first, (last, prev_hash)) = (self.head.seq.next(), self.device_seqs.get(&by).copied().unwrap_or_default());
        let (device_seq, envelopes) = (last.next(), vec![rewrap.hash()]);
        let statement =
            BatchStatement { format: statement::FORMAT, log: self.log, device: by, device_seq, prev_hash, envelopes, seen: Vec::new() };
        let signed = sign(&statement);
        self.device_seqs.insert(by, (device_seq, signed.hash()));
        let entry = Entry::Batch(Batch { first, server_ts: 1_000 + first.0, signed, operations: vec![rewrap.into()] });
        self.follow(&entry);
        (entry, NewWrap { seq: current.seq, key: key.clone(), version: current.version, wrap })
    }

    /// Prepares and commits one batch.
    pub async fn push(&mut self, store: &dyn Store, by: DeviceId, puts: &[(RecordKey, Write)]) -> Result<(), CommitError> {
        let entry = self.batch(by, puts);
        store.commit(self.commit(vec![entry])).await
    }

    fn change(&mut self, change: RosterChange) -> Entry {
        let seq = self.head.seq.next();
        let entry = Entry::Roster(RosterRow { seq, server_ts: 1_000 + seq.0, change });
        self.follow(&entry);
        entry
    }

    fn put(&mut self, (by, device_seq): (DeviceId, DeviceSeq), key: &RecordKey, (write, seq): (Write, Seq)) -> Operation {
        let before = self.current.get(key).copied();
        let base = before.map_or(Version::NONE, |current| current.version);
        let (flags, bytes) = match write {
            Write::Live(bytes) => (0, bytes),
            Write::Dead => (FLAG_TOMBSTONE, 92),
        };
        let header = Header {
            format: FORMAT,
            suite: SUITE_AES_256_GCM,
            log: self.log,
            collection: key.collection.clone(),
            record: key.record.clone(),
            version: base.next(),
            parent: before.map_or(Hash::default(), |current| current.hash),
            device: by,
            device_seq,
            hlc: Hlc::from_ms(seq.0),
            flags,
            commitment: Hash::of(&[key.record.as_str().as_bytes(), &seq.0.to_be_bytes()]),
        };
        let fill = u8::try_from(seq.0 % 251).expect("less than 251");
        let wrap = [&self.head.key_epoch.to_be_bytes()[..], &[fill; 60]].concat().into();
        let envelope = Envelope { header: codec::encode(&header).into(), body: Bytes::from(vec![fill; bytes]), wrap };
        let dead = write == Write::Dead;
        let current = Current { version: header.version, seq, hash: envelope.hash(), bytes: envelope.bytes(), dead, adopted: false };
        self.weigh(before, current);
        self.current.insert(key.clone(), current);
        self.head.collections.insert(key.collection.clone());
        Operation::Put(Put { base, envelope })
    }

    fn weigh(&mut self, before: Option<Current>, after: Current) {
        let figures = &mut self.head.figures;
        if let Some(before) = before {
            let (bytes, records) = of(figures, before.dead);
            *bytes -= before.bytes;
            *records -= 1;
        }
        let (bytes, records) = of(figures, after.dead);
        *bytes += after.bytes;
        *records += 1;
    }

    fn follow(&mut self, entry: &Entry) {
        self.head.seq = entry.last();
        self.head.row = entry.last_hash().short();
        if let Entry::Batch(batch) = entry {
            let statement: BatchStatement = codec::decode(&batch.signed.statement).expect("just encoded");
            let push = LastPush { device_seq: statement.device_seq, hash: batch.signed.hash(), seq: entry.last() };
            let operations = u32::try_from(batch.operations.len()).expect("a short batch");
            self.head.dedup.insert(statement.device, Settled { push, operations, server_ts: batch.server_ts });
        }
        self.entries.push(entry.clone());
    }
}

const fn of(figures: &mut Figures, dead: bool) -> (&mut u64, &mut u64) {
    if dead { (&mut figures.dead_bytes, &mut figures.dead_records) } else { (&mut figures.live_bytes, &mut figures.live_records) }
}

/// What a commit brings with a keyring of that version.
fn credentials(version: u64, record: Option<Bytes>) -> NewCredentials {
    let keyring = format!("keyring {version}").into();
    NewCredentials { version, keyring, recovery: Some(PublicKey([u8::try_from(version).expect("a few"); 32])), record }
}

fn sign<T: serde::Serialize>(statement: &T) -> Signed {
    Signed { statement: codec::encode(statement).into(), signature: Signature([7; 64]) }
}
