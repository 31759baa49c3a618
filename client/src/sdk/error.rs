//! Why something asked of a client did not happen.
//!
//! Never: content, a key or a token in a message.

use std::time::Duration;

use cloudsync_engine::replica::{
    AnswerError, ApplyError, AttachError, AttachRefusal, ClaimError, EditError, OpenReplicaError, OutgoingError, SnapshotError,
    TablesError, Untrusted,
};
use cloudsync_protocol::{DeviceId, ErrorCode, RecordKey};

use crate::carrier::ConnectError;
use crate::replica::StoreError;
use crate::{account, connection, profile};

/// Why something asked of a client did not happen. Edits that were made are kept, whatever it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The profile.
    #[error(transparent)]
    Profile(#[from] profile::Error),
    /// The replica can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The replica is of another device than the profile's keys: a log-in that did not end.
    #[error("the log-in on this profile did not end: {0}")]
    Unfinished(String),
    /// The replica is of another account than the profile's keys.
    #[error("{0}")]
    OtherAccount(String),
    /// Somebody is signed in on the profile: no new account is made there.
    #[error("this profile is signed in as {email} already")]
    AlreadySignedIn { email: String },
    /// Logging out would lose edits. How many the server does not have, how many are conflicts, and why it takes none of
    /// this device any more, if so.
    #[error("{}", unsent(*.waiting, *.parked))]
    EditsQueued { waiting: u64, parked: u64, over: Option<ErrorCode> },
    /// The account has as many devices as it may: these, each with its name where it opens.
    #[error("the account has as many devices as it may: {}", listed(devices))]
    DevicesFull { devices: Vec<(DeviceId, Option<String>)> },
    /// The connection, or a refusal.
    #[error(transparent)]
    Connection(connection::Error),
    /// An account call.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// The server does not let this device in (any more).
    #[error("{message}")]
    NotAdmitted { code: ErrorCode, message: String },
    /// The server's log is not the one that was read.
    #[error("{0}")]
    Rewound(String),
    /// The server's log is where it was before a rewind that was seen.
    #[error("the log is where it was before a rewind that was seen")]
    WentBack,
    /// Something in the log does not verify.
    #[error("stopped reading at what does not verify: {0}")]
    Untrusted(#[from] Box<Untrusted>),
    /// The server answers what can't be.
    #[error("the server's answer can't be: {0}")]
    Unfit(String),
    /// This machine is faulty.
    #[error("{0}")]
    Unsound(String),
    /// The record has a parked conflict: edit onto current, or drop it.
    #[error("{key} has an edit in conflict that is not settled: what was to be written now is not kept")]
    Conflicted { key: RecordKey },
    /// The collection has the account's own settings.
    #[error("collection cloudsync has the account's settings and takes no records")]
    Reserved,
    /// The profile was restored from an older copy, or copied.
    #[error("this profile was restored from an older copy or is used twice: the server has newer pushes of its device")]
    RolledBack,
    /// The server takes no push of this device as things are.
    #[error("the server refuses to go on ({code}): {message}")]
    Stopped { code: ErrorCode, message: String },
    /// The connection was lost again and again while the password was changed: which one counts is not known.
    #[error("whether the password was changed is not known")]
    PasswordUndecided,
    /// Keys were rotated, and nobody sealed the new ones to this device.
    #[error("the account's keys were rotated, and this device does not have number {epoch}")]
    KeysMissing { epoch: u64 },
    /// Whether a rotation counts is not known yet: `rotation.json` is kept, and says what was sent.
    #[error("the rotation is not decided")]
    RotationUndecided,
    /// A task of our own ended.
    #[error("a task ended unexpectedly")]
    Task,
}

fn listed(devices: &[(DeviceId, Option<String>)]) -> String {
    let named = devices.iter().map(|(id, name)| format!("{id} ({})", name.as_deref().unwrap_or("?")));
    named.collect::<Vec<_>>().join(", ")
}

/// How many edits the server does not have, and how many of those are conflicts: what there is none of is left out.
fn unsent(waiting: u64, parked: u64) -> String {
    let counted = |count: u64, one: &str, more: &str| (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { more }));
    let waiting = counted(waiting, "edit is not on the server yet", "edits are not on the server yet");
    let parked = counted(parked, "edit is in conflict", "edits are in conflict");
    waiting.into_iter().chain(parked).collect::<Vec<_>>().join(", ")
}

/// Whether an error only says that the server can't be reached now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offline {
    /// It does.
    Yes,
    /// It is something else.
    No,
}

impl Error {
    /// Whether trying again later, as it is, makes sense.
    #[must_use]
    pub fn offline(&self) -> Offline {
        let connection = match self {
            Self::Connection(error) | Self::Account(account::Error::Connection(error)) => error,
            Self::Profile(_)
            | Self::Store(_)
            | Self::Unfinished(_)
            | Self::OtherAccount(_)
            | Self::AlreadySignedIn { .. }
            | Self::EditsQueued { .. }
            | Self::DevicesFull { .. }
            | Self::Account(_)
            | Self::NotAdmitted { .. }
            | Self::Rewound(_)
            | Self::WentBack
            | Self::Untrusted(_)
            | Self::Unfit(_)
            | Self::Unsound(_)
            | Self::Conflicted { .. }
            | Self::Reserved
            | Self::RolledBack
            | Self::Stopped { .. }
            | Self::PasswordUndecided
            | Self::KeysMissing { .. }
            | Self::RotationUndecided
            | Self::Task => return Offline::No,
        };
        match connection {
            connection::Error::Unreachable(ConnectError::Unreachable { .. }) | connection::Error::Closed(_) => Offline::Yes,
            connection::Error::Refused(failure) if failure.retry_after_ms.is_some() => Offline::Yes,
            connection::Error::Refused(failure) if failure.code == ErrorCode::GoingAway => Offline::Yes,
            connection::Error::Unreachable(_)
            | connection::Error::Refused(_)
            | connection::Error::Protocol(_)
            | connection::Error::Sign(_) => Offline::No,
        }
    }
}

