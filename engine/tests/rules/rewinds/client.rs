//! One device of a run: it goes over to what the log became, reads it, brings back what was lost, pushes.
//!
//! Never: what a run asserts at its end.

use cloudsync_engine::cursor::{self, Extent, Verdict};
use cloudsync_engine::replica::{ClaimOutcome, Next, Outcome, SnapshotOutcome, Start, Stretch, Told};
use cloudsync_engine::session::Peer;
use cloudsync_protocol::entry::Origin;
use cloudsync_protocol::frame::Push;
use cloudsync_protocol::{Cursor, Entry, ErrorCode, Frame, Hash, Header, Operation, RecordKey, Seq, TimelineId, codec};

use super::World;
use crate::maker::peer;
use crate::support::log::Device;

/// Enough for everything that there is to do.
pub(super) const PATIENT: u64 = 200;
/// The same, and nobody comes between.
const ALONE: u64 = PATIENT + 1;

impl World {
    /// Connects, reads to the head, makes good what was lost, pushes; it may stop between any two of these.
    pub(super) fn sync(&mut self, device: usize, patience: u64) {
        self.session += 1;
        self.sessions[device] = self.session;
        let mut claimed = false;
        for _ in 0..patience {
            if !self.read(device) {
                continue;
            }
            let questions = self.devices[device].replica().questions(4).unwrap();
            for question in questions {
                let history = self.history(&question.key);
                self.on(device, |device| device.transact(|replica, _| replica.answered(&question, &history))).unwrap();
            }
            if !std::mem::replace(&mut claimed, true) {
                self.claim(device);
            }
            // Somebody else may have pushed since it read, and brought back the same.
            let other = (device + 1) % self.devices.len();
            if patience <= PATIENT && self.rng.chance(20) {
                self.sync(other, ALONE);
            }
            if !self.push(device, patience) {
                return;
            }
        }
    }

    fn peer(&self, device: usize) -> Peer {
        peer(self.sessions[device], u8::try_from(device).unwrap() + 1)
    }

    /// One step of reading; whether there is nothing more.
    fn read(&mut self, device: usize) -> bool {
        let cursor = self.devices[device].replica().cursor().unwrap();
        let start = match self.desk.attach(self.peer(device), cursor) {
            Frame::Attached(attached) => {
                if self.goes_over(device, &attached.lineage) {
                    return false;
                }
                self.on(device, |device| device.transact(|replica, _| replica.attached(&attached))).unwrap()
            }
            Frame::Failure(failure) if failure.code == ErrorCode::TimelineUnknown => {
                assert!(self.goes_over(device, &failure.lineage), "a refused cursor that nothing comes of");
                return false;
            }
            other => panic!("{other:?}"),
        };
        match start {
            Start::UpToDate => true,
            Start::Pull { from, to } => {
                let page = self.desk.store.page(1, self.timeline(), from.seq, to);
                // One entry at a time, so that what each of them settles is seen.
                let entries = &page.entries[..1];
                let stretch = Stretch { timeline: page.timeline, from: page.from, to: entries[0].last(), entries };
                match self.on(device, |device| device.transact(|replica, keys| replica.apply(stretch, keys))).unwrap() {
                    Outcome::Applied(applied) if applied.stopped.is_none() => false,
                    other => panic!("{other:?}"),
                }
            }
            Start::Snapshot { resume } => {
                let page = self.desk.store.snapshot(1, resume.as_ref());
                match self.on(device, |device| device.snapshot_page(resume.as_ref(), &page)) {
                    Ok(SnapshotOutcome::Next { .. } | SnapshotOutcome::Complete { .. }) => false,
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn goes_over(&mut self, device: usize, lineage: &[(TimelineId, Seq)]) -> bool {
        let rewind = match self.devices[device].transact(|replica, _| replica.told(lineage)).unwrap() {
            Told::Same => return false,
            Told::Rewound(rewind) => rewind,
            other @ (Told::WentBack(_) | Told::Unfit) => panic!("{other:?}"),
        };
        let named = self.devices[device].replica().named(&rewind, rewind.common).unwrap();
        assert!(named.is_none_or(|row| self.has(row)), "no timeline forks by itself");
        self.on(device, |device| device.transact(|replica, _| replica.rewound(&rewind, rewind.common))).unwrap();
        true
    }

    fn has(&self, cursor: Cursor) -> bool {
        match cursor::judge(cursor, &Extent::from(self.desk.store.head.as_ref().unwrap())) {
            Verdict::Fine => true,
            Verdict::Depends(check) => {
                let row = self.desk.store.row(check.seq());
                check.with(row).is_ok()
            }
            Verdict::Refused(_) => false,
        }
    }

    fn history(&self, record: &RecordKey) -> Vec<(Hash, Option<Origin>)> {
        let mut rows = Vec::new();
        for entry in self.desk.store.entries() {
            let Entry::Batch(batch) = entry else { continue };
            let of_record = |operation: &&Operation| operation.envelope().unwrap().check().unwrap().key() == *record;
            rows.extend(batch.operations.iter().filter(of_record).map(|operation| (operation.hash(), operation.origin())));
        }
        rows.reverse();
        rows
    }

    fn claim(&mut self, device: usize) {
        let (peer, timeline) = (self.peer(device), self.timeline());
        let Frame::Claimed(claimed) = self.desk.claim(peer) else { panic!("claimed") };
        let outcome = self.on(device, |device| device.transact(|replica, _| replica.claimed(timeline, claimed.last))).unwrap();
        assert_eq!(outcome, ClaimOutcome::Push, "nobody rolled the profile back");
    }

    /// Whether there was something to push.
    fn push(&mut self, device: usize, patience: u64) -> bool {
        let (peer, timeline) = (self.peer(device), self.timeline());
        let Some(batch) = self.on(device, Device::outgoing) else { return false };
        for made in &batch.made {
            let envelope = made.operation.envelope().unwrap();
            let header: Header = codec::decode(&envelope.header).unwrap();
            let over = if let Operation::Adopt(adopt) = &made.operation { adopt.over } else { Hash::default() };
            self.behind.entry(envelope.hash()).or_default().extend([header.parent, over]);
        }
        let request = u32::try_from(batch.device_seq.0).unwrap();
        let push = Push { request, log: 0, signed: batch.signed.clone(), operations: batch.operations() };
        let answer = self.desk.push(peer, push);
        if patience < PATIENT && self.rng.chance(20) {
            return false;
        }
        match answer {
            Frame::Pushed(pushed) => {
                assert_eq!(self.on(device, |device| device.transact(|replica, _| replica.pushed(&pushed))).unwrap(), Next::Push);
                for made in &batch.made {
                    let envelope = made.operation.envelope().unwrap();
                    self.acknowledged.push((envelope.check().unwrap().key(), envelope.hash()));
                }
            }
            Frame::Failure(failure) => {
                let next = self.on(device, |device| {
                    device.transact(|replica, _| replica.push_failed(timeline, (batch.device_seq, batch.hash), &failure))
                });
                assert!(matches!(next, Ok(Next::Push | Next::CatchUp { .. })), "{next:?} after {failure:?}");
            }
            other => panic!("{other:?}"),
        }
        true
    }
}
