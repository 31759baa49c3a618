//! One user's log while this node owns it: admits sessions, decides claims, pushes and changes of the roster one group at
//! a time, and tells everybody only what is durable.
//!
//! Never: an answer that cites what is not stable, two groups in flight, or a decision taken from a head that may not be
//! mine any more.

mod answers;
mod arrivals;
mod bars;
mod claim;
mod effect;
mod entropy;
mod event;
mod group;
mod inbox;
mod ownership;
mod refusal;
mod turn;

pub use bars::BAR_MS;
pub use effect::{Admission, Effect, FanOut, Stop};
pub use event::{AccountChange, AcquireOutcome, CallId, CommitOutcome, Event, Found, ReadId, ReadTrouble};
pub use ownership::{ACQUIRE_ATTEMPTS_MAX, ACQUIRE_BACKOFF_MAX_MS, ACQUIRE_BACKOFF_MS};

use std::collections::BTreeMap;

use cloudsync_protocol::frame::{HeadAt, OWN_LOG};
use cloudsync_protocol::{DeviceId, LogId, OwnerId, RecordKey, Seq, View};

use self::arrivals::{Attaching, Early};
use self::bars::Bars;
use self::entropy::Entropy;
use self::group::Decided;
use self::inbox::{ClaimItem, Inbox, Item, Pushers, RosterItem};
use crate::log::Head;
use crate::roster::{Roster, Standing};
use crate::session::{Peer, SessionId};

/// What an owner is told when it is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The log.
    pub log: LogId,
    /// The view that this node serves by.
    pub view: View,
    /// Fresh randomness for this activation: owner nonces and commit ids are derived from it.
    pub seed: [u8; 32],
    /// What *busy* and *unavailable* say.
    pub retry_after_ms: u32,
    /// How many bytes of live records (header + body + wrap) the user may have.
    pub quota_bytes: u64,
}

/// What is known for certain once the log is owned: the stable head and the roster at it.
#[derive(Debug)]
struct Owned {
    head: Head,
    roster: Roster,
    /// When the newest row was committed: a log's times never go back.
    newest_ts: u64,
}

/// What is in flight; one thing at a time.
#[derive(Debug)]
enum Phase {
    Asleep,
    Acquiring { owner: OwnerId, attempt: u32, unresolved: Option<Box<Decided>> },
    BackingOff { until_ms: u64, attempt: u32, unresolved: Option<Box<Decided>> },
    ReadingRoster { read: ReadId, head: Box<Head> },
    Idle,
    LookingUp { read: ReadId, group: Vec<Item>, records: Vec<RecordKey>, rows: Vec<Seq> },
    Claiming { read: ReadId, claim: ClaimItem },
    Persisting(Box<Decided>),
    Stopped(Stop),
}

/// One user's rules.
#[derive(Debug)]
pub struct User {
    options: Options,
    entropy: Entropy,
    now_ms: u64,
    phase: Phase,
    owned: Option<Owned>,
    attached: BTreeMap<SessionId, DeviceId>,
    pushers: Pushers,
    bars: Bars,
    inbox: Inbox,
    early: Vec<Early>,
    attaching: BTreeMap<ReadId, Attaching>,
    reads_begun: u64,
}

impl User {
    /// An owner to be; the first event is [`Event::Start`]. `attached` are the sessions that an earlier owner gave back.
    #[must_use]
    pub fn new(options: Options, attached: Vec<Peer>) -> Self {
        Self {
            entropy: Entropy::new(options.seed),
            options,
            now_ms: 0,
            phase: Phase::Asleep,
            owned: None,
            attached: attached.into_iter().map(|peer| (peer.session, peer.device)).collect(),
            pushers: Pushers::default(),
            bars: Bars::default(),
            inbox: Inbox::default(),
            early: Vec::new(),
            attaching: BTreeMap::new(),
            reads_begun: 0,
        }
    }

