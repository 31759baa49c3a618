//! A model of a clustered store, as the design describes it: bodies are written first, keyed by `(seq, epoch)`, then the
//! head is moved by compare-and-set. A compare-and-set may be lost, or apply late.
//!
//! Never: a fault that the design does not name.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloudsync_engine::invariants::{self, Epochs, OneContent, Violation};
use cloudsync_engine::log::{Acquire, Commit, Current, Head, NewCredentials, NewWrap, RecordAt, epoch_to_win};
use cloudsync_engine::roster::Roster;
use cloudsync_engine::user::{AcquireOutcome, Found};
use cloudsync_protocol::codec::decode;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::envelope::key_epoch;
use cloudsync_protocol::statement::{BatchStatement, PublicKey};
use cloudsync_protocol::{Entry, Envelope, Epoch, Header, OwnerId, RecordKey, Seq, ShortHash};

use super::keys::LOG;

/// How this store and its owners go about things: as designed, or wrong in a way that must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    AsDesigned,
    /// After an unknown outcome only the head is read; the epoch stays.
    ResolveByReading,
    /// Each activation counts its epochs from 1.
    CounterRestarts,
}

/// A compare-and-set that a paused coordinator holds.
#[derive(Debug, Clone)]
pub enum Parked {
    Acquire { epoch: Epoch, owner: OwnerId },
    Commit(Box<Commit>),
}

#[derive(Debug, Clone)]
pub struct Store {
    pub variant: Variant,
    pub head: Option<Head>,
    /// What the account is opened by: keyring version and recovery key.
    pub credentials: (u64, PublicKey),
    /// The wraps that rows were given after they were committed.
    pub wraps: BTreeMap<Seq, Bytes>,
    bodies: BTreeMap<(Seq, Epoch), Entry>,
    /// `(after, to, epoch)` of each applied commit.
    commits: Vec<(Seq, Seq, Epoch)>,
    pub parked: Vec<Parked>,
    epochs: Epochs,
    contents: OneContent,
    /// What [`log`](Self::log) gives, as of the last write.
    log: Result<Vec<Entry>, Violation>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new(Variant::AsDesigned)
    }
}

impl Store {
    pub fn new(variant: Variant) -> Self {
        Self {
            variant,
            head: None,
            credentials: (1, PublicKey([0; 32])),
            wraps: BTreeMap::new(),
            bodies: BTreeMap::new(),
            commits: Vec::new(),
            parked: Vec::new(),
            epochs: Epochs::default(),
            contents: OneContent::default(),
            log: Ok(Vec::new()),
        }
    }

    /// The compare-and-set of an acquire, to be applied or parked. `acquired` counts those of the activation before.
    pub fn plan_acquire(&mut self, acquire: &Acquire, acquired: u64) -> Parked {
        let head = self.head.get_or_insert_with(|| Head::new(Epoch(0), OwnerId::default(), acquire.timeline));
        let epoch = match self.variant {
            Variant::AsDesigned | Variant::ResolveByReading => epoch_to_win(head.epoch, acquire.view),
            Variant::CounterRestarts => Epoch((acquire.view.0 << 24) + 1 + acquired),
        };
        Parked::Acquire { epoch, owner: acquire.owner }
    }

    /// Writes the bodies of a commit; its compare-and-set is to be applied or parked.
    pub fn plan_commit(&mut self, commit: Commit) -> Parked {
        for entry in &commit.entries {
            self.bodies.insert((entry.first(), commit.head.epoch), entry.clone());
        }
        self.log = self.read_log();
        Parked::Commit(Box::new(commit))
    }

    /// Applies a compare-and-set, if its condition holds.
    pub fn apply(&mut self, parked: Parked) -> Result<bool, Violation> {
        let Some(head) = &mut self.head else { return Ok(false) };
        match parked {
            Parked::Acquire { epoch, owner } => {
                let restarts = self.variant == Variant::CounterRestarts;
                if head.epoch >= epoch && !restarts {
                    return Ok(false);
                }
                head.epoch = epoch;
                head.owner = owner;
                if !restarts {
                    self.epochs.won(epoch, owner)?;
                }
                Ok(true)
            }
            Parked::Commit(commit) => {
                if head.epoch != commit.head.epoch || head.seq != commit.after {
                    return Ok(false);
                }
                let epoch = head.epoch;
                let after = commit.after;
                self.commits.push((after, commit.head.seq, epoch));
                *head = Head { epoch, owner: head.owner, ..commit.head };
                self.log = self.read_log();
                if let Some(NewCredentials { version, recovery, .. }) = commit.credentials {
                    self.credentials = (version, recovery.unwrap_or(self.credentials.1));
                }
                commit.wraps.into_iter().for_each(|new| self.wrap(new));
                if self.variant == Variant::AsDesigned {
                    self.epochs.committed(epoch)?;
                }
                self.note_contents(after)?;
                Ok(true)
            }
        }
    }

    pub fn won(&self, owner: OwnerId) -> AcquireOutcome {
        match &self.head {
            Some(head) if head.owner == owner => AcquireOutcome::Won(Box::new(head.clone())),
            Some(_) | None => AcquireOutcome::InDoubt,
        }
    }

    /// Every committed entry, as a reader finds it.
    pub fn log(&self) -> Result<&[Entry], Violation> {
        self.log.as_deref().map_err(Clone::clone)
    }

