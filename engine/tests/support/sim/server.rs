//! The node's shell round [`User`]: carries out its effects one at a time, when the seed says so, and dies when it says so.
//!
//! Never: a decision. What the store says of a commit is the seed's.

use std::collections::VecDeque;
use std::sync::Arc;

use cloudsync_engine::cursor::{self, Extent, Verdict};
use cloudsync_engine::invariants::Claims;
use cloudsync_engine::log::Acquire;
use cloudsync_engine::session::{Peer, SessionId};
use cloudsync_engine::user::{AccountChange, AcquireOutcome, CallId, CommitOutcome, Effect, Event, Options, User};
use cloudsync_protocol::frame::{Pull, Snapshot};
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{DeviceId, Entry, ErrorCode, Failure, Frame, Seq, View, codec};

use super::network::Network;
use crate::support::keys::LOG;
use crate::support::rng::Rng;
use crate::support::store::{Parked, Store};

#[derive(Debug, Default)]
pub struct Server {
    user: Option<User>,
    pub quota_bytes: u64,
    pub store: Store,
    waiting: VecDeque<Waiting>,
    claims: Claims,
    calls: u64,
    activations: u64,
    pub enrolled: Vec<(CallId, bool)>,
    /// Devices whose connections are to be closed.
    pub closing: Vec<DeviceId>,
}

/// What waits for the store.
#[derive(Debug)]
enum Waiting {
    /// The owner's.
    Effect(Effect),
    /// A session's, past the owner.
    Pull(SessionId, Pull),
    Snapshot(SessionId, Snapshot),
}

/// Whether the store does what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    Foul,
}

impl Server {
    pub fn new(quota_bytes: u64) -> Self {
        Self { quota_bytes, ..Self::default() }
    }

