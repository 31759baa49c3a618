//! The whole: steps drawn from a seed, then a drain without faults, then what must be true.
//!
//! Never: an assertion left out because a fault was injected.

mod log_ins;
mod truth;

use std::collections::BTreeMap;

use bytes::Bytes;
use cloudsync_engine::invariants::Violation;
use cloudsync_engine::replica::{Content, EditError, EditId, NewEdit, Onto, Policy};
use cloudsync_engine::session::SessionId;
use cloudsync_protocol::limits::QUOTA_BYTES_DEFAULT;
use cloudsync_protocol::{Frame, RecordKey};

use crate::support::keys::{identify, key};
use crate::support::rng::Rng;
use crate::support::sim::device::Client;
use crate::support::sim::network::{Network, Wire};
use crate::support::sim::reader::{Readers, Snapshots};
use crate::support::sim::server::{Server, Weather, lag};

/// An edit as it was made.
#[derive(Debug, Clone)]
pub struct Made {
    pub id: EditId,
    pub key: RecordKey,
    pub content: Content,
}

/// How a world is set up.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub devices: u8,
    pub processes: usize,
    pub steps: u64,
    pub records: u64,
    pub snapshots: Snapshots,
    pub quota: Quota,
    pub policies: Policies,
}

/// What becomes of stale edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policies {
    /// Their users are asked.
    Reject,
    /// From the first edit on, as everybody knows.
    LastWriteWins,
    /// Anybody changes it at any time.
    Changing,
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// For everything.
    Ample,
    /// For about so many records, whose values are of all lengths; and another amount each time that the server starts.
    Scarce(u64),
}

/// What a record of a run weighs, about.
const RECORD_BYTES: u64 = 450;

/// What the server takes at most, in milliseconds.
const AHEAD_MS: u64 = 300_000;
const START_MS: u64 = 1_000_000;
const DRAIN_STEPS_MAX: u64 = 60_000;

