//! Stores put back to any earlier state under new timelines, while three devices edit, delete, come and go: whatever was acknowledged
//! is current, behind what is current, kept or given up by somebody, and nobody's queue stands still.
//!
//! Never: an interleaving inside one call; those are the convergence runs' own. A crash is a device that stops between two calls.

use std::collections::{BTreeMap, BTreeSet};

use cloudsync_engine::replica::{Content, LostState, NewEdit, Onto, Tables};
use cloudsync_engine::user::Event;
use cloudsync_protocol::{Entry, Hash, Operation, RecordKey, TimelineId};

use crate::desk::Desk;
use crate::maker::NOW_MS;
use crate::support::keys::{key, value};
use crate::support::log::Device;
use crate::support::rng::Rng;
use crate::support::store::Store;

mod client;
use client::PATIENT;

const DEVICES: u8 = 3;
const STEPS: u64 = 60;
const RUNS: u64 = 300;

struct World {
    desk: Desk,
    devices: Vec<Device>,
    saved: Vec<Store>,
    timelines: u8,
    /// The last one that was opened, and each device's.
    session: u64,
    sessions: Vec<u64>,
    rng: Rng,
    /// What each version was made from, or brought back over, in whatever timeline.
    behind: BTreeMap<Hash, BTreeSet<Hash>>,
    acknowledged: Vec<(RecordKey, Hash)>,
    /// What somebody gave up by an edit on what is current.
    settled: BTreeSet<Hash>,
}

fn keys() -> Vec<RecordKey> {
    (0..4).map(|number| key(&format!("r{number}"))).collect()
}

impl World {
    fn new(seed: u64) -> Self {
        let desk = Desk::with_devices(DEVICES);
        let devices = (1..=DEVICES).map(Device::new).collect();
        let (behind, acknowledged, settled) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Self {
            desk,
            devices,
            saved: Vec::new(),
            timelines: 0,
            session: 100,
            sessions: vec![100; DEVICES.into()],
            rng: Rng::new(seed),
            behind,
            acknowledged,
            settled,
        }
    }

    fn timeline(&self) -> TimelineId {
        self.desk.store.head.as_ref().unwrap().timeline
    }

    fn step(&mut self) {
        let device = usize::try_from(self.rng.below(DEVICES.into())).unwrap();
        match self.rng.below(10) {
            0 => self.saved.push(self.desk.store.clone()),
            1 if !self.saved.is_empty() => self.restore(),
            2..=4 => {
                let patience = if self.rng.chance(30) { self.rng.below(8) } else { PATIENT };
                self.sync(device, patience);
            }
            _ => self.edit(device),
        }
    }

    /// What a device keeps beside what is committed: lost versions with what they say, and what its edits were made from with what
    /// these say.
    fn beside(&self, device: usize) -> Vec<(RecordKey, Hash, Content)> {
        let tables = &self.devices[device].tables;
        let of = |key: RecordKey| {
            let lost = tables.lost_of(&key).unwrap().into_iter().map(|lost| (lost.record.hash, lost.record.content));
            let edits = tables.edits_of(&key).unwrap().into_iter().map(|edit| (edit.parent, edit.content));
            lost.chain(edits).map(|(hash, content)| (key.clone(), hash, content)).collect::<Vec<_>>()
        };
        keys().into_iter().flat_map(of).collect()
    }

    /// Something other than an edit: what it lets go of has to be behind what is current, unless both say the same.
    fn on<R>(&mut self, device: usize, act: impl FnOnce(&mut Device) -> R) -> R {
        let before = self.beside(device);
        let result = act(&mut self.devices[device]);
        let after = self.beside(device);
        for (key, hash, content) in before.into_iter().filter(|one| !after.contains(one)) {
            let current = self.devices[device].tables.record(&key).unwrap();
            if let Some(current) = current.filter(|current| current.content == content) {
                self.behind.entry(current.hash).or_default().insert(hash);
            }
        }
        result
    }

