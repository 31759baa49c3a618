//! A client: one replica, and processes of the profile that share it, each with a session of its own.
//!
//! Never: a fact that survives a crash outside of the tables.

use std::collections::BTreeMap;

use cloudsync_engine::replica::{AnswerError, ClaimOutcome, Next, Outcome, Replica, SnapshotOutcome, Start, Stretch};
use cloudsync_engine::session::SessionId;
use cloudsync_engine::user::CallId;
use cloudsync_protocol::frame::{Attach, Claim, Pull, Push, Pushed, Snapshot, SnapshotToken};
use cloudsync_protocol::{DeviceSeq, ErrorCode, Failure, Frame, Hash, Seq};

use super::network::Network;
use crate::support::log::Device;
use crate::support::rng::Rng;

/// What a session asked for.
#[derive(Debug, Clone)]
enum Asked {
    Attach,
    Pull,
    Snapshot(Option<SnapshotToken>),
    Claim,
    Push(DeviceSeq, Hash),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    Unclaimed,
    Asked,
    Claimed,
}

/// One process while it is connected.
#[derive(Debug)]
pub struct Session {
    pub id: SessionId,
    requests: u32,
    asked: BTreeMap<u32, Asked>,
    attached: bool,
    right: Right,
    /// A refused push that waits until the log is read to there.
    held: Option<((DeviceSeq, Hash), Failure, Seq)>,
    /// The head as far as told.
    head: Seq,
    /// Steps to wait before claiming again.
    patience: u64,
}

#[derive(Debug)]
pub struct Client {
    pub device: Device,
    pub processes: Vec<Option<Session>>,
    /// Answers that said *durable*.
    pub acknowledged: Vec<Pushed>,
    /// Edits as they were made.
    pub edits: Vec<super::world::Made>,
    /// Pushes that there was no room for.
    pub refused_for_room: u64,
    /// Logging in anew, in place of the device that it was.
    pub becoming: Option<Becoming>,
}

/// A log-in that revokes the device that this profile was and enrols the one that it is to be, in one.
#[derive(Debug)]
pub struct Becoming {
    pub number: u8,
    /// Nothing when it has to be asked (again).
    pub call: Option<CallId>,
    pub done: bool,
}

impl Client {
    pub fn new(number: u8, processes: usize) -> Self {
        Self {
            device: Device::new(number),
            processes: (0..processes).map(|_| None).collect(),
            acknowledged: Vec::new(),
            edits: Vec::new(),
            refused_for_room: 0,
            becoming: None,
        }
    }

    /// Whether everything is pushed and read, as far as this device knows, and nothing is under way.
    pub fn is_quiet(&mut self, head: Seq) -> bool {
        let status = self.device.replica().status().unwrap();
        let idle = self.processes.iter().flatten().all(|session| session.asked.is_empty() && session.held.is_none());
        // Who is attached was told how much room there is.
        let told = self.processes.iter().flatten().any(|session| session.attached);
        idle && told && self.becoming.is_none() && status.edits.is_idle() && status.cursor.seq == head && status.snapshot.is_none()
    }

    /// One thing that a process would do by itself.
    pub fn work(&mut self, process: usize, rng: &mut Rng, network: &mut Network) {
        let Some(session) = self.processes[process].as_mut() else {
            self.connect(process, network);
            return;
        };
        session.patience = session.patience.saturating_sub(1);
        let status = self.device.replica().status().unwrap();
        let asking = |wanted: fn(&Asked) -> bool| session.asked.values().any(wanted);
        let reading = asking(|asked| matches!(asked, Asked::Attach | Asked::Pull | Asked::Snapshot(_)));
        if !reading && (status.snapshot.is_some() || status.cursor.seq == Seq::ZERO || rng.chance(1)) {
            let resume = self.device.replica().snapshot_resume().unwrap();
            session.ask(Asked::Snapshot(resume.clone()), network, |request| Snapshot { request, log: 0, resume }.into());
        } else if !session.attached && !reading {
            session.ask(Asked::Attach, network, |request| Attach { request, log: 0, cursor: status.cursor }.into());
        } else if !reading && session.head > status.cursor.seq {
            let to = session.head;
            session.ask(Asked::Pull, network, |request| Pull { request, log: 0, from: status.cursor, to }.into());
        } else if !status.edits.is_idle() {
            self.push(process, network);
        }
    }

