//! Decides a group: each push and each change of the roster in order, against the stable head and what the group has
//! accepted so far. What it accepts becomes one commit.
//!
//! Never: a half push, or anything told: the answers are held until the commit is durable.

mod pushes;
mod quota;
mod roster;

use std::collections::{BTreeMap, BTreeSet};

use cloudsync_protocol::error::RecordIssue;
use cloudsync_protocol::{
    CommitId, DeviceId, DeviceSeq, Entry, ErrorCode, Failure, Frame, Header, LogId, Operation, RecordKey, Seq, Version,
};

use super::bars::Bars;
use super::event::CallId;
use super::inbox::{Item, Origin, Pushers};
use crate::batch::BatchError;
use crate::log::{Commit, Current, Head, NewCredentials, NewWrap, RecordAt};
use crate::roster::Roster;
use crate::session::SessionId;

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
    /// How many live bytes the user may have.
    pub(super) quota_bytes: u64,
    pub(super) head: &'a Head,
    pub(super) roster: &'a Roster,
    pub(super) pushers: &'a Pushers,
    pub(super) bars: &'a Bars,
    pub(super) found: BTreeMap<RecordKey, Option<Current>>,
    /// What the rows wrote that new wraps are for.
    pub(super) rows: BTreeMap<Seq, RecordAt>,
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
                Err(
                    BatchError::Statement(_)
                    | BatchError::Operations(_)
                    | BatchError::Hashes { .. }
                    | BatchError::Mixed
                    | BatchError::Rewrap(_),
                ) => {}
            },
            Item::Roster(_) | Item::Claim(_) => {}
        }
    }
    records
}

/// The rows that a group's new wraps are for.
pub(super) fn rows_named(group: &[Item]) -> BTreeSet<Seq> {
    let mut rows = BTreeSet::new();
    for item in group {
        if let Item::Push(push) = item
            && push.shape.is_ok()
        {
            let rewraps = push.operations.iter().filter_map(Operation::as_rewrap);
            rows.extend(rewraps.flat_map(|rewrap| rewrap.items().map(|item| item.seq).collect::<Vec<_>>()));
        }
    }
    rows
}

/// Decides all of a group.
pub(super) fn decide(facts: Facts<'_>, group: Vec<Item>) -> Decided {
    let (log, after, commit) = (facts.log, facts.head.seq, facts.commit);
    let mut tentative = Tentative::new(facts);
    let held = group.into_iter().filter_map(|item| tentative.decide(item)).collect();
    let Tentative { mut head, roster, entries, authors, revoked, revokes, differing, credentials, wraps, .. } = tentative;
    let commit = if entries.is_empty() {
        None
    } else {
        head.commit = commit;
        Some(Commit { log, after, entries, head, credentials, wraps })
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
    credentials: Option<NewCredentials>,
    wraps: Vec<NewWrap>,
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
            credentials: None,
            wraps: Vec::new(),
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

    /// Accepts an entry.
    fn follow(&mut self, request: u32, entry: Entry, author: Author, replaced: &[Option<Current>]) -> Result<(), Failure> {
        let follows = self.head.follow(&entry, |index, _| replaced.get(index).copied().flatten());
        follows.map_err(|error| Failure::new(request, ErrorCode::Internal, error.to_string()))?;
        self.entries.push(entry);
        self.authors.push(author);
        Ok(())
    }
}

pub(super) fn issue(key: RecordKey, code: ErrorCode, current: Option<Current>) -> RecordIssue {
    let (current, current_seq) = current.map_or((Version::NONE, Seq::ZERO), |current| (current.version, current.seq));
    RecordIssue { key, code, current, current_seq, grows: 0 }
}
