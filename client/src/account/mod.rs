//! Registering, signing in, staying signed in, signing out, as steps: whatever must survive a crash is handed to the
//! caller to store before the frame that makes it matter is sent.
//!
//! Register: [`Registration::prepare`] → store keys and recovery code → [`Registration::create`] →
//! [`Authorization::enrol`] → store tokens. Sign in: [`login`] → [`Authorization::device`] → store keys →
//! [`Authorization::enrol`] → store tokens. A crash after the account was created and before its device was enrolled is
//! mended by signing in.
//!
//! Never: a secret of the server's believed. Keyring and roster are verified before anything is derived from them.

mod authorization;
mod erase;
pub(crate) mod opaque;
mod register;
mod revoke;
mod rotation;
mod rotation_file;
mod secret;
mod tokens;

use std::time::{SystemTime, UNIX_EPOCH};

use cloudsync_engine::roster::{ChangeError, RowError};
use cloudsync_protocol::frame::{self, LoginFinish, LoginStart, Logout, Refresh};
use cloudsync_protocol::{DeviceId, ErrorCode, Seq};
use zeroize::Zeroizing;

use crate::connection::{self, Connection, answer};
use crate::keys::keyring::{OpenError, SealError};
use crate::keys::{DeviceKeys, ExportKey, SignError, device_name};
use crate::statement::refresh_proof;

pub use authorization::{Authorization, Enrolment};
pub use erase::{Erased, erase};
pub use opaque::{ARGON2_LANES, ARGON2_MEMORY_KIB, ARGON2_PASSES, OpaqueError};
pub use register::Registration;
pub use revoke::revoke;
pub use rotation::{Rotation, Unlocked, unlock};
pub use rotation_file::RotationFileError;
pub use secret::{NewPassword, login_held, recover};
pub use tokens::Tokens;

/// How often somebody logs in because keys were changed meanwhile.
const MOVED_ATTEMPTS_MAX: u32 = 3;

/// A password as typed; wiped when dropped. Its UTF-8 bytes count as they are, unnormalised.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// At least one byte.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = Zeroizing::new(text.into());
        (!text.is_empty()).then_some(Self(text))
    }
    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Why an account call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The connection, or a refusal.
    #[error(transparent)]
    Connection(#[from] connection::Error),
    /// Wrong password, or something is wrong with the server's OPAQUE messages.
    #[error(transparent)]
    Opaque(#[from] OpaqueError),
    /// A keyring that this account's password did not make: do not trust the server.
    #[error(transparent)]
    Keyring(#[from] OpenError),
    /// A keyring could not be made.
    #[error(transparent)]
    NewKeyring(#[from] SealError),
    /// A roster that the identity did not sign.
    #[error("the server's roster can't be trusted: {0}")]
    Roster(#[from] RowError),
    /// The roster or this profile knows another identity than the keyring.
    #[error("the {place} has another identity than the keyring: do not trust this server")]
    OtherIdentity { place: &'static str },
    /// An older keyring than this profile has seen.
    #[error("the keyring is number {version}, this profile has seen {seen}: the server lost data or hides it")]
    KeyringRewound { version: u64, seen: u64 },
    /// Not the keyring that signed rows or this profile know.
    #[error("the server's keyring can't be trusted: {0}")]
    KeyringUntrusted(&'static str),
    /// A rotation that the roster can't take as it was signed.
    #[error("the rotation does not fit the roster any more: {0}")]
    NotAsSigned(ChangeError),
    /// Another one came while this one was read, again and again.
    #[error("the keyring is number {version} and at the same time {newest}")]
    KeyringMoved { version: u64, newest: u64 },
    /// Keys of another account where this one's were expected.
    #[error("these keys belong to another account")]
    OtherAccount,
    /// The server answered for another user than was registered.
    #[error("the server created another user than the one asked for")]
    OtherUser,
    /// Roster rows that come to no end or in no order.
    #[error("the server's roster pages do not go on after {after}")]
    RosterPages { after: Seq },
    /// A device name that is too long or empty.
    #[error(transparent)]
    Name(#[from] device_name::NameError),
    /// The device's last push is another one each time it is asked for.
    #[error("device {device} keeps pushing: it could not be revoked in {attempts} attempts")]
    RevokeOutrun { device: DeviceId, attempts: u32 },
}

impl Error {
    /// The stable code, when the server (or OPAQUE in its stead) refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Connection(error) => error.code(),
            Self::NotAsSigned(error) => Some(error.code()),
            Self::Opaque(OpaqueError::Credentials) => Some(ErrorCode::CredentialsInvalid),
            Self::Opaque(OpaqueError::Message | OpaqueError::Stretching)
            | Self::Keyring(_)
            | Self::NewKeyring(_)
            | Self::Roster(_)
            | Self::OtherIdentity { .. }
            | Self::KeyringRewound { .. }
            | Self::KeyringUntrusted(_)
            | Self::KeyringMoved { .. }
            | Self::OtherAccount
            | Self::OtherUser
            | Self::RosterPages { .. }
            | Self::Name(_)
            | Self::RevokeOutrun { .. } => None,
        }
    }
}

impl From<SignError> for Error {
    fn from(error: SignError) -> Self {
        Self::Connection(error.into())
    }
}

/// Signs in by password: who knows it gets the account's secrets, verified. The device comes next:
/// [`Authorization::device`].
pub async fn login(connection: &Connection, email: &str, password: &Password) -> Result<Authorization, Error> {
    Ok(unlock(connection, email, password).await?.authorization)
}

/// Again, where keys were changed between the keyring and the last row.
async fn unless_moved<T>(mut signs_in: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 1..MOVED_ATTEMPTS_MAX {
        match signs_in().await {
            Err(Error::KeyringMoved { .. }) => {}
            done => return done,
        }
    }
    signs_in().await
}

/// OPAQUE: who knows the password is let in, and has what only the password gives.
async fn authorize(connection: &Connection, email: &str, password: &Password) -> Result<(frame::Authorized, ExportKey), Error> {
    let started = opaque::StartedLogin::start(password)?;
    let (email, message) = (address(email), started.message.clone().into());
    let answered = answer!(connection.request(|request| LoginStart { request, email, message }.into()).await?, LoginStarted)?;
    let finished = started.finish(password, &answered.message).await?;
    let message = finished.message.into();
    let authorized = answer!(connection.request(|request| LoginFinish { request, message }.into()).await?, Authorized)?;
    Ok((authorized, finished.export_key))
}

/// Fresh tokens for the newest refresh token. Store them before they are used.
pub async fn refresh(connection: &Connection, device: &DeviceKeys, refresh_token: &str) -> Result<Tokens, Error> {
    let proof = refresh_proof(device, &connection.challenge().nonce, refresh_token)?;
    let refresh_token = refresh_token.to_owned();
    let tokens = answer!(connection.request(|request| Refresh { request, refresh_token, proof }.into()).await?, Tokens)?;
    Ok(tokens.into())
}

/// Ends the device's log-in. [`revoke`] the device itself before, on a session, so that its keys are worth nothing.
pub async fn logout(connection: &Connection, device: &DeviceKeys, refresh_token: &str) -> Result<(), Error> {
    let proof = refresh_proof(device, &connection.challenge().nonce, refresh_token)?;
    let refresh_token = refresh_token.to_owned();
    answer!(connection.request(|request| Logout { request, refresh_token, proof }.into()).await?, Done)?;
    Ok(())
}

/// As the server looks accounts up.
fn address(email: &str) -> String {
    email.trim().to_ascii_lowercase()
}

/// This device's clock, in milliseconds since the epoch.
fn client_ts() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
