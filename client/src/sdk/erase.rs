//! Erasing the account: on the server, then what this profile keeps of it.
//!
//! Never: anything removed here before the server said that it has erased the account, or that nobody has it any more.

use cloudsync_protocol::ErrorCode;

use super::client::Client;
use super::{Error, Offline};
use crate::account::{self, Password};
use crate::connection::Connection;
use crate::replica::Access;

/// How often what was lost with its connection is asked for again.
const ATTEMPTS_MAX: usize = 3;

impl Client {
    /// Erases the account for ever, with every device's log-in and everything that was ever written; then this profile's keys and
    /// replica, edits that were not sent included.
    pub async fn erase_account(self, password: &Password) -> Result<(), Error> {
        let profile = self.shared.profile.clone();
        let lock = profile.lock()?;
        self.erase_on_server(password).await?;
        // From here on no process of this profile can add an edit that would be lost unseen.
        self.tables(Access::WriteSignedOut, |tables| tables.close()).await?;
        drop(self);
        Ok(profile.clear(&lock)?)
    }

    async fn erase_on_server(&self, password: &Password) -> Result<(), Error> {
        let mut lost = None;
        loop {
            match self.ask_to_erase(password).await {
                Ok(()) => return Ok(()),
                // The password was right a moment ago: nobody has the account any more.
                Err(error) if lost.is_some() && is_gone(&error) => return Ok(()),
                Err(error) if error.offline() == Offline::Yes && lost.unwrap_or(0) < ATTEMPTS_MAX => lost = Some(lost.unwrap_or(0) + 1),
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask_to_erase(&self, password: &Password) -> Result<(), Error> {
        let card = &self.shared.card;
        let connection = Connection::open(&self.shared.server).await?;
        let erased = account::erase(&connection, (&card.email, card.user), password).await;
        connection.close().await;
        Ok(erased?)
    }
}

fn is_gone(error: &Error) -> bool {
    let Error::Account(error) = error else { return false };
    matches!(error.code(), Some(ErrorCode::CredentialsInvalid | ErrorCode::AccountErased))
}
