//! Logging out: the device is revoked, its log-in ended, and everything that it kept removed.
//!
//! Never: edits thrown away that the person did not say may go.

use cloudsync_engine::replica::{EditCounts, Tables as _};
use cloudsync_protocol::{DeviceSeq, ErrorCode};

use super::client::{Client, Target};
use super::error::is_device_over;
use super::{Begun, Error, Offline};
use crate::account;
use crate::connection::Connection;
use crate::profile::{self, Profile, State};
use crate::replica::{Access, StoreError};

/// What becomes of edits that the server does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// They go.
    Yes,
    /// Then nobody is logged out.
    No,
}

/// Whether the server is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It is, or nobody is logged out.
    Server,
    /// It isn't: the device stays in the account's list.
    Nobody,
}

/// Signs out. Nothing of the account is left in the profile then. Without a target only what a log-in or registration
/// that did not end, or damage, has left is removed.
pub async fn log_out(profile: &Profile, target: Option<Target>, discard: Discard, reach: Reach) -> Result<(), Error> {
    if !profile.folder().exists() {
        return Err(profile::Error::NotSignedIn { folder: profile.folder().to_owned() }.into());
    }
    let lock = profile.lock()?;
    match profile.state() {
        Ok(State::Fresh) => return Err(profile::Error::NotSignedIn { folder: profile.folder().to_owned() }.into()),
        Ok(State::Unfinished(_)) => return Ok(profile.clear(&lock)?),
        Ok(State::Pending(pending, _)) if discard == Discard::No => {
            let (folder, email) = (profile.folder().to_owned(), pending.email.clone());
            return Err(profile::Error::Pending { folder, email }.into());
        }
        Ok(State::Pending(..)) => return Ok(profile.clear(&lock)?),
        Ok(State::SignedIn(..)) => {}
        // Damage: there is nobody to sign out as, and what is left may go when that is said.
        Err(profile::Error::Damaged { .. }) if discard == Discard::Yes => return Ok(profile.clear(&lock)?),
        Err(error) => return Err(error.into()),
    }
    let Some(target) = target else { return Err(profile::Error::NotSignedIn { folder: profile.folder().to_owned() }.into()) };
    let client = match Client::open(profile.clone(), target) {
        Ok(client) => client,
        // An earlier log-out ended in between: it goes on.
        Err(Error::Store(StoreError::Closed)) => return Ok(profile.clear(&lock)?),
        Err(
            Error::Store(StoreError::Damaged { .. } | StoreError::Missing { .. } | StoreError::FormatOutdated { .. })
            | Error::Unfinished(_),
        ) if discard == Discard::Yes => return Ok(profile.clear(&lock)?),
        Err(error) => return Err(error),
    };
    if discard == Discard::No && matches!(client.rotation().await?, Begun::Undecided(_)) {
        return Err(Error::RotationUndecided);
    }
    let (online, over) = match reach {
        Reach::Nobody => (None, None),
        Reach::Server => match client.connect().await {
            Ok(online) => {
                // What it signs below counts only by the identity in force.
                if online.session.welcome().keyring_version > client.keys().keyring.version {
                    online.ensure_keys(0).await?;
                }
                (Some(online), None)
            }
            // Revoked, or long gone: the server has nothing to end.
            Err(Error::NotAdmitted { code, .. }) => (None, Some(code)),
            Err(error) => return Err(error),
        },
    };
    // From here on no process of this profile can add an edit that would be lost.
    client.tables(Access::Write, move |tables| close((tables.edit_counts()?, over), discard, tables)).await?;
    if let Some(online) = online {
        let keys = client.keys();
        let revoked = account::revoke(&online.session, &keys, keys.device.id, DeviceSeq::default()).await.map_err(Error::from);
        online.close().await;
        if let Err(error) = revoked
            && !is_over(&error)
        {
            client.tables(Access::WriteSignedOut, |tables| tables.reopen()).await?;
            return Err(error);
        }
        end_family(&client).await;
    }
    drop(client);
    Ok(profile.clear(&lock)?)
}

fn close(
    (counts, over): (EditCounts, Option<ErrorCode>),
    discard: Discard,
    tables: &mut crate::replica::SqliteTables<'_>,
) -> Result<(), Error> {
    let (waiting, parked) = (counts.pending(), counts.parked + counts.lost_refused);
    if discard == Discard::No && waiting + parked > 0 {
        return Err(Error::EditsQueued { waiting, parked, over });
    }
    Ok(tables.close()?)
}

/// The device is no longer one.
fn is_over(error: &Error) -> bool {
    let code = match error {
        Error::Account(error) => error.code(),
        Error::NotAdmitted { code, .. } => Some(*code),
        Error::Connection(error) => error.code(),
        Error::Profile(_)
        | Error::Store(_)
        | Error::Unfinished(_)
        | Error::OtherAccount(_)
        | Error::AlreadySignedIn { .. }
        | Error::EditsQueued { .. }
        | Error::DevicesFull { .. }
        | Error::Rewound(_)
        | Error::WentBack
        | Error::Untrusted(_)
        | Error::Unfit(_)
        | Error::Unsound(_)
        | Error::Conflicted { .. }
        | Error::Reserved
        | Error::RolledBack
        | Error::Stopped { .. }
        | Error::PasswordUndecided
        | Error::KeysMissing { .. }
        | Error::RotationUndecided
        | Error::Task => None,
    };
    code.is_some_and(is_device_over)
        // The revoke may have closed the session before its answer came; asking again would say that it is done.
        || (matches!(error, Error::Account(account::Error::Connection(_))) && error.offline() == Offline::Yes && code.is_none())
}

/// Ends the log-in as well. The revoke did, so that a failure here leaves nothing open.
async fn end_family(client: &Client) {
    let Ok(Some(tokens)) = client.tables(Access::WriteSignedOut, |tables| tables.tokens()).await else { return };
    if let Ok(connection) = Connection::open(&client.shared.server).await {
        drop(account::logout(&connection, &client.keys().device, &tokens.refresh_token).await);
        connection.close().await;
    }
}