    /// Effects that wait for the store.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Nothing is to come without a new request.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.user.as_ref().is_none_or(User::is_idle)
    }

    /// Loses everything but the store. Connections end too: that is the caller's.
    pub fn crash(&mut self) {
        self.user = None;
        for waiting in std::mem::take(&mut self.waiting) {
            self.orphan(waiting);
        }
    }

    /// A commit on its way when its owner died may apply later.
    fn orphan(&mut self, waiting: Waiting) {
        if let Waiting::Effect(Effect::Persist(commit)) = waiting {
            let late = self.store.plan_commit(*commit);
            self.store.parked.push(late);
        }
    }

    pub fn enrol(&mut self, now_ms: u64, changes: Vec<RosterChange>, network: &mut Network) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        let ticket_version = self.store.head.as_ref().map_or(1, |head| head.keyring_version);
        let change = AccountChange { changes, ticket_version, credentials: None };
        self.handle(now_ms, Event::ByAccount { call, change }, network);
        call
    }

    pub fn closed(&mut self, now_ms: u64, session: SessionId, network: &mut Network) {
        if self.user.is_some() {
            self.handle(now_ms, Event::Closed { session }, network);
        }
    }

    pub fn wake(&mut self, now_ms: u64, network: &mut Network) {
        if self.user.as_ref().and_then(User::wake_at_ms).is_some_and(|at_ms| at_ms <= now_ms) {
            self.handle(now_ms, Event::Wake, network);
        }
    }

    /// A request of a session.
    pub fn request(&mut self, now_ms: u64, session: SessionId, network: &mut Network) {
        let Some(wire) = network.wires.get_mut(&session) else { return };
        let Some(frame) = wire.requests.pop_front() else { return };
        let peer = wire.peer;
        let event = match frame {
            Frame::Attach(attach) => Event::Attach { peer, attach },
            Frame::Pull(pull) => return self.waiting.push_back(Waiting::Pull(session, pull)),
            Frame::Snapshot(snapshot) => return self.waiting.push_back(Waiting::Snapshot(session, snapshot)),
            Frame::Claim(claim) => Event::Claim { peer, claim },
            Frame::Push(push) => {
                let frame_bytes = codec::encode(&Frame::Push(push.clone())).len();
                Event::Push { peer, push, frame_bytes }
            }
            other => panic!("a client does not send {other:?}"),
        };
        self.handle(now_ms, event, network);
    }

    /// Refuses the push that comes next on that wire for want of room, as a node does whose limits are smaller than the next
    /// one's: what is refused now may be taken later, as a copy. False when no push comes next that is not committed yet.
    pub fn refuse_for_room(&mut self, session: SessionId, network: &mut Network) -> bool {
        let Some(wire) = network.wires.get_mut(&session) else { return false };
        let Some(Frame::Push(push)) = wire.requests.front() else { return false };
        let is_committed = self.store.entries().iter().any(|entry| matches!(entry, Entry::Batch(batch) if batch.signed == push.signed));
        if is_committed {
            return false;
        }
        let refusal = Failure::new(push.request, ErrorCode::RecordsFull, "a smaller node");
        wire.requests.pop_front();
        network.answer(session, refusal.into());
        true
    }

    fn handle(&mut self, now_ms: u64, event: Event, network: &mut Network) {
        if self.user.is_none() {
            self.activations += 1;
            let mut seed = [5; 32];
            seed[..8].copy_from_slice(&self.activations.to_be_bytes());
            let options = Options { log: LOG, view: View(1), seed, retry_after_ms: 10, quota_bytes: self.quota_bytes };
            let mut user = User::new(options, Vec::new());
            let effects = user.handle(now_ms, Event::Start);
            self.user = Some(user);
            self.carry_out(effects, network);
        }
        let effects = self.user.as_mut().map(|user| user.handle(now_ms, event)).unwrap_or_default();
        self.carry_out(effects, network);
    }

    fn carry_out(&mut self, effects: Vec<Effect>, network: &mut Network) {
        for effect in effects {
            match effect {
                Effect::Acquire(_)
                | Effect::ReadRoster { .. }
                | Effect::ReadHead { .. }
                | Effect::ReadRow { .. }
                | Effect::LookUp { .. }
                | Effect::Persist(_) => self.waiting.push_back(Waiting::Effect(effect)),
                Effect::Answer { session, frame, .. } => self.answer(session, *frame, network),
                Effect::FanOut(fan_out) => {
                    self.check_told(fan_out.head);
                    for session in fan_out.to {
                        network.event(session, Arc::clone(&fan_out.frame));
                    }
                    if let Some((session, committed)) = fan_out.own {
                        if let Some(wire) = network.wires.get(&session) {
                            self.claims.committed(wire.peer.device, session, committed.from.next()).unwrap();
                        }
                        network.event(session, Arc::new(committed.into()));
                    }
                }
                Effect::Enrolled { call, outcome } => self.enrolled.push((call, outcome.is_ok())),
                Effect::CloseDevice { device, .. } => self.closing.push(device),
                Effect::RevokeFamilies { .. } | Effect::CommitFull => {}
                Effect::Opened { .. } => panic!("nobody said hello"),
                Effect::Violated(violation) => panic!("{violation}"),
                Effect::Stop(_) => self.take_over(network),
            }
        }
    }

    /// The region activates afresh when somebody asks; here, sessions simply attach again.
    fn take_over(&mut self, network: &mut Network) {
        let attached: Vec<Peer> = self.user.take().iter().flat_map(User::attached).collect();
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Effect(_) => self.orphan(waiting),
                // Whoever owns the log.
                Waiting::Pull(..) | Waiting::Snapshot(..) => self.waiting.push_back(waiting),
            }
        }
        for peer in attached {
            lag(network, peer.session, self.store.head_seq());
        }
    }

    /// V2: what a client is told is durable.
    fn check_told(&self, told: Seq) {
        cloudsync_engine::invariants::told_is_durable(told, self.store.head_seq()).unwrap();
    }

    fn answer(&mut self, session: SessionId, frame: Frame, network: &mut Network) {
        let device = network.wires.get(&session).map(|wire| wire.peer.device);
        if let Frame::Pushed(pushed) = &frame {
            self.check_told(pushed.to);
        }
        if let (Frame::Claimed(claimed), Some(device)) = (&frame, device) {
            self.check_told(claimed.last.seq);
            let others: Vec<SessionId> = others_of(network, device, session);
            self.claims.claimed(device, session, &others, self.store.head_seq());
        }
        network.answer(session, frame);
    }

    /// Carries out one effect that waits for the store, and says what came of it.
    pub fn store_step(&mut self, now_ms: u64, weather: Weather, rng: &mut Rng, network: &mut Network) {
        if !self.store.parked.is_empty() && (weather == Weather::Fair || rng.chance(30)) {
            let late = self.store.parked.remove(0);
            self.apply(late);
        }
        if self.waiting.is_empty() {
            return;
        }
        let effect = match self.waiting.remove(rng.index(self.waiting.len())) {
            Some(Waiting::Effect(effect)) => effect,
            Some(Waiting::Pull(session, pull)) => return self.pull(session, &pull, network),
            Some(Waiting::Snapshot(session, snapshot)) => {
                return network.answer(session, self.store.snapshot(snapshot.request, snapshot.resume.as_ref()).into());
            }
            None => return,
        };
        let event = match effect {
            Effect::Acquire(acquire) => Event::Acquired { owner: acquire.owner, outcome: self.acquire(&acquire, weather, rng) },
            Effect::ReadRoster { read } => Event::RosterRead { read, outcome: Ok(self.store.roster()) },
            Effect::ReadHead { read } => Event::HeadRead { read, outcome: Ok(self.store.head.clone()) },
            Effect::ReadRow { read, seq } => Event::RowRead { read, outcome: Ok(self.store.row(seq)) },
            Effect::LookUp { read, records, rows } => Event::Found { read, outcome: Ok(self.store.found(&records, &rows)) },
            Effect::Persist(commit) => {
                let id = commit.head.commit;
                let planned = self.store.plan_commit(*commit);
                let outcome = self.commit(planned, weather, rng);
                Event::Persisted { commit: id, outcome }
            }
            other => panic!("{other:?} does not wait for the store"),
        };
        self.handle(now_ms, event, network);
    }

    /// Whether it applied; the store's invariants are checked either way.
    fn apply(&mut self, planned: Parked) -> bool {
        let applied = self.store.apply(planned).unwrap();
        self.store.check().unwrap();
        applied
    }

    /// Lost before it applied, or after, or parked to apply later.
    fn acquire(&mut self, acquire: &Acquire, weather: Weather, rng: &mut Rng) -> AcquireOutcome {
        let planned = self.store.plan_acquire(acquire, 0);
        if foul(weather, rng, 10) {
            match rng.below(3) {
                0 => self.store.parked.push(planned),
                1 => assert!(self.apply(planned)),
                _ => {}
            }
            return AcquireOutcome::InDoubt;
        }
        self.apply(planned);
        self.store.won(acquire.owner)
    }

    fn commit(&mut self, planned: Parked, weather: Weather, rng: &mut Rng) -> CommitOutcome {
        match rng.below(4) {
            0 if foul(weather, rng, 40) => CommitOutcome::Unknown,
            1 if foul(weather, rng, 40) => {
                self.apply(planned);
                CommitOutcome::Unknown
            }
            2 if foul(weather, rng, 40) => {
                self.store.parked.push(planned);
                CommitOutcome::Unknown
            }
            3 if foul(weather, rng, 20) => CommitOutcome::Unavailable,
            _ if self.apply(planned) => CommitOutcome::Durable,
            _ => CommitOutcome::Fenced,
        }
    }

    fn pull(&self, session: SessionId, pull: &Pull, network: &mut Network) {
        let head = self.store.head.as_ref().expect("a log that was never written to has no devices");
        // The store never goes back here, so every cursor is of it.
        match cursor::judge(pull.from, &Extent::from(head)) {
            Verdict::Fine => {}
            Verdict::Depends(check) => {
                let row = self.store.row(check.seq());
                check.with(row).unwrap();
            }
            Verdict::Refused(refusal) => panic!("{refusal}"),
        }
        network.answer(session, self.store.page(pull.request, head.timeline, pull.from.seq, pull.to.min(head.seq)).into());
    }
}

fn foul(weather: Weather, rng: &mut Rng, percent: u64) -> bool {
    weather == Weather::Foul && rng.chance(percent)
}

/// Drops a session's events and says so.
pub fn lag(network: &mut Network, session: SessionId, head: Seq) {
    if let Some(wire) = network.wires.get_mut(&session) {
        wire.events.clear();
        wire.lagging = true;
        wire.events.push_back(Arc::new(cloudsync_protocol::frame::Lagging { log: 0, head }.into()));
    }
}

fn others_of(network: &Network, device: DeviceId, session: SessionId) -> Vec<SessionId> {
    network.wires.values().filter(|wire| wire.peer.device == device && wire.peer.session != session).map(|wire| wire.peer.session).collect()
}
