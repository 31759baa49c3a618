//! [`Ledger`]: what a device signed, what was acknowledged to it and what it was told, to be held against the log.
//!
//! Never: a difference explained away. A write that was acknowledged is in the log, there, once, or nothing is proved.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use cloudsync_engine::replica::{Change, OutboxBatch};
use cloudsync_protocol::frame::Pushed;
use cloudsync_protocol::statement::BatchStatement;
use cloudsync_protocol::{DeviceId, DeviceSeq, Entry, Hash, Seq, codec};

/// A batch and its place: `(from, to]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The statement's hash.
    pub hash: Hash,
    /// Exclusive.
    pub from: Seq,
    /// Inclusive.
    pub to: Seq,
}

/// Of one device.
#[derive(Debug, Default)]
pub struct Ledger {
    signed: BTreeMap<DeviceSeq, Hash>,
    acknowledged: BTreeMap<DeviceSeq, Placed>,
    told: Vec<Change>,
    /// Acknowledgements that came only to the second sending, of what the first had committed.
    pub lost_answers: u64,
    /// Pushes refused as *stale*.
    pub stale: u64,
    /// Pushes refused as *quota_exceeded*.
    pub without_room: u64,
    /// How often events were dropped.
    pub lagged: u64,
}

impl Ledger {
    /// Notes a batch that is about to be sent. The same number is the same bytes for ever.
    pub fn sign(&mut self, batch: &OutboxBatch) -> anyhow::Result<()> {
        let before = self.signed.insert(batch.device_seq, batch.hash);
        ensure!(before.is_none_or(|hash| hash == batch.hash), "push {} was signed with other bytes before", batch.device_seq);
        Ok(())
    }

    /// Notes an acknowledgement.
    pub fn acknowledge(&mut self, batch: &OutboxBatch, pushed: &Pushed) -> anyhow::Result<()> {
        let placed = Placed { hash: pushed.hash, from: pushed.from, to: pushed.to };
        ensure!(pushed.device_seq == batch.device_seq && pushed.hash == batch.hash, "{pushed:?} answers push {}", batch.device_seq);
        ensure!(pushed.from.plus(batch.made.len() as u64) == pushed.to, "{pushed:?} for {} operations", batch.made.len());
        ensure!(self.acknowledged.insert(batch.device_seq, placed).is_none(), "push {} was acknowledged before", batch.device_seq);
        Ok(())
    }

    /// Notes what the device's app would have been told.
    pub fn told(&mut self, changes: Vec<Change>) {
        self.told.extend(changes);
    }

    /// Acknowledged pushes.
    #[must_use]
    pub fn acknowledgements(&self) -> usize {
        self.acknowledged.len()
    }

    /// Every acknowledged push of `device` stands in the log, where it was said to be; nothing else of the device does;
    /// and the device was told of every operation of every device, in order, once (S1, D1).
    pub fn check(&self, device: DeviceId, log: &CheckedLog, whole: &Self) -> anyhow::Result<()> {
        for (device_seq, acknowledged) in &self.acknowledged {
            let found = log.batches.get(&(device, *device_seq));
            ensure!(found == Some(acknowledged), "push {device_seq} of {device}: acknowledged {acknowledged:?}, the log has {found:?}");
        }
        for ((_, device_seq), placed) in log.batches.iter().filter(|((by, _), _)| *by == device) {
            ensure!(
                self.acknowledged.contains_key(device_seq),
                "the log has push {device_seq} of {device} at {placed:?}: never acknowledged"
            );
            ensure!(self.signed.get(device_seq) == Some(&placed.hash), "the log has push {device_seq} of {device}: never signed so");
        }
        if self.told != whole.told {
            let place = self.told.iter().zip(&whole.told).position(|(a, b)| a != b);
            bail!("{device} was told {} changes, the log has {}; the first other one: {place:?}", self.told.len(), whole.told.len());
        }
        ensure!(self.told.is_sorted_by(|a, b| a.seq < b.seq), "{device} was told of changes out of order");
        Ok(())
    }
}

/// A log as read from its beginning.
#[derive(Debug)]
pub struct CheckedLog {
    batches: BTreeMap<(DeviceId, DeviceSeq), Placed>,
    head: Seq,
}

impl CheckedLog {
    /// Numbers have no gaps (V3), a `(device, device_seq)` is there once (D1), each batch follows its device's one before,
    /// and the server's clock never goes back.
    pub fn of(entries: &[Entry]) -> anyhow::Result<Self> {
        let mut batches = BTreeMap::new();
        let mut chains: BTreeMap<DeviceId, (DeviceSeq, Hash)> = BTreeMap::new();
        let (mut head, mut server_ts) = (Seq::ZERO, 0);
        for entry in entries {
            ensure!(entry.first() == head.next(), "{} follows {head}", entry.first());
            ensure!(entry.server_ts() >= server_ts, "the clock goes back at {}", entry.first());
            if let Entry::Batch(batch) = entry {
                let statement: BatchStatement = codec::decode(&batch.signed.statement).context("a statement")?;
                let placed = Placed { hash: batch.signed.hash(), from: head, to: entry.last() };
                let (device, device_seq) = (statement.device, statement.device_seq);
                let (last, hash) = chains.get(&device).copied().unwrap_or_default();
                ensure!(device_seq > last && statement.prev_hash == hash, "push {device_seq} of {device} does not follow {last}");
                chains.insert(device, (device_seq, placed.hash));
                ensure!(batches.insert((device, device_seq), placed).is_none(), "push {device_seq} of {device} is there twice");
            }
            (head, server_ts) = (entry.last(), entry.server_ts());
        }
        Ok(Self { batches, head })
    }

    /// Its last number.
    #[must_use]
    pub const fn head(&self) -> Seq {
        self.head
    }

    /// Pushes.
    #[must_use]
    pub fn pushes(&self) -> usize {
        self.batches.len()
    }

    /// Who pushed.
    #[must_use]
    pub fn devices(&self) -> BTreeSet<DeviceId> {
        self.batches.keys().map(|(device, _)| *device).collect()
    }
}
