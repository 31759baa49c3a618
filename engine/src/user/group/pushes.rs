//! Pushes of a group: is it known, may the session push, is it in shape, does it fit the log; in this order.
//!
//! Never: a record left unnamed that stands in a push's way.

use std::collections::{BTreeMap, BTreeSet};

use cloudsync_protocol::entry::{Adopt, Operation, Put, Rewrap, RewrapItem};
use cloudsync_protocol::error::RecordIssue;
use cloudsync_protocol::frame::{OWN_LOG, Pushed};
use cloudsync_protocol::limits::{COLLECTIONS_MAX, RECORDS_MAX};
use cloudsync_protocol::statement::{BatchStatement, Signed};
use cloudsync_protocol::{Batch, CollectionName, DeviceId, Entry, ErrorCode, Failure, Hash, Header, RecordKey, Seq, Version};

use super::quota::Exceeded;
use super::{Author, Tentative, issue};
use crate::batch::{self, BatchError, Checked};
use crate::log::{Current, Figures, NewWrap};
use crate::user::inbox::PushItem;
use crate::user::refusal;

/// What a push changes, if it is accepted.
pub(super) struct Change {
    figures: Figures,
    pub(super) records: BTreeMap<RecordKey, Current>,
    collections: BTreeSet<CollectionName>,
    /// What each operation replaces.
    replaced: Vec<Option<Current>>,
}

impl Tentative<'_> {
    pub(super) fn push(&mut self, push: PushItem) -> Result<Pushed, Failure> {
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
        self.fits_key_epoch(request, &operations)?;
        let device_seq = checked.statement.device_seq;
        let author = Author::Pusher { session: peer.session, device_seq };
        let from = self.head.seq;
        let accepted = |to, timeline| Pushed { request, log: OWN_LOG, device_seq, hash, timeline, from, to };
        if let [Operation::Rewrap(rewrap)] = operations.as_slice() {
            let wraps = self.wraps(request, rewrap)?;
            self.follow(request, self.batch(signed, operations), author, &[])?;
            self.wraps.extend(wraps);
            return Ok(accepted(self.head.seq, self.head.timeline));
        }
        let ahead = batch::clocks_ahead((&checked.headers, &operations), self.server_ts);
        if !ahead.is_empty() {
            let server_ts = Some(Box::new(self.server_ts));
            return Err(Failure { server_ts, ..self.misshapen(request, &BatchError::Invalid(ahead)) });
        }
        let change = self.judge(request, &checked, &operations)?;
        self.follow(request, self.batch(signed, operations), author, &change.replaced)?;
        self.records.extend(change.records.into_iter().map(|(key, current)| (key, Some(current))));
        Ok(accepted(self.head.seq, self.head.timeline))
    }

    fn batch(&self, signed: Signed, operations: Vec<Operation>) -> Entry {
        Entry::Batch(Batch { first: self.head.seq.next(), server_ts: self.server_ts, signed, operations })
    }

    /// What new wraps come to: those whose row is the record's that its hash says. Never refused for one that is not; the store takes
    /// those that are still current, and lower.
    fn wraps(&self, request: u32, rewrap: &Rewrap) -> Result<Vec<NewWrap>, Failure> {
        let items: Vec<_> = rewrap.items().collect();
        if let Some(last) = items.last().filter(|last| last.seq > self.head.seq) {
            let message = format!("a wrap of row {}, the log ends at {}", last.seq, self.head.seq);
            return Err(Failure::new(request, ErrorCode::StatementInvalid, message));
        }
        let of_row = |RewrapItem { seq, row, wrap }| {
            let at = self.facts.rows.get(&seq).filter(|at| at.hash.short() == row)?;
            Some(NewWrap { seq, key: at.key.clone(), version: at.version, wrap })
        };
        Ok(items.into_iter().filter_map(of_row).collect())
    }

    /// Everything is wrapped under the account key that the log has come to: what a revoked device knows opens nothing new.
    fn fits_key_epoch(&self, request: u32, operations: &[Operation]) -> Result<(), Failure> {
        let current = self.head.key_epoch;
        let epochs = || operations.iter().map(Operation::key_epoch);
        let off = epochs().find(|epoch| *epoch < current).or_else(|| epochs().find(|epoch| *epoch > current));
        match off {
            None => Ok(()),
            Some(epoch) => Err(refusal::key_epoch(request, epoch, current)),
        }
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
        for (index, (header, operation)) in checked.headers.iter().zip(operations).enumerate() {
            seq = seq.next();
            let key = header.key();
            if refused.contains(&key) {
                continue;
            }
            let before = change.records.get(&key).copied().or_else(|| self.current(&key));
            let (judged, envelope) = match operation {
                Operation::Put(Put { base, envelope }) => (self.judge_put(&change, header, *base, before), envelope),
                Operation::Adopt(adopt) => (self.judge_adopt(&change, header, adopt, before), &adopt.envelope),
                Operation::Rewrap(_) => continue,
            };
            match judged {
                Ok(()) => {
                    let (version, hash, bytes) = (header.version, checked.envelope_hash(index), envelope.bytes());
                    let adopted = operation.origin().is_some();
                    let current = Current { version, seq, hash, bytes, dead: header.is_tombstone(), adopted };
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
        if !issues.is_empty() {
            return Err(refusal::records(request, issues));
        }
        match self.fits_quota(&checked.headers, &change) {
            Ok(()) => Ok(change),
            Err(exceeded) => {
                let Exceeded { usage, named } = *exceeded;
                let grown = |(key, grows): (RecordKey, u64)| {
                    let current = self.current(&key);
                    RecordIssue { grows, ..issue(key, ErrorCode::QuotaExceeded, current) }
                };
                Err(refusal::quota(request, usage, named.into_iter().map(grown).collect()))
            }
        }
    }

    /// What was lost may stand again where nothing is, over what the rewind left, over another that was brought back, and over the very
    /// version that it was made from: never over work done since.
    fn judge_adopt(&self, change: &Change, header: &Header, adopt: &Adopt, before: Option<Current>) -> Result<(), ErrorCode> {
        if adopt.origin.timeline == self.head.timeline {
            return Err(ErrorCode::HeaderInvalid);
        }
        let Some(before) = before else {
            let nothing = adopt.over == Hash::default();
            return match self.judge_new(change, header) {
                _ if !nothing => Err(ErrorCode::Stale),
                // Nobody may come back because there is no room for saying that he is gone.
                Err(ErrorCode::RecordsFull) if header.is_tombstone() => Ok(()),
                judged => judged,
            };
        };
        if adopt.over != before.hash {
            return Err(ErrorCode::Stale);
        }
        if header.version <= before.version {
            return Err(ErrorCode::HeaderInvalid);
        }
        let first = self.head.lineage.last().map_or(Seq::ZERO, |(_, first)| *first);
        let follows = header.parent == before.hash && header.version == before.version.next();
        if before.seq < first || before.adopted || follows { Ok(()) } else { Err(ErrorCode::Stale) }
    }

    fn judge_put(&self, change: &Change, header: &Header, base: Version, before: Option<Current>) -> Result<(), ErrorCode> {
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

    pub(super) fn current(&self, key: &RecordKey) -> Option<Current> {
        self.records.get(key).copied().flatten()
    }

    /// A push whose shape is wrong: names the records, with what is current.
    fn misshapen(&self, request: u32, error: &BatchError) -> Failure {
        refusal::batch(request, error, |key| self.current(key))
    }
}
