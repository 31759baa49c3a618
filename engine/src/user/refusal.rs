//! What a client is told of what the rules found: each refusal with its stable code, a message for a person, and the facts.
//!
//! Never: looking anything up; who stands where, and which records are in the way, arrives as an argument.

use std::collections::BTreeSet;

use cloudsync_protocol::codec;
use cloudsync_protocol::error::{LastPush, RecordIssue, Usage};
use cloudsync_protocol::statement::{RevokeStatement, Signed};
use cloudsync_protocol::{DeviceId, DeviceSeq, ErrorCode, Failure, Hash, RecordKey, Seq};

use super::group::issue;
use super::inbox::Right;
use crate::batch::BatchError;
use crate::log::Current;
use crate::roster::Standing;

/// What a device that never pushed has for its last push.
pub(super) const NO_PUSH: LastPush = LastPush { device_seq: DeviceSeq(0), hash: Hash([0; 32]), seq: Seq::ZERO };

pub(super) fn log_unknown(request: u32) -> Failure {
    Failure::new(request, ErrorCode::LogUnknown, "this session has log 0 only")
}

pub(super) fn standing(request: u32, standing: Standing<'_>) -> Result<(), Failure> {
    match standing {
        Standing::Enrolled(_) => Ok(()),
        Standing::Unknown => Err(Failure::new(request, ErrorCode::DeviceUnknown, "this device is not enrolled: log in on it")),
        Standing::Revoked(_) => Err(Failure::new(request, ErrorCode::DeviceRevoked, "this device was revoked")),
    }
}

pub(super) fn right(request: u32, right: Right) -> Result<(), Failure> {
    match right {
        Right::Pusher => Ok(()),
        Right::ClaimFirst => {
            Err(Failure::new(request, ErrorCode::ClaimFirst, "claim before pushing: the owner knows no pusher of this device"))
        }
        Right::NotThePusher => Err(Failure::new(request, ErrorCode::NotThePusher, "another session of this device claimed to push")),
    }
}

/// A revoke of the device is under way. Not *revoked*: that is not durable, and may never be.
pub(super) fn barred(request: u32, retry_after_ms: u32) -> Failure {
    Failure::new(request, ErrorCode::Busy, "the roster is about to change: try again").retry_after(retry_after_ms)
}

pub(super) fn with_last(request: u32, code: ErrorCode, last: LastPush) -> Failure {
    let message = format!("the device's last committed push is {}, at {}", last.device_seq, last.seq);
    Failure { last: Some(Box::new(last)), ..Failure::new(request, code, message) }
}

/// Wrapped under another account key than the log's.
pub(super) fn key_epoch(request: u32, stated: u64, current: u64) -> Failure {
    let code = if stated < current { ErrorCode::KeyEpochOld } else { ErrorCode::KeyEpochAhead };
    Failure::new(request, code, format!("wrapped under account key {stated}, the log has come to {current}"))
}

/// *stale* when every record is, else *refused*: each record says why.
pub(super) fn records(request: u32, records: Vec<RecordIssue>) -> Failure {
    let all_stale = records.iter().all(|issue| issue.code == ErrorCode::Stale);
    let code = if all_stale { ErrorCode::Stale } else { ErrorCode::Refused };
    let first = records.first().map_or_else(String::new, |issue| format!("{} is {}, at version {}", issue.key, issue.code, issue.current));
    let message = format!("{} records are in the way, the first: {first}", records.len());
    Failure { records, ..Failure::new(request, code, message) }
}

/// Over the quota: each record that doesn't fit, with how much it grows.
pub(super) fn quota(request: u32, usage: Usage, records: Vec<RecordIssue>) -> Failure {
    let Usage { used, limit, need, .. } = usage;
    let message = format!("{used} of {limit} B are used and this needs {need} B more: {} records have to wait for room", records.len());
    Failure { records, quota: Some(Box::new(usage)), ..Failure::new(request, ErrorCode::QuotaExceeded, message) }
}

/// A batch refused on sight: names every record that it can.
pub(super) fn batch(request: u32, error: &BatchError, current: impl Fn(&RecordKey) -> Option<Current>) -> Failure {
    let message = error.to_string();
    match error {
        BatchError::Statement(_) | BatchError::Hashes { .. } | BatchError::Mixed | BatchError::Rewrap(_) => {
            Failure::new(request, ErrorCode::StatementInvalid, message)
        }
        BatchError::Operations(_) => Failure::new(request, ErrorCode::PushTooLarge, message),
        BatchError::Invalid(errors) => {
            let mut named = BTreeSet::new();
            let mut records = Vec::new();
            for error in errors {
                if let Some(key) = error.key.as_ref().filter(|key| named.insert((*key).clone())) {
                    records.push(issue(key.clone(), error.code(), current(key)));
                }
            }
            let nameless = errors.iter().find(|error| error.key.is_none());
            let code = nameless.map_or(ErrorCode::Refused, |error| error.code());
            Failure { records, ..Failure::new(request, code, message) }
        }
    }
}

/// A revoke that comes through a session names that session's device as who asked.
pub(super) fn asked_by(request: u32, signed: &Signed, device: DeviceId) -> Result<(), Failure> {
    match codec::decode::<RevokeStatement>(&signed.statement) {
        Ok(statement) if statement.by == device => Ok(()),
        Ok(statement) => {
            let message = format!("the revoke names {} as who asks, this is {device}", statement.by);
            Err(Failure::new(request, ErrorCode::StatementInvalid, message))
        }
        Err(error) => Err(Failure::new(request, ErrorCode::StatementInvalid, error.to_string())),
    }
}
