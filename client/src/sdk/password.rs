//! Another password for the account, by one who knows the one before, on a device that is signed in.
//!
//! Never: either password stored. What is lost with a connection is found out by asking again under the new one, then the old one.

use cloudsync_protocol::ErrorCode;

use super::client::Client;
use super::probe::Step;
use super::{Error, Offline};
use crate::account::{self, NewPassword, Password};
use crate::connection::Connection;
use crate::keys::{KeyFile, KeyringPin};

/// How often what was lost with its connection is asked for again.
const ATTEMPTS_MAX: usize = 3;

impl Client {
    /// From here on `new` opens the account, and `old` no longer. Every device stays signed in. Gives the keyring in force.
    pub async fn change_password(&self, old: &Password, new: &Password) -> Result<KeyringPin, Error> {
        let _lock = self.shared.profile.lock()?;
        let mut online = self.connect().await?;
        online.catch_up().await?;
        online.close().await;
        let (email, keys) = (&self.shared.card.email, &self.shared.profile.signed_in()?.1);
        let connection = Connection::open(&self.shared.server).await?;
        let authorization = account::login_held(&connection, email, old, keys).await?;
        let made = authorization.new_password(&connection, new).await?;
        self.shared.probe.at(Step::PasswordMade);
        let pin = match authorization.change_password(&connection, &made).await {
            Ok(changed) => changed.keyring_pin(),
            Err(error) => self.ask_again(error, (old, new), &made).await?,
        };
        connection.close().await;
        self.shared.probe.at(Step::PasswordAnswered);
        let held = self.keys();
        if held.keyring.version < pin.version {
            self.store_keys(KeyFile { keyring: pin, ..(*held).clone() }).await?;
        }
        Ok(pin)
    }

    /// Finds out what became of a change whose answer was lost, and sends it again where it did not arrive.
    async fn ask_again(&self, lost: account::Error, (old, new): (&Password, &Password), made: &NewPassword) -> Result<KeyringPin, Error> {
        let mut lost = Error::from(lost);
        for _ in 0..ATTEMPTS_MAX {
            if lost.offline() == Offline::No {
                return Err(lost);
            }
            match self.settle((old, new), made).await {
                Ok(pin) => return Ok(pin),
                Err(error) => lost = error,
            }
        }
        Err(if lost.offline() == Offline::Yes { Error::PasswordUndecided } else { lost })
    }

    async fn settle(&self, (old, new): (&Password, &Password), made: &NewPassword) -> Result<KeyringPin, Error> {
        let (email, keys) = (&self.shared.card.email, &self.shared.profile.signed_in()?.1);
        let connection = Connection::open(&self.shared.server).await?;
        match account::login_held(&connection, email, new, keys).await {
            Ok(arrived) if arrived.keyring_pin() == made.pin() => return Ok(made.pin()),
            Ok(_) => return Err(account::Error::KeyringUntrusted("the new password opens another one").into()),
            Err(error) if error.code() == Some(ErrorCode::CredentialsInvalid) => {}
            Err(error) => return Err(error.into()),
        }
        let authorization = account::login_held(&connection, email, old, keys).await?;
        Ok(authorization.change_password(&connection, made).await?.keyring_pin())
    }
}
