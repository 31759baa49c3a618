//! Decides a group: each push and each change of the roster in order, against the stable head and what the group has
//! accepted so far. What it accepts becomes one commit.
//!
//! Never: a half push, or anything told: the answers are held until the commit is durable.

use std::collections::{BTreeMap, BTreeSet};

use cloudsync_protocol::entry::{Operation, RosterRow};
use cloudsync_protocol::error::{LastPush, RecordIssue};
use cloudsync_protocol::frame::{OWN_LOG, Pushed, RosterChanged};
use cloudsync_protocol::limits::{COLLECTIONS_MAX, RECORDS_MAX};
use cloudsync_protocol::statement::{BatchStatement, RosterChange};
use cloudsync_protocol::{
    Batch, CollectionName, CommitId, DeviceId, DeviceSeq, Entry, ErrorCode, Failure, Frame, Hash, Header, LogId, RecordKey, Seq, Version,
};

use super::event::CallId;
use super::inbox::{Item, Origin, PushItem, RosterItem};
use super::refusal;
use crate::batch::{self, BatchError, Checked};
use crate::log::{Commit, Current, Figures, Head, Settled};
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
    /// Devices that the commit revokes.
    pub(super) revoked: Vec<DeviceId>,
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
    pub(super) head: &'a Head,
    pub(super) roster: &'a Roster,
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
    let after = facts.head.seq;
    let mut tentative = Tentative::new(facts);
    let held = group.into_iter().filter_map(|item| tentative.decide(item)).collect();
    let Tentative { log, mut head, roster, entries, authors, revoked, commit, .. } = tentative;
    let commit = if entries.is_empty() {
        None
    } else {
        head.commit = commit;
        Some(Commit { log, after, entries, head })
    };
    Decided { commit, held, authors, roster, revoked }
}

/// The log as it will be once the group is durable.
struct Tentative {
    log: LogId,
    now_ms: u64,
    head: Head,
    roster: Roster,
    records: BTreeMap<RecordKey, Option<Current>>,
    entries: Vec<Entry>,
    authors: Vec<Author>,
    revoked: Vec<DeviceId>,
    commit: CommitId,
}

/// What a push changes, if it is accepted.
struct Change {
    figures: Figures,
    records: BTreeMap<RecordKey, Current>,
    collections: BTreeSet<CollectionName>,
}

impl Tentative {
    fn new(facts: Facts<'_>) -> Self {
        Self {
            log: facts.log,
            now_ms: facts.now_ms,
            head: facts.head.clone(),
            roster: facts.roster.clone(),
            records: facts.found,
            entries: Vec::new(),
            authors: Vec::new(),
            revoked: Vec::new(),
            commit: facts.commit,
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
            Item::Roster(RosterItem { origin: Origin::Session { peer, request }, changes }) => {
                let frame = match self.session_changes(peer, request, &changes) {
                    Ok(seq) => Frame::RosterChanged(RosterChanged { request, log: OWN_LOG, seq }),
                    Err(failure) => Frame::Failure(failure),
                };
                Some(Held::Session { session: peer.session, request, frame: Box::new(frame) })
            }
            Item::Roster(RosterItem { origin: Origin::Account { call }, changes }) => {
                Some(Held::Account { call, outcome: self.change_roster(0, &changes) })
            }
            // A claim has a turn of its own.
            Item::Claim(_) => None,
        }
    }

    // --- pushes -----------------------------------------------------------------------------------------------