    /// The log-in was answered: from now on it is that device.
    pub fn become_anew(&mut self, number: u8) {
        let tables = std::mem::take(&mut self.device.tables);
        self.device = Device { tables, ..Device::new(number) };
        Replica::enrolled_anew(&mut self.device.tables, &self.device.me).unwrap();
        self.becoming = None;
    }

    fn connect(&mut self, process: usize, network: &mut Network) {
        self.processes[process] = Some(Session {
            id: network.connect(self.device.me.device),
            requests: 0,
            asked: BTreeMap::new(),
            attached: false,
            right: Right::Unclaimed,
            held: None,
            head: Seq::ZERO,
            patience: 0,
        });
    }

    fn push(&mut self, process: usize, network: &mut Network) {
        let Some(session) = self.processes[process].as_mut() else { return };
        let pushing = session.held.is_some() || session.asked.values().any(|asked| matches!(asked, Asked::Push(..)));
        match session.right {
            Right::Unclaimed if session.patience == 0 => {
                session.right = Right::Asked;
                session.ask(Asked::Claim, network, |request| Claim { request, log: 0 }.into());
            }
            Right::Claimed if !pushing => {
                if let Some(batch) = self.device.outgoing() {
                    let push = |request| Push { request, log: 0, signed: batch.signed.clone(), operations: batch.operations() }.into();
                    session.ask(Asked::Push(batch.device_seq, batch.hash), network, push);
                }
            }
            Right::Unclaimed | Right::Asked | Right::Claimed => {}
        }
    }

    /// Takes in one frame.
    pub fn receive(&mut self, process: usize, frame: &Frame, rng: &mut Rng) {
        let Some(session) = self.processes[process].as_mut() else { return };
        match frame {
            Frame::Attached(attached) => {
                session.asked.remove(&attached.request);
                session.attached = true;
                session.head = session.head.max(attached.head);
                let told = self.device.transact(|replica, _| replica.told(&attached.lineage)).unwrap();
                assert_eq!(told, cloudsync_engine::replica::Told::Same);
                let start = self.device.transact(|replica, _| replica.attached(attached)).unwrap();
                let is_new = self.device.replica().cursor().unwrap().seq == Seq::ZERO;
                assert!(is_new || !matches!(start, Start::Snapshot { resume: None }), "nothing was cut");
            }
            Frame::Page(page) => {
                session.asked.remove(&page.request);
                session.head = session.head.max(page.head);
                self.apply(process, page.into());
            }
            Frame::SnapshotPage(page) => {
                let Some(Asked::Snapshot(asked)) = session.asked.remove(&page.request) else { panic!("not asked for") };
                match self.device.snapshot_page(asked.as_ref(), page) {
                    Ok(SnapshotOutcome::Next { .. } | SnapshotOutcome::Old { .. }) => {}
                    Ok(SnapshotOutcome::Complete { .. }) => session.attached = false,
                    // Begun before another process read further.
                    Err(cloudsync_engine::replica::SnapshotError::Behind { .. }) => assert!(asked.is_none()),
                    Err(error) => panic!("{error}"),
                }
            }
            Frame::Claimed(claimed) => {
                session.asked.remove(&claimed.request);
                session.right = Right::Claimed;
                let timeline = self.device.timeline();
                let outcome = self.device.transact(|replica, _| replica.claimed(timeline, claimed.last)).unwrap();
                assert_eq!(outcome, ClaimOutcome::Push, "nobody rolled the profile back");
            }
            Frame::Pushed(pushed) => {
                session.asked.remove(&pushed.request);
                self.acknowledged.push(pushed.clone());
                let next = self.device.transact(|replica, _| replica.pushed(pushed)).unwrap();
                assert_eq!(next, Next::Push);
            }
            Frame::Failure(failure) => self.fail(process, failure, rng),
            other => self.event(process, other),
        }
        self.retry_held(process, rng);
    }

