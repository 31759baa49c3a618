//! Erasing the account, by one who knows its password.
//!
//! Never: a keyring or roster looked at. Whoever can erase an account need not trust what its server still shows of it.

use cloudsync_protocol::UserId;
use cloudsync_protocol::frame::EraseAccount;

use super::{Error, Password, authorize};
use crate::connection::{self, Connection, answer};

/// What is known of an erase that was sent.
#[derive(Debug)]
pub enum Erased {
    /// It is done.
    Done,
    /// By somebody who knew the password; whether it was done is not known.
    Unanswered(connection::Error),
}

/// Erases the account of `user`, for ever, with everything that was ever written to it. An error says that nothing was sent, or that
/// it was refused.
pub async fn erase(connection: &Connection, (email, user): (&str, UserId), password: &Password) -> Result<Erased, Error> {
    let (authorized, _) = authorize(connection, email, password).await?;
    if authorized.user != user {
        return Err(Error::OtherAccount);
    }
    let ticket = authorized.ticket;
    match connection.request(|request| EraseAccount { request, ticket }.into()).await {
        Ok(answered) => answer!(answered, Done).map(|_| Erased::Done).map_err(Error::from),
        Err(error) if is_of_the_connection(&error) => Ok(Erased::Unanswered(error)),
        Err(error) => Err(error.into()),
    }
}

/// It ended, with a word or without: what was asked may have been done.
fn is_of_the_connection(error: &connection::Error) -> bool {
    matches!(error, connection::Error::Closed(_)) || error.failure().is_some_and(|failure| failure.request == 0)
}
