//! Tokens that hold: read from the profile, renewed before they end, by one process at a time.
//!
//! Never: an older token stored over a newer one, or a log-out because another process was faster.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use cloudsync_protocol::ErrorCode;

use super::client::Client;
use super::{Error, time};
use crate::account::{self, Tokens};
use crate::connection::{self, Connection};
use crate::profile::REFRESH_LOCK;
use crate::replica::Access;

/// Renewed when they hold for less than this, by the server's clock.
pub(super) const RENEW_BEFORE: Duration = Duration::from_secs(90);
/// A process that is stopped while it renews holds others up no longer than this; the server answers both.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// When to renew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renew {
    /// When they end soon.
    WhenDue,
    /// When they are still these: the server did not take them.
    Instead,
}

/// A refusal to let this device in, told apart from others.
pub(super) fn admission(error: connection::Error) -> Error {
    match error.failure() {
        Some(failure)
            if matches!(
                failure.code,
                ErrorCode::TokenInvalid
                    | ErrorCode::TokenExpired
                    | ErrorCode::TokenMismatch
                    | ErrorCode::SignatureInvalid
                    | ErrorCode::DeviceUnknown
                    | ErrorCode::DeviceRevoked
                    | ErrorCode::AccountErased
                    | ErrorCode::RefreshInvalid
                    | ErrorCode::RefreshExpired
                    | ErrorCode::RefreshSuperseded
            ) =>
        {
            Error::NotAdmitted { code: failure.code, message: failure.message.clone() }
        }
        Some(_) | None => error.into(),
    }
}

impl Client {
    async fn stored_tokens(&self) -> Result<Tokens, Error> {
        let tokens = self.tables(Access::Read, |tables| tables.tokens()).await?;
        tokens.ok_or_else(|| Error::Unfinished("there are no tokens".to_owned()))
    }

    /// Tokens to say hello with on that connection, which has not said it yet.
    pub(super) async fn fresh_tokens(&self, connection: &Connection, renew: Renew) -> Result<Tokens, Error> {
        let offset_ms = connection.clock_offset_ms();
        let first = self.stored_tokens().await?;
        if renew == Renew::WhenDue && holds(&first, offset_ms) {
            return Ok(first);
        }
        let lock = self.refresh_lock().await;
        let mut held = self.stored_tokens().await?;
        for _ in 0..3 {
            if held != first && holds(&held, offset_ms) {
                break;
            }
            match account::refresh(connection, &self.shared.keys.get().device, &held.refresh_token).await {
                Ok(tokens) => {
                    held = self.tables(Access::Write, move |tables| tables.renew_tokens(&tokens)).await?;
                    break;
                }
                Err(account::Error::Connection(error)) if error.code() == Some(ErrorCode::RefreshSuperseded) => {
                    let newer = self.stored_tokens().await?;
                    if newer == held {
                        return Err(admission(error));
                    }
                    held = newer;
                }
                Err(account::Error::Connection(error)) => return Err(admission(error)),
                Err(error) => return Err(error.into()),
            }
        }
        drop(lock);
        Ok(held)
    }

    /// Waits a while for whoever renews; without the lock it goes on all the same.
    async fn refresh_lock(&self) -> Option<File> {
        let path = self.shared.profile.folder().join(REFRESH_LOCK);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).ok()?;
        let locked = async {
            while file.try_lock().is_err() {
                tokio::time::sleep(LOCK_POLL).await;
            }
        };
        tokio::time::timeout(LOCK_PATIENCE, locked).await.ok()?;
        Some(file)
    }
}

fn holds(tokens: &Tokens, offset_ms: i64) -> bool {
    let before = u64::try_from(RENEW_BEFORE.as_millis()).unwrap_or(u64::MAX);
    tokens.access_expires_ts > time::server_ms(offset_ms).saturating_add(before)
}