    fn edit(&mut self, device: usize) {
        let record = key(&format!("r{}", self.rng.below(4)));
        let content = if self.rng.chance(25) { Content::Deleted } else { value(&format!("{}", self.rng.below(6))) };
        let new = |onto| NewEdit { key: record.clone(), content: content.clone(), onto, now_ms: NOW_MS };
        let onto = if self.rng.chance(30) { Onto::Current } else { Onto::Replica };
        // One that is refused is no edit.
        let before = self.beside(device);
        drop(self.devices[device].transact(|replica, _| replica.edit(new(onto))));
        if onto == Onto::Current {
            let after: BTreeSet<Hash> = self.beside(device).into_iter().map(|(_, hash, _)| hash).collect();
            self.settled.extend(before.into_iter().map(|(_, hash, _)| hash).filter(|hash| !after.contains(hash)));
        }
    }

    /// Any saved state, also one of before an earlier restore.
    fn restore(&mut self) {
        let at = usize::try_from(self.rng.below(self.saved.len() as u64)).unwrap();
        let mut store = self.saved[at].clone();
        self.timelines += 1;
        store.head.as_mut().unwrap().open_timeline(TimelineId([100 + self.timelines; 16]), 1);
        self.desk = Desk::over(store, self.timelines, Vec::new());
        self.desk.say(Event::Start);
    }

    /// What was made since the last restore is replaced by nothing that was lost, unless that was made of it.
    fn check_adopts(&self, seed: u64) {
        let (_, since) = *self.desk.store.head.as_ref().unwrap().lineage.last().unwrap();
        let mut made = BTreeSet::new();
        for entry in self.desk.store.entries().iter().filter(|entry| entry.first() >= since) {
            let Entry::Batch(batch) = entry else { continue };
            for operation in &batch.operations {
                let Operation::Adopt(adopt) = operation else {
                    made.insert(operation.hash());
                    continue;
                };
                let header = adopt.envelope.check().unwrap();
                assert!(!made.contains(&adopt.over) || header.parent == adopt.over, "seed {seed}: {} went over newer work", header.key());
            }
        }
    }

    fn check(&mut self, seed: u64) {
        for _ in 0..3 {
            (0..self.devices.len()).for_each(|device| self.sync(device, PATIENT));
        }
        self.check_adopts(seed);
        let current = self.desk.store.current();
        let mut kept: Vec<Hash> = current.values().map(|row| row.envelope.hash()).collect();
        for device in &mut self.devices {
            let counts = device.tables.edit_counts().unwrap();
            assert_eq!((counts.waiting, counts.signed, counts.lost), (0, 0, 0), "seed {seed}: a queue stands still");
            kept.extend(device.tables.parked().unwrap().into_iter().map(|edit| edit.parent));
            for lost in device.tables.lost_refused().unwrap() {
                assert!(matches!(lost.state, LostState::Refused(_)));
                kept.push(lost.record.hash);
            }
            let held = device.tables.records(None, None, 1000).unwrap();
            let held: Vec<_> = held.into_iter().map(|record| (record.key, record.seq, record.hash)).collect();
            let expected: Vec<_> = current.iter().map(|(key, row)| (key.clone(), row.seq, row.envelope.hash())).collect();
            assert_eq!(held, expected, "seed {seed}: S2");
        }
        let mut reached: Vec<Hash> = kept.into_iter().chain(self.settled.iter().copied()).collect();
        let mut seen = BTreeSet::new();
        while let Some(next) = reached.pop() {
            if seen.insert(next) {
                reached.extend(self.behind.get(&next).into_iter().flatten());
            }
        }
        for (key, hash) in &self.acknowledged {
            assert!(seen.contains(hash), "seed {seed}: {key} {hash} is nowhere");
        }
    }
}

#[test]
fn whatever_was_acknowledged_before_any_number_of_restores_is_current_behind_it_or_kept() {
    for seed in 0..RUNS {
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        world.check(seed);
    }
}
