//! Who may write a log: identity, enrolments and revocations, each verified, and who was enrolled at a given `seq`.
//! Server and client replicas judge by the same code.
//!
//! Never: a row taken on trust, or a device id used twice.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloudsync_protocol::codec::{self, DecodeError};
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::limits::{DEVICE_NAME_BYTES_MAX, DEVICES_MAX, STATEMENT_BYTES_MAX};
use cloudsync_protocol::statement::{EnrolStatement, FORMAT, IdentityStatement, PublicKey, RevokeStatement, RosterChange, Signed};
use cloudsync_protocol::{DeviceId, DeviceSeq, ErrorCode, Hash, LogId, Seq};

use crate::verify::{self, SignatureInvalid};

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
    /// The device's last push: nothing of it can appear after this.
    pub last: DeviceSeq,
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

/// Why a change of the roster is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not a statement, or too long.
    #[error("not a statement: {0}")]
    Decode(#[from] DecodeError),
    /// Longer than it may be.
    #[error("{part} of {bytes} bytes, allowed are {bytes_max}")]
    TooLarge { part: &'static str, bytes: usize, bytes_max: usize },
    /// A format of a newer release.
    #[error("unknown statement format {0}")]
    Format(u8),
    /// Made for another log.
    #[error("made for log {0}")]
    Log(LogId),
    /// Its signature is not the identity's (or, for an identity, its own).
    #[error(transparent)]
    Signature(#[from] SignatureInvalid),
    /// The log has no identity yet: that comes first.
    #[error("the log has no identity yet")]
    NoIdentity,
    /// An identity of another number than the one that has its turn or signs.
    #[error("identity {stated}, expected {expected}")]
    IdentityEpoch { stated: u64, expected: u64 },
    /// That id is enrolled with other keys.
    #[error("device {0} is enrolled with other keys")]
    OtherKeys(DeviceId),
    /// That id was revoked, and ids are never used again.
    #[error("device {0} was revoked")]
    Revoked(DeviceId),
    /// That device was never enrolled.
    #[error("device {0} is not enrolled")]
    Unknown(DeviceId),
    /// `DEVICES_MAX` devices are enrolled.
    #[error("{DEVICES_MAX} devices are enrolled already")]
    DevicesFull,
}

impl ChangeError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Decode(_) | Self::TooLarge { .. } | Self::Format(_) | Self::Log(_) | Self::NoIdentity | Self::IdentityEpoch { .. } => {
                ErrorCode::StatementInvalid
            }
            Self::Signature(_) => ErrorCode::SignatureInvalid,
            Self::OtherKeys(_) => ErrorCode::Refused,
            Self::Revoked(_) => ErrorCode::DeviceRevoked,
            Self::Unknown(_) => ErrorCode::DeviceUnknown,
            Self::DevicesFull => ErrorCode::DevicesFull,
        }
    }
}

/// A change that was verified against a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It says what already holds, since this `seq`: nothing to append.
    Already(Seq),
    /// A new identity.
    Identity(IdentityStatement, Hash),
    /// A device joins.
    Enrol(EnrolStatement),
    /// A device leaves.
    Revoke(RevokeStatement),
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

/// Whether a change's signature is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signatures {
    Verified,
    /// It was, when whoever asks stored the row.
    Known,
}

/// A statement with its context.
struct Stated<'a> {
    signed: &'a Signed,
    context: &'a [u8],
    signatures: Signatures,
}

impl Stated<'_> {
    fn is_by(&self, key: &PublicKey) -> Result<(), SignatureInvalid> {
        match self.signatures {
            Signatures::Verified => verify::statement(key, self.context, self.signed),
            Signatures::Known => Ok(()),
        }
    }
}

/// The roster of one log, as of its last row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    log: LogId,
    identity: Option<Identity>,
    devices: BTreeMap<DeviceId, Device>,
    last: Seq,
}

