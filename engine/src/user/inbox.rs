//! What waits for its turn: pushes, changes of the roster and claims, in one order.
//!
//! Never: a decision. Everything is judged at its turn; a claim moves the right to push at its own, behind what an earlier
//! session had sent before.

use std::collections::VecDeque;

use cloudsync_protocol::codec;
use cloudsync_protocol::limits::{COMMIT_BYTES_MAX, DEVICES_MAX};
use cloudsync_protocol::statement::{BatchStatement, RevokeStatement, RosterChange, RotateStatement, Signed};
use cloudsync_protocol::{DeviceId, Hash, Operation};

use super::event::{AccountChange, CallId};
use crate::batch::{BatchError, Checked};
use crate::log::NewCredentials;
use crate::session::{Peer, SessionId};

/// Whether a session may push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Pusher,
    NotThePusher,
    ClaimFirst,
}

#[derive(Debug)]
pub(super) struct PushItem {
    pub(super) peer: Peer,
    pub(super) request: u32,
    pub(super) signed: Signed,
    pub(super) hash: Hash,
    pub(super) statement: BatchStatement,
    pub(super) operations: Vec<Operation>,
    pub(super) shape: Result<Checked, BatchError>,
    pub(super) frame_bytes: usize,
}

/// Who is told what becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Session { peer: Peer, request: u32 },
    Account { call: CallId },
}

#[derive(Debug)]
pub(super) struct RosterItem {
    pub(super) origin: Origin,
    pub(super) changes: Vec<RosterChange>,
    /// The devices that its revokes and rotations name as leaving.
    pub(super) revokes: Vec<DeviceId>,
    /// Of an account call: the keyring's version that its ticket is worth something with.
    pub(super) ticket_version: Option<u64>,
    /// What comes with a keyring row.
    pub(super) credentials: Option<NewCredentials>,
}

impl RosterItem {
    pub(super) fn by_account(call: CallId, change: AccountChange) -> Self {
        let AccountChange { changes, ticket_version, credentials } = change;
        let (revokes, ticket_version) = (leaving(&changes), Some(ticket_version));
        Self { origin: Origin::Account { call }, changes, revokes, ticket_version, credentials }
    }

    pub(super) fn by_session(peer: Peer, request: u32, change: RosterChange) -> Self {
        let changes = vec![change];
        let (revokes, origin) = (leaving(&changes), Origin::Session { peer, request });
        Self { origin, changes, revokes, ticket_version: None, credentials: None }
    }
}

fn leaving(changes: &[RosterChange]) -> Vec<DeviceId> {
    let of = |change: &RosterChange| match change {
        RosterChange::Revoke(revoke) => {
            codec::decode::<RevokeStatement>(&revoke.signed.statement).map_or_else(|_| Vec::new(), |statement| vec![statement.device])
        }
        RosterChange::Rotate(rotate) => codec::decode::<RotateStatement>(&rotate.signed.statement)
            .map_or_else(|_| Vec::new(), |statement| statement.revoked.iter().map(|leaver| leaver.device).take(DEVICES_MAX).collect()),
        RosterChange::Identity(_) | RosterChange::Enrol(_) | RosterChange::Rekey(_) => Vec::new(),
    };
    changes.iter().flat_map(of).collect()
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ClaimItem {
    pub(super) peer: Peer,
    pub(super) request: u32,
}

#[derive(Debug)]
pub(super) enum Item {
    Push(Box<PushItem>),
    Roster(RosterItem),
    Claim(ClaimItem),
}

impl Item {
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Push(push) => Origin::Session { peer: push.peer, request: push.request },
            Self::Roster(roster) => roster.origin,
            Self::Claim(claim) => Origin::Session { peer: claim.peer, request: claim.request },
        }
    }

    /// Whether it has a group of its own: a commit has one set of credentials.
    const fn stands_alone(&self) -> bool {
        match self {
            Self::Roster(roster) => roster.credentials.is_some(),
            Self::Push(_) | Self::Claim(_) => false,
        }
    }

    /// What counts against `COMMIT_BYTES_MAX`.
    fn bytes(&self) -> usize {
        match self {
            Self::Push(push) => push.frame_bytes,
            Self::Roster(roster) => roster.changes.iter().map(|change| change.signed().statement.len()).sum(),
            Self::Claim(_) => 0,
        }
    }
}

