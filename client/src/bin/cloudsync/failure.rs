//! Why a command fails: its exit code, a stable code, what and why, and what to do.
//!
//! Never: a failure without its exit code.

use cloudsync_client::carrier::ConnectError;
use cloudsync_client::keys::device_name::NameError;
use cloudsync_client::profile::{self, LocateError};
use cloudsync_client::replica::StoreError;
use cloudsync_client::sdk::{self, RevokeError};
use cloudsync_client::{account, connection};
use cloudsync_protocol::ErrorCode;
use serde::Serialize;

use crate::parked::{Typed, settle};

/// The exit codes that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A bug of ours.
    Unexpected = 1,
    /// The command line, or a file named on it.
    Usage = 2,
    /// The server can't be reached.
    Unreachable = 3,
    /// The server, or a rule, refuses.
    Refused = 4,
    /// An edit is a conflict.
    Conflict = 5,
    /// The profile's files.
    Damage = 6,
    /// Nobody is, or no longer.
    NotSignedIn = 7,
    /// Ctrl-C, before it was done.
    Interrupted = 130,
}

/// Why a command fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Stable.
    pub(crate) code: &'static str,
    /// What, and why.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: String,
}

/// As `--json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct FailureJson<'a> {
    code: &'a str,
    message: &'a str,
    help: &'a str,
    exit_code: u8,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl ToString, help: impl Into<String>) -> Self {
        Self { exit, code, message: message.to_string(), help: help.into() }
    }

    pub(crate) fn usage(message: impl ToString) -> Self {
        Self::new(Exit::Usage, "usage", message, "see --help")
    }

    /// With the profile that was typed in its hint.
    #[must_use]
    pub(crate) fn of_profile(self, typed: Option<&str>) -> Self {
        Self { help: with_profile(&self.help, typed), ..self }
    }

    pub(crate) fn json(&self) -> FailureJson<'_> {
        FailureJson { code: self.code, message: &self.message, help: &self.help, exit_code: self.exit as u8 }
    }
}

/// A hint with the profile that was typed in its commands.
pub(crate) fn with_profile(text: &str, typed: Option<&str>) -> String {
    match typed {
        None => text.to_owned(),
        Some(name) if name.chars().all(|c| c.is_alphanumeric() || "/._-+~".contains(c)) => {
            text.replace("`cloudsync ", &format!("`cloudsync --profile {name} "))
        }
        Some(name) => text.replace("`cloudsync ", &format!("`cloudsync --profile '{}' ", name.replace('\'', "'\\''"))),
    }
}

const LOG_IN: &str = "run `cloudsync login --email … --device …`, or `cloudsync register …` for a new account";

const UPDATE: &str = "update cloudsync; the profile is whole, leave it as it is";

const OUTDATED: &str = "send its edits by `cloudsync sync` of that release, then `cloudsync logout --discard` and log in again; what was not sent is lost then";

impl From<LocateError> for Failure {
    fn from(error: LocateError) -> Self {
        Self::new(Exit::Usage, "profile_name", &error, "name a profile by letters and digits, or by a path that holds a slash")
    }
}