    fn push(&mut self, push: PushItem) -> Result<Pushed, Failure> {
        let PushItem { peer, request, right, signed, hash, statement, operations, shape, .. } = push;
        // A device that is not enrolled has no entry that dedup could ask.
        refusal::standing(request, self.roster.standing(peer.device))?;
        if let Some(pushed) = self.dedup(request, peer.device, hash, &statement)? {
            return Ok(pushed);
        }
        refusal::right(request, right)?;
        let checked = shape.map_err(|error| self.misshapen(request, &error))?;
        let ahead = batch::clocks_ahead(&checked.headers, self.now_ms);
        if !ahead.is_empty() {
            return Err(self.misshapen(request, &BatchError::Invalid(ahead)));
        }
        let change = self.judge(request, &checked, &operations)?;
        let device_seq = checked.statement.device_seq;
        let from = self.head.seq;
        let first = from.next();
        let to = from.plus(operations.len() as u64);
        self.apply(
            peer.device,
            change,
            Settled {
                push: LastPush { device_seq, hash, seq: to },
                operations: u32::try_from(operations.len()).unwrap_or(u32::MAX),
                server_ts: self.now_ms,
            },
        );
        self.head.row = operations.last().map(Operation::hash).unwrap_or_default().short();
        self.entries.push(Entry::Batch(Batch { first, server_ts: self.now_ms, signed, operations }));
        self.authors.push(Author::Pusher { session: peer.session, device_seq });
        Ok(Pushed { request, log: OWN_LOG, device_seq, hash, timeline: self.head.timeline, from, to })
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
        let mut change = Change { figures: self.head.figures, records: BTreeMap::new(), collections: BTreeSet::new() };
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

    fn apply(&mut self, device: DeviceId, change: Change, settled: Settled) {
        self.head.figures = change.figures;
        self.head.collections.extend(change.collections);
        self.records.extend(change.records.into_iter().map(|(key, current)| (key, Some(current))));
        self.head.seq = settled.push.seq;
        self.head.dedup.insert(device, settled);
    }

    fn current(&self, key: &RecordKey) -> Option<Current> {
        self.records.get(key).copied().flatten()
    }

    /// A push whose shape is wrong: names the records, with what is current.
    fn misshapen(&self, request: u32, error: &BatchError) -> Failure {
        refusal::batch(request, error, |key| self.current(key))
    }

    // --- the roster -------------------------------------------------------------------------------------------

    fn session_changes(&mut self, peer: Peer, request: u32, changes: &[RosterChange]) -> Result<Seq, Failure> {
        refusal::standing(request, self.roster.standing(peer.device))?;
        for change in changes {
            match change {
                RosterChange::Revoke(revoke) => refusal::asked_by(request, &revoke.signed, peer.device)?,
                RosterChange::Identity(_) | RosterChange::Enrol(_) => {
                    return Err(Failure::new(request, ErrorCode::Refused, "a session only revokes; log in to enrol a device"));
                }
            }
        }
        self.change_roster(request, changes)
    }

    /// All the changes or none; the `seq` of the last.
    fn change_roster(&mut self, request: u32, changes: &[RosterChange]) -> Result<Seq, Failure> {
        let mut roster = self.roster.clone();
        let mut rows = Vec::new();
        let mut revoked = Vec::new();
        let mut seq = self.head.seq;
        let mut answer = roster.last();
        for change in changes {
            let judged = roster.judge(change).map_err(|error| Failure::new(request, error.code(), error.to_string()))?;
            match &judged {
                Judged::Already(already) => {
                    answer = *already;
                    continue;
                }
                Judged::Revoke(statement) => {
                    let last = self.head.dedup.get(&statement.device).map_or(refusal::NO_PUSH, |settled| settled.push);
                    if statement.last != last.device_seq {
                        return Err(refusal::with_last(request, ErrorCode::RevokeLastDiffers, last));
                    }
                    revoked.push(statement.device);
                }
                Judged::Identity(..) | Judged::Enrol(_) => {}
            }
            seq = seq.next();
            answer = seq;
            roster.append(seq, judged);
            rows.push(RosterRow { seq, server_ts: self.now_ms, change: change.clone() });
        }
        self.roster = roster;
        self.head.seq = seq;
        for device in &revoked {
            self.head.dedup.remove(device);
        }
        self.revoked.append(&mut revoked);
        for row in rows {
            self.head.row = row.change.signed().hash().short();
            self.entries.push(Entry::Roster(row));
            self.authors.push(Author::Roster);
        }
        Ok(answer)
    }
}

pub(super) fn issue(key: RecordKey, code: ErrorCode, current: Option<Current>) -> RecordIssue {
    let (current, current_seq) = current.map_or((Version::NONE, Seq::ZERO), |current| (current.version, current.seq));
    RecordIssue { key, code, current, current_seq }
}
