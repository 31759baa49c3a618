//! Turns: taking the next group, looking up, persisting, and telling what is durable.
//!
//! Never: two turns at once, or a word before the commit is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloudsync_protocol::frame::{Committed, Event as EventFrame, HeadAt, OWN_LOG};
use cloudsync_protocol::limits::EVENT_BODY_BYTES_MAX;
use cloudsync_protocol::{CommitId, DeviceId, Entry, ErrorCode, Failure, Frame, RecordKey, Seq, TimelineId};

use super::effect::{Effect, FanOut, Stop};
use super::event::{CommitOutcome, Found, ReadId, ReadTrouble};
use super::group::{self, Author, Decided, Facts, Held};
use super::inbox::{Item, Next, Origin, Turn};
use super::{Phase, User};
use crate::invariants::{self, Violation};
use crate::log::{Current, RecordAt};
use crate::session::SessionId;

impl User {
    /// Begins turns until one has to wait for the store.
    pub(super) fn next_turn(&mut self, effects: &mut Vec<Effect>) {
        while self.owned.is_some() && matches!(self.phase, Phase::Idle) {
            match self.inbox.take_turn() {
                Turn::Nothing => return,
                Turn::Claim(claim) => self.begin_claim(claim, effects),
                Turn::Group(group, next) => {
                    if next == Next::TooMuch {
                        effects.push(Effect::CommitFull);
                    }
                    let records: Vec<RecordKey> = group::records_named(&group).into_iter().collect();
                    let rows: Vec<Seq> = group::rows_named(&group).into_iter().collect();
                    let read = self.next_read();
                    self.phase = Phase::LookingUp { read, group, records: records.clone(), rows: rows.clone() };
                    if records.is_empty() && rows.is_empty() {
                        self.on_found(read, Ok(Found::default()), effects);
                    } else {
                        effects.push(Effect::LookUp { read, records, rows });
                    }
                }
            }
        }
    }

    pub(super) fn on_found(&mut self, read: ReadId, outcome: Result<Found, ReadTrouble>, effects: &mut Vec<Effect>) {
        let mine = self.take_phase(|phase| matches!(phase, Phase::LookingUp { read: mine, .. } if *mine == read));
        let Some(Phase::LookingUp { group, records, rows, .. }) = mine else { return };
        let stable = self.owned.as_ref().map_or(Seq::ZERO, |owned| owned.head.seq);
        match outcome {
            // Nothing of mine is in flight: a newer row is another owner's, who then has fenced me.
            Ok(found) if found.records.iter().flatten().any(|current| current.seq > stable) => {
                self.phase = Phase::LookingUp { read, group, records, rows };
                self.stop(Stop::Fenced, effects);
            }
            Ok(found) if found.records.len() == records.len() && found.rows.len() == rows.len() => {
                let rows = rows.into_iter().zip(found.rows).filter_map(|(seq, row)| row.map(|row| (seq, row))).collect();
                self.decide(group, (records.into_iter().zip(found.records).collect(), rows), effects);
            }
            Ok(_) => self.fail_group(&group, |_, request| Failure::new(request, ErrorCode::Internal, "the look-up is incomplete"), effects),
            Err(ReadTrouble::Damaged) if group.len() > 1 => self.inbox.put_back_alone(group),
            Err(trouble) => self.fail_group(&group, |user, request| trouble.failure(request, user.options.retry_after_ms), effects),
        }
    }

    fn fail_group(&mut self, group: &[Item], failure: impl Fn(&Self, u32) -> Failure, effects: &mut Vec<Effect>) {
        for item in group {
            match item.origin() {
                Origin::Session { peer, request } => {
                    let failure = failure(self, request);
                    self.answer(peer.session, request, Frame::Failure(failure), effects);
                }
                Origin::Account { call } => effects.push(Effect::Enrolled { call, outcome: Err(failure(self, 0)) }),
            }
            if let Item::Roster(roster) = item {
                roster.revokes.iter().for_each(|device| self.bars.end(*device));
            }
        }
        self.inbox.settled();
    }

    /// The group's revokes are decided, whichever way.
    fn end_bars(&mut self, revokes: &[(DeviceId, Origin)]) {
        revokes.iter().for_each(|(device, _)| self.bars.end(*device));
        self.inbox.settled();
    }

    fn decide(
        &mut self,
        group: Vec<Item>,
        (found, rows): (BTreeMap<RecordKey, Option<Current>>, BTreeMap<Seq, RecordAt>),
        effects: &mut Vec<Effect>,
    ) {
        let Some(owned) = &self.owned else { return };
        let commit = self.entropy.commit();
        let facts = Facts {
            log: self.options.log,
            now_ms: self.now_ms,
            newest_ts: owned.newest_ts,
            retry_after_ms: self.options.retry_after_ms,
            quota_bytes: self.options.quota_bytes,
            head: &owned.head,
            roster: &owned.roster,
            pushers: &self.pushers,
            bars: &self.bars,
            found,
            rows,
            commit,
        };
        let decided = group::decide(facts, group);
        match &decided.commit {
            // Its facts are stable.
            None => self.tell_all(decided, effects),
            Some(commit) => {
                let stable = owned.head.seq;
                let holds = invariants::commit_is_contiguous(commit)
                    .and_then(|()| invariants::stable_is_not_above_assigned(stable, commit.head.seq))
                    .and_then(|()| invariants::keys_of_a_commit(commit, &owned.head, &decided.roster));
                match holds {
                    Ok(()) => self.persist(Box::new(decided), effects),
                    Err(violation) => self.refuse_violating(decided, violation, effects),
                }
            }
        }
    }

