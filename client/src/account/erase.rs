//! Erasing the account, by one who knows its password.
//!
//! Never: a keyring or roster looked at. Whoever can erase an account need not trust what its server still shows of it.

use cloudsync_protocol::UserId;
use cloudsync_protocol::frame::EraseAccount;

use super::{Error, Password, authorize};
use crate::connection::{Connection, answer};

/// Erases the account of `user`, for ever, with everything that was ever written to it.
pub async fn erase(connection: &Connection, (email, user): (&str, UserId), password: &Password) -> Result<(), Error> {
    let (authorized, _) = authorize(connection, email, password).await?;
    if authorized.user != user {
        return Err(Error::OtherAccount);
    }
    let ticket = authorized.ticket;
    answer!(connection.request(|request| EraseAccount { request, ticket }.into()).await?, Done)?;
    Ok(())
}
