//! Clients that claim, push, and push the same bytes again, from any session to any owner.
//!
//! Never: a rule of a replica's. Some of them sign what no honest one would.

use std::collections::BTreeMap;

use cloudsync_engine::session::Peer;
use cloudsync_engine::user::Event;
use cloudsync_protocol::Hash;
use cloudsync_protocol::entry::Operation;
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::frame::{Claim, OWN_LOG, Push};

use super::{Checked, DEVICES, Simulation};
use crate::maker::{self, Write, peer};

const RECORDS: usize = 4;
const OPERATIONS_MAX: usize = 3;

impl Simulation {
    pub(super) fn peer(&self, argument: u8) -> Peer {
        let number = self.devices[usize::from(argument % DEVICES)];
        peer(u64::from(number) * 10 + u64::from(argument >> 1 & 1), number)
    }

    pub(super) fn client_claim(&mut self, argument: u8, at: usize) -> Checked {
        let peer = self.peer(argument);
        self.tell(at, Event::Claim { peer, claim: Claim { request: 1, log: OWN_LOG } })
    }

    /// A session that may push, which has then used that up, and the push that its next follows.
    pub(super) fn ready(&mut self, argument: u8) -> Option<(Peer, LastPush)> {
        let mut peer = self.peer(argument);
        let pen = self.pens.get_mut(&peer.device.0[0])?;
        if let Some(session) = pen.ready.keys().next() {
            peer.session = *session;
        }
        let last = pen.ready.remove(&peer.session)?;
        Some((peer, last))
    }

    pub(super) fn client_push(&mut self, argument: u8, at: usize) -> Checked {
        let Some((peer, last)) = self.ready(argument) else {
            return self.client_claim(argument, at);
        };
        let number = peer.device.0[0];
        let mut currents: BTreeMap<String, (u64, Hash)> = self
            .store
            .currents()
            .into_iter()
            .map(|(key, current)| (key.record.as_str().to_owned(), (current.version.0, current.hash)))
            .collect();
        let key_epoch = self.store.head.as_ref().map_or(1, |head| head.key_epoch);
        let pen = self.pens.get_mut(&number).unwrap();
        // Most count on; some sign a number again, as a profile that was rolled back does.
        if argument & 0x70 != 0x70 || pen.device_seq == 0 {
            pen.device_seq += 1;
        }
        let fill = u8::try_from(pen.batches.len() % 250).unwrap() + 2;
        let first = usize::from(argument >> 2 & 3);
        // Up to three operations: of as many records, or of one, each on the one before.
        let (count, stride) = ((pen.batches.len() + first) % OPERATIONS_MAX + 1, pen.batches.len() % 2);
        let mut operations = Vec::new();
        for number_in_push in 0..count {
            let record = format!("r{}", (first + number_in_push * stride) % RECORDS);
            let write =
                currents.get(&record).map_or_else(|| maker::create(&record), |(version, hash)| maker::write(&record, *version, *hash));
            let write = Write { fill, ..if argument & 0xc0 == 0 && number_in_push + 1 == count { write.dead() } else { write } };
            let operation = Write { key_epoch, ..write.clone() }.operation(number, pen.device_seq);
            currents.insert(record, (write.base + 1, operation.hash()));
            operations.push(operation);
        }
        let push = maker::push_of(number, pen.device_seq, last.hash, operations);
        pen.batches.push(push.clone());
        self.submit(peer, push, at)
    }

    /// The same bytes again, from any session, to any owner: where it has read of another account key, in other wraps.
    pub(super) fn client_again(&mut self, argument: u8, at: usize) -> Checked {
        let peer = self.peer(argument);
        let batches = &self.pens[&peer.device.0[0]].batches;
        let back = usize::from(argument >> 2 & 3) + 1;
        match batches.len().checked_sub(back).and_then(|index| batches.get(index)) {
            Some(push) => {
                let mut push = push.clone();
                let epoch = self.store.head.as_ref().map_or(1, |head| head.key_epoch);
                for operation in &mut push.operations {
                    if let (Operation::Put(put), true) = (operation, argument & 0x40 == 0) {
                        put.envelope.wrap = maker::wrap(epoch);
                    }
                }
                self.submit(peer, push, at)
            }
            None => Ok(()),
        }
    }

    pub(super) fn submit(&mut self, peer: Peer, push: Push, at: usize) -> Checked {
        self.submitted.entry(push.signed.hash()).or_default().insert(peer.session);
        self.tell(at, Event::Push { peer, push, frame_bytes: 500 })
    }
}
