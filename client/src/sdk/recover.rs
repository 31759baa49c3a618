//! A forgotten password: the recovery code opens the account, a new password takes the old one's place, and the profile becomes a
//! device as by a log-in.
//!
//! Never: the password changed before this device's keys are stored.

use cloudsync_protocol::ErrorCode;

use super::probe::Step;
use super::sign_in::{begun_here, enrol, keys_for, left_as_found};
use super::{Error, LogIn, SignedIn};
use crate::account::{self, Authorization, NewPassword};
use crate::connection::{self, Connection};
use crate::keys::RecoveryCode;
use crate::profile::Profile;

/// Signs in by recovery code; `asked.password` is the account's from here on. Other devices stay signed in, and the code stays in
/// force.
pub async fn recover(profile: &Profile, asked: &LogIn, code: &RecoveryCode) -> Result<SignedIn, Error> {
    let done = Box::pin(recover_here(profile, asked, code)).await;
    left_as_found(profile, done)
}

async fn recover_here(profile: &Profile, asked: &LogIn, code: &RecoveryCode) -> Result<SignedIn, Error> {
    let lock = profile.lock()?;
    let state = begun_here(profile, &asked.email)?;
    let mut connection = Connection::open(&asked.server).await?;
    let authorization = account::recover(&connection, &asked.email, code).await?;
    let made = authorization.new_password(&connection, &asked.password).await?;
    let mut keys = keys_for(profile, &state, &authorization)?;
    profile.write_keys(&keys)?;
    asked.probe.at(Step::RecoveryStored);
    let changed = match authorization.change_password(&connection, &made).await {
        Err(account::Error::Connection(connection::Error::Closed(_))) => {
            connection = Connection::open(&asked.server).await?;
            settle(&connection, asked, code, &made).await?
        }
        changed => changed?,
    };
    asked.probe.at(Step::RecoveryChanged);
    keys.keyring = changed.keyring_pin();
    profile.write_keys(&keys)?;
    let enrolled = enrol(profile, lock, (asked, &connection), &keys, &changed).await;
    connection.close().await;
    enrolled
}

/// Whether the new password arrived is not known: it is asked for, and sent again where it did not.
async fn settle(connection: &Connection, asked: &LogIn, code: &RecoveryCode, made: &NewPassword) -> Result<Authorization, Error> {
    match account::login(connection, &asked.email, &asked.password).await {
        Ok(arrived) if arrived.keyring_pin() == made.pin() => Ok(arrived),
        Ok(_) => Err(account::Error::KeyringUntrusted("the new password opens another one").into()),
        Err(error) if error.code() == Some(ErrorCode::CredentialsInvalid) => {
            let authorization = account::recover(connection, &asked.email, code).await?;
            Ok(authorization.change_password(connection, made).await?)
        }
        Err(error) => Err(error.into()),
    }
}
