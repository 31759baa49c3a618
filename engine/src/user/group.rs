//! Decides a group: each push and each change of the roster in order, against the stable head and what the group has
//! accepted so far. What it accepts becomes one commit.
//!
//! Never: a half push, or anything told: the answers are held until the commit is durable.

use std::collections::{BTreeMap, BTreeSet};

use cloudsync_protocol::entry::{Operation, RosterRow};
use cloudsync_protocol::error::RecordIssue;
use cloudsync_protocol::frame::{OWN_LOG, Pushed, RosterChanged};
use cloudsync_protocol::limits::{COLLECTIONS_MAX, RECORDS_MAX};
use cloudsync_protocol::statement::{BatchStatement, RosterChange};
use cloudsync_protocol::{
    Batch, CollectionName, CommitId, DeviceId, DeviceSeq, Entry, ErrorCode, Failure, Frame, Hash, Header, LogId, RecordKey, Seq, Version,
};

use super::bars::Bars;
use super::event::CallId;
use super::inbox::{Item, Origin, PushItem, Pushers, RosterItem};
use super::refusal;
use crate::batch::{self, BatchError, Checked};
use crate::log::{Commit, Current, Figures, Head};
use crate::roster::{Judged, Roster};
use crate::session::{Peer, SessionId};

/// An answer that waits until what it cites is stable.
#[derive(Debug)]
pub(super) enum Held {
    Session { session: SessionId, request: u32, frame: Box<Frame> },
    Account { call: CallId, outcome: Result<Seq, Failure> },
}

/// Whose an accepted entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    Pusher { session: SessionId, device_seq: DeviceSeq },
    Roster,
}

/// A decided group.
#[derive(Debug)]
pub(super) struct Decided {
    /// Nothing when nothing was accepted.
    pub(super) commit: Option<Commit>,
    /// In the order of the requests.
    pub(super) held: Vec<Held>,
    /// One for each entry of the commit.
    pub(super) authors: Vec<Author>,
    /// The roster as it will be.
    pub(super) roster: Roster,
    /// Devices that are revoked by it, or were and are told so again: their sockets and families end.
    pub(super) revoked: Vec<DeviceId>,
    /// Every revoke that was decided.
    pub(super) revokes: Vec<(DeviceId, Origin)>,
    /// Those that named another last push than the device's.
    pub(super) differing: Vec<(DeviceId, Origin)>,
}

impl Decided {
    pub(super) fn commit_id(&self) -> Option<CommitId> {
        self.commit.as_ref().map(|commit| commit.head.commit)
    }
}

/// What is known when a group is decided.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) log: LogId,
    pub(super) now_ms: u64,
    /// When the newest row was committed: a log's times never go back.
    pub(super) newest_ts: u64,
    pub(super) retry_after_ms: u32,
    pub(super) head: &'a Head,
    pub(super) roster: &'a Roster,
    pub(super) pushers: &'a Pushers,
    pub(super) bars: &'a Bars,
    pub(super) found: BTreeMap<RecordKey, Option<Current>>,
    /// For the commit, if there is one.
    pub(super) commit: CommitId,
}

/// The records that a group's decision needs.
pub(super) fn records_named(group: &[Item]) -> BTreeSet<RecordKey> {
    let mut records = BTreeSet::new();
    for item in group {
        match item {
            Item::Push(push) => match &push.shape {
                Ok(checked) => records.extend(checked.headers.iter().map(Header::key)),
                Err(BatchError::Invalid(errors)) => records.extend(errors.iter().filter_map(|error| error.key.clone())),
                Err(BatchError::Statement(_) | BatchError::Operations(_) | BatchError::Hashes { .. }) => {}
            },
            Item::Roster(_) | Item::Claim(_) => {}
        }
    }
    records
}

