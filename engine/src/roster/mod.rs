//! Who may write a log: identities, enrolments, revocations and rotations, each verified; who was enrolled at a given `seq`, and
//! under which account key it was written. Server and client replicas judge by the same code.
//!
//! Never: a row taken on trust, or a device id used twice.

mod judge;
mod keyring;

pub use judge::{ChangeError, Judged};
pub use keyring::{KeyringAt, Rotation};

use std::collections::BTreeMap;

use bytes::Bytes;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::statement::{EnrolStatement, IdentityStatement, PublicKey, RekeyStatement, RevokeStatement};
use cloudsync_protocol::{DeviceId, DeviceSeq, Hash, LogId, Seq};

use self::judge::Signatures;

/// The account's identity: what signs the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Counts identities, from 1.
    pub identity_epoch: u64,
    /// Ed25519.
    pub signing: PublicKey,
    /// X25519.
    pub sharing: PublicKey,
    /// Where it was committed.
    pub seq: Seq,
    /// The statement's hash.
    pub hash: Hash,
}

/// How a device left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// Where that was committed.
    pub seq: Seq,
    /// The device's last push: nothing of it can appear after this. Nothing where a rotation left the device out without naming it.
    pub last: Option<DeviceSeq>,
    /// Who asked for it.
    pub by: DeviceId,
}

/// A device that was enrolled once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Ed25519: signs batches and sessions.
    pub signing: PublicKey,
    /// X25519: account keys are sealed to it.
    pub agreement: PublicKey,
    /// Sealed under the account key.
    pub name: Bytes,
    /// SHA-256 of the statement that enrolled it: what a rotation names it by.
    pub enrol: Hash,
    /// Where it was enrolled.
    pub enrolled: Seq,
    /// Where it was revoked, if it was.
    pub revoked: Option<Revocation>,
}

impl Device {
    /// Whether it was enrolled when `seq` was committed.
    #[must_use]
    pub fn is_enrolled_at(&self, seq: Seq) -> bool {
        self.enrolled < seq && self.revoked.is_none_or(|revocation| seq <= revocation.seq)
    }
}

/// Where a device stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Never enrolled.
    Unknown,
    /// Enrolled, not revoked.
    Enrolled(&'a Device),
    /// Enrolled once, revoked since.
    Revoked(&'a Device),
}

/// Why a roster row, as read or received, is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Its change is not acceptable there.
    #[error("roster row {seq}: {error}")]
    Change { seq: Seq, error: ChangeError },
    /// It does not come after the row before it.
    #[error("roster row {seq} after {last}")]
    Order { seq: Seq, last: Seq },
    /// It changes nothing, so nobody honest committed it.
    #[error("roster row {seq} repeats {already}")]
    Repeated { seq: Seq, already: Seq },
}

/// The roster of one log, as of its last row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    log: LogId,
    /// Every one so far; the last is in force.
    identities: Vec<Identity>,
    devices: BTreeMap<DeviceId, Device>,
    keyring: KeyringAt,
    /// Where each account key began, from the second on.
    epochs: Vec<(Seq, u64)>,
    last: Seq,
}

impl Roster {
    /// A log without an identity.
    #[must_use]
    pub const fn new(log: LogId) -> Self {
        Self { log, identities: Vec::new(), devices: BTreeMap::new(), keyring: KeyringAt::FIRST, epochs: Vec::new(), last: Seq::ZERO }
    }