impl From<profile::Error> for Failure {
    fn from(error: profile::Error) -> Self {
        match &error {
            profile::Error::NotSignedIn { .. } => Self::new(Exit::NotSignedIn, "not_signed_in", &error, LOG_IN),
            profile::Error::Pending { email, .. } => Self::new(
                Exit::NotSignedIn,
                "registration_pending",
                &error,
                format!(
                    "run `cloudsync login --email {email}` on this profile: it finishes the registration and shows the recovery code; \
                     where that says that there is no such account, `cloudsync register` it again; `cloudsync logout --discard` gives it up"
                ),
            ),
            profile::Error::Locked { .. } => {
                Self::new(Exit::Refused, "profile_locked", &error, "wait until that process is done, then try again")
            }
            profile::Error::NotAFolder { .. } => {
                Self::new(Exit::Damage, "profile_unusable", &error, "name a folder, or one that is still to be made, with --profile")
            }
            profile::Error::FormatUnknown { .. } => Self::new(Exit::Damage, "profile_format", &error, UPDATE),
            profile::Error::Damaged { .. } => Self::new(
                Exit::Damage,
                "profile_damaged",
                &error,
                "restore the file, or `cloudsync logout --discard` (edits that were not sent are lost) and log in again",
            ),
            profile::Error::Unusable { .. } => {
                Self::new(Exit::Damage, "profile_unusable", &error, "make the folder and its files readable and writable for you")
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Missing { .. } | StoreError::Damaged { .. } => Self::new(
                Exit::Damage,
                "replica_damaged",
                &error,
                "restore the profile's folder from a copy, or `cloudsync logout --discard` (edits that were not sent are lost) and log in again",
            ),
            StoreError::FormatUnknown { .. } => Self::new(Exit::Damage, "replica_format", &error, UPDATE),
            StoreError::FormatOutdated { .. } => Self::new(Exit::Damage, "replica_outdated", &error, OUTDATED),
            StoreError::Busy { .. } => {
                Self::new(Exit::Refused, "profile_busy", &error, "see to that process, then try again; what was queued before stays queued")
            }
            StoreError::Closed => Self::new(Exit::NotSignedIn, "signed_out", &error, LOG_IN),
            StoreError::Unavailable(_) => {
                Self::new(Exit::Damage, "replica_unavailable", &error, "is the disk full, or the folder read-only?")
            }
        }
    }
}

impl From<connection::Error> for Failure {
    fn from(error: connection::Error) -> Self {
        match &error {
            connection::Error::Unreachable(ConnectError::Unreachable { .. }) => {
                Self::new(Exit::Unreachable, "unreachable", &error, "is the server running, is its address right, is there a network?")
            }
            connection::Error::Unreachable(ConnectError::CertificateNotPinned { .. }) => Self::new(
                Exit::Unreachable,
                "certificate_not_pinned",
                &error,
                "if its operator replaced the certificate, log in again with --pin of the new one",
            ),
            connection::Error::Unreachable(ConnectError::CertificateUntrusted { .. }) => {
                Self::new(Exit::Unreachable, "certificate_untrusted", &error, "give --pin sha256:… as its operator says it")
            }
            connection::Error::Closed(_) => Self::new(Exit::Unreachable, "connection_closed", &error, "try again"),
            connection::Error::Refused(failure) => {
                let help = if failure.retry_after_ms.is_some() { "try again after a while" } else { refused_help(failure.code) };
                Self::new(Exit::Refused, failure.code.name(), &failure.message, help)
            }
            connection::Error::Protocol(_) => {
                Self::new(Exit::Unexpected, "protocol", &error, "is that a cloudsync server of this release?")
            }
            connection::Error::Sign(_) => Self::new(Exit::Unexpected, "signature", &error, "check this machine's memory"),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "codes are open: what is not named here has the server's own words")]
fn refused_help(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::CredentialsInvalid => "check e-mail address and password",
        ErrorCode::EmailTaken => "log in instead, or register another address",
        ErrorCode::EmailInvalid => "check the e-mail address",
        ErrorCode::RegistrationClosed => "ask the server's operator for an account",
        ErrorCode::StoreFull => "the server's disk is full: tell its operator; edits stay queued here",
        ErrorCode::StoreDamaged | ErrorCode::Internal => "tell the server's operator",
        _ => "nothing was changed on the server",
    }
}

impl From<account::Error> for Failure {
    fn from(error: account::Error) -> Self {
        match error {
            account::Error::Connection(error) => error.into(),
            account::Error::Opaque(_) if error.code() == Some(ErrorCode::CredentialsInvalid) => {
                Self::new(Exit::Refused, "credentials_invalid", &error, refused_help(ErrorCode::CredentialsInvalid))
            }
            account::Error::Name(NameError { .. }) => Self::new(Exit::Usage, "device_name", &error, "choose a shorter name"),
            account::Error::OtherAccount => Self::new(Exit::Refused, "other_account", &error, "use another profile for another account"),
            account::Error::NotAsSigned(ref why) => {
                let code = why.code();
                Self::new(Exit::Refused, code.name(), &error, "see `cloudsync devices list`, then try again")
            }
            account::Error::RevokeOutrun { .. } => Self::new(Exit::Refused, "revoke_outrun", &error, "try again"),
            account::Error::Opaque(_) | account::Error::NewKeyring(_) => {
                Self::new(Exit::Unexpected, "account", &error, "try again; if it stays, report it")
            }
            account::Error::KeyringUntrusted(_) => {
                Self::new(Exit::Refused, "keyring_untrusted", &error, "do not go on with this server before you know why")
            }
            account::Error::Keyring(_)
            | account::Error::Roster(_)
            | account::Error::OtherIdentity { .. }
            | account::Error::KeyringRewound { .. }
            | account::Error::KeyringMoved { .. }
            | account::Error::OtherUser
            | account::Error::RosterPages { .. } => {
                Self::new(Exit::Refused, "server_untrusted", &error, "do not go on with this server before you know why")
            }
        }
    }
}

/// A log-out that would lose edits: why, and what would send or settle them.
fn edits_queued(error: &sdk::Error, over: Option<ErrorCode>, waiting: u64) -> Failure {
    let refused = |message: String, help| Failure::new(Exit::Refused, "edits_queued", message, help);
    match over {
        Some(code) => refused(
            format!("the server lets this device in no longer ({code}): {error}"),
            "`cloudsync login` on this profile makes it a new device and keeps them, `cloudsync sync` then sends them; --discard throws all of them away",
        ),
        None if waiting == 0 => {
            refused(error.to_string(), "`cloudsync conflicts` shows them, and how each is settled; --discard throws all of them away")
        }
        None => refused(
            error.to_string(),
            "`cloudsync sync` sends what there is room for, `cloudsync status` says what waits and why, `cloudsync conflicts` shows conflicts; --discard throws all of them away",
        ),
    }
}

const RESERVED: &str = "name another collection; policies are set by `cloudsync policy COLLECTION …`";
const KEYS_MISSING: &str = "run `cloudsync login` on this profile again (its edits are kept): the password opens the new keys";
const ROTATE_ON: &str = "run `cloudsync rotate` when the server can be reached: it goes on with that very rotation";

impl From<sdk::Error> for Failure {
    fn from(error: sdk::Error) -> Self {
        match error {
            sdk::Error::Profile(error) => error.into(),
            sdk::Error::Store(error) => error.into(),
            sdk::Error::Connection(error) => error.into(),
            sdk::Error::Account(error) => error.into(),
            sdk::Error::Unfinished(_) => {
                Self::new(Exit::NotSignedIn, "login_unfinished", &error, "run `cloudsync login` on this profile again; its edits are kept")
            }
            sdk::Error::OtherAccount(_) => Self::new(Exit::Refused, "other_account", &error, "use another profile for another account"),
            sdk::Error::AlreadySignedIn { .. } => Self::new(
                Exit::Refused,
                "already_signed_in",
                &error,
                "for another account use another --profile; to leave this one, `cloudsync logout`",
            ),
            sdk::Error::EditsQueued { over, waiting, .. } => edits_queued(&error, over, waiting),
            sdk::Error::DevicesFull { .. } => {
                Self::new(Exit::Refused, "devices_full", &error, "log in with --instead-of one of them, which is revoked")
            }
            sdk::Error::NotAdmitted { code, .. } => Self::new(
                Exit::NotSignedIn,
                code.name(),
                &error,
                "run `cloudsync login` on this profile again (its edits are kept), or use --offline for what is here",
            ),
            sdk::Error::Rewound(_) => Self::new(
                Exit::Refused,
                "store_rewound",
                &error,
                "the server lost what it had acknowledged: everything here is kept, tell its operator",
            ),
            sdk::Error::WentBack => Self::new(
                Exit::Refused,
                "store_rewound",
                &error,
                "everything here is kept, tell the server's operator; `cloudsync sync --from-snapshot` takes the log as it is now, and brings back what it lacks",
            ),
            sdk::Error::Untrusted(_) => Self::new(
                Exit::Refused,
                "log_untrusted",
                &error,
                "nothing after it is read; revoke the device that it names and `cloudsync sync --from-snapshot` (edits are kept)",
            ),
            sdk::Error::Unfit(_) => Self::new(Exit::Unexpected, "protocol", &error, "is that a cloudsync server of this release?"),
            sdk::Error::Unsound(_) | sdk::Error::Task => {
                Self::new(Exit::Unexpected, "unexpected", &error, "try again; if it stays, report it")
            }
            sdk::Error::PasswordUndecided => Self::new(
                Exit::Unreachable,
                "password_undecided",
                &error,
                "run `cloudsync password` again when the server can be reached: with the new password as the one in force, then with the old one",
            ),
            sdk::Error::RotationUndecided => Self::new(Exit::Unreachable, "rotation_pending", &error, ROTATE_ON),
            sdk::Error::KeysMissing { .. } => Self::new(Exit::NotSignedIn, "keys_missing", &error, KEYS_MISSING),
            sdk::Error::Conflicted { ref key } => Self::new(Exit::Conflict, "conflict", &error, settle(key, Typed::Put)),
            sdk::Error::Reserved => Self::new(Exit::Usage, "collection_reserved", &error, RESERVED),
            sdk::Error::RolledBack => Self::new(
                Exit::NotSignedIn,
                "rolled_back",
                &error,
                "run `cloudsync login` on this profile again: it becomes a new device, its edits are kept",
            ),
            sdk::Error::Stopped { code, ref message } => Self::new(Exit::Refused, code.name(), message, refused_help(code)),
        }
    }
}

impl From<RevokeError> for Failure {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Client(error) => error.into(),
            RevokeError::Unknown(_) => Self::new(Exit::Refused, "device_unknown", &error, "see `cloudsync devices list`"),
            RevokeError::Ambiguous { .. } => Self::new(Exit::Refused, "device_ambiguous", &error, "name it by its id"),
            RevokeError::NotDone { code, .. } => {
                Self::new(Exit::Refused, code.name(), &error, "see `cloudsync devices list`, then try again")
            }
            RevokeError::Own(_) => Self::new(Exit::Refused, "device_own", &error, "use `cloudsync logout`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_keeps_the_profile_that_was_typed() {
        assert_eq!(with_profile("run `cloudsync sync`", None), "run `cloudsync sync`");
        assert_eq!(with_profile("run `cloudsync sync`", Some("./a")), "run `cloudsync --profile ./a sync`");
        assert_eq!(with_profile("run `cloudsync sync`", Some("it's mine")), "run `cloudsync --profile 'it'\\''s mine' sync`");
    }
}
