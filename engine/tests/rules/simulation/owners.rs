//! Owners of the log, up to two at a time, and what the model store makes of their effects.
//!
//! Never: an outcome that the model store would not give.

use std::collections::VecDeque;

use cloudsync_engine::invariants::Violation;
use cloudsync_engine::log::{Acquire, Commit};
use cloudsync_engine::session::Peer;
use cloudsync_engine::user::{AcquireOutcome, CommitOutcome, Effect, Event, User};
use cloudsync_protocol::{Entry, Epoch, OwnerId};

use super::{Checked, Simulation};
use crate::desk::options;
use crate::maker::{self, NOW_MS};
use crate::support::store::{Parked, Variant};

/// One owner of the log, of a moment.
pub(super) struct Owner {
    pub(super) number: u64,
    pub(super) user: User,
    pub(super) effects: VecDeque<Effect>,
    pub(super) events: VecDeque<Event>,
    acquired: u64,
    /// With `ResolveByReading`: how many epochs it only believes to have won, and the nonce that it really won by.
    believed: u64,
    real: OwnerId,
    believed_owner: OwnerId,
}

impl Simulation {
    pub(super) fn begin_owner(&mut self, attached: Vec<Peer>) {
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
    pub(super) fn change_owners(&mut self, argument: u8, at: usize) {
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
            // Two that always began anew would do nothing but fence each other.
            if self.owners.is_empty() || argument & 0x30 == 0 {
                self.begin_owner(attached);
            }
        }
    }

    pub(super) fn tell(&mut self, at: usize, event: Event) -> Checked {
        let now_ms = NOW_MS + self.step * 50;
        let Some(owner) = self.owners.get_mut(at) else { return Ok(()) };
        let number = owner.number;
        let effects = owner.user.handle(now_ms, event);
        for effect in effects {
            match effect {
                Effect::Answer { session, frame, .. } => self.answered(number, session, *frame)?,
                Effect::FanOut(fan_out) => self.fanned_out(number, &fan_out)?,
                Effect::CommitFull => {}
                Effect::Violated(violation) => return Err(violation),
                Effect::Enrolled { call, outcome } => self.enrolled(call, outcome)?,
                Effect::Opened { .. } | Effect::CloseDevice { .. } | Effect::RevokeFamilies { .. } | Effect::Stop(_) => {}
                stored => self.owners[at].effects.push_back(stored),
            }
        }
        self.check_roster(at)
    }

    pub(super) fn carry_out(&mut self, at: usize, fate: u8) -> Checked {
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
            Effect::LookUp { read, records, rows } => Event::Found { read, outcome: Ok(self.store.found(&records, &rows)) },
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

    pub(super) fn acquire(&mut self, at: usize, acquire: &Acquire, fate: u8) -> Result<AcquireOutcome, Violation> {
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

    pub(super) fn commit(&mut self, planned: Parked, fate: u8) -> Result<CommitOutcome, Violation> {
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

    pub(super) fn apply(&mut self, parked: Parked) -> Result<bool, Violation> {
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
                    self.committed.push((statement.device, hash, self.tick));
                    self.submitters.insert((hash, self.tick), self.submitted.get(&hash).cloned().unwrap_or_default());
                }
            }
        }
        Ok(true)
    }
}

/// A commit as the store gets it: under the epoch that was really won.
fn unbelieved(mut commit: Commit, believed: u64) -> Commit {
    commit.head.epoch = Epoch(commit.head.epoch.0 - believed);
    commit
}