#[derive(Debug)]
pub struct World {
    rng: Rng,
    now_ms: u64,
    plan: Plan,
    server: Server,
    network: Network,
    clients: Vec<Client>,
    readers: Readers,
    values: u64,
    /// The newest device's; ids are never used again.
    numbers: u8,
    /// How often each refusal came to a client.
    reached: BTreeMap<String, usize>,
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let clients: Vec<Client> = (1..=plan.devices).map(|number| Client::new(number, plan.processes)).collect();
        let mut world = Self {
            rng: Rng::new(seed),
            now_ms: START_MS,
            plan,
            server: Server::new(QUOTA_BYTES_DEFAULT),
            network: Network::default(),
            clients,
            readers: Readers::new(plan.snapshots),
            values: 0,
            numbers: plan.devices,
            reached: BTreeMap::new(),
        };
        let mut changes = vec![identify()];
        changes.extend(world.clients.iter().map(|client| client.device.keys.enrol()));
        let call = world.server.enrol(world.now_ms, changes, &mut world.network);
        while world.server.is_waiting() {
            world.server.store_step(world.now_ms, Weather::Fair, &mut world.rng, &mut world.network);
        }
        assert_eq!(world.server.enrolled, [(call, true)]);
        if plan.policies == Policies::LastWriteWins {
            world.set_policy(Policy::LastWriteWins);
            world.drain();
        }
        world.crash_server();
        world
    }

    /// Random events with faults, then everything comes to rest.
    pub fn run(&mut self) -> Result<(), Violation> {
        for _ in 0..self.plan.steps {
            self.step();
        }
        self.drain();
        self.check()?;
        self.readers.check(&self.server.store)
    }

    fn step(&mut self) {
        self.log_ins(Weather::Foul);
        if self.rng.chance(10) {
            self.readers.step(&self.server.store, &mut self.rng);
        }
        if self.rng.chance(6) {
            self.turn_slow_or_fast();
        }
        match self.rng.below(100) {
            0 if self.plan.policies == Policies::Changing && self.rng.chance(20) => {
                let policy = Policy::ALL[self.rng.index(2)];
                self.set_policy(policy);
            }
            0..7 => self.edit(),
            7..28 => self.work(),
            28..52 => self.deliver_request(Weather::Foul),
            52..76 => self.deliver_back(),
            76..96 => self.store(Weather::Foul),
            96 if self.rng.chance(60) => self.cut(),
            97 => match self.rng.below(4) {
                0 => self.crash_device(),
                1 => self.crash_server(),
                2 => self.lag(),
                _ => self.log_in_anew(),
            },
            _ => self.tick(),
        }
    }

    fn drain(&mut self) {
        self.network.wires.values_mut().for_each(|wire| wire.slow = false);
        for _ in 0..DRAIN_STEPS_MAX {
            self.log_ins(Weather::Fair);
            match self.rng.below(4) {
                0 => self.work(),
                1 => self.deliver_request(Weather::Fair),
                2 => self.deliver_back(),
                _ => self.store(Weather::Fair),
            }
            self.tick();
            if self.is_quiet() {
                return;
            }
        }
        let stuck: Vec<_> = self.clients.iter_mut().map(|client| (client.device.replica().status(), &client.processes)).collect();
        panic!("does not come to rest: {stuck:#?}");
    }

    fn is_quiet(&mut self) -> bool {
        let travelling =
            |wire: &Wire| !(wire.requests.is_empty() && wire.answers.is_empty() && wire.pages.is_empty() && wire.events.is_empty());
        if !self.server.is_idle() || !self.server.store.parked.is_empty() || self.network.wires.values().any(travelling) {
            return false;
        }
        let head = self.server.store.head_seq();
        self.clients.iter_mut().all(|client| client.is_quiet(head))
    }

    // --- what may happen --------------------------------------------------------------------------------------

    fn tick(&mut self) {
        self.now_ms += if self.rng.chance(10) { AHEAD_MS } else { 1 + self.rng.below(50) };
        self.server.wake(self.now_ms, &mut self.network);
    }

    fn store(&mut self, weather: Weather) {
        self.server.store_step(self.now_ms, weather, &mut self.rng, &mut self.network);
    }

    fn client(&mut self) -> usize {
        self.rng.index(self.clients.len())
    }

    fn work(&mut self) {
        let (client, process) = (self.client(), self.rng.index(self.plan.processes));
        self.clients[client].work(process, &mut self.rng, &mut self.network);
    }

    fn edit(&mut self) {
        let client = self.client();
        let key = key(&format!("r{}", self.rng.below(self.plan.records)));
        self.values += 1;
        let content = match self.rng.below(10) {
            0 | 1 => Content::Deleted,
            2..5 => Content::Value(Bytes::from(format!("common {}", self.rng.below(2)))),
            _ => {
                let padding = self.padding();
                Content::Value(Bytes::from(format!("value {}{padding}", self.values)))
            }
        };
        // Some devices' clocks are wrong: refused now, and not any more once the server's has caught up.
        let now_ms = if self.rng.chance(8) { self.now_ms + AHEAD_MS + self.rng.below(AHEAD_MS) } else { self.now_ms };
        let client = &mut self.clients[client];
        let new = NewEdit { key: key.clone(), content: content.clone(), onto: Onto::Replica, now_ms };
        match client.device.transact(|replica, _| replica.edit(new.clone())) {
            Ok(id) => client.edits.push(Made { id, key, content }),
            Err(EditError::Conflicted { .. }) => {
                // Its user settles it, one way or another; what was parked is theirs to give up.
                let id = match self.rng.below(3) {
                    0 => {
                        let conflicts = client.device.replica().conflicts().unwrap();
                        let parked = conflicts.into_iter().find(|conflict| conflict.mine.key == key).unwrap().mine.content;
                        let new = NewEdit { key: key.clone(), content: parked, onto: Onto::Current, now_ms };
                        Some((client.device.transact(|replica, _| replica.edit(new)).unwrap(), None))
                    }
                    1 => {
                        client.device.transact(|replica, _| replica.drop_conflict(&key)).unwrap();
                        None
                    }
                    _ => {
                        let new = NewEdit { onto: Onto::Current, ..new };
                        Some((client.device.transact(|replica, _| replica.edit(new)).unwrap(), Some(content)))
                    }
                };
                let mine = client.edits.iter().rev().find(|made| made.key == key).map(|made| made.content.clone());
                client.edits.retain(|made| made.key != key);
                if let Some((id, content)) = id {
                    client.edits.push(Made { id, key, content: content.or(mine).unwrap_or(Content::Deleted) });
                }
            }
            Err(error @ (EditError::Reserved | EditError::Tables(_))) => panic!("{error}"),
        }
    }

    fn set_policy(&mut self, policy: Policy) {
        let (client, now_ms) = (self.client(), self.now_ms);
        let device = &mut self.clients[client].device;
        device.transact(|replica, _| replica.set_policy(&key("r0").collection, policy, now_ms)).unwrap();
    }

    fn padding(&mut self) -> String {
        match self.plan.quota {
            Quota::Ample => String::new(),
            Quota::Scarce(_) => " ".repeat(self.rng.index(500)),
        }
    }

    /// The operator gives more, or less.
    fn draw_quota(&mut self) {
        if let Quota::Scarce(records) = self.plan.quota {
            self.server.quota_bytes = RECORD_BYTES * (1 + self.rng.below(records)) + self.rng.below(RECORD_BYTES);
        }
    }

    fn deliver_request(&mut self, weather: Weather) {
        let waiting: Vec<SessionId> =
            self.network.wires.values().filter(|wire| !wire.requests.is_empty()).map(|wire| wire.peer.session).collect();
        if !waiting.is_empty() {
            let session = waiting[self.rng.index(waiting.len())];
            let refuses = weather == Weather::Foul && self.rng.chance(30);
            if self.is_held_up(session) || refuses && self.server.refuse_for_room(session, &mut self.network) {
                return;
            }
            self.server.request(self.now_ms, session, &mut self.network);
        }
    }

    fn deliver_back(&mut self) {
        let mut queues = Vec::new();
        for wire in self.network.wires.values() {
            let lengths = [wire.answers.len(), wire.pages.len(), wire.events.len()];
            queues.extend(lengths.iter().enumerate().filter(|(_, length)| **length > 0).map(|(queue, _)| (wire.peer.session, queue)));
        }
        if queues.is_empty() {
            return;
        }
        let (session, queue) = queues[self.rng.index(queues.len())];
        if self.is_held_up(session) {
            return;
        }
        let Some(wire) = self.network.wires.get_mut(&session) else { return };
        let frame = match queue {
            0 => wire.answers.pop_front().map(std::sync::Arc::new),
            1 => wire.pages.pop_front().map(std::sync::Arc::new),
            _ => wire.events.pop_front(),
        };
        let (Some(frame), Some((client, process))) = (frame, self.owner(session)) else { return };
        if let Frame::Failure(failure) = &*frame {
            *self.reached.entry(failure.code.to_string()).or_default() += 1;
        }
        self.clients[client].receive(process, &frame, &mut self.rng);
    }

    fn turn_slow_or_fast(&mut self) {
        let sessions: Vec<SessionId> = self.network.wires.keys().copied().collect();
        if !sessions.is_empty()
            && let Some(wire) = self.network.wires.get_mut(&sessions[self.rng.index(sessions.len())])
        {
            wire.slow = !wire.slow;
        }
    }

    /// On a slow wire nearly everything is overtaken.
    fn is_held_up(&mut self, session: SessionId) -> bool {
        self.network.wires.get(&session).is_some_and(|wire| wire.slow) && !self.rng.chance(8)
    }

    fn owner(&self, session: SessionId) -> Option<(usize, usize)> {
        self.clients.iter().enumerate().find_map(|(client, held)| {
            let process = held.processes.iter().position(|process| process.as_ref().is_some_and(|held| held.id == session));
            process.map(|process| (client, process))
        })
    }

    /// A connection is lost, with whatever was under way in either direction.
    fn close(&mut self, session: SessionId) {
        if let Some((client, process)) = self.owner(session) {
            self.clients[client].processes[process] = None;
        }
        self.network.wires.remove(&session);
        self.server.closed(self.now_ms, session, &mut self.network);
    }

    fn cut(&mut self) {
        let sessions: Vec<SessionId> = self.network.wires.keys().copied().collect();
        if !sessions.is_empty() {
            let session = sessions[self.rng.index(sessions.len())];
            self.close(session);
        }
    }

    fn crash_device(&mut self) {
        let client = self.client();
        let sessions: Vec<SessionId> = self.clients[client].processes.iter().flatten().map(|session| session.id).collect();
        sessions.into_iter().for_each(|session| self.close(session));
    }

    fn crash_server(&mut self) {
        self.server.crash();
        self.draw_quota();
        let sessions: Vec<SessionId> = self.network.wires.keys().copied().collect();
        sessions.into_iter().for_each(|session| self.close(session));
    }

    fn lag(&mut self) {
        let sessions: Vec<SessionId> = self.network.wires.keys().copied().collect();
        if !sessions.is_empty() {
            lag(&mut self.network, sessions[self.rng.index(sessions.len())], self.server.store.head_seq());
        }
    }
}
