//! Whether a change of the roster is acceptable where it stands: shape, identity, signature, room.
//!
//! Never: a change made. What was judged is appended by whoever asked, once it is committed.

use std::cmp::Ordering;

use cloudsync_protocol::codec::{self, DecodeError};
use cloudsync_protocol::limits::{DEVICE_NAME_BYTES_MAX, DEVICES_MAX, STATEMENT_BYTES_MAX};
use cloudsync_protocol::statement::{
    CONTEXT_ENDORSE, EnrolStatement, FORMAT, IdentityStatement, Leaver, Member, PublicKey, RekeyStatement, RevokeStatement, RosterChange,
    RotateChange, RotateStatement, Signature, Signed,
};
use cloudsync_protocol::{DeviceId, ErrorCode, Hash, LogId, Seq};

use super::{Device, Identity, Roster, Rotation, Standing};
use crate::verify::{self, SignatureInvalid};

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
    /// Signed by an identity that was replaced.
    #[error("identity {stated} was replaced, now it is {current}")]
    IdentityOld { stated: u64, current: u64 },
    /// A keyring whose turn is past: another has that version.
    #[error("keyring {stated}, there is {current} already")]
    KeyringOld { stated: u64, current: u64 },
    /// A keyring or account key that skips one.
    #[error("{what} {stated}, expected {expected}")]
    Skips { what: &'static str, stated: u64, expected: u64 },
    /// The new identity's key is one that this roster had.
    #[error("the new identity has a key that was used before")]
    KeyUsed,
    /// Members and leavers that are not in their order, or too many, or without the device that rotates.
    #[error("the lists of devices are not in form")]
    Lists,
    /// That device is not enrolled, or not by that statement, or in no list.
    #[error("device {0} came or went since this was signed")]
    Moved(DeviceId),
}

impl ChangeError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Decode(_)
            | Self::TooLarge { .. }
            | Self::Format(_)
            | Self::Log(_)
            | Self::NoIdentity
            | Self::IdentityEpoch { .. }
            | Self::Skips { .. }
            | Self::KeyUsed
            | Self::Lists => ErrorCode::StatementInvalid,
            Self::IdentityOld { .. } => ErrorCode::IdentityOld,
            Self::KeyringOld { .. } => ErrorCode::KeyringConflict,
            Self::Moved(_) => ErrorCode::RosterMoved,
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
    /// A device joins, by a statement of that hash.
    Enrol(EnrolStatement, Hash),
    /// A device leaves.
    Revoke(RevokeStatement),
    /// Keys are rotated.
    Rotate(Box<Rotation>),
    /// The keyring is another, by a statement of that hash.
    Rekey(RekeyStatement, Hash),
}

/// Whether a change's signature is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signatures {
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

impl Roster {
    /// Verifies a change against the roster as it is; changes nothing.
    pub fn judge(&self, change: &RosterChange) -> Result<Judged, ChangeError> {
        self.judge_change(change, Signatures::Verified)
    }

    pub(super) fn judge_change(&self, change: &RosterChange, signatures: Signatures) -> Result<Judged, ChangeError> {
        let signed = change.signed();
        fits("statement", signed.statement.len(), STATEMENT_BYTES_MAX)?;
        let stated = Stated { signed, context: change.context(), signatures };
        match change {
            RosterChange::Identity(_) => self.judge_identity(&stated),
            RosterChange::Enrol(_) => self.judge_enrol(&stated),
            RosterChange::Revoke(_) => self.judge_revoke(&stated),
            RosterChange::Rotate(RotateChange { endorsement, .. }) => self.judge_rotate(&stated, *endorsement),
            RosterChange::Rekey(_) => self.judge_rekey(&stated),
        }
    }

