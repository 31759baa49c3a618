//! Random runs of the owner's rules: two owners of one log at a time, a store with its faults, and clients that also do what
//! no honest one would. Every invariant is checked at every step. (Honest devices with replicas: `support::sim`.)
//!
//! Never: knowledge of the rules' insides. It sees events and effects only.

mod clients;
mod keys;
mod owners;
mod roster;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use cloudsync_engine::invariants::{Invariant, Rising, Violation};
use cloudsync_engine::session::SessionId;
use cloudsync_engine::user::{AccountChange, CallId, Event};
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::frame::{Attach, OWN_LOG, Push};
use cloudsync_protocol::{Cursor, DeviceId, Entry, Hash, Seq};

use self::owners::Owner;
use crate::maker;
use crate::support::store::{Store, Variant};

pub(crate) const DEVICES: u8 = 2;
/// Kinds of steps.
pub(crate) const KINDS: u8 = 19;

#[derive(Default)]
struct Pen {
    device_seq: u64,
    batches: Vec<Push>,
    /// Per session: the last push that it was told, while it may push.
    ready: BTreeMap<SessionId, LastPush>,
}

pub(crate) struct Simulation {
    store: Store,
    owners: Vec<Owner>,
    owners_begun: u64,
    step: u64,
    /// Counts what the store did: finer than steps, so that reads and commits have an order.
    tick: u64,
    pens: BTreeMap<u8, Pen>,
    /// The device of each of the two profiles, and the one that it is becoming.
    devices: [u8; DEVICES as usize],
    becoming: [Option<u8>; DEVICES as usize],
    /// The newest device's; ids are never used again.
    numbers: u8,
    submitted: BTreeMap<Hash, BTreeSet<SessionId>>,
    acknowledged: BTreeMap<Hash, (Seq, Seq)>,
    /// The tick of a serial read, and the device's last push then, by owner.
    reads: BTreeMap<u64, (u64, BTreeMap<DeviceId, LastPush>)>,
    claimed: Vec<(DeviceId, SessionId, u64)>,
    committed: Vec<(DeviceId, Hash, u64)>,
    submitters: BTreeMap<(Hash, u64), BTreeSet<SessionId>>,
    rising: BTreeMap<(u64, SessionId), Rising>,
}

type Checked = Result<(), Violation>;

fn violated(invariant: Invariant, facts: String) -> Violation {
    Violation { invariant, facts }
}

impl Simulation {
    pub(crate) fn new(variant: Variant) -> Self {
        let pens = (1..=DEVICES).map(|number| (number, Pen::default())).collect();
        let mut simulation = Self {
            store: Store::new(variant),
            owners: Vec::new(),
            owners_begun: 0,
            step: 0,
            tick: 0,
            pens,
            devices: std::array::from_fn(|slot| u8::try_from(slot + 1).unwrap()),
            becoming: [None; DEVICES as usize],
            numbers: DEVICES,
            submitted: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            reads: BTreeMap::new(),
            claimed: Vec::new(),
            committed: Vec::new(),
            submitters: BTreeMap::new(),
            rising: BTreeMap::new(),
        };
        simulation.begin_owner(Vec::new());
        let changes = std::iter::once(maker::identity()).chain((1..=DEVICES).map(maker::enrol)).collect();
        let change = AccountChange { changes, ticket_version: 1, credentials: None };
        simulation.tell(0, Event::ByAccount { call: CallId(1), change }).unwrap();
        simulation.settle().unwrap();
        simulation
    }

    /// Runs a script, then lets everything come to rest; every step is checked.
    pub(crate) fn run(variant: Variant, script: &[(u8, u8)]) -> Checked {
        let mut simulation = Self::new(variant);
        for (kind, argument) in script {
            simulation.step += 1;
            simulation.one(*kind, *argument)?;
        }
        for parked in std::mem::take(&mut simulation.store.parked) {
            simulation.apply(parked)?;
        }
        simulation.settle()?;
        simulation.check_end()
    }

