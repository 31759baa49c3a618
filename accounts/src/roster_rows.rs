//! What account calls read in a roster, and which changes of it they pass on.
//!
//! Never: a signature checked here; the log's owner checks each. Never more than a page in one answer.

use cloudsync_engine::roster::KeyringAt;
use cloudsync_protocol::codec;
use cloudsync_protocol::entry::{Entry, RosterRow};
use cloudsync_protocol::limits::{DEVICES_MAX, PAGE_BYTES, STATEMENT_BYTES_MAX};
use cloudsync_protocol::statement::{EnrolStatement, PublicKey, RekeyStatement, RevokeStatement, RosterChange, RotateStatement};
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, Hash, Seq};

use crate::failures::refuse;

/// The identity when there is none, a revoke of each device to make room, and the device.
const ENROL_CHANGES_MAX: usize = DEVICES_MAX + 2;

/// Rows of a roster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) rows: Vec<RosterRow>,
    pub(crate) more: bool,
}

/// The rows after one, until `PAGE_BYTES` are passed.
pub(crate) fn page(roster: Vec<RosterRow>, after: Seq) -> Page {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in roster.into_iter().filter(|row| row.seq > after) {
        if bytes >= PAGE_BYTES {
            return Page { rows, more: true };
        }
        bytes += Entry::from(row.clone()).bytes();
        rows.push(row);
    }
    Page { rows, more: false }
}

fn invalid(message: impl Into<String>) -> Failure {
    refuse(ErrorCode::StatementInvalid, message)
}

/// The signing key of `device` in the changes that enrol it: the log's first identity, revokes that make room, then the
/// enrolment itself. Nothing when there are no changes.
pub(crate) fn key_to_enrol(changes: &[RosterChange], device: DeviceId) -> Result<Option<PublicKey>, Failure> {
    if changes.len() > ENROL_CHANGES_MAX {
        return Err(invalid(format!("{} changes, enrolling takes {ENROL_CHANGES_MAX} at most", changes.len())));
    }
    let mut signing = None;
    for change in changes {
        let statement = &change.signed().statement;
        if statement.len() > STATEMENT_BYTES_MAX {
            return Err(invalid(format!("a statement of {} B, allowed are {STATEMENT_BYTES_MAX}", statement.len())));
        }
        if signing.is_some() {
            return Err(invalid("the enrolment is the last change"));
        }
        match change {
            RosterChange::Identity(_) => {}
            RosterChange::Revoke(_) => {
                let statement: RevokeStatement = codec::decode(statement).map_err(|error| invalid(error.to_string()))?;
                if statement.device == device {
                    return Err(invalid("a device does not revoke itself to enrol"));
                }
            }
            RosterChange::Enrol(_) => {
                let statement: EnrolStatement = codec::decode(statement).map_err(|error| invalid(error.to_string()))?;
                if statement.device != device {
                    return Err(invalid("a connection enrols the one device that it is"));
                }
                signing = Some(statement.signing);
            }
            RosterChange::Rotate(_) | RosterChange::Rekey(_) => return Err(invalid("keys change by secret_finish")),
        }
    }
    if signing.is_none() && !changes.is_empty() { Err(invalid("the changes enrol no device")) } else { Ok(signing) }
}

/// The newest keyring's version, as the rows say.
pub(crate) fn keyring_version(roster: &[RosterRow]) -> Result<u64, Failure> {
    let unreadable = |_| refuse(ErrorCode::StoreDamaged, "the stored roster can't be read");
    for row in roster.iter().rev() {
        let statement = &row.change.signed().statement;
        match &row.change {
            RosterChange::Identity(_) | RosterChange::Enrol(_) | RosterChange::Revoke(_) => {}
            RosterChange::Rotate(_) => return codec::decode(statement).map(|rotated: RotateStatement| rotated.version).map_err(unreadable),
            RosterChange::Rekey(_) => return codec::decode(statement).map(|rekeyed: RekeyStatement| rekeyed.version).map_err(unreadable),
        }
    }
    Ok(KeyringAt::FIRST.version)
}

/// The keyring's hash that the last of these changes brings: a rotation or a rekey, after the log's identity at most.
pub(crate) fn keyring_to_come(changes: &[RosterChange]) -> Result<Hash, Failure> {
    let last = match changes {
        [last] | [RosterChange::Identity(_), last] => last,
        _ => return Err(invalid("keys change by one rotation or rekey, after the identity where the log has none")),
    };
    let statement = &last.signed().statement;
    if statement.len() > STATEMENT_BYTES_MAX {
        return Err(invalid(format!("a statement of {} B, allowed are {STATEMENT_BYTES_MAX}", statement.len())));
    }
    match last {
        RosterChange::Rotate(_) => codec::decode(statement).map(|rotated: RotateStatement| rotated.keyring),
        RosterChange::Rekey(_) => codec::decode(statement).map(|rekeyed: RekeyStatement| rekeyed.keyring),
        RosterChange::Identity(_) | RosterChange::Enrol(_) | RosterChange::Revoke(_) => {
            return Err(invalid("no keyring comes of these changes"));
        }
    }
    .map_err(|error| invalid(error.to_string()))
}

/// The recovery key that a rotation brings.
pub(crate) fn recovery_to_come(changes: &[RosterChange]) -> Option<PublicKey> {
    match changes.last() {
        Some(RosterChange::Rotate(rotate)) => codec::decode(&rotate.signed.statement).ok().map(|rotated: RotateStatement| rotated.recovery),
        Some(RosterChange::Identity(_) | RosterChange::Enrol(_) | RosterChange::Revoke(_) | RosterChange::Rekey(_)) | None => None,
    }
}

/// The key of a device that is enrolled, not revoked, and among those that stayed at each rotation.
pub(crate) fn enrolled_key(roster: &[RosterRow], device: DeviceId) -> Result<PublicKey, Failure> {
    let gone = || refuse(ErrorCode::DeviceRevoked, "this device was revoked; enrol it under a new id");
    let unreadable = |_| refuse(ErrorCode::StoreDamaged, "the stored roster can't be read");
    let mut signing = None;
    for row in roster {
        let statement = &row.change.signed().statement;
        match &row.change {
            RosterChange::Identity(_) | RosterChange::Rekey(_) => {}
            RosterChange::Enrol(_) => {
                let enrolled: EnrolStatement = codec::decode(statement).map_err(unreadable)?;
                if enrolled.device == device {
                    signing = Some(enrolled.signing);
                }
            }
            RosterChange::Revoke(_) => {
                let revoked: RevokeStatement = codec::decode(statement).map_err(unreadable)?;
                if revoked.device == device {
                    return Err(gone());
                }
            }
            RosterChange::Rotate(_) => {
                let rotated: RotateStatement = codec::decode(statement).map_err(unreadable)?;
                if signing.is_some() && !rotated.members.iter().any(|member| member.device == device) {
                    return Err(gone());
                }
            }
        }
    }
    signing.ok_or_else(|| refuse(ErrorCode::DeviceUnknown, "this device is not enrolled"))
}
