//! Another password, other keys, and the recovery code instead of a password.
//!
//! Never: a decision about keys; the log's owner takes it, in the commit of the row that names them.

use cloudsync_engine::log::NewCredentials;
use cloudsync_engine::user::AccountChange;
use cloudsync_engine::verify;
use cloudsync_protocol::frame::{Authorized, Recover, RegisterStarted, SecretFinish, SecretStart};
use cloudsync_protocol::limits::KEYRING_BYTES_MAX;
use cloudsync_protocol::statement::recover_message;
use cloudsync_protocol::{ErrorCode, Failure, Hash};

use crate::conversation::{Conversation, address, opaque};
use crate::failures::{self, refuse};
use crate::passwords::Passwords;
use crate::roster_rows;
use crate::tickets::Ticket;

impl Conversation {
    /// The code's key signs this connection's nonce. An unknown address costs the same reads and one verification as well.
    pub(crate) async fn recover(&self, recover: &Recover, now_ms: u64) -> Result<Authorized, Failure> {
        let email = address(&recover.email)?;
        let known = self.known(&email).await?;
        let key = known.as_ref().map_or(self.inner().tickets.nobody, |(_, credentials)| credentials.recovery);
        let proven = verify::message(&key, &recover_message(&self.nonce, &email), &recover.signature);
        match (known, proven) {
            (Some((user, _)), Ok(())) => self.authorize(recover.request, user, now_ms).await,
            (Some(_) | None, _) => {
                Err(refuse(ErrorCode::CredentialsInvalid, "wrong e-mail address or recovery code; a rotation gave a newer one"))
            }
        }
    }

    /// OPAQUE's first step to another password, for the account's own address. Nothing is kept of it.
    pub(crate) async fn secret_start(&self, start: &SecretStart, now_ms: u64) -> Result<RegisterStarted, Failure> {
        let Ticket { user, .. } = self.ticketed(&start.ticket, now_ms)?;
        let inner = self.inner();
        let account = inner.store.account(user).await.map_err(|read| failures::of_read(&read))?;
        let account = account.ok_or_else(|| refuse(ErrorCode::AccountErased, "this account was erased"))?;
        let message = inner.secrets.passwords.register(&account.email, &start.message).map_err(opaque)?;
        Ok(RegisterStarted { request: start.request, message: message.into() })
    }

    /// Another keyring, with the row that names it and what the account is opened by from there on: one commit.
    pub(crate) async fn secret_finish(&self, finish: SecretFinish, now_ms: u64) -> Result<Authorized, Failure> {
        let SecretFinish { request, ticket, changes, keyring, record } = finish;
        let Ticket { user, keyring_version } = self.ticketed(&ticket, now_ms)?;
        check_keyring(&keyring)?;
        let record = record.map(|record| Passwords::record(&record)).transpose().map_err(opaque)?.map(Into::into);
        if Hash::of(&[&keyring]) != roster_rows::keyring_to_come(&changes)? {
            return Err(refuse(ErrorCode::KeyringInvalid, "the keyring is not the one that the change names"));
        }
        let recovery = roster_rows::recovery_to_come(&changes);
        // The version is the row's; the owner says which that is.
        let credentials = Some(NewCredentials { version: keyring_version.saturating_add(1), keyring, recovery, record });
        self.inner().rosters.change(user, AccountChange { changes, ticket_version: keyring_version, credentials }).await?;
        self.authorize(request, user, now_ms).await
    }
}

pub(crate) fn check_keyring(keyring: &[u8]) -> Result<(), Failure> {
    if keyring.is_empty() || keyring.len() > KEYRING_BYTES_MAX {
        let message = format!("a keyring of {} B, allowed are 1 to {KEYRING_BYTES_MAX}", keyring.len());
        return Err(refuse(ErrorCode::KeyringInvalid, message));
    }
    Ok(())
}
