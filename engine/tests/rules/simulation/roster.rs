//! Profiles whose device is revoked, by the other's session or by a log-in that enrols another device in its place.
//!
//! Never: a device's id used again by a client.

use cloudsync_engine::invariants::{Invariant, told_is_durable};
use cloudsync_engine::user::{AccountChange, CallId, Event};
use cloudsync_protocol::frame::{ChangeRoster, OWN_LOG};
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{DeviceSeq, Entry, Failure, Seq};

use super::{Checked, DEVICES, Pen, Simulation, violated};
use crate::maker::device;
use crate::support::keys::Keys;

/// A session's number has its device's in it.
const NUMBERS_MAX: u8 = 200;

impl Simulation {
    pub(super) fn change_roster(&mut self, argument: u8, at: usize) -> Checked {
        let slot = usize::from(argument % DEVICES);
        let old = self.devices[slot];
        let settled = self.store.head.as_ref().and_then(|head| head.dedup.get(&device(old)));
        let last = settled.map_or(0, |settled| settled.push.device_seq.0);
        // Some name another last push, as one does that was overtaken.
        let last = if argument & 0x30 == 0x30 { last + 1 } else { last };
        if argument & 0xc0 == 0 {
            let peer = self.peer(argument ^ 1);
            let change = self.revoke(old, last, peer.device.0[0]);
            return self.tell(at, Event::ChangeRoster { peer, change: ChangeRoster { request: 3, log: OWN_LOG, change } });
        }
        if self.becoming[slot].is_none() && self.numbers < NUMBERS_MAX {
            self.numbers += 1;
            self.becoming[slot] = Some(self.numbers);
        }
        // Whoever got no answer asks the same again.
        let Some(new) = self.becoming[slot] else { return Ok(()) };
        let enrol = Keys::new(new).enrol_by(self.identity_epoch());
        let change = AccountChange { changes: vec![self.revoke(old, last, old), enrol], ticket_version: self.ticket(), credentials: None };
        self.tell(at, Event::ByAccount { call: CallId(new.into()), change })
    }

    fn revoke(&self, number: u8, last: u64, by: u8) -> RosterChange {
        Keys::new(number).revoke_by(self.identity_epoch(), DeviceSeq(last), device(by))
    }

    pub(super) fn enrolled(&mut self, call: CallId, outcome: Result<Seq, Failure>) -> Checked {
        let Ok(seq) = outcome else { return Ok(()) };
        told_is_durable(seq, self.durable())?;
        for slot in 0..usize::from(DEVICES) {
            if let Some(new) = self.becoming[slot].take_if(|new| u64::from(*new) == call.0) {
                self.devices[slot] = new;
                self.pens.insert(new, Pen::default());
            }
        }
        Ok(())
    }

    /// What an owner admits and refuses devices by is the roster of its own head, and no later one's.
    pub(super) fn check_roster(&self, at: usize) -> Checked {
        let Some((head, roster)) = self.owners.get(at).and_then(|owner| owner.user.head().zip(owner.user.roster())) else { return Ok(()) };
        let rows = self.store.log()?.iter().filter(|entry| matches!(entry, Entry::Roster(_)));
        let last = rows.map(Entry::last).filter(|seq| *seq <= head.seq).last().unwrap_or(Seq::ZERO);
        if roster.last() == last {
            return Ok(());
        }
        Err(violated(Invariant::V4, format!("the roster at {} goes to {}, the log's to {last}", head.seq, roster.last())))
    }
}
