//! What travels between one session and the server: one queue of requests, and three queues back that may overtake one
//! another (answers, pages, events: streams of their own on QUIC).
//!
//! Never: a frame that overtakes one of its own stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloudsync_engine::invariants::Rising;
use cloudsync_engine::session::{Peer, SessionId};
use cloudsync_protocol::Frame;

#[derive(Debug)]
pub struct Wire {
    pub peer: Peer,
    pub requests: VecDeque<Frame>,
    pub answers: VecDeque<Frame>,
    pub pages: VecDeque<Frame>,
    pub events: VecDeque<Arc<Frame>>,
    /// Seldom has its turn.
    pub slow: bool,
    /// Set when events were dropped; until it attaches again nothing more is queued.
    pub lagging: bool,
    /// S1, as the event stream has it.
    told: Rising,
}

#[derive(Debug, Default)]
pub struct Network {
    pub wires: BTreeMap<SessionId, Wire>,
    sessions: u64,
}

impl Network {
    pub fn connect(&mut self, device: cloudsync_protocol::DeviceId) -> SessionId {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let wire = Wire {
            peer: Peer { session, device },
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            pages: VecDeque::new(),
            events: VecDeque::new(),
            slow: false,
            lagging: false,
            told: Rising::default(),
        };
        self.wires.insert(session, wire);
        session
    }

    pub fn answer(&mut self, session: SessionId, frame: Frame) {
        let Some(wire) = self.wires.get_mut(&session) else { return };
        match frame {
            Frame::Page(_) | Frame::SnapshotPage(_) => wire.pages.push_back(frame),
            Frame::Attached(ref attached) => {
                wire.lagging = false;
                wire.told.resync(attached.head);
                wire.answers.push_back(frame);
            }
            _ => wire.answers.push_back(frame),
        }
    }

    pub fn event(&mut self, session: SessionId, frame: Arc<Frame>) {
        if let Some(wire) = self.wires.get_mut(&session)
            && !wire.lagging
        {
            match &*frame {
                Frame::Event(event) => wire.told.told(event.from, event.to).unwrap(),
                Frame::Committed(committed) => wire.told.told(committed.from, committed.to).unwrap(),
                _ => {}
            }
            wire.events.push_back(frame);
        }
    }
}
