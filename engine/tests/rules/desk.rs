//! A user with a model store behind it that answers at once and as told: for tests of single rules.
//!
//! Never: chance. Faults are queued by the test.

use std::collections::VecDeque;

use cloudsync_engine::session::{Peer, SessionId};
use cloudsync_engine::user::{
    AccountChange, AcquireOutcome, CallId, CommitOutcome, Effect, Event, FanOut, Options, ReadTrouble, Stop, User,
};
use cloudsync_protocol::frame::{Attach, ChangeRoster, Claim, OWN_LOG};
use cloudsync_protocol::limits::QUOTA_BYTES_DEFAULT;
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{Cursor, ErrorCode, Failure, Frame, Hash, Seq, TimelineId, View, frame};

use crate::maker::{self, LOG, NOW_MS};
use crate::support::store::{Parked, Store, Variant};

pub(crate) const VIEW: View = View(1);
/// What the shell says of a frame's length; the rules only compare it.
pub(crate) const FRAME_BYTES: usize = 1000;

/// What a commit meets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    UnknownApplied,
    UnknownLost,
    UnknownParked,
    Full,
    Unavailable,
}

#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) user: User,
    pub(crate) store: Store,
    pub(crate) now_ms: u64,
    is_made_up: bool,
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) acquire_outcomes: VecDeque<AcquireOutcome>,
    pub(crate) look_up_troubles: VecDeque<ReadTrouble>,
    /// Effects of the store that wait for [`Desk::run`].
    pub(crate) waiting: VecDeque<Effect>,
    /// Everything else that came out, in order.
    pub(crate) out: Vec<Effect>,
}

pub(crate) fn options(seed: u8) -> Options {
    Options { log: LOG, view: VIEW, seed: [seed; 32], retry_after_ms: 500, quota_bytes: QUOTA_BYTES_DEFAULT }
}

impl Desk {
    /// The same log, owned by a node with another quota.
    pub(crate) fn with_quota(self, quota_bytes: u64) -> Self {
        let attached = self.user.attached().collect();
        let user = User::new(Options { quota_bytes, ..options(7) }, attached);
        let mut desk = Self { user, ..self };
        desk.say(Event::Start);
        desk
    }

    /// A log with an identity and `devices` enrolled, owned.
    pub(crate) fn with_devices(devices: u8) -> Self {
        let mut desk = Self::empty();
        let changes = std::iter::once(maker::identity()).chain((1..=devices).map(maker::enrol)).collect();
        assert!(desk.enrol(changes).is_ok());
        desk.out.clear();
        desk
    }

    /// The same after a rewind: there a session may revoke others, who had left in what was lost.
    pub(crate) fn rewound_with_devices(devices: u8) -> Self {
        let mut desk = Self::with_devices(devices);
        desk.store.head.as_mut().unwrap().open_timeline(TimelineId([9; 16]), 1);
        desk.successor(1)
    }

    pub(crate) fn empty() -> Self {
        let mut desk = Self::over(Store::new(Variant::AsDesigned), 1, Vec::new());
        desk.say(Event::Start);
        desk
    }

    pub(crate) fn over(store: Store, seed: u8, attached: Vec<Peer>) -> Self {
        Self {
            user: User::new(options(seed), attached),
            store,
            now_ms: NOW_MS,
            is_made_up: false,
            faults: VecDeque::new(),
            acquire_outcomes: VecDeque::new(),
            look_up_troubles: VecDeque::new(),
            waiting: VecDeque::new(),
            out: Vec::new(),
        }
    }

    /// Another owner over the same store.
    pub(crate) fn successor(self, seed: u8) -> Self {
        let attached = self.user.attached().collect();
        let mut desk = Self { now_ms: self.now_ms, ..Self::over(self.store, seed, attached) };
        desk.say(Event::Start);
        desk
    }

    /// An event whose store effects wait.
    pub(crate) fn tell(&mut self, event: Event) {
        for effect in self.user.handle(self.now_ms, event) {
            match effect {
                Effect::Acquire(_)
                | Effect::ReadRoster { .. }
                | Effect::ReadHead { .. }
                | Effect::ReadRow { .. }
                | Effect::LookUp { .. }
                | Effect::Persist(_) => self.waiting.push_back(effect),
                _ => self.out.push(effect),
            }
        }
    }