impl Error {
    /// Whether the connection ended before the answer came, without a word from the server.
    pub(super) const fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Connection(connection::Error::Closed(_)) | Self::Account(account::Error::Connection(connection::Error::Closed(_)))
        )
    }
    /// How long the node says to wait that leaves; nothing when it is something else.
    pub(super) fn leaving(&self) -> Option<Duration> {
        self.told_to_wait().filter(|(code, _)| *code == ErrorCode::GoingAway).map(|(_, wait)| wait)
    }
    /// How long the node says to wait, whatever it is for.
    pub(super) fn told_to_wait(&self) -> Option<(ErrorCode, Duration)> {
        let Self::Connection(connection::Error::Refused(failure)) = self else { return None };
        failure.retry_after_ms.map(|after_ms| (failure.code, Duration::from_millis(after_ms.into())))
    }
}

/// Whether a code says that this device is one no longer.
pub(super) const fn is_device_over(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::DeviceRevoked | ErrorCode::DeviceUnknown | ErrorCode::AccountErased)
}

impl From<connection::Error> for Error {
    fn from(error: connection::Error) -> Self {
        match error.failure() {
            Some(failure) if is_device_over(failure.code) => Self::NotAdmitted { code: failure.code, message: failure.message.clone() },
            Some(_) | None => Self::Connection(error),
        }
    }
}

impl From<OpenReplicaError> for Error {
    fn from(error: OpenReplicaError) -> Self {
        match error {
            OpenReplicaError::OtherLog { .. } => {
                Self::Store(StoreError::Damaged { place: "whose it is".to_owned(), why: format!("{error}, as keys.json says") })
            }
            OpenReplicaError::OtherDevice { .. } => Self::Unfinished(error.to_string()),
            OpenReplicaError::Tables(error) => error.into(),
        }
    }
}

impl From<TablesError> for Error {
    fn from(error: TablesError) -> Self {
        Self::Store(error.into())
    }
}

impl From<EditError> for Error {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Conflicted { key } => Self::Conflicted { key },
            EditError::Reserved => Self::Reserved,
            EditError::Tables(error) => error.into(),
        }
    }
}

impl From<AttachError> for Error {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Refused(refusal @ AttachRefusal::Timeline { .. }) => connection::Error::Closed(refusal.to_string()).into(),
            AttachError::Refused(refusal @ AttachRefusal::OtherLog(_)) => Self::Rewound(refusal.to_string()),
            AttachError::Tables(error) => error.into(),
        }
    }
}

impl From<ApplyError> for Error {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Timeline { .. } => connection::Error::Closed(error.to_string()).into(),
            ApplyError::Uneven { .. } | ApplyError::OtherRows { .. } => Self::Unfit(error.to_string()),
            ApplyError::Tables(error) => error.into(),
        }
    }
}

impl From<SnapshotError> for Error {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Timeline { .. } => connection::Error::Closed(error.to_string()).into(),
            SnapshotError::Behind { .. } | SnapshotError::OtherRow { .. } => Self::Rewound(error.to_string()),
            SnapshotError::OtherStart { .. } => Self::Unfit(error.to_string()),
            SnapshotError::NeedsKeys { epoch } => Self::KeysMissing { epoch },
            SnapshotError::Untrusted(untrusted) => Self::Untrusted(untrusted),
            SnapshotError::Tables(error) => error.into(),
        }
    }
}

impl From<OutgoingError> for Error {
    fn from(error: OutgoingError) -> Self {
        match error {
            OutgoingError::Seal(_) | OutgoingError::Unsound(_) => Self::Unsound(error.to_string()),
            OutgoingError::Tables(error) => error.into(),
        }
    }
}

impl From<AnswerError> for Error {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Unfit { .. } => Self::Unfit(error.to_string()),
            AnswerError::Timeline => connection::Error::Closed(error.to_string()).into(),
            AnswerError::Tables(error) => error.into(),
        }
    }
}

impl From<ClaimError> for Error {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Misplaced { .. } => Self::Unfit(error.to_string()),
            ClaimError::Timeline => connection::Error::Closed(error.to_string()).into(),
            ClaimError::Tables(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cloudsync_protocol::Failure;

    use super::*;

    #[test]
    fn edits_that_a_log_out_would_lose_are_counted_and_what_there_is_none_of_is_not() {
        let said = |waiting, parked| Error::EditsQueued { waiting, parked, over: None }.to_string();
        assert_eq!(said(1, 0), "1 edit is not on the server yet");
        assert_eq!(said(0, 1), "1 edit is in conflict");
        assert_eq!(said(2, 3), "2 edits are not on the server yet, 3 edits are in conflict");
    }

    #[test]
    fn a_session_that_ends_because_its_device_was_revoked_is_not_admitted_like_one_that_never_began() {
        let refused = |code| Error::from(connection::Error::from(Failure::new(0, code, "why")));
        let expected = Error::NotAdmitted { code: ErrorCode::DeviceRevoked, message: "why".to_owned() };
        assert_eq!(refused(ErrorCode::DeviceRevoked), expected);
        assert!(matches!(refused(ErrorCode::StoreFull), Error::Connection(_)));
    }
}