impl Roster {
    /// A log without an identity.
    #[must_use]
    pub const fn new(log: LogId) -> Self {
        Self { log, identity: None, devices: BTreeMap::new(), last: Seq::ZERO }
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

    /// The identity.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
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

    /// Verifies a change against the roster as it is; changes nothing.
    pub fn judge(&self, change: &RosterChange) -> Result<Judged, ChangeError> {
        self.judge_change(change, Signatures::Verified)
    }

    fn judge_change(&self, change: &RosterChange, signatures: Signatures) -> Result<Judged, ChangeError> {
        let signed = change.signed();
        fits("statement", signed.statement.len(), STATEMENT_BYTES_MAX)?;
        let stated = Stated { signed, context: change.context(), signatures };
        match change {
            RosterChange::Identity(_) => self.judge_identity(&stated),
            RosterChange::Enrol(_) => self.judge_enrol(&stated),
            RosterChange::Revoke(_) => self.judge_revoke(&stated),
        }
    }

    /// Appends a change that [`judge`](Self::judge) accepted, committed as `seq`.
    pub fn append(&mut self, seq: Seq, judged: Judged) {
        match judged {
            Judged::Already(_) => return,
            Judged::Identity(statement, hash) => {
                let IdentityStatement { identity_epoch, signing, sharing, .. } = statement;
                self.identity = Some(Identity { identity_epoch, signing, sharing, seq, hash });
            }
            Judged::Enrol(statement) => {
                let EnrolStatement { device, signing, agreement, name, .. } = statement;
                self.devices.insert(device, Device { signing, agreement, name, enrolled: seq, revoked: None });
            }
            Judged::Revoke(statement) => {
                let RevokeStatement { device, last, by, .. } = statement;
                if let Some(device) = self.devices.get_mut(&device) {
                    device.revoked = Some(Revocation { seq, last, by });
                }
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
            judged @ (Judged::Identity(..) | Judged::Enrol(_) | Judged::Revoke(_)) => {
                self.append(seq, judged);
                Ok(())
            }
        }
    }

    fn judge_identity(&self, stated: &Stated<'_>) -> Result<Judged, ChangeError> {
        let statement: IdentityStatement = codec::decode(&stated.signed.statement)?;
        self.check_common(statement.format, statement.log)?;
        if let Some(identity) = &self.identity {
            if identity.hash == stated.signed.hash() {
                return Ok(Judged::Already(identity.seq));
            }
            // A second identity comes with rotation: signed by a device that is still enrolled.
            return Err(ChangeError::IdentityEpoch { stated: statement.identity_epoch, expected: identity.identity_epoch });
        }
        if statement.identity_epoch != 1 {
            return Err(ChangeError::IdentityEpoch { stated: statement.identity_epoch, expected: 1 });
        }
        stated.is_by(&statement.signing)?;
        Ok(Judged::Identity(statement, stated.signed.hash()))
    }

    fn judge_enrol(&self, stated: &Stated<'_>) -> Result<Judged, ChangeError> {
        let statement: EnrolStatement = codec::decode(&stated.signed.statement)?;
        self.check_common(statement.format, statement.log)?;
        fits("device name", statement.name.len(), DEVICE_NAME_BYTES_MAX)?;
        self.check_identity(statement.identity_epoch, stated)?;
        match self.standing(statement.device) {
            Standing::Revoked(_) => Err(ChangeError::Revoked(statement.device)),
            Standing::Enrolled(device) if device.signing == statement.signing && device.agreement == statement.agreement => {
                Ok(Judged::Already(device.enrolled))
            }
            Standing::Enrolled(_) => Err(ChangeError::OtherKeys(statement.device)),
            Standing::Unknown if self.enrolled() >= DEVICES_MAX => Err(ChangeError::DevicesFull),
            Standing::Unknown => Ok(Judged::Enrol(statement)),
        }
    }

    fn judge_revoke(&self, stated: &Stated<'_>) -> Result<Judged, ChangeError> {
        let statement: RevokeStatement = codec::decode(&stated.signed.statement)?;
        self.check_common(statement.format, statement.log)?;
        self.check_identity(statement.identity_epoch, stated)?;
        match self.standing(statement.device) {
            Standing::Unknown => return Err(ChangeError::Unknown(statement.device)),
            Standing::Revoked(Device { revoked: Some(revocation), .. }) => return Ok(Judged::Already(revocation.seq)),
            Standing::Revoked(_) | Standing::Enrolled(_) => {}
        }
        match self.standing(statement.by) {
            Standing::Enrolled(_) => Ok(Judged::Revoke(statement)),
            Standing::Revoked(_) => Err(ChangeError::Revoked(statement.by)),
            Standing::Unknown => Err(ChangeError::Unknown(statement.by)),
        }
    }

    fn check_common(&self, format: u8, log: LogId) -> Result<(), ChangeError> {
        if format != FORMAT {
            return Err(ChangeError::Format(format));
        }
        if log == self.log { Ok(()) } else { Err(ChangeError::Log(log)) }
    }

    fn check_identity(&self, epoch: u64, stated: &Stated<'_>) -> Result<(), ChangeError> {
        let identity = self.identity.as_ref().ok_or(ChangeError::NoIdentity)?;
        if epoch != identity.identity_epoch {
            return Err(ChangeError::IdentityEpoch { stated: epoch, expected: identity.identity_epoch });
        }
        Ok(stated.is_by(&identity.signing)?)
    }
}

fn fits(part: &'static str, bytes: usize, bytes_max: usize) -> Result<(), ChangeError> {
    if bytes > bytes_max { Err(ChangeError::TooLarge { part, bytes, bytes_max }) } else { Ok(()) }
}