/// Decides all of a group.
pub(super) fn decide(facts: Facts<'_>, group: Vec<Item>) -> Decided {
    let (log, after, commit) = (facts.log, facts.head.seq, facts.commit);
    let mut tentative = Tentative::new(facts);
    let held = group.into_iter().filter_map(|item| tentative.decide(item)).collect();
    let Tentative { mut head, roster, entries, authors, revoked, revokes, differing, .. } = tentative;
    let commit = if entries.is_empty() {
        None
    } else {
        head.commit = commit;
        Some(Commit { log, after, entries, head })
    };
    Decided { commit, held, authors, roster, revoked, revokes, differing }
}

/// The log as it will be once the group is durable.
struct Tentative<'a> {
    facts: Facts<'a>,
    /// Not below the newest row's.
    server_ts: u64,
    head: Head,
    roster: Roster,
    records: BTreeMap<RecordKey, Option<Current>>,
    entries: Vec<Entry>,
    authors: Vec<Author>,
    revoked: Vec<DeviceId>,
    revokes: Vec<(DeviceId, Origin)>,
    differing: Vec<(DeviceId, Origin)>,
}

/// What a push changes, if it is accepted.
struct Change {
    figures: Figures,
    records: BTreeMap<RecordKey, Current>,
    collections: BTreeSet<CollectionName>,
    /// What each operation replaces.
    replaced: Vec<Option<Current>>,
}

impl<'a> Tentative<'a> {
    fn new(mut facts: Facts<'a>) -> Self {
        Self {
            server_ts: facts.now_ms.max(facts.newest_ts),
            head: facts.head.clone(),
            roster: facts.roster.clone(),
            records: std::mem::take(&mut facts.found),
            entries: Vec::new(),
            authors: Vec::new(),
            revoked: Vec::new(),
            revokes: Vec::new(),
            differing: Vec::new(),
            facts,
        }
    }

    fn decide(&mut self, item: Item) -> Option<Held> {
        match item {
            Item::Push(push) => {
                let (session, request) = (push.peer.session, push.request);
                let frame = match self.push(*push) {
                    Ok(pushed) => Frame::Pushed(pushed),
                    Err(failure) => Frame::Failure(failure),
                };
                Some(Held::Session { session, request, frame: Box::new(frame) })
            }
            Item::Roster(item) => {
                self.revokes.extend(item.revokes.iter().map(|device| (*device, item.origin)));
                Some(self.roster_item(&item))
            }
            // A claim has a turn of its own.
            Item::Claim(_) => None,
        }
    }

    // --- pushes -----------------------------------------------------------------------------------------------

    fn push(&mut self, push: PushItem) -> Result<Pushed, Failure> {
        let PushItem { peer, request, signed, hash, statement, operations, shape, .. } = push;
        // A device that is not enrolled has no entry that dedup could ask.
        refusal::standing(request, self.roster.standing(peer.device))?;
        if let Some(pushed) = self.dedup(request, peer.device, hash, &statement)? {
            return Ok(pushed);
        }
        let differs = self.differing.iter().any(|(device, _)| *device == peer.device);
        if differs || self.facts.bars.is_held(peer.device, self.facts.now_ms) {
            return Err(refusal::barred(request, self.facts.retry_after_ms));
        }
        refusal::right(request, self.facts.pushers.right(peer))?;
        let checked = shape.map_err(|error| self.misshapen(request, &error))?;
        let ahead = batch::clocks_ahead(&checked.headers, self.server_ts);
        if !ahead.is_empty() {
            return Err(self.misshapen(request, &BatchError::Invalid(ahead)));
        }
        let change = self.judge(request, &checked, &operations)?;
        let device_seq = checked.statement.device_seq;
        let from = self.head.seq;
        let entry = Entry::Batch(Batch { first: from.next(), server_ts: self.server_ts, signed, operations });
        let to = entry.last();
        self.follow(request, entry, Author::Pusher { session: peer.session, device_seq }, &change.replaced)?;
        self.records.extend(change.records.into_iter().map(|(key, current)| (key, Some(current))));
        Ok(Pushed { request, log: OWN_LOG, device_seq, hash, timeline: self.head.timeline, from, to })
    }

