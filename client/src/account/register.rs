//! A new account: all its keys are made here, before the server hears of it.
//!
//! Never: the account created before its keys are the caller's to store.

use bytes::Bytes;
use cloudsync_protocol::Hash;
use cloudsync_protocol::frame::{RegisterFinish, RegisterStart};

use zeroize::Zeroizing;

use super::{Authorization, Error, Password, address, opaque};
use crate::connection::{Connection, answer};
use crate::keys::device::random_user;
use crate::keys::{AccountSecrets, DeviceKeys, ExportKey, KeyFile, KeyringPin, Opener, RecoveryCode, seal_keyring};

/// An account that is ready to be created.
#[derive(Debug)]
pub struct Registration {
    email: String,
    record: Bytes,
    keyring: Bytes,
    export_key: ExportKey,
    keys: KeyFile,
    recovery: RecoveryCode,
}

impl Registration {
    /// Runs OPAQUE's first step, stretches the password and makes every key. Nothing exists on the server yet.
    pub async fn prepare(connection: &Connection, email: &str, password: &Password) -> Result<Self, Error> {
        let email = address(email);
        let started = opaque::StartedRegistration::start(password)?;
        let (asked, message) = (email.clone(), started.message.clone().into());
        let frame = |request| RegisterStart { request, email: asked, message }.into();
        let answered = answer!(connection.request(frame).await?, RegisterStarted)?;
        let finished = started.finish(password, &answered.message).await?;
        let secrets = AccountSecrets::first(random_user());
        let recovery = RecoveryCode::random();
        let keyring = seal_keyring(&secrets, &finished.export_key, &recovery)?;
        let pin = KeyringPin { version: 1, hash: Hash::of(&[&keyring]) };
        let keys = KeyFile { secrets, device: DeviceKeys::random(), keyring: pin };
        Ok(Self { email, record: finished.message.into(), keyring, export_key: finished.export_key, keys, recovery })
    }

    /// What the caller stores before [`create`](Self::create).
    #[must_use]
    pub const fn keys(&self) -> &KeyFile {
        &self.keys
    }

    /// What the caller stores until it was shown, and then shows once.
    #[must_use]
    pub const fn recovery_code(&self) -> &RecoveryCode {
        &self.recovery
    }

    /// Creates the account, on the connection that it was prepared on.
    pub async fn create(&self, connection: &Connection) -> Result<Authorization, Error> {
        let (email, record, keyring) = (self.email.clone(), self.record.clone(), self.keyring.clone());
        let (user, recovery) = (self.keys.secrets.user, self.recovery.signing().public());
        let frame = |request| RegisterFinish { request, email, record, user, keyring, recovery }.into();
        let authorized = answer!(connection.request(frame).await?, Authorized)?;
        if authorized.user != user {
            return Err(Error::OtherUser);
        }
        Authorization::open(connection, authorized, Opener::Password(&self.export_key)).await
    }

    /// Creates the account on a new connection, after the answer to [`create`](Self::create) was lost: finds it there,
    /// or makes it now.
    pub async fn create_again(&self, connection: &Connection) -> Result<Authorization, Error> {
        // Only opens the server's door for the second step; this blinding is thrown away.
        let started = opaque::StartedRegistration::start(&Password(Zeroizing::new("-".to_owned())))?;
        let (email, message) = (self.email.clone(), started.message.into());
        answer!(connection.request(|request| RegisterStart { request, email, message }.into()).await?, RegisterStarted)?;
        self.create(connection).await
    }
}