    /// An event, and everything that follows from it.
    pub(crate) fn say(&mut self, event: Event) {
        self.tell(event);
        self.run();
    }

    pub(crate) fn run(&mut self) {
        while !self.waiting.is_empty() {
            self.run_one();
        }
    }

    /// One effect of the store, and what the rules make of its outcome.
    pub(crate) fn run_one(&mut self) {
        if let Some(effect) = self.waiting.pop_front() {
            let event = self.carry_out(effect);
            self.tell(event);
        }
    }

    /// Everything that waits for the store; the entries of each commit.
    pub(crate) fn run_commits(&mut self) -> Vec<usize> {
        let mut commits = Vec::new();
        while let Some(effect) = self.waiting.front() {
            if let Effect::Persist(commit) = effect {
                commits.push(commit.entries.len());
            }
            self.run_one();
        }
        commits
    }

    pub(crate) fn fan_outs(&self) -> Vec<&FanOut> {
        self.out.iter().filter_map(|effect| if let Effect::FanOut(fan_out) = effect { Some(fan_out) } else { None }).collect()
    }

    /// An owner over a store whose head was made up: it is not compared with its rows any more.
    pub(crate) fn unchecked_successor(self) -> Self {
        let mut desk = self.successor(9);
        desk.is_made_up = true;
        desk
    }

    /// Whether a push would be committed, as far as the rules go.
    pub(crate) fn is_accepted(&mut self, peer: Peer, push: frame::Push) -> bool {
        matches!(self.push(peer, push), Frame::Pushed(_))
    }

    fn carry_out(&mut self, effect: Effect) -> Event {
        match effect {
            Effect::Acquire(acquire) => {
                let owner = acquire.owner;
                if let Some(outcome) = self.acquire_outcomes.pop_front() {
                    return Event::Acquired { owner, outcome };
                }
                let planned = self.store.plan_acquire(&acquire, 0);
                self.store.apply(planned).unwrap();
                Event::Acquired { owner, outcome: self.store.won(owner) }
            }
            Effect::ReadRoster { read } => Event::RosterRead { read, outcome: Ok(self.store.roster()) },
            Effect::ReadHead { read } => Event::HeadRead { read, outcome: Ok(self.store.head.clone()) },
            Effect::ReadRow { read, seq } => Event::RowRead { read, outcome: Ok(self.store.row(seq)) },
            Effect::LookUp { read, records, rows } => {
                if let Some(trouble) = self.look_up_troubles.pop_front() {
                    return Event::Found { read, outcome: Err(trouble) };
                }
                Event::Found { read, outcome: Ok(self.store.found(&records, &rows)) }
            }
            Effect::Persist(commit) => {
                let id = commit.head.commit;
                let planned = self.store.plan_commit(*commit);
                let outcome = match self.faults.pop_front() {
                    None => {
                        if self.store.apply(planned).unwrap() {
                            CommitOutcome::Durable
                        } else {
                            CommitOutcome::Fenced
                        }
                    }
                    Some(Fault::UnknownApplied) => {
                        self.store.apply(planned).unwrap();
                        CommitOutcome::Unknown
                    }
                    Some(Fault::UnknownLost) => CommitOutcome::Unknown,
                    Some(Fault::UnknownParked) => {
                        self.store.parked.push(planned);
                        CommitOutcome::Unknown
                    }
                    Some(Fault::Full) => CommitOutcome::Full,
                    Some(Fault::Unavailable) => CommitOutcome::Unavailable,
                };
                if !self.is_made_up {
                    self.store.check().unwrap();
                }
                Event::Persisted { commit: id, outcome }
            }
            other => panic!("not the store's: {other:?}"),
        }
    }

    /// Applies what was parked, as late as it is.
    pub(crate) fn apply_parked(&mut self) -> usize {
        let parked: Vec<Parked> = std::mem::take(&mut self.store.parked);
        parked.into_iter().filter(|parked| self.store.apply(parked.clone()).unwrap()).count()
    }