    /// Accepts an entry.
    fn follow(&mut self, request: u32, entry: Entry, author: Author, replaced: &[Option<Current>]) -> Result<(), Failure> {
        let follows = self.head.follow(&entry, |index, _| replaced.get(index).copied().flatten());
        follows.map_err(|error| Failure::new(request, ErrorCode::Internal, error.to_string()))?;
        self.entries.push(entry);
        self.authors.push(author);
        Ok(())
    }

    /// The answer of a push that was committed before, or the refusal of one that can't follow.
    fn dedup(&self, request: u32, device: DeviceId, hash: Hash, statement: &BatchStatement) -> Result<Option<Pushed>, Failure> {
        let settled = self.head.dedup.get(&device);
        let last = settled.map_or(refusal::NO_PUSH, |settled| settled.push);
        let device_seq = statement.device_seq;
        if let Some(settled) = settled.filter(|settled| settled.push.device_seq == device_seq) {
            if last.hash != hash {
                return Err(refusal::with_last(request, ErrorCode::SequenceReused, last));
            }
            let from = Seq(last.seq.0.saturating_sub(u64::from(settled.operations)));
            let timeline = self.head.timeline;
            return Ok(Some(Pushed { request, log: OWN_LOG, device_seq, hash, timeline, from, to: last.seq }));
        }
        if device_seq < last.device_seq {
            return Err(refusal::with_last(request, ErrorCode::Settled, last));
        }
        if statement.prev_hash == last.hash { Ok(None) } else { Err(refusal::with_last(request, ErrorCode::ChainMoved, last)) }
    }

    /// What the push makes of the records, or every record that stands in its way.
    fn judge(&self, request: u32, checked: &Checked, operations: &[Operation]) -> Result<Change, Failure> {
        let mut change =
            Change { figures: self.head.figures, records: BTreeMap::new(), collections: BTreeSet::new(), replaced: Vec::new() };
        let mut issues: Vec<RecordIssue> = Vec::new();
        let mut refused = BTreeSet::new();
        let mut seq = self.head.seq;
        for (index, (header, Operation::Put(put))) in checked.headers.iter().zip(operations).enumerate() {
            seq = seq.next();
            let key = header.key();
            if refused.contains(&key) {
                continue;
            }
            let before = change.records.get(&key).copied().or_else(|| self.current(&key));
            match self.judge_operation(&change, header, put.base, before) {
                Ok(()) => {
                    let hash = checked.envelope_hash(index);
                    let current = Current { version: header.version, seq, hash, bytes: put.envelope.bytes(), dead: header.is_tombstone() };
                    change.figures = before.map_or(change.figures, |before| change.figures.without(&before)).with(&current);
                    if !self.head.collections.contains(&header.collection) {
                        change.collections.insert(header.collection.clone());
                    }
                    change.records.insert(key, current);
                    change.replaced.push(before);
                }
                Err(code) => {
                    // What this very push made of the record before is not current: name what is.
                    issues.push(issue(key.clone(), code, self.current(&key)));
                    refused.insert(key);
                }
            }
        }
        if issues.is_empty() { Ok(change) } else { Err(refusal::records(request, issues)) }
    }

    fn judge_operation(&self, change: &Change, header: &Header, base: Version, before: Option<Current>) -> Result<(), ErrorCode> {
        let version = before.map_or(Version::NONE, |before| before.version);
        match base.cmp(&version) {
            std::cmp::Ordering::Less => return Err(ErrorCode::Stale),
            std::cmp::Ordering::Greater => return Err(ErrorCode::BaseUnknown),
            std::cmp::Ordering::Equal => {}
        }
        let Some(before) = before else { return self.judge_new(change, header) };
        // Another parent would break the chain that every client checks.
        if header.parent == before.hash { Ok(()) } else { Err(ErrorCode::HeaderInvalid) }
    }

