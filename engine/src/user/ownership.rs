//! Becoming the owner, staying it through an unknown outcome, and stopping.
//!
//! Never: an outcome resolved by reading alone. After `Unknown` the log is acquired again, so that nothing conditioned on
//! the old epoch can apply any more; only then the head says what happened.

use std::sync::Arc;

use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::{HeadAt, OWN_LOG};
use cloudsync_protocol::{ErrorCode, Failure, Frame, OwnerId};

use super::bars::Bars;
use super::effect::{Effect, FanOut, Stop};
use super::event::{AcquireOutcome, ReadId, ReadTrouble};
use super::group::{Decided, Held};
use super::inbox::Origin;
use super::{Owned, Phase, User};
use crate::log::{Acquire, Head, epoch_to_win};
use crate::roster::Roster;

/// Attempts to acquire before everybody is told to try again later.
pub const ACQUIRE_ATTEMPTS_MAX: u32 = 6;
/// Waiting before the second attempt; doubles with each.
pub const ACQUIRE_BACKOFF_MS: u64 = 20;
/// Waiting between attempts at most.
pub const ACQUIRE_BACKOFF_MAX_MS: u64 = 2_000;

impl User {
    /// Attempt `attempt` (from 1) to become the owner, with a group whose outcome is unknown or without one.
    pub(super) fn acquire(&mut self, attempt: u32, unresolved: Option<Box<Decided>>, effects: &mut Vec<Effect>) {
        let owner = self.entropy.owner();
        let acquire = Acquire { log: self.options.log, view: self.options.view, owner, timeline: self.entropy.timeline() };
        self.phase = Phase::Acquiring { owner, attempt, unresolved };
        effects.push(Effect::Acquire(acquire));
    }

    pub(super) fn on_acquired(&mut self, owner: OwnerId, outcome: AcquireOutcome, effects: &mut Vec<Effect>) {
        let mine = self.take_phase(|phase| matches!(phase, Phase::Acquiring { owner: mine, .. } if *mine == owner));
        let Some(Phase::Acquiring { attempt, unresolved, .. }) = mine else { return };
        match (outcome, unresolved) {
            (AcquireOutcome::Won(head), None) => {
                let read = self.next_read();
                self.phase = Phase::ReadingRoster { read, head };
                effects.push(Effect::ReadRoster { read });
            }
            (AcquireOutcome::Won(head), Some(group)) => self.resolve(*head, group, effects),
            (AcquireOutcome::LaterView(view), unresolved) => self.give_up(Stop::LaterView(view), unresolved, effects),
            (AcquireOutcome::Erased, unresolved) => self.give_up(Stop::Erased, unresolved, effects),
            (AcquireOutcome::InDoubt, unresolved) => self.acquire_later(attempt, unresolved, Stop::Unavailable, effects),
            (AcquireOutcome::Full, unresolved) => self.acquire_later(attempt, unresolved, Stop::Full, effects),
            (AcquireOutcome::Trouble(ReadTrouble::Unavailable), unresolved) => {
                self.acquire_later(attempt, unresolved, Stop::Unavailable, effects);
            }
            (AcquireOutcome::Trouble(ReadTrouble::Damaged), unresolved) => self.give_up(Stop::Damaged, unresolved, effects),
        }
    }

    fn acquire_later(&mut self, attempt: u32, unresolved: Option<Box<Decided>>, stop: Stop, effects: &mut Vec<Effect>) {
        if attempt >= ACQUIRE_ATTEMPTS_MAX {
            self.give_up(stop, unresolved, effects);
            return;
        }
        let backoff_ms = (ACQUIRE_BACKOFF_MS << (attempt - 1).min(16)).min(ACQUIRE_BACKOFF_MAX_MS);
        self.phase = Phase::BackingOff { until_ms: self.now_ms.saturating_add(backoff_ms), attempt, unresolved };
    }

    pub(super) fn on_wake(&mut self, effects: &mut Vec<Effect>) {
        let now_ms = self.now_ms;
        let due = self.take_phase(|phase| matches!(phase, Phase::BackingOff { until_ms, .. } if *until_ms <= now_ms));
        if let Some(Phase::BackingOff { attempt, unresolved, .. }) = due {
            self.acquire(attempt + 1, unresolved, effects);
        }
    }

    pub(super) fn on_roster_read(&mut self, read: ReadId, outcome: Result<Vec<RosterRow>, ReadTrouble>, effects: &mut Vec<Effect>) {
        let mine = self.take_phase(|phase| matches!(phase, Phase::ReadingRoster { read: mine, .. } if *mine == read));
        let Some(Phase::ReadingRoster { head, .. }) = mine else { return };
        let rows = match outcome {
            Ok(rows) => rows,
            Err(ReadTrouble::Damaged) => return self.give_up(Stop::Damaged, None, effects),
            Err(ReadTrouble::Unavailable) => return self.give_up(Stop::Unavailable, None, effects),
        };
        // Rows above my head are another owner's, who then has fenced me.
        let rows: Vec<_> = rows.into_iter().filter(|row| row.seq <= head.seq).collect();
        // A device's last push is the newest of it, and a revoke, which ends its entry, is newer still.
        let times = head.dedup.values().map(|settled| settled.server_ts).chain(rows.iter().map(|row| row.server_ts));
        let newest_ts = times.max().unwrap_or_default();
        match Roster::from_rows(self.options.log, &rows) {
            Ok(roster) => self.activated(Owned { head: *head, roster, newest_ts }, effects),
            Err(_) => self.give_up(Stop::Damaged, None, effects),
        }
    }