    fn one(&mut self, kind: u8, argument: u8) -> Checked {
        if self.owners.iter().any(|owner| owner.user.stopped().is_some()) {
            self.change_owners(argument, 0);
        }
        let at = usize::from(argument >> 4) % self.owners.len().max(1);
        match kind {
            0 | 1 => self.client_push(argument, at),
            2 => self.client_claim(argument, at),
            3 => self.client_again(argument, at),
            4 => {
                let peer = self.peer(argument);
                self.tell(at, Event::Attach { peer, attach: Attach { request: 2, log: OWN_LOG, cursor: Cursor::default() } })
            }
            8 => self.carry_out(at, argument & 63),
            5..=7 => {
                self.carry_out(at, argument & 63)?;
                self.one(if argument & 0x40 == 0 { 9 } else { 14 }, argument)?;
                self.carry_out(at, 15)
            }
            // The store's answers may be late, and then come together.
            9..=12 => {
                while let Some(event) = self.owners.get_mut(at).and_then(|owner| owner.events.pop_front()) {
                    self.tell(at, event)?;
                }
                Ok(())
            }
            13 => {
                if !self.store.parked.is_empty() {
                    let parked = self.store.parked.remove(usize::from(argument) % self.store.parked.len());
                    self.apply(parked)?;
                }
                Ok(())
            }
            14 => self.tell(at, Event::Wake),
            // Seldom: a new device has to claim before anything gets done again.
            16 if argument & 0x0c == 0 => self.change_roster(argument, at),
            17 if argument & 0x0c == 0 => self.change_keys(argument, at),
            18 => self.client_rewrap(argument, at),
            _ => {
                if argument & 0x4c == 0 {
                    self.change_owners(argument, at);
                }
                Ok(())
            }
        }
    }

    /// No more faults: everything under way comes to its end.
    fn settle(&mut self) -> Checked {
        for _ in 0..400 {
            self.step += 100;
            for at in 0..self.owners.len() {
                self.carry_out(at, 15)?;
                while let Some(event) = self.owners[at].events.pop_front() {
                    self.tell(at, event)?;
                }
                self.tell(at, Event::Wake)?;
            }
            if self.owners.iter().all(|owner| owner.user.is_idle() && owner.effects.is_empty()) {
                return Ok(());
            }
        }
        Err(violated(Invariant::S2, "it does not come to rest".to_owned()))
    }

    fn is_in_log(&self, hash: Hash, from: Seq, to: Seq) -> Checked {
        let log = self.store.log()?;
        let is_there = log.iter().any(|entry| entry.first() == from.next() && entry.last() == to && entry_hash(entry) == Some(hash));
        if is_there { Ok(()) } else { Err(violated(Invariant::V2, format!("{hash} was acknowledged as ({from}, {to}] and is not there"))) }
    }

    fn check_end(&self) -> Checked {
        self.store.check()?;
        for (hash, (from, to)) in &self.acknowledged {
            self.is_in_log(*hash, *from, *to)?;
        }
        // D2: after the serial read that a `claimed` rests on, only its session or later claimers commit.
        for (claimer, session, read) in &self.claimed {
            for (committer, hash, step) in self.committed.iter().filter(|(device, _, step)| device == claimer && step > read) {
                let is_later = |other: &SessionId| {
                    other == session || self.claimed.iter().any(|(device, who, when)| device == claimer && who == other && when > read)
                };
                if !self.submitters[&(*hash, *step)].iter().any(is_later) {
                    let facts = format!("{hash} of {committer} committed at {step}, {session:?} had claimed at {read}");
                    return Err(violated(Invariant::D2, facts));
                }
            }
        }
        Ok(())
    }

    /// How many operations each batch has that was acknowledged: so that a run that does nothing does not pass for one that
    /// holds.
    pub(crate) fn acknowledged_of(script: &[(u8, u8)]) -> Vec<u64> {
        Self::played(script).acknowledged.values().map(|(from, to)| to.0 - from.0).collect()
    }

    /// How many changes of the roster are in the log when a script is over, beyond those that it began with.
    pub(crate) fn roster_changes_of(script: &[(u8, u8)]) -> usize {
        Self::played(script).store.roster().len() - 1 - usize::from(DEVICES)
    }

    /// Account keys that a script came to, and rows that were given newer wraps.
    pub(crate) fn keys_of(script: &[(u8, u8)]) -> (u64, usize) {
        let simulation = Self::played(script);
        (simulation.store.head.as_ref().map_or(1, |head| head.key_epoch), simulation.store.wraps.len())
    }

    fn played(script: &[(u8, u8)]) -> Self {
        let mut simulation = Self::new(Variant::AsDesigned);
        for (kind, argument) in script {
            simulation.step += 1;
            simulation.one(*kind, *argument).unwrap();
        }
        simulation
    }
}

fn entry_hash(entry: &Entry) -> Option<Hash> {
    match entry {
        Entry::Batch(batch) => Some(batch.signed.hash()),
        Entry::Roster(_) => None,
    }
}