    /// From every row so far, in order, each verified.
    pub fn from_rows<'a>(log: LogId, rows: impl IntoIterator<Item = &'a RosterRow>) -> Result<Self, RowError> {
        let mut roster = Self::new(log);
        for row in rows {
            roster.apply(row)?;
        }
        Ok(roster)
    }

    /// From rows that the caller stored after [`apply`](Self::apply) had verified each: everything but the signatures is
    /// checked again.
    ///
    /// Never for rows that came from somebody else since.
    pub fn restore<'a>(log: LogId, rows: impl IntoIterator<Item = &'a RosterRow>) -> Result<Self, RowError> {
        let mut roster = Self::new(log);
        for row in rows {
            roster.apply_row(row, Signatures::Known)?;
        }
        Ok(roster)
    }

    /// The identity in force.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identities.last()
    }

    /// The identity of that number, if it is or was in force.
    #[must_use]
    pub fn identity_of(&self, identity_epoch: u64) -> Option<&Identity> {
        self.identities.iter().find(|identity| identity.identity_epoch == identity_epoch)
    }

    /// The keyring, as the newest row of one says.
    #[must_use]
    pub const fn keyring(&self) -> &KeyringAt {
        &self.keyring
    }

    /// The account key's epoch that what was committed as `seq` is wrapped under: that of the last rotation below.
    #[must_use]
    pub fn key_epoch_at(&self, seq: Seq) -> u64 {
        self.epochs.iter().rev().find(|(begins, _)| *begins < seq).map_or(KeyringAt::FIRST.epoch, |(_, epoch)| *epoch)
    }

    /// Every device that was ever enrolled, by id.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceId, &Device)> {
        self.devices.iter().map(|(id, device)| (*id, device))
    }

    /// How many are enrolled now.
    #[must_use]
    pub fn enrolled(&self) -> usize {
        self.devices.values().filter(|device| device.revoked.is_none()).count()
    }

    /// The last row's number; 0 without one.
    #[must_use]
    pub const fn last(&self) -> Seq {
        self.last
    }

    /// Where a device stands now.
    #[must_use]
    pub fn standing(&self, device: DeviceId) -> Standing<'_> {
        match self.devices.get(&device) {
            None => Standing::Unknown,
            Some(device) if device.revoked.is_some() => Standing::Revoked(device),
            Some(device) => Standing::Enrolled(device),
        }
    }

    /// The device, if it was enrolled when `seq` was committed.
    #[must_use]
    pub fn enrolled_at(&self, device: DeviceId, seq: Seq) -> Option<&Device> {
        self.devices.get(&device).filter(|device| device.is_enrolled_at(seq))
    }

    /// Whether nothing of the device can follow after `seq`.
    #[must_use]
    pub fn is_revoked_at(&self, device: DeviceId, seq: Seq) -> bool {
        self.devices.get(&device).and_then(|device| device.revoked).is_some_and(|revocation| revocation.seq <= seq)
    }

    /// Appends a change that [`judge`](Self::judge) accepted, committed as `seq`.
    pub fn append(&mut self, seq: Seq, judged: Judged) {
        match judged {
            Judged::Already(_) => return,
            Judged::Identity(statement, hash) => {
                let IdentityStatement { identity_epoch, signing, sharing, .. } = statement;
                self.identities.push(Identity { identity_epoch, signing, sharing, seq, hash });
            }
            Judged::Enrol(statement, enrol) => {
                let EnrolStatement { device, signing, agreement, name, .. } = statement;
                self.devices.insert(device, Device { signing, agreement, name, enrol, enrolled: seq, revoked: None });
            }
            Judged::Revoke(statement) => {
                let RevokeStatement { device, last, by, .. } = statement;
                if let Some(device) = self.devices.get_mut(&device) {
                    device.revoked = Some(Revocation { seq, last: Some(last), by });
                }
            }
            Judged::Rotate(rotation) => self.append_rotation(seq, &rotation),
            Judged::Rekey(RekeyStatement { version, keyring, .. }, row) => {
                self.keyring = KeyringAt { version, hash: Some(keyring), seq, row, ..self.keyring };
            }
        }
        self.last = seq;
    }

    /// Verifies and appends a committed row.
    pub fn apply(&mut self, row: &RosterRow) -> Result<(), RowError> {
        self.apply_row(row, Signatures::Verified)
    }

    fn apply_row(&mut self, row: &RosterRow, signatures: Signatures) -> Result<(), RowError> {
        let seq = row.seq;
        if seq <= self.last {
            return Err(RowError::Order { seq, last: self.last });
        }
        match self.judge_change(&row.change, signatures).map_err(|error| RowError::Change { seq, error })? {
            Judged::Already(already) => Err(RowError::Repeated { seq, already }),
            judged @ (Judged::Identity(..) | Judged::Enrol(..) | Judged::Revoke(_) | Judged::Rotate(_) | Judged::Rekey(..)) => {
                self.append(seq, judged);
                Ok(())
            }
        }
    }
}