/// What is next.
#[derive(Debug)]
pub(super) enum Turn {
    Nothing,
    Group(Vec<Item>, Next),
    Claim(ClaimItem),
}

/// What stands behind a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing that could have been in it.
    Other,
    /// What it has no bytes left for.
    TooMuch,
}

/// The queue, and what of it is in flight.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: VecDeque<Item>,
    /// This many are taken one at a time: one of them met damage, and the others shall not suffer from it.
    alone: usize,
    /// So many were taken and are not decided.
    in_flight: usize,
}

impl Inbox {
    pub(super) fn push(&mut self, item: Item) {
        self.waiting.push_back(item);
    }

    /// Takes as many from the front as fit one commit; a claim has a turn of its own.
    pub(super) fn take_turn(&mut self) -> Turn {
        self.in_flight = 0;
        let mut group = Vec::new();
        let (mut bytes, mut next) = (0_usize, Next::Other);
        while let Some(front) = self.waiting.front() {
            bytes = bytes.saturating_add(front.bytes());
            let fits = group.is_empty() || (bytes <= COMMIT_BYTES_MAX && self.alone == 0);
            let has_own_turn = matches!(front, Item::Claim(_)) || front.stands_alone() || group.iter().any(Item::stands_alone);
            if !fits || (has_own_turn && !group.is_empty()) {
                if bytes > COMMIT_BYTES_MAX {
                    next = Next::TooMuch;
                }
                break;
            }
            match self.waiting.pop_front() {
                Some(Item::Claim(claim)) => {
                    self.in_flight = 1;
                    return Turn::Claim(claim);
                }
                Some(item @ (Item::Push(_) | Item::Roster(_))) => group.push(item),
                None => break,
            }
        }
        self.in_flight = group.len();
        self.alone = self.alone.saturating_sub(1);
        if group.is_empty() { Turn::Nothing } else { Turn::Group(group, next) }
    }

    /// What was taken is decided.
    pub(super) fn settled(&mut self) {
        self.in_flight = 0;
    }

    /// Puts a group back, to be decided one by one.
    pub(super) fn put_back_alone(&mut self, group: Vec<Item>) {
        self.alone = group.len();
        group.into_iter().rev().for_each(|item| self.waiting.push_front(item));
        self.in_flight = 0;
    }

    /// A closed session can't push any more: its claims would only stand in the way of others.
    pub(super) fn drop_claims(&mut self, session: SessionId) {
        self.waiting.retain(|item| match item {
            Item::Claim(claim) => claim.peer.session != session,
            Item::Push(_) | Item::Roster(_) => true,
        });
    }

    /// Everything that waits, for an owner that stops.
    pub(super) fn drain(&mut self) -> Vec<Item> {
        self.in_flight = 0;
        self.waiting.drain(..).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }
}

/// Who may push for each device.
#[derive(Debug, Default)]
pub(super) struct Pushers {
    by_device: std::collections::BTreeMap<DeviceId, SessionId>,
}

impl Pushers {
    pub(super) fn claim(&mut self, peer: Peer) {
        self.by_device.insert(peer.device, peer.session);
    }

    pub(super) fn right(&self, peer: Peer) -> Right {
        match self.by_device.get(&peer.device) {
            Some(session) if *session == peer.session => Right::Pusher,
            Some(_) => Right::NotThePusher,
            None => Right::ClaimFirst,
        }
    }

    pub(super) fn forget_device(&mut self, device: DeviceId) {
        self.by_device.remove(&device);
    }
}
