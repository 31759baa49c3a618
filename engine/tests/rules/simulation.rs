//! Random runs: devices with two sessions each, up to two owners of one log at a time, and the model store with its
//! faults. Every invariant is checked at every step.
//!
//! Never: knowledge of the rules' insides. It sees events and effects only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cloudsync_engine::invariants::{Invariant, OneContent, Rising, Violation, told_is_durable};
use cloudsync_engine::session::{Peer, SessionId};
use cloudsync_engine::user::{AcquireOutcome, CallId, CommitOutcome, Effect, Event, FanOut, User};
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::frame::{Attach, Claim, OWN_LOG, Push};
use cloudsync_protocol::{Cursor, DeviceId, Entry, Epoch, Frame, Hash, OwnerId, Seq};

use crate::desk::options;
use crate::maker::{self, NOW_MS, Write, device, peer};
use crate::model::{Parked, Store, Variant};

pub(crate) const DEVICES: u8 = 2;
const RECORDS: usize = 4;
const OPERATIONS_MAX: usize = 3;

/// One owner of the log, of a moment.
struct Owner {
    number: u64,
    user: User,
    effects: VecDeque<Effect>,
    events: VecDeque<Event>,
    acquired: u64,
    /// With `ResolveByReading`: how many epochs it only believes to have won, and the nonce that it really won by.
    believed: u64,
    real: OwnerId,
    believed_owner: OwnerId,
}

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
    submitted: BTreeMap<Hash, BTreeSet<SessionId>>,
    acknowledged: BTreeMap<Hash, (Seq, Seq)>,
    /// The tick of a serial read, and the device's last push then, by owner.
    reads: BTreeMap<u64, (u64, BTreeMap<DeviceId, LastPush>)>,
    claimed: Vec<(DeviceId, SessionId, u64)>,
    committed: Vec<(DeviceId, Hash, u64)>,
    submitters: BTreeMap<(Hash, u64), BTreeSet<SessionId>>,
    content: OneContent,
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
            submitted: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            reads: BTreeMap::new(),
            claimed: Vec::new(),
            committed: Vec::new(),
            submitters: BTreeMap::new(),
            content: OneContent::default(),
            rising: BTreeMap::new(),
        };
        simulation.begin_owner(Vec::new());
        let changes = std::iter::once(maker::identity()).chain((1..=DEVICES).map(maker::enrol)).collect();
        simulation.tell(0, Event::Enrol { call: CallId(1), changes }).unwrap();
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
            8 => self.carry_out(at, argument & 31),
            5..=7 => {
                self.carry_out(at, argument & 31)?;
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
            _ => {
                if argument & 12 == 0 {
                    self.change_owners(argument, at);
                }
                Ok(())
            }
        }
    }

    // --- owners -----------------------------------------------------------------------------------------------

    fn begin_owner(&mut self, attached: Vec<Peer>) {
        self.owners_begun += 1;
        let number = self.owners_begun;
        let mut chosen = options(0);
        chosen.seed[..8].copy_from_slice(&number.to_be_bytes());
        let mut user = User::new(chosen, attached);
        let effects = user.handle(NOW_MS, Event::Start).into();
        let (real, believed_owner) = (OwnerId::default(), OwnerId::default());
        self.owners.push(Owner { number, user, effects, events: VecDeque::new(), acquired: 0, believed: 0, real, believed_owner });
    }

    /// A crash, a second owner beside the first, or one that takes over with the sessions.
    fn change_owners(&mut self, argument: u8, at: usize) {
        let stopped = self.owners.iter().position(|owner| owner.user.stopped().is_some());
        if stopped.is_none() && argument & 3 == 0 && self.owners.len() < 2 {
            self.begin_owner(Vec::new());
        } else {
            let owner = self.owners.remove(stopped.unwrap_or(at));
            // What a crashed owner had sent to the store may still arrive there.
            for effect in owner.effects {
                if let (Effect::Persist(commit), 1) = (effect, argument & 1) {
                    let parked = self.store.plan_commit(unbelieved(*commit, owner.believed));
                    self.store.parked.push(parked);
                }
            }
            let attached = if argument & 2 == 0 { Vec::new() } else { owner.user.attached().collect() };
            self.begin_owner(attached);
        }
    }

    fn tell(&mut self, at: usize, event: Event) -> Checked {
        let now_ms = NOW_MS + self.step * 50;
        let Some(owner) = self.owners.get_mut(at) else { return Ok(()) };
        let number = owner.number;
        let effects = owner.user.handle(now_ms, event);
        for effect in effects {
            match effect {
                Effect::Answer { session, frame, .. } => self.answered(number, session, *frame)?,
                Effect::FanOut(fan_out) => self.fanned_out(number, &fan_out)?,
                Effect::Violated(violation) => return Err(violation),
                Effect::Enrolled { .. }
                | Effect::Opened { .. }
                | Effect::CloseDevice { .. }
                | Effect::RevokeFamilies { .. }
                | Effect::Stop(_) => {}
                stored => self.owners[at].effects.push_back(stored),
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, at: usize, fate: u8) -> Checked {
        self.tick += 1;
        let Some(owner) = self.owners.get_mut(at) else { return Ok(()) };
        let Some(effect) = owner.effects.pop_front() else { return Ok(()) };
        let event = match effect {
            Effect::Acquire(acquire) => {
                let owner_id = acquire.owner;
                Event::Acquired { owner: owner_id, outcome: self.acquire(at, &acquire, fate)? }
            }
            Effect::ReadRoster { read } => Event::RosterRead { read, outcome: Ok(self.store.roster()) },
            Effect::ReadHead { read } => {
                let last = self.store.head.iter().flat_map(|head| &head.dedup).map(|(device, settled)| (*device, settled.push));
                self.reads.insert(owner.number, (self.tick, last.collect()));
                let mut head = self.store.head.clone();
                if let Some(head) = head.as_mut().filter(|head| owner.believed > 0 && head.owner == owner.real) {
                    head.epoch.0 += owner.believed;
                    head.owner = owner.believed_owner;
                }
                Event::HeadRead { read, outcome: Ok(head) }
            }
            Effect::ReadRow { read, seq } => Event::RowRead { read, outcome: Ok(self.store.row(seq)) },
            Effect::LookUp { read, records } => {
                let currents = self.store.currents();
                Event::Found { read, outcome: Ok(records.iter().map(|key| currents.get(key).copied()).collect()) }
            }
            Effect::Persist(commit) => {
                let id = commit.head.commit;
                let planned = self.store.plan_commit(unbelieved(*commit, owner.believed));
                Event::Persisted { commit: id, outcome: self.commit(planned, fate)? }
            }
            other => panic!("not the store's: {other:?}"),
        };
        self.owners[at].events.push_back(event);
        Ok(())
    }

    fn acquire(&mut self, at: usize, acquire: &cloudsync_engine::log::Acquire, fate: u8) -> Result<AcquireOutcome, Violation> {
        let owner = &mut self.owners[at];
        if self.store.variant == Variant::ResolveByReading && owner.acquired > 0 {
            owner.believed += 1;
            owner.believed_owner = acquire.owner;
            let mut head = self.store.head.clone().unwrap();
            head.epoch.0 += owner.believed;
            head.owner = acquire.owner;
            return Ok(AcquireOutcome::Won(Box::new(head)));
        }
        let planned = self.store.plan_acquire(acquire, owner.acquired);
        owner.acquired += 1;
        owner.real = acquire.owner;
        match fate {
            0 => {
                self.store.parked.push(planned);
                Ok(AcquireOutcome::InDoubt)
            }
            1 => {
                self.apply(planned)?;
                Ok(AcquireOutcome::InDoubt)
            }
            _ => {
                self.apply(planned)?;
                Ok(self.store.won(acquire.owner))
            }
        }
    }

    fn commit(&mut self, planned: Parked, fate: u8) -> Result<CommitOutcome, Violation> {
        match fate {
            0 | 1 => {
                self.store.parked.push(planned);
                Ok(CommitOutcome::Unknown)
            }
            2 => Ok(CommitOutcome::Unknown),
            3 | 4 => {
                self.apply(planned)?;
                Ok(CommitOutcome::Unknown)
            }
            5 => Ok(CommitOutcome::Full),
            6 => Ok(CommitOutcome::Unavailable),
            _ => Ok(if self.apply(planned)? { CommitOutcome::Durable } else { CommitOutcome::Fenced }),
        }
    }

    fn apply(&mut self, parked: Parked) -> Result<bool, Violation> {
        self.tick += 1;
        let commit = if let Parked::Commit(commit) = &parked { Some(commit.clone()) } else { None };
        if !self.store.apply(parked)? {
            return Ok(false);
        }
        if let Some(commit) = commit {
            self.store.check()?;
            for entry in self.store.log()?.iter().filter(|entry| entry.first() > commit.after) {
                if let Entry::Batch(batch) = entry {
                    let (hash, statement) = (batch.signed.hash(), cloudsync_engine::batch::statement(maker::LOG, &batch.signed).unwrap());
                    self.content.committed(statement.device, statement.device_seq, hash, batch.first)?;
                    self.committed.push((statement.device, hash, self.tick));
                    self.submitters.insert((hash, self.tick), self.submitted.get(&hash).cloned().unwrap_or_default());
                }
            }
        }
        Ok(true)
    }

    // --- clients ----------------------------------------------------------------------------------------------

    fn peer(&self, argument: u8) -> Peer {
        let number = argument % DEVICES + 1;
        peer(u64::from(number) * 10 + u64::from(argument >> 1 & 1), number)
    }

    fn client_claim(&mut self, argument: u8, at: usize) -> Checked {
        let peer = self.peer(argument);
        self.tell(at, Event::Claim { peer, claim: Claim { request: 1, log: OWN_LOG } })
    }

    fn client_push(&mut self, argument: u8, at: usize) -> Checked {
        let mut peer = self.peer(argument);
        let number = peer.device.0[0];
        if let Some(session) = self.pens[&number].ready.keys().next() {
            peer.session = *session;
        }
        let Some(last) = self.pens.get_mut(&number).and_then(|pen| pen.ready.remove(&peer.session)) else {
            return self.client_claim(argument, at);
        };
        let mut currents: BTreeMap<String, (u64, Hash)> = self
            .store
            .currents()
            .into_iter()
            .map(|(key, current)| (key.record.as_str().to_owned(), (current.version.0, current.hash)))
            .collect();
        let pen = self.pens.get_mut(&number).unwrap();
        // Most count on; some sign a number again, as a profile that was rolled back does.
        if argument & 0x70 != 0x70 || pen.device_seq == 0 {
            pen.device_seq += 1;
        }
        let fill = u8::try_from(pen.batches.len() % 250).unwrap() + 2;
        let first = usize::from(argument >> 2 & 3);
        // Up to three operations: of as many records, or of one, each on the one before.
        let (count, stride) = ((pen.batches.len() + first) % OPERATIONS_MAX + 1, pen.batches.len() % 2);
        let mut operations = Vec::new();
        for number_in_push in 0..count {
            let record = format!("r{}", (first + number_in_push * stride) % RECORDS);
            let write =
                currents.get(&record).map_or_else(|| maker::create(&record), |(version, hash)| maker::write(&record, *version, *hash));
            let write = Write { fill, ..if argument & 0xc0 == 0 && number_in_push + 1 == count { write.dead() } else { write } };
            let operation = write.operation(number, pen.device_seq);
            currents.insert(record, (write.base + 1, operation.hash()));
            operations.push(operation);
        }
        let push = maker::push_of(number, pen.device_seq, last.hash, operations);
        pen.batches.push(push.clone());
        self.submit(peer, push, at)
    }

    /// The same bytes again, from any session, to any owner.
    fn client_again(&mut self, argument: u8, at: usize) -> Checked {
        let peer = self.peer(argument);
        let batches = &self.pens[&peer.device.0[0]].batches;
        let back = usize::from(argument >> 2 & 3) + 1;
        match batches.len().checked_sub(back).and_then(|index| batches.get(index)) {
            Some(push) => self.submit(peer, push.clone(), at),
            None => Ok(()),
        }
    }

    fn submit(&mut self, peer: Peer, push: Push, at: usize) -> Checked {
        self.submitted.entry(push.signed.hash()).or_default().insert(peer.session);
        self.tell(at, Event::Push { peer, push, frame_bytes: 500 })
    }

    // --- what clients are told --------------------------------------------------------------------------------

    fn durable(&self) -> Seq {
        self.store.head.as_ref().map_or(Seq::ZERO, |head| head.seq)
    }

    fn answered(&mut self, owner: u64, session: SessionId, frame: Frame) -> Checked {
        let number = u8::try_from(session.0 / 10).unwrap();
        match frame {
            Frame::Pushed(pushed) => {
                told_is_durable(pushed.to, self.durable())?;
                self.acknowledged.insert(pushed.hash, (pushed.from, pushed.to));
                self.is_in_log(pushed.hash, pushed.from, pushed.to)?;
                let last = LastPush { device_seq: pushed.device_seq, hash: pushed.hash, seq: pushed.to };
                self.pens.get_mut(&number).unwrap().ready.insert(session, last);
            }
            Frame::Claimed(claimed) => {
                let (tick, lasts) = self.reads.get(&owner).cloned().unwrap();
                let last = lasts.get(&device(number)).copied();
                if last.is_some_and(|last| last != claimed.last) || (last.is_none() && claimed.last.device_seq.0 > 0) {
                    return Err(violated(Invariant::V4, format!("claimed tells {:?}, the head that was read {last:?}", claimed.last)));
                }
                self.claimed.push((device(number), session, tick));
                self.pens.get_mut(&number).unwrap().ready.insert(session, claimed.last);
            }
            Frame::Failure(failure) => {
                let versions = self.store.versions();
                for issue in failure.records.iter().filter(|issue| issue.current.0 > 0) {
                    let is_there = versions
                        .iter()
                        .any(|(key, current)| *key == issue.key && current.version == issue.current && current.seq == issue.current_seq);
                    if !is_there {
                        return Err(violated(Invariant::V4, format!("{issue:?} is not in the log")));
                    }
                }
                if let Some(last) = failure.last.filter(|last| last.device_seq.0 > 0) {
                    let log = self.store.log()?;
                    if !log.iter().any(|entry| entry.last() == last.seq && entry_hash(entry) == Some(last.hash)) {
                        return Err(violated(Invariant::V4, format!("{last:?} is not in the log")));
                    }
                }
            }
            Frame::Attached(attached) => {
                told_is_durable(attached.head, self.durable())?;
                self.rising.entry((owner, session)).or_default().resync(attached.head);
            }
            _ => {}
        }
        Ok(())
    }

    fn fanned_out(&mut self, owner: u64, fan_out: &FanOut) -> Checked {
        told_is_durable(fan_out.head, self.durable())?;
        if let Frame::Event(event) = &*fan_out.frame {
            let log = self.store.log()?;
            for entry in &event.entries {
                if !log.contains(entry) {
                    return Err(violated(Invariant::V2, format!("({}, {}] was fanned out, the log has another", event.from, event.to)));
                }
            }
            for session in &fan_out.to {
                self.told(owner, *session, event.from, event.to)?;
            }
        }
        if let Some((session, committed)) = &fan_out.own {
            self.told(owner, *session, committed.from, committed.to)?;
        }
        Ok(())
    }

    fn told(&mut self, owner: u64, session: SessionId, from: Seq, to: Seq) -> Checked {
        self.rising.entry((owner, session)).or_default().told(from, to)
    }

    // --- the end ----------------------------------------------------------------------------------------------

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
        let mut simulation = Self::new(Variant::AsDesigned);
        for (kind, argument) in script {
            simulation.step += 1;
            simulation.one(*kind, *argument).unwrap();
        }
        simulation.acknowledged.values().map(|(from, to)| to.0 - from.0).collect()
    }
}

/// A commit as the store gets it: under the epoch that was really won.
fn unbelieved(mut commit: cloudsync_engine::log::Commit, believed: u64) -> cloudsync_engine::log::Commit {
    commit.head.epoch = Epoch(commit.head.epoch.0 - believed);
    commit
}

fn entry_hash(entry: &Entry) -> Option<Hash> {
    match entry {
        Entry::Batch(batch) => Some(batch.signed.hash()),
        Entry::Roster(_) => None,
    }
}