    /// Takes what happened at `now_ms` (milliseconds since the epoch) and says what is to be done, in order.
    #[must_use]
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        self.now_ms = now_ms;
        self.bars.expire(now_ms);
        let mut effects = Vec::new();
        match event {
            Event::Start => {
                if matches!(self.phase, Phase::Asleep) {
                    self.acquire(1, None, &mut effects);
                }
            }
            Event::Wake => self.on_wake(&mut effects),
            Event::Open { peer, proof } => self.on_open(peer, proof, &mut effects),
            Event::Closed { session } => self.on_closed(session),
            Event::Attach { peer, attach } => self.on_attach(peer, attach, &mut effects),
            Event::Claim { peer, claim } => self.on_claim(peer, &claim, &mut effects),
            Event::Push { peer, push, frame_bytes } => self.on_push(peer, push, frame_bytes, &mut effects),
            Event::ChangeRoster { peer, change } => self.on_change_roster(peer, change, &mut effects),
            Event::ByAccount { call, change } => {
                self.enqueue(Item::Roster(RosterItem::by_account(call, change)), &mut effects);
            }
            Event::Erased => self.stop(Stop::Erased, &mut effects),
            Event::Acquired { owner, outcome } => self.on_acquired(owner, outcome, &mut effects),
            Event::RosterRead { read, outcome } => self.on_roster_read(read, outcome, &mut effects),
            Event::HeadRead { read, outcome } => self.on_head_read(read, outcome, &mut effects),
            Event::RowRead { read, outcome } => self.on_row_read(read, outcome, &mut effects),
            Event::Found { read, outcome } => self.on_found(read, outcome, &mut effects),
            Event::Persisted { commit, outcome } => self.on_persisted(commit, outcome, &mut effects),
        }
        self.next_turn(&mut effects);
        effects
    }

    /// When to say [`Event::Wake`], in milliseconds since the epoch.
    #[must_use]
    pub fn wake_at_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::BackingOff { until_ms, .. } => Some(*until_ms),
            Phase::Asleep
            | Phase::Acquiring { .. }
            | Phase::ReadingRoster { .. }
            | Phase::Idle
            | Phase::LookingUp { .. }
            | Phase::Claiming { .. }
            | Phase::Persisting(_)
            | Phase::Stopped(_) => self.bars.next_end_ms(),
        }
    }

    /// Whether nothing is queued, in flight, or to be remembered for a while: it may be passivated.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let rests = matches!(self.phase, Phase::Idle | Phase::Stopped(_)) && self.bars.is_empty();
        rests && self.inbox.is_empty() && self.early.is_empty() && self.attaching.is_empty()
    }

    /// Why it stopped, if it did.
    #[must_use]
    pub const fn stopped(&self) -> Option<Stop> {
        match &self.phase {
            Phase::Stopped(stop) => Some(*stop),
            Phase::Asleep
            | Phase::Acquiring { .. }
            | Phase::BackingOff { .. }
            | Phase::ReadingRoster { .. }
            | Phase::Idle
            | Phase::LookingUp { .. }
            | Phase::Claiming { .. }
            | Phase::Persisting(_) => None,
        }
    }

    /// The stable head, once the log is owned.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.owned.as_ref().map(|owned| &owned.head)
    }

    /// The roster at the stable head, once the log is owned.
    #[must_use]
    pub fn roster(&self) -> Option<&Roster> {
        self.owned.as_ref().map(|owned| &owned.roster)
    }

    /// What a keep-alive says: the stable head, once it is known.
    #[must_use]
    pub fn head_at(&self) -> Option<HeadAt> {
        self.head().map(|head| HeadAt { log: OWN_LOG, timeline: head.timeline, head: head.seq })
    }

    /// The sessions on the fan-out list: of one that stopped, the next [`User`]'s to begin with.
    pub fn attached(&self) -> impl Iterator<Item = Peer> {
        self.attached.iter().map(|(session, device)| Peer { session: *session, device: *device })
    }

    /// Takes what is in flight, if it is that.
    fn take_phase(&mut self, is_it: impl FnOnce(&Phase) -> bool) -> Option<Phase> {
        is_it(&self.phase).then(|| std::mem::replace(&mut self.phase, Phase::Idle))
    }

    fn next_read(&mut self) -> ReadId {
        self.reads_begun += 1;
        ReadId(self.reads_begun)
    }
}

fn is_enrolled(roster: &Roster, device: DeviceId) -> bool {
    match roster.standing(device) {
        Standing::Enrolled(_) => true,
        Standing::Unknown | Standing::Revoked(_) => false,
    }
}