    fn activated(&mut self, owned: Owned, effects: &mut Vec<Effect>) {
        // Who was revoked while nobody owned the log here is not on the list any more.
        self.attached.retain(|_, device| super::is_enrolled(&owned.roster, *device));
        if !self.attached.is_empty() {
            // Events of an owner before me may have been lost on the way.
            let (timeline, head) = (owned.head.timeline, owned.head.seq);
            let frame = Arc::new(Frame::HeadAt(HeadAt { log: OWN_LOG, timeline, head }));
            effects.push(Effect::FanOut(FanOut { frame, to: self.attached.keys().copied().collect(), own: None, head }));
        }
        self.owned = Some(owned);
        self.take_early(effects);
        self.next_turn(effects);
    }

    /// The log is mine again, under a higher epoch: now the head says what became of the group.
    fn resolve(&mut self, head: Head, mut group: Box<Decided>, effects: &mut Vec<Effect>) {
        let Some(owned) = &mut self.owned else { return self.give_up(Stop::Fenced, Some(group), effects) };
        let Some(commit) = &mut group.commit else { return self.give_up(Stop::Fenced, Some(group), effects) };
        // Only the very next epoch proves that nobody owned the log in between, told a claim, and left no other trace.
        let is_next = head.epoch == epoch_to_win(owned.head.epoch, self.options.view);
        let is_durable = head.commit == commit.head.commit && head.seq == commit.head.seq;
        let is_unchanged = head.seq == commit.after;
        if is_next && (is_durable || is_unchanged) {
            for mine in [&mut owned.head, &mut commit.head] {
                mine.epoch = head.epoch;
                mine.owner = head.owner;
            }
            if is_durable {
                self.durable(*group, effects);
            } else {
                commit.head.commit = self.entropy.commit();
                self.persist(group, effects);
            }
        } else {
            self.give_up(Stop::Fenced, Some(group), effects);
        }
    }

    /// Whether a head that was read serially still shows my epoch.
    pub(super) fn is_mine(&self, head: Option<&Head>) -> bool {
        match (head, &self.owned) {
            (Some(head), Some(owned)) => head.epoch == owned.head.epoch && head.owner == owned.head.owner,
            (Some(_) | None, _) => false,
        }
    }

    /// Answers a group that is not known to be durable, then stops.
    pub(super) fn give_up(&mut self, stop: Stop, unresolved: Option<Box<Decided>>, effects: &mut Vec<Effect>) {
        if let Some(group) = unresolved {
            self.fail_held(group.held, |user, request| user.stop_failure(stop, request), effects);
        }
        self.stop(stop, effects);
    }

    /// Answers everything that waits, and takes nothing more.
    pub(super) fn stop(&mut self, stop: Stop, effects: &mut Vec<Effect>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped(stop));
        match phase {
            Phase::Stopped(earlier) => {
                self.phase = Phase::Stopped(earlier);
                return;
            }
            Phase::LookingUp { group, .. } => group.iter().for_each(|item| self.refuse(item.origin(), stop, effects)),
            Phase::Claiming { claim, .. } => {
                self.refuse(Origin::Session { peer: claim.peer, request: claim.request }, stop, effects);
            }
            Phase::Persisting(group)
            | Phase::Acquiring { unresolved: Some(group), .. }
            | Phase::BackingOff { unresolved: Some(group), .. } => {
                self.fail_held(group.held, |user, request| user.stop_failure(stop, request), effects);
            }
            Phase::Asleep
            | Phase::Idle
            | Phase::ReadingRoster { .. }
            | Phase::Acquiring { unresolved: None, .. }
            | Phase::BackingOff { unresolved: None, .. } => {}
        }
        self.bars = Bars::default();
        for item in self.inbox.drain() {
            self.refuse(item.origin(), stop, effects);
        }
        let failure = self.stop_failure(stop, 0);
        self.refuse_arrivals(|request| Failure { request, ..failure.clone() }, effects);
        effects.push(Effect::Stop(stop));
    }

    pub(super) fn refuse(&mut self, origin: Origin, stop: Stop, effects: &mut Vec<Effect>) {
        let failure = |request| self.stop_failure(stop, request);
        match origin {
            Origin::Session { peer, request } => {
                let failure = failure(request);
                self.answer(peer.session, request, Frame::Failure(failure), effects);
            }
            Origin::Account { call } => effects.push(Effect::Enrolled { call, outcome: Err(failure(0)) }),
        }
    }

    /// Tells everybody of a group the same failure: none of its answers may be told.
    pub(super) fn fail_held(&mut self, held: Vec<Held>, failure: impl Fn(&Self, u32) -> Failure, effects: &mut Vec<Effect>) {
        for held in held {
            match held {
                Held::Session { session, request, .. } => {
                    let failure = failure(self, request);
                    self.answer(session, request, Frame::Failure(failure), effects);
                }
                Held::Account { call, .. } => effects.push(Effect::Enrolled { call, outcome: Err(failure(self, 0)) }),
            }
        }
    }

    /// What a stopped owner says.
    pub(super) fn stop_failure(&self, stop: Stop, request: u32) -> Failure {
        match stop {
            Stop::Fenced | Stop::LaterView(_) => self.busy(request),
            Stop::Full => Failure::store_full(request),
            Stop::Unavailable => Failure::store_unavailable(request, self.options.retry_after_ms),
            Stop::Damaged => Failure::new(request, ErrorCode::StoreDamaged, "the log's head or roster can't be read; nothing was changed"),
            Stop::Erased => Failure::new(request, ErrorCode::AccountErased, "this user's data was erased"),
        }
    }

    pub(super) fn busy(&self, request: u32) -> Failure {
        Failure::new(request, ErrorCode::Busy, "the log changes hands: try again").retry_after(self.options.retry_after_ms)
    }
}