    fn event(&mut self, process: usize, frame: &Frame) {
        let Some(session) = self.processes[process].as_mut() else { return };
        match frame {
            Frame::Event(event) => {
                session.head = session.head.max(event.to);
                self.apply(process, event.into());
            }
            Frame::Committed(committed) => {
                session.head = session.head.max(committed.to);
                let outcome = self.device.transact(|replica, _| replica.committed(committed)).unwrap();
                if let Outcome::Applied(applied) = outcome {
                    assert_eq!(applied.stopped, None);
                }
            }
            Frame::HeadAt(head) => session.head = session.head.max(head.head),
            Frame::Lagging(lagging) => {
                session.attached = false;
                session.head = session.head.max(lagging.head);
            }
            other => panic!("a server does not send {other:?}"),
        }
    }

    fn apply(&mut self, _process: usize, stretch: Stretch<'_>) {
        match self.device.transact(|replica, keys| replica.apply(stretch, keys)).unwrap() {
            Outcome::Applied(applied) => assert_eq!(applied.stopped, None, "everything is honest here"),
            Outcome::Old | Outcome::Gap { .. } => {}
        }
    }

    fn fail(&mut self, process: usize, failure: &Failure, rng: &mut Rng) {
        if failure.code == ErrorCode::DeviceRevoked {
            assert!(self.becoming.is_some(), "nobody else revokes");
            self.processes[process] = None;
            return;
        }
        let Some(session) = self.processes[process].as_mut() else { return };
        match session.asked.remove(&failure.request) {
            Some(Asked::Push(device_seq, hash)) => self.push_failed(process, (device_seq, hash), failure, rng),
            Some(Asked::Claim) => {
                session.right = Right::Unclaimed;
                session.patience = rng.below(8);
            }
            Some(Asked::Snapshot(Some(_))) if failure.code == ErrorCode::SnapshotInvalid => {
                self.device.transact(|replica, _| replica.snapshot_abandoned()).unwrap();
            }
            Some(Asked::Attach | Asked::Pull | Asked::Snapshot(_)) => {
                assert!(failure.retry_after_ms.is_some(), "{failure:?}");
            }
            None => panic!("{failure:?} answers nothing"),
        }
    }

    fn push_failed(&mut self, process: usize, (device_seq, hash): (DeviceSeq, Hash), failure: &Failure, rng: &mut Rng) {
        self.refused_for_room += u64::from(failure.code == ErrorCode::QuotaExceeded);
        let timeline = self.device.timeline();
        let next: Result<Next, AnswerError> = self.device.transact(|replica, _| replica.push_failed(timeline, (device_seq, hash), failure));
        let Some(session) = self.processes[process].as_mut() else { return };
        match next.unwrap() {
            Next::Push | Next::Retry { .. } => {}
            Next::Claim => session.right = Right::Unclaimed,
            Next::ClaimLater => {
                session.right = Right::Unclaimed;
                session.patience = 1 + rng.below(8);
            }
            Next::CatchUp { to } => {
                session.head = session.head.max(to);
                session.held = Some(((device_seq, hash), failure.clone(), to));
            }
            other @ (Next::EnrolAnew | Next::Rewrap | Next::Stop { .. }) => panic!("{other:?} after {failure:?}"),
        }
    }

    fn retry_held(&mut self, process: usize, rng: &mut Rng) {
        let cursor = self.device.replica().cursor().unwrap().seq;
        let Some(session) = self.processes[process].as_mut() else { return };
        if let Some((batch, failure, _)) = session.held.take_if(|(_, _, to)| *to <= cursor) {
            self.push_failed(process, batch, &failure, rng);
        }
    }
}

impl Session {
    fn ask(&mut self, asked: Asked, network: &mut Network, frame: impl FnOnce(u32) -> Frame) {
        self.requests += 1;
        self.asked.insert(self.requests, asked);
        if let Some(wire) = network.wires.get_mut(&self.id) {
            wire.requests.push_back(frame(self.requests));
        }
    }
}
