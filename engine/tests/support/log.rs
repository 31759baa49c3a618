//! A log that decides at once, by the rules that a server has: for tests of one replica's rules.
//!
//! Never: a session, an owner or a store; the real ones are in the simulation.

use std::collections::BTreeMap;

use cloudsync_engine::replica::{
    Applied, ApplyError, Me, MemoryTables, Next, OutboxBatch, Outcome, Replica, SnapshotError, SnapshotOutcome, Stretch,
};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::error::{LastPush, RecordIssue, Usage};
use cloudsync_protocol::frame::{Attached, Committed, OWN_LOG, Pushed, SnapshotPage, SnapshotToken};
use cloudsync_protocol::limits::{CLOCK_AHEAD_MAX, QUOTA_BYTES_DEFAULT};
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{
    Batch, Cursor, DeviceId, DeviceSeq, Entry, Envelope, ErrorCode, Failure, Generation, Hash, Operation, RecordKey, Seq, ShortHash,
    TimelineId, Version,
};

use super::keys::{Keys, LOG, identify, row};

/// The timeline of every test log.
pub const TIMELINE: TimelineId = TimelineId([3; 16]);

/// A log in memory.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    pub current: BTreeMap<RecordKey, Row>,
    pub last: BTreeMap<DeviceId, LastPush>,
    /// Records that are refused, and why.
    pub refuses: BTreeMap<RecordKey, ErrorCode>,
    /// The default where nothing is said.
    pub quota_bytes: Option<u64>,
    /// Nobody's stamp is asked for where nothing is said.
    pub now_ms: Option<u64>,
}

impl Log {
    /// With an identity and these devices enrolled.
    pub fn with(devices: &[&Keys]) -> Self {
        let mut log = Self::default();
        log.change(identify());
        devices.iter().for_each(|keys| log.change(keys.enrol()));
        log
    }

    pub fn change(&mut self, change: RosterChange) {
        let seq = self.head().next();
        self.entries.push(Entry::Roster(row(seq.0, change)));
    }

    pub fn head(&self) -> Seq {
        self.entries.last().map_or(Seq::ZERO, Entry::last)
    }

    pub fn last_of(&self, device: DeviceId) -> LastPush {
        self.last.get(&device).copied().unwrap_or(LastPush { device_seq: DeviceSeq(0), hash: Hash::default(), seq: Seq::ZERO })
    }

    /// Decides a push.
    pub fn push(&mut self, batch: &OutboxBatch) -> Result<Pushed, Failure> {
        let last = self.last_of(batch.device);
        let refuse = |code| Failure { last: Some(Box::new(last)), ..Failure::new(1, code, "") };
        if batch.device_seq < last.device_seq {
            return Err(refuse(ErrorCode::Settled));
        }
        if batch.device_seq == last.device_seq && batch.hash != last.hash {
            return Err(refuse(ErrorCode::SequenceReused));
        }
        let (from, to) = if batch.device_seq == last.device_seq {
            (Seq(last.seq.0 - batch.made.len() as u64), last.seq)
        } else if batch.prev_hash == last.hash {
            self.decide(batch)?
        } else {
            return Err(refuse(ErrorCode::ChainMoved));
        };
        Ok(Pushed { request: 1, log: OWN_LOG, device_seq: batch.device_seq, hash: batch.hash, timeline: TIMELINE, from, to })
    }

    fn decide(&mut self, batch: &OutboxBatch) -> Result<(Seq, Seq), Failure> {
        let mut records: Vec<RecordIssue> = Vec::new();
        let mut made: BTreeMap<RecordKey, Version> = BTreeMap::new();
        for put in batch.operations().iter().filter_map(Operation::as_put) {
            let header = put.envelope.check().unwrap();
            let key = header.key();
            let (current, current_seq) =
                self.current.get(&key).map_or((Version::NONE, Seq::ZERO), |row| (row.envelope.check().unwrap().version, row.seq));
            let is_ahead = self.now_ms.is_some_and(|now_ms| header.hlc.ms() > now_ms + CLOCK_AHEAD_MAX.as_millis() as u64);
            let is_stale = put.base != made.get(&key).copied().unwrap_or(current);
            let code = self.refuses.get(&key).copied();
            let code = code.or(is_ahead.then_some(ErrorCode::ClockAhead)).or(is_stale.then_some(ErrorCode::Stale));
            made.insert(key.clone(), header.version);
            if let Some(code) = code.filter(|_| !records.iter().any(|issue| issue.key == key)) {
                records.push(RecordIssue { key, code, current, current_seq, grows: 0 });
            }
        }
        if let Some(first) = records.first() {
            let code = if first.code == ErrorCode::Stale { ErrorCode::Stale } else { ErrorCode::Refused };
            let server_ts = self.now_ms.map(Box::new);
            return Err(Failure { records, server_ts, ..Failure::new(1, code, "") });
        }
        self.fits_quota(batch)?;
        let from = self.head();
        let entry = Batch { first: from.next(), server_ts: 0, signed: batch.signed.clone(), operations: batch.operations() };
        self.append(entry);
        let to = self.head();
        self.last.insert(batch.device, LastPush { device_seq: batch.device_seq, hash: batch.hash, seq: to });
        Ok((from, to))
    }

