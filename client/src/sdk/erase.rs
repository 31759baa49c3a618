//! Erasing the account: on the server, then what this profile keeps of it.
//!
//! Never: anything removed here before the server said that it has erased the account, or that nobody has it any more.

use cloudsync_protocol::ErrorCode;

use super::client::Client;
use super::{Error, Offline};
use crate::account::{self, Erased, Password};
use crate::connection::Connection;
use crate::replica::Access;

/// How often it is asked for, where answers are lost with their connections.
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

    /// Asks again, where the line was lost after it was asked: only then does an account that nobody has mean that it is done. An
    /// address and password that don't fit would look the same.
    async fn erase_on_server(&self, password: &Password) -> Result<(), Error> {
        let mut unanswered = None;
        for _ in 0..ATTEMPTS_MAX {
            match self.ask_to_erase(password).await {
                Ok(Erased::Done) => return Ok(()),
                Ok(Erased::Unanswered(error)) => unanswered = Some(error),
                Err(error) if unanswered.is_some() && is_gone(&error) => return Ok(()),
                Err(error) if unanswered.is_some() && error.offline() == Offline::Yes => {}
                Err(error) => return Err(error),
            }
        }
        Err(unanswered.map_or(Error::Task, Error::from))
    }

    async fn ask_to_erase(&self, password: &Password) -> Result<Erased, Error> {
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
