//! Replicas that only read, beside a run: each takes a snapshot from some moment on, page by page while others write, and
//! reads on from there. R1 says what they must end as.
//!
//! Never: a session, a write, or a fault of its own. What it is given is what the store has, unless the run is to be found out.

use std::collections::BTreeMap;

use cloudsync_engine::invariants::{self, Violation};
use cloudsync_engine::replica::{Content, Opener, Outcome, SnapshotOutcome, Tables};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::{SnapshotPage, SnapshotToken};
use cloudsync_protocol::{Envelope, RecordKey, Seq};

use crate::support::log::Device;
use crate::support::rng::Rng;
use crate::support::store::Store;

const READERS_MAX: usize = 4;
/// No device of any run; reading asks for no enrolment.
const READER: u8 = 250;

/// What the readers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshots {
    AsDesigned,
    /// Wrong: what was deleted is left out.
    WithoutTombstones,
    /// Wrong: the rows are those of before the last entry that the snapshot's start covers.
    BehindTheirStart,
}

/// All that a log comes to: where it was read to, every record, every row of the roster.
#[derive(Debug, PartialEq, Eq)]
struct State {
    head: Seq,
    records: BTreeMap<RecordKey, (Seq, Envelope, Content)>,
    roster: Vec<RosterRow>,
}

#[derive(Debug)]
struct Reader {
    device: Device,
    has_snapshot: bool,
}

#[derive(Debug)]
pub struct Readers {
    snapshots: Snapshots,
    readers: Vec<Reader>,
}

impl Readers {
    pub const fn new(snapshots: Snapshots) -> Self {
        Self { snapshots, readers: Vec::new() }
    }

    /// One begins, or takes a page more.
    pub fn step(&mut self, store: &Store, rng: &mut Rng) {
        if self.readers.len() < READERS_MAX && rng.chance(10) {
            self.readers.push(Reader { device: Device::new(READER), has_snapshot: false });
        } else if !self.readers.is_empty() {
            let reader = rng.index(self.readers.len());
            self.readers[reader].step(store, self.snapshots);
        }
    }

    /// R1, once nothing is written any more.
    pub fn check(&mut self, store: &Store) -> Result<(), Violation> {
        let mut whole = Reader { device: Device::new(READER), has_snapshot: true };
        whole.finish(store, self.snapshots);
        let (by_log, state) = (whole.state(), state_of(store, &whole.device));
        for reader in &mut self.readers {
            reader.finish(store, self.snapshots);
            invariants::snapshot_and_log_make_the_state(&reader.state(), &by_log, &state)?;
        }
        Ok(())
    }
}

impl Reader {
    /// Whether there was something to read, and it could be read.
    fn step(&mut self, store: &Store, snapshots: Snapshots) -> bool {
        if self.has_snapshot { self.read_on(store) } else { self.snapshot_page(store, snapshots) }
    }

    fn snapshot_page(&mut self, store: &Store, snapshots: Snapshots) -> bool {
        let asked = self.device.replica().snapshot_resume().unwrap();
        let page = page_of(store, snapshots, asked.as_ref());
        match self.device.snapshot_page(asked.as_ref(), &page) {
            Ok(SnapshotOutcome::Next { .. }) => true,
            Ok(SnapshotOutcome::Complete { .. }) => {
                self.has_snapshot = true;
                true
            }
            Ok(SnapshotOutcome::Old { .. }) => panic!("it is the only one that reads"),
            // A snapshot that is wrong may be noticed: then nothing more is read.
            Err(error) => {
                assert_ne!(snapshots, Snapshots::AsDesigned, "{error}");
                false
            }
        }
    }

    fn read_on(&mut self, store: &Store) -> bool {
        let cursor = self.device.replica().cursor().unwrap();
        if cursor.seq == store.head_seq() {
            return false;
        }
        let timeline = store.head.as_ref().map(|head| head.timeline).unwrap_or_default();
        let page = store.page(1, timeline, cursor.seq, store.head_seq());
        match self.device.transact(|replica, keys| replica.apply((&page).into(), keys)).unwrap() {
            Outcome::Applied(applied) => applied.stopped.is_none(),
            other @ (Outcome::Old | Outcome::Gap { .. }) => panic!("{other:?}"),
        }
    }

    fn finish(&mut self, store: &Store, snapshots: Snapshots) {
        while self.step(store, snapshots) {}
    }

    fn state(&mut self) -> State {
        let head = self.device.replica().cursor().unwrap().seq;
        let records = self.device.tables.records(None, None, usize::MAX).unwrap();
        let records = records.into_iter().map(|record| (record.key, (record.seq, record.envelope, record.content))).collect();
        State { head, records, roster: self.device.tables.roster().unwrap() }
    }
}

/// The server's.
fn state_of(store: &Store, device: &Device) -> State {
    let opened = |row: &Row| {
        let content = device.keys.open(&row.envelope.check().unwrap(), &row.envelope).unwrap();
        (row.seq, row.envelope.clone(), content)
    };
    let records = store.current().into_iter().map(|(key, row)| (key, opened(&row))).collect();
    State { head: store.head_seq(), records, roster: store.roster() }
}

fn page_of(store: &Store, snapshots: Snapshots, asked: Option<&SnapshotToken>) -> SnapshotPage {
    match snapshots {
        Snapshots::AsDesigned => store.snapshot(1, asked),
        Snapshots::WithoutTombstones => {
            let mut living = store.current();
            living.retain(|_, row| !row.envelope.check().unwrap().is_tombstone());
            store.snapshot_of(&living, 1, asked)
        }
        Snapshots::BehindTheirStart => {
            let start = asked.map_or(store.head_seq(), |token| token.start);
            store.snapshot_of(&store.before(start), 1, asked)
        }
    }
}