    // --- what clients ask -------------------------------------------------------------------------------------

    pub(crate) fn enrol(&mut self, changes: Vec<RosterChange>) -> Result<Seq, Failure> {
        let ticket_version = self.user.head().map_or(1, |head| head.keyring_version);
        self.change(AccountChange { changes, ticket_version, credentials: None })
    }

    pub(crate) fn change(&mut self, change: AccountChange) -> Result<Seq, Failure> {
        self.say(Event::ByAccount { call: CallId(1), change });
        self.enrolled()
    }

    pub(crate) fn enrolled(&mut self) -> Result<Seq, Failure> {
        let at = self.out.iter().rposition(|effect| matches!(effect, Effect::Enrolled { .. })).unwrap();
        let Effect::Enrolled { outcome, .. } = self.out.remove(at) else { panic!("just found") };
        outcome
    }

    pub(crate) fn claim(&mut self, peer: Peer) -> Frame {
        self.say(Event::Claim { peer, claim: Claim { request: 900, log: OWN_LOG } });
        self.answer(peer.session, 900)
    }

    pub(crate) fn tell_push(&mut self, peer: Peer, push: frame::Push) {
        self.tell(Event::Push { peer, push, frame_bytes: FRAME_BYTES });
    }

    pub(crate) fn push(&mut self, peer: Peer, push: frame::Push) -> Frame {
        let request = push.request;
        self.tell_push(peer, push);
        self.run();
        self.answer(peer.session, request)
    }

    /// Pushes as the pusher, and returns the batch's hash.
    pub(crate) fn pushed(&mut self, peer: Peer, push: frame::Push) -> Hash {
        let hash = push.signed.hash();
        assert!(matches!(self.claim(peer), Frame::Claimed(_)));
        let answer = self.push(peer, push);
        assert!(matches!(answer, Frame::Pushed(_)), "{answer:?}");
        hash
    }

    pub(crate) fn attach(&mut self, peer: Peer, cursor: Cursor) -> Frame {
        self.say(Event::Attach { peer, attach: Attach { request: 901, log: OWN_LOG, cursor } });
        self.answer(peer.session, 901)
    }

    pub(crate) fn revoke(&mut self, peer: Peer, change: RosterChange) -> Frame {
        self.say(Event::ChangeRoster { peer, change: ChangeRoster { request: 902, log: OWN_LOG, change } });
        self.answer(peer.session, 902)
    }

    pub(crate) fn opened(&mut self, peer: Peer) -> Result<(), ErrorCode> {
        self.say(Event::Open { peer, proof: maker::hello(peer.device.0[0]) });
        let at = self.out.iter().rposition(|effect| matches!(effect, Effect::Opened { session, .. } if *session == peer.session)).unwrap();
        let Effect::Opened { outcome, .. } = self.out.remove(at) else { panic!("just found") };
        outcome.map(|_| ()).map_err(|failure| failure.code)
    }

    pub(crate) fn has_answer(&self, session: SessionId, request: u32) -> bool {
        self.out.iter().any(|effect| matches!(effect, Effect::Answer { session: s, request: r, .. } if *s == session && *r == request))
    }

    /// Takes the answer to a request.
    pub(crate) fn answer(&mut self, session: SessionId, request: u32) -> Frame {
        let is_it = |effect: &Effect| matches!(effect, Effect::Answer { session: s, request: r, .. } if *s == session && *r == request);
        let at = self.out.iter().position(is_it).unwrap_or_else(|| panic!("no answer to {request} of {session:?}: {:?}", self.out));
        let Effect::Answer { frame, .. } = self.out.remove(at) else { panic!("just found") };
        *frame
    }

    pub(crate) fn stop(&self) -> Option<Stop> {
        self.out.iter().find_map(|effect| if let Effect::Stop(stop) = effect { Some(*stop) } else { None })
    }
}

pub(crate) fn failure(frame: Frame) -> Failure {
    if let Frame::Failure(failure) = frame { failure } else { panic!("not a failure: {frame:?}") }
}

pub(crate) fn code(frame: Frame) -> ErrorCode {
    failure(frame).code
}