    /// D1.
    fn note_contents(&mut self, after: Seq) -> Result<(), Violation> {
        for entry in self.log.iter().flatten().filter(|entry| entry.first() > after) {
            if let Entry::Batch(batch) = entry {
                let statement: BatchStatement = decode(&batch.signed.statement).unwrap();
                self.contents.committed(statement.device, statement.device_seq, batch.signed.hash(), batch.first)?;
            }
        }
        Ok(())
    }

    fn read_log(&self) -> Result<Vec<Entry>, Violation> {
        let mut log = Vec::new();
        for (after, to, epoch) in &self.commits {
            let mut last = *after;
            while last < *to {
                let Some(entry) = self.bodies.get(&(last.next(), *epoch)) else {
                    return Err(Violation {
                        invariant: invariants::Invariant::V3,
                        facts: format!("nothing at {} of {epoch}", last.next()),
                    });
                };
                last = entry.last();
                log.push(entry.clone());
            }
            invariants::stable_is_not_above_assigned(last, *to)?;
        }
        Ok(log)
    }

    pub fn roster(&self) -> Vec<RosterRow> {
        let rows = self.log().unwrap_or_default().iter();
        rows.filter_map(|entry| if let Entry::Roster(row) = entry { Some(row.clone()) } else { None }).collect()
    }

    /// Every version there ever was, in order, with its record.
    pub fn versions(&self) -> Vec<(RecordKey, Current)> {
        let mut versions = Vec::new();
        for entry in self.log().unwrap_or_default() {
            if let Entry::Batch(batch) = entry {
                for (index, operation) in batch.operations.iter().enumerate() {
                    let Some(envelope) = operation.envelope() else { continue };
                    let header: Header = decode(&envelope.header).unwrap();
                    let current = Current::of(batch.first.plus(index as u64), envelope, &header);
                    versions.push((header.key(), Current { adopted: operation.origin().is_some(), ..current }));
                }
            }
        }
        versions
    }

    pub fn currents(&self) -> BTreeMap<RecordKey, Current> {
        self.versions().into_iter().collect()
    }

    fn wrap(&mut self, new: NewWrap) {
        let newest = self.currents().get(&new.key).is_some_and(|current| (current.seq, current.version) == (new.seq, new.version));
        if newest && self.epoch_of(new.seq) < key_epoch(&new.wrap) {
            self.wraps.insert(new.seq, new.wrap);
        }
    }

    /// Under which account key a record's row is wrapped now; 0 where there is none.
    pub fn epoch_of(&self, seq: Seq) -> u64 {
        let committed = || self.envelope(seq).map_or(0, Envelope::key_epoch);
        self.wraps.get(&seq).map_or_else(committed, |wrap| key_epoch(wrap))
    }

    fn envelope(&self, seq: Seq) -> Option<&Envelope> {
        self.log.iter().flatten().find_map(|entry| match entry {
            Entry::Batch(batch) => batch.operations.get(usize::try_from(seq.0.checked_sub(batch.first.0)?).ok()?)?.envelope(),
            Entry::Roster(_) => None,
        })
    }

    /// What a look-up gives.
    pub fn found(&self, records: &[RecordKey], rows: &[Seq]) -> Found {
        let currents = self.currents();
        let row = |seq: &Seq| {
            let envelope = self.envelope(*seq)?;
            let header: Header = decode(&envelope.header).unwrap();
            Some(RecordAt { key: header.key(), version: header.version, hash: envelope.hash() })
        };
        Found { records: records.iter().map(|key| currents.get(key).copied()).collect(), rows: rows.iter().map(row).collect() }
    }

    pub fn row(&self, seq: Seq) -> Option<ShortHash> {
        self.log().ok()?.iter().find_map(|entry| match entry {
            Entry::Batch(batch) => {
                let index = seq.0.checked_sub(batch.first.0)?;
                Some(batch.operations.get(usize::try_from(index).ok()?)?.hash().short())
            }
            Entry::Roster(row) => (row.seq == seq).then(|| entry.last_hash().short()),
        })
    }

    /// V3, Q1, K1 to K4, and that the head can be rebuilt from the rows.
    pub fn check(&self) -> Result<(), Violation> {
        let Some(head) = &self.head else { return Ok(()) };
        let log = self.log()?;
        invariants::entries_are_contiguous(Seq::ZERO, log, head.seq)?;
        let currents = self.currents();
        invariants::figures_equal_recount(head.figures, currents.values())?;
        let roster = Roster::restore(LOG, &self.roster()).unwrap();
        invariants::head_has_the_rosters_keys(head, &roster)?;
        invariants::credentials_are_of_the_head(self.credentials.0, head)?;
        invariants::puts_are_under_the_rosters_key(&roster, log)?;
        invariants::recovery_is_the_rosters(&self.credentials.1, &roster)?;
        let (commit, generation, lineage) = (head.commit, head.generation, head.lineage.clone());
        let mut rebuilt = Head { commit, generation, lineage, ..Head::new(head.epoch, head.owner, head.timeline) };
        let mut known: BTreeMap<RecordKey, Current> = BTreeMap::new();
        for entry in log {
            rebuilt
                .follow(entry, |index, header| {
                    let Entry::Batch(batch) = entry else { return None };
                    let envelope = batch.operations[index].envelope().unwrap();
                    known.insert(header.key(), Current::of(batch.first.plus(index as u64), envelope, header))
                })
                .unwrap();
        }
        invariants::replica_equals_store(&rebuilt, head)
    }
}