    /// A record that never was: also as a tombstone, which then would delete nothing.
    fn judge_new(&self, change: &Change, header: &Header) -> Result<(), ErrorCode> {
        let is_known = self.head.collections.contains(&header.collection) || change.collections.contains(&header.collection);
        if !is_known && self.head.collections.len() + change.collections.len() >= COLLECTIONS_MAX {
            return Err(ErrorCode::CollectionsFull);
        }
        if change.figures.records() >= RECORDS_MAX { Err(ErrorCode::RecordsFull) } else { Ok(()) }
    }

    fn current(&self, key: &RecordKey) -> Option<Current> {
        self.records.get(key).copied().flatten()
    }

    /// A push whose shape is wrong: names the records, with what is current.
    fn misshapen(&self, request: u32, error: &BatchError) -> Failure {
        refusal::batch(request, error, |key| self.current(key))
    }

    // --- the roster -------------------------------------------------------------------------------------------

    fn roster_item(&mut self, item: &RosterItem) -> Held {
        match item.origin {
            Origin::Session { peer, request } => {
                let outcome = self.may_change(peer, request, &item.changes).and_then(|()| self.change_roster(request, item));
                let frame = match outcome {
                    Ok(seq) => Frame::RosterChanged(RosterChanged { request, log: OWN_LOG, seq }),
                    Err(failure) => Frame::Failure(failure),
                };
                Held::Session { session: peer.session, request, frame: Box::new(frame) }
            }
            Origin::Account { call } => Held::Account { call, outcome: self.change_roster(0, item) },
        }
    }

    /// A session revokes, for its own device, and nothing else.
    fn may_change(&self, peer: Peer, request: u32, changes: &[RosterChange]) -> Result<(), Failure> {
        refusal::standing(request, self.roster.standing(peer.device))?;
        changes.iter().try_for_each(|change| match change {
            RosterChange::Revoke(revoke) => refusal::asked_by(request, &revoke.signed, peer.device),
            RosterChange::Identity(_) | RosterChange::Enrol(_) => {
                Err(Failure::new(request, ErrorCode::Refused, "a session only revokes; log in to enrol a device"))
            }
        })
    }

    /// All the changes or none; the `seq` of the last.
    fn change_roster(&mut self, request: u32, item: &RosterItem) -> Result<Seq, Failure> {
        let mut roster = self.roster.clone();
        let mut rows = Vec::new();
        let mut answer = roster.last();
        let mut seq = self.head.seq;
        for change in &item.changes {
            let judged = roster.judge(change).map_err(|error| Failure::new(request, error.code(), error.to_string()))?;
            match &judged {
                Judged::Already(already) => {
                    answer = *already;
                    continue;
                }
                Judged::Revoke(statement) => {
                    let last = self.head.dedup.get(&statement.device).map_or(refusal::NO_PUSH, |settled| settled.push);
                    if statement.last != last.device_seq {
                        self.differing.push((statement.device, item.origin));
                        return Err(refusal::with_last(request, ErrorCode::RevokeLastDiffers, last));
                    }
                }
                Judged::Identity(..) | Judged::Enrol(_) => {}
            }
            seq = seq.next();
            answer = seq;
            roster.append(seq, judged);
            rows.push(RosterRow { seq, server_ts: self.server_ts, change: change.clone() });
        }
        for row in rows {
            self.follow(request, Entry::Roster(row), Author::Roster, &[])?;
        }
        self.roster = roster;
        self.revoked.extend(&item.revokes);
        Ok(answer)
    }
}

pub(super) fn issue(key: RecordKey, code: ErrorCode, current: Option<Current>) -> RecordIssue {
    let (current, current_seq) = current.map_or((Version::NONE, Seq::ZERO), |current| (current.version, current.seq));
    RecordIssue { key, code, current, current_seq }
}