    /// Header + body + wrap of what is not deleted.
    pub fn live_bytes(&self) -> u64 {
        self.current.values().map(|row| live_bytes(&row.envelope)).sum()
    }

    fn quota_bytes(&self) -> u64 {
        self.quota_bytes.unwrap_or(QUOTA_BYTES_DEFAULT)
    }

    fn fits_quota(&self, batch: &OutboxBatch) -> Result<(), Failure> {
        let (used, limit) = (self.live_bytes(), self.quota_bytes());
        let (mut grown, mut room) = (Vec::new(), limit.saturating_sub(used));
        let operations = batch.operations();
        let puts: Vec<_> =
            operations.iter().filter_map(Operation::as_put).map(|put| (put.envelope.check().unwrap().key(), &put.envelope)).collect();
        for (index, (key, envelope)) in puts.iter().enumerate() {
            // What a push makes of a record is its last operation.
            if puts[index + 1..].iter().any(|(later, _)| later == key) {
                continue;
            }
            let before = self.current.get(key).map_or(0, |row| live_bytes(&row.envelope));
            let after = live_bytes(envelope);
            room += before.saturating_sub(after);
            grown.push((key.clone(), after.saturating_sub(before)));
        }
        let mut records = Vec::new();
        for (key, grows) in grown {
            match room.checked_sub(grows) {
                Some(left) => room = left,
                None => {
                    let current = self.current.get(&key).map_or(Version::NONE, |row| row.envelope.check().unwrap().version);
                    records.push(RecordIssue { key, code: ErrorCode::QuotaExceeded, current, current_seq: Seq::ZERO, grows });
                }
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let quota = Some(Box::new(Usage { used, limit, need: records.iter().map(|issue| issue.grows).sum(), at: self.head() }));
        Err(Failure { records, quota, ..Failure::new(1, ErrorCode::QuotaExceeded, "") })
    }

    /// Appends a batch as it is, whatever it says.
    pub fn append(&mut self, batch: Batch) {
        for (operation, number) in batch.operations.iter().zip(0..) {
            let Some(put) = operation.as_put() else { continue };
            let row = Row { seq: batch.first.plus(number), server_ts: 0, envelope: put.envelope.clone(), origin: None };
            self.current.insert(put.envelope.check().unwrap().key(), row);
        }
        self.entries.push(batch.into());
    }

    /// The entries of `(from, to]`.
    pub fn entries_of(&self, from: Seq, to: Seq) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.first() > from && entry.last() <= to).cloned().collect()
    }

    pub fn row(&self, seq: Seq) -> ShortHash {
        self.entries.iter().find(|entry| entry.last() == seq).map(|entry| entry.last_hash().short()).unwrap_or_default()
    }

    pub fn attached(&self, floor: Seq) -> Attached {
        Attached {
            request: 1,
            log: OWN_LOG,
            id: LOG,
            head: self.head(),
            timeline: TIMELINE,
            generation: Generation(0),
            floor,
            used_bytes: self.live_bytes(),
            quota_bytes: self.quota_bytes(),
            lineage: vec![(TIMELINE, Seq(1))],
        }
    }

    /// The echo of a push.
    pub fn committed(&self, pushed: &Pushed) -> Committed {
        let Pushed { log, timeline, from, to, device_seq, .. } = *pushed;
        Committed { log, timeline, from, to, device_seq, row: self.row(to), server_ts: 0 }
    }