    fn judge_identity(&self, stated: &Stated<'_>) -> Result<Judged, ChangeError> {
        let statement: IdentityStatement = codec::decode(&stated.signed.statement)?;
        self.check_common(statement.format, statement.log)?;
        if let Some(identity) = self.identities.first() {
            if identity.hash == stated.signed.hash() {
                return Ok(Judged::Already(identity.seq));
            }
            // Another identity comes by a rotation only, which an enrolled device endorses.
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
            Standing::Unknown => Ok(Judged::Enrol(statement, stated.signed.hash())),
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

    /// Signed by the identity in force, and said to be.
    fn check_identity(&self, epoch: u64, stated: &Stated<'_>) -> Result<(), ChangeError> {
        let identity = self.in_force()?;
        match epoch.cmp(&identity.identity_epoch) {
            Ordering::Less => Err(ChangeError::IdentityOld { stated: epoch, current: identity.identity_epoch }),
            Ordering::Greater => Err(ChangeError::IdentityEpoch { stated: epoch, expected: identity.identity_epoch }),
            Ordering::Equal => Ok(stated.is_by(&identity.signing)?),
        }
    }

    fn in_force(&self) -> Result<&Identity, ChangeError> {
        self.identity().ok_or(ChangeError::NoIdentity)
    }

    /// The next keyring, and not one that another had the turn of: the compare-and-set of keys.
    fn check_version(&self, stated: u64) -> Result<(), ChangeError> {
        let current = self.keyring.version;
        match stated.cmp(&current.saturating_add(1)) {
            Ordering::Less => Err(ChangeError::KeyringOld { stated, current }),
            Ordering::Greater => Err(ChangeError::Skips { what: "keyring", stated, expected: current.saturating_add(1) }),
            Ordering::Equal => Ok(()),
        }
    }

    fn judge_rotate(&self, stated: &Stated<'_>, endorsement: Signature) -> Result<Judged, ChangeError> {
        let statement: RotateStatement = codec::decode(&stated.signed.statement)?;
        self.check_common(statement.format, statement.log)?;
        let (hash, identity) = (stated.signed.hash(), self.in_force()?);
        if identity.hash == hash {
            return Ok(Judged::Already(identity.seq));
        }
        self.check_version(statement.version)?;
        let expected = identity.identity_epoch.saturating_add(1);
        if statement.identity_epoch != expected {
            return Err(ChangeError::IdentityEpoch { stated: statement.identity_epoch, expected });
        }
        let expected = self.keyring.epoch.saturating_add(1);
        if statement.epoch != expected {
            return Err(ChangeError::Skips { what: "account key", stated: statement.epoch, expected });
        }
        if self.had(&statement.signing) {
            return Err(ChangeError::KeyUsed);
        }
        check_lists(&statement)?;
        let by = self.check_moved(&statement)?;
        stated.is_by(&statement.signing)?;
        let endorsed = Signed { statement: stated.signed.statement.clone(), signature: endorsement };
        Stated { signed: &endorsed, context: CONTEXT_ENDORSE, signatures: stated.signatures }.is_by(&by.signing)?;
        let named = |device: &DeviceId| is_member(&statement.members, *device) || is_leaver(&statement.revoked, *device);
        let enrolled = self.devices.iter().filter(|(_, device)| device.revoked.is_none()).map(|(id, _)| *id);
        let dropped = enrolled.filter(|device| !named(device)).collect();
        Ok(Judged::Rotate(Box::new(Rotation { statement, hash, dropped })))
    }

    /// Whoever is listed is enrolled, each member by the very statement that is named; gives the device that rotates.
    fn check_moved(&self, statement: &RotateStatement) -> Result<&Device, ChangeError> {
        for Member { device, enrol } in &statement.members {
            match self.standing(*device) {
                Standing::Enrolled(enrolled) if enrolled.enrol == *enrol => {}
                Standing::Enrolled(_) | Standing::Revoked(_) | Standing::Unknown => return Err(ChangeError::Moved(*device)),
            }
        }
        for Leaver { device, .. } in &statement.revoked {
            match self.standing(*device) {
                Standing::Enrolled(_) => {}
                Standing::Revoked(_) | Standing::Unknown => return Err(ChangeError::Moved(*device)),
            }
        }
        self.devices.get(&statement.by).ok_or(ChangeError::Moved(statement.by))
    }

    fn judge_rekey(&self, stated: &Stated<'_>) -> Result<Judged, ChangeError> {
        let statement: RekeyStatement = codec::decode(&stated.signed.statement)?;
        self.check_common(statement.format, statement.log)?;
        let hash = stated.signed.hash();
        if self.keyring.row == hash {
            return Ok(Judged::Already(self.keyring.seq));
        }
        self.check_version(statement.version)?;
        self.check_identity(statement.identity_epoch, stated)?;
        Ok(Judged::Rekey(statement, hash))
    }
}

fn is_member(members: &[Member], device: DeviceId) -> bool {
    members.binary_search_by_key(&device, |member| member.device).is_ok()
}

fn is_leaver(leavers: &[Leaver], device: DeviceId) -> bool {
    leavers.binary_search_by_key(&device, |leaver| leaver.device).is_ok()
}

/// Both lists ascending, no device twice, the device that rotates among those that stay.
fn check_lists(statement: &RotateStatement) -> Result<(), ChangeError> {
    let RotateStatement { members, revoked, by, .. } = statement;
    let in_form = members.len() + revoked.len() <= DEVICES_MAX
        && members.is_sorted_by(|one, next| one.device < next.device)
        && revoked.is_sorted_by(|one, next| one.device < next.device)
        && !revoked.iter().any(|leaver| is_member(members, leaver.device))
        && is_member(members, *by);
    if in_form { Ok(()) } else { Err(ChangeError::Lists) }
}

fn fits(part: &'static str, bytes: usize, bytes_max: usize) -> Result<(), ChangeError> {
    if bytes > bytes_max { Err(ChangeError::TooLarge { part, bytes, bytes_max }) } else { Ok(()) }
}
