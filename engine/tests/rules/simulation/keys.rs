//! Rotations, other passwords and newer wraps, right and late ones.
//!
//! Never: a key; blobs and wraps are made up.

use cloudsync_engine::log::NewCredentials;
use cloudsync_engine::roster::{Roster, Standing};
use cloudsync_engine::user::{AccountChange, CallId, Event};
use cloudsync_protocol::entry::{Operation, Rewrap};
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{DeviceId, DeviceSeq};

use super::{Checked, DEVICES, Simulation};
use crate::maker::{self, LOG, device, device_key};
use crate::support::keys::{blob, rekey, rotate_of, rotation};

/// Numbers of identities and keyrings are a byte in these tests.
const VERSIONS_MAX: u64 = 200;

impl Simulation {
    fn roster(&self) -> Roster {
        Roster::restore(LOG, &self.store.roster()).unwrap()
    }

    pub(super) fn identity_epoch(&self) -> u64 {
        self.roster().identity().map_or(1, |identity| identity.identity_epoch)
    }

    /// What a ticket says that is given now.
    pub(super) fn ticket(&self) -> u64 {
        self.store.credentials.0
    }

    pub(super) fn change_keys(&mut self, argument: u8, at: usize) -> Checked {
        let (roster, by) = (self.roster(), device(self.devices[usize::from(argument % DEVICES)]));
        let Standing::Enrolled(_) = roster.standing(by) else { return Ok(()) };
        if roster.keyring().version >= VERSIONS_MAX {
            return Ok(());
        }
        let (change, recovery) = if argument & 0x02 == 0 {
            (rekey(&roster), None)
        } else {
            let statement = rotation(&roster, by, &self.leaving(argument, by));
            (rotate_of(&statement, &device_key(by.0[0])), Some(statement.recovery))
        };
        let version = roster.keyring().version + 1;
        let credentials = Some(NewCredentials { version, keyring: blob(version), recovery, record: None });
        // Some come with a ticket of before the last change.
        let ticket_version = if argument & 0xc0 == 0xc0 { version.saturating_sub(2) } else { version - 1 };
        self.change_by_account(AccountChange { changes: vec![change], ticket_version, credentials }, at)?;
        // Whoever lost the answer asks the same again, perhaps of another owner.
        let again: Option<RosterChange> = self.store.roster().pop().map(|row| row.change).filter(RosterChange::is_of_keyring);
        match again {
            Some(change) if argument & 0x10 != 0 => {
                let credentials = Some(NewCredentials { version, keyring: blob(version), recovery, record: None });
                self.change_by_account(AccountChange { changes: vec![change], ticket_version: 1, credentials }, at)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn change_by_account(&mut self, change: AccountChange, at: usize) -> Checked {
        let call = CallId(1_000_000 + self.step * 10 + self.tick);
        self.tell(at, Event::ByAccount { call, change })
    }

    /// Sometimes the other profile's device leaves, sometimes with another last push than it has.
    fn leaving(&self, argument: u8, by: DeviceId) -> Vec<(DeviceId, DeviceSeq)> {
        let roster = self.roster();
        let others = self.devices.iter().map(|number| device(*number)).filter(|other| *other != by && argument & 0x20 != 0);
        let enrolled = others.filter(|other| matches!(roster.standing(*other), Standing::Enrolled(_)));
        let last = |leaver: DeviceId| {
            let settled = self.store.head.as_ref().and_then(|head| head.dedup.get(&leaver));
            DeviceSeq(settled.map_or(0, |settled| settled.push.device_seq.0) + u64::from(argument & 0x80 != 0))
        };
        enrolled.map(|leaver| (leaver, last(leaver))).collect()
    }

    /// New wraps of what is current, some of them of rows that are not, by whoever may push.
    pub(super) fn client_rewrap(&mut self, argument: u8, at: usize) -> Checked {
        let Some((peer, last)) = self.ready(argument) else {
            return self.client_claim(argument, at);
        };
        let number = peer.device.0[0];
        let epoch = self.store.head.as_ref().map_or(1, |head| head.key_epoch);
        let mut rows: Vec<_> = self.store.versions().into_iter().map(|(_, current)| (current.seq, current.hash)).collect();
        rows.sort_unstable();
        rows.truncate(20);
        if rows.is_empty() {
            return Ok(());
        }
        let item = |(seq, hash): &(cloudsync_protocol::Seq, cloudsync_protocol::Hash)| {
            [&seq.0.to_be_bytes()[..], hash.short().as_bytes(), &[argument; 60]].concat()
        };
        let rewrap = Rewrap { epoch, items: rows.iter().flat_map(item).collect::<Vec<u8>>().into() };
        let pen = self.pens.get_mut(&number).unwrap();
        pen.device_seq += 1;
        let push = maker::push_of(number, pen.device_seq, last.hash, vec![Operation::Rewrap(rewrap)]);
        pen.batches.push(push.clone());
        self.submit(peer, push, at)
    }
}