    /// A page of `count` rows.
    pub fn snapshot(&self, resume: Option<&SnapshotToken>, start: Seq, count: usize) -> SnapshotPage {
        let after = resume.and_then(|token| token.last.clone());
        let rest: Vec<_> = self.current.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after)).collect();
        let rows: Vec<Row> = rest.iter().take(count).map(|(_, row)| (*row).clone()).collect();
        let last = rest.iter().take(count).next_back().map(|(key, _)| (*key).clone());
        let more = rest.len() > count;
        let roster: Vec<RosterRow> =
            self.entries.iter().filter(|entry| resume.is_none() && entry.last() <= start).filter_map(roster_row).collect();
        SnapshotPage {
            request: 1,
            log: OWN_LOG,
            start: Cursor { timeline: TIMELINE, seq: start, row: self.row(start) },
            roster,
            rows,
            resume: more.then_some(SnapshotToken { timeline: TIMELINE, start, last, roster_after: None }),
        }
    }
}

fn live_bytes(envelope: &Envelope) -> u64 {
    if envelope.check().unwrap().is_tombstone() { 0 } else { envelope.bytes() }
}

fn roster_row(entry: &Entry) -> Option<RosterRow> {
    match entry {
        Entry::Roster(row) => Some(row.clone()),
        Entry::Batch(_) => None,
    }
}

/// A device's keys and replica; each call is a transaction.
#[derive(Debug, Clone)]
pub struct Device {
    pub keys: Keys,
    pub me: Me,
    pub tables: MemoryTables,
}

impl Device {
    pub fn new(number: u8) -> Self {
        let keys = Keys::new(number);
        Self { me: keys.me(), keys, tables: MemoryTables::new() }
    }

    pub fn replica(&mut self) -> Replica<'_, MemoryTables> {
        Replica::open(&mut self.tables, &self.me).unwrap()
    }

    /// The timeline of its replica; of a fresh one none.
    pub fn timeline(&self) -> TimelineId {
        let marks = cloudsync_engine::replica::Tables::marks(&self.tables).unwrap();
        marks.timeline().unwrap_or(marks.cursor.timeline)
    }

    /// One transaction: what it wrote is rolled back when it fails.
    pub fn transact<R, E>(&mut self, operation: impl FnOnce(&mut Replica<'_, MemoryTables>, &Keys) -> Result<R, E>) -> Result<R, E> {
        let before = self.tables.clone();
        let result = operation(&mut Replica::open(&mut self.tables, &self.me).unwrap(), &self.keys);
        if result.is_err() {
            self.tables = before;
        }
        result
    }

    pub fn apply(&mut self, from: Seq, to: Seq, entries: &[Entry]) -> Result<Outcome, ApplyError> {
        self.transact(|replica, keys| replica.apply(Stretch { timeline: TIMELINE, from, to, entries }, keys))
    }

    /// Reads the log to its head, row by row even from its beginning.
    pub fn pull(&mut self, log: &Log) -> Applied {
        let (from, to) = (self.replica().cursor().unwrap().seq, log.head());
        if from == to {
            let cursor = self.replica().cursor().unwrap();
            return Applied { cursor, changes: Vec::new(), stopped: None, needs_keys: None, rewraps_bad: 0 };
        }
        match self.apply(from, to, &log.entries_of(from, to)).unwrap() {
            Outcome::Applied(applied) => applied,
            other @ (Outcome::Old | Outcome::Gap { .. }) => panic!("{other:?}"),
        }
    }

    pub fn snapshot_page(&mut self, asked: Option<&SnapshotToken>, page: &SnapshotPage) -> Result<SnapshotOutcome, SnapshotError> {
        self.transact(|replica, keys| replica.snapshot_page(asked, page, keys))
    }

    pub fn outgoing(&mut self) -> Option<OutboxBatch> {
        self.transact(|replica, keys| replica.outgoing(keys)).unwrap()
    }

    /// Pushes until nothing is left to push, reading the log where that is asked for.
    pub fn drain(&mut self, log: &mut Log) {
        for _ in 0..100 {
            let Some(batch) = self.outgoing() else { return };
            let mut next = match log.push(&batch) {
                Ok(pushed) => self.transact(|replica, _| replica.pushed(&pushed)).unwrap(),
                Err(failure) => self.fail(&batch, &failure),
            };
            if let Next::CatchUp { to } = next {
                assert!(to <= log.head());
                self.pull(log);
                let failure = log.push(&batch).unwrap_err();
                next = self.fail(&batch, &failure);
            }
            assert_eq!(next, Next::Push);
        }
        panic!("still pushing");
    }

    pub fn fail(&mut self, batch: &OutboxBatch, failure: &Failure) -> Next {
        self.transact(|replica, _| replica.push_failed(TIMELINE, (batch.device_seq, batch.hash), failure)).unwrap()
    }
}
