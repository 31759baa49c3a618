//! Whether a change of the roster is acceptable where it stands: shape, identity, signature, room.
//!
//! Never: a change made. What was judged is appended by whoever asked, once it is committed.

use cloudsync_protocol::codec::{self, DecodeError};
use cloudsync_protocol::limits::{DEVICE_NAME_BYTES_MAX, DEVICES_MAX, STATEMENT_BYTES_MAX};
use cloudsync_protocol::statement::{EnrolStatement, FORMAT, IdentityStatement, PublicKey, RevokeStatement, RosterChange, Signed};
use cloudsync_protocol::{DeviceId, ErrorCode, Hash, LogId, Seq};

use super::{Device, Roster, Standing};
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