    pub(super) fn persist(&mut self, group: Box<Decided>, effects: &mut Vec<Effect>) {
        if let Some(commit) = &group.commit {
            effects.push(Effect::Persist(Box::new(commit.clone())));
        }
        self.phase = Phase::Persisting(group);
    }

    pub(super) fn on_persisted(&mut self, commit: CommitId, outcome: CommitOutcome, effects: &mut Vec<Effect>) {
        let mine = self.take_phase(|phase| matches!(phase, Phase::Persisting(group) if group.commit_id() == Some(commit)));
        let Some(Phase::Persisting(group)) = mine else { return };
        match outcome {
            CommitOutcome::Durable => self.durable(*group, effects),
            CommitOutcome::Unknown => self.acquire(1, Some(group), effects),
            CommitOutcome::Fenced => self.give_up(Stop::Fenced, Some(group), effects),
            CommitOutcome::Full => {
                self.fail_held(group.held, |_, request| Failure::store_full(request), effects);
                self.end_bars(&group.revokes);
            }
            CommitOutcome::Unavailable => {
                let failure = |user: &Self, request| Failure::store_unavailable(request, user.options.retry_after_ms);
                self.fail_held(group.held, failure, effects);
                self.end_bars(&group.revokes);
            }
        }
    }

    /// The group is there for good: now it may be told.
    pub(super) fn durable(&mut self, mut group: Decided, effects: &mut Vec<Effect>) {
        let (Some(commit), Some(owned)) = (group.commit.take(), &mut self.owned) else { return };
        let mut from = commit.after;
        let timeline = commit.head.timeline;
        owned.head = commit.head;
        owned.roster = group.roster.clone();
        owned.newest_ts = commit.entries.last().map_or(owned.newest_ts, Entry::server_ts);
        for device in &group.revoked {
            // Their sockets close: what follows is not for them.
            self.attached.retain(|_, attached| attached != device);
        }
        let authors = std::mem::take(&mut group.authors);
        self.tell_all(group, effects);
        for (entry, author) in commit.entries.into_iter().zip(authors) {
            let to = entry.last();
            effects.extend(self.fan_out(timeline, from, entry, author).map(Effect::FanOut));
            from = to;
        }
    }

    /// Tells held answers: what they cite is stable now.
    fn tell_all(&mut self, group: Decided, effects: &mut Vec<Effect>) {
        for held in group.held {
            match held {
                Held::Session { session, request, frame } => self.answer(session, request, *frame, effects),
                Held::Account { call, outcome } => effects.push(Effect::Enrolled { call, outcome }),
            }
        }
        for (device, origin) in group.differing {
            self.bars.hold(device, origin, self.now_ms);
        }
        for device in group.revoked {
            self.pushers.forget_device(device);
            effects.push(Effect::RevokeFamilies { device });
            effects.push(Effect::CloseDevice { device, code: ErrorCode::DeviceRevoked });
        }
        self.end_bars(&group.revokes);
    }

    fn fan_out(&self, timeline: TimelineId, from: Seq, entry: Entry, author: Author) -> Option<FanOut> {
        let (to, row) = (entry.last(), entry.last_hash().short());
        let own = match (author, &entry) {
            (Author::Pusher { session, device_seq }, Entry::Batch(batch)) if self.attached.contains_key(&session) => {
                let server_ts = batch.server_ts;
                Some((session, Committed { log: OWN_LOG, timeline, from, to, device_seq, row, server_ts }))
            }
            (Author::Pusher { .. } | Author::Roster, Entry::Batch(_) | Entry::Roster(_)) => None,
        };
        let own_session = own.as_ref().map(|(session, _)| *session);
        let receivers: Vec<SessionId> = self.attached.keys().copied().filter(|session| Some(*session) != own_session).collect();
        if receivers.is_empty() && own.is_none() {
            return None;
        }
        let frame = if entry.body_bytes() > EVENT_BODY_BYTES_MAX {
            Frame::HeadAt(HeadAt { log: OWN_LOG, timeline, head: to })
        } else {
            Frame::Event(EventFrame { log: OWN_LOG, timeline, from, to, entries: vec![entry] })
        };
        Some(FanOut { frame: Arc::new(frame), to: receivers, own, head: to })
    }

    fn refuse_violating(&mut self, group: Decided, violation: Violation, effects: &mut Vec<Effect>) {
        effects.push(Effect::Violated(violation));
        let failure = |_: &Self, request| Failure::new(request, ErrorCode::Internal, "refused by an internal check; nothing was changed");
        self.fail_held(group.held, failure, effects);
        self.end_bars(&group.revokes);
    }
}
