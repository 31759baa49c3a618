//! Another password, from the old one or from the recovery code: the keyring for it, and the row that names that keyring.
//!
//! Never: a keyring replaced that was not checked, or a new one of which anything but the password's half differs.

use bytes::Bytes;
use cloudsync_protocol::Hash;
use cloudsync_protocol::frame::{Recover, SecretFinish, SecretStart};
use cloudsync_protocol::statement::RosterChange;

use super::{Authorization, Error, MOVED_ATTEMPTS_MAX, Password, address, authorize, client_ts, opaque};
use crate::connection::{Connection, answer};
use crate::keys::{KeyFile, KeyringPin, Opener, RecoveryCode, with_password};
use crate::statement::{identity, recover_proof, rekey};

/// Another password, ready to be sent, and sent again where the answer was lost: the server takes it once.
pub struct NewPassword {
    pin: KeyringPin,
    keyring: Bytes,
    record: Bytes,
    changes: Vec<RosterChange>,
}

impl std::fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewPassword").field("pin", &self.pin).finish_non_exhaustive()
    }
}

impl NewPassword {
    /// The keyring that is in force once the server took it.
    #[must_use]
    pub const fn pin(&self) -> KeyringPin {
        self.pin
    }
}

/// Signs in by password on a device that has the account's keys, for leave to change what opens them.
pub async fn login_held(connection: &Connection, email: &str, password: &Password, keys: &KeyFile) -> Result<Authorization, Error> {
    let mut attempt = 1;
    loop {
        let (authorized, _) = authorize(connection, email, password).await?;
        match Authorization::held(connection, authorized, keys).await {
            Err(Error::KeyringMoved { .. }) if attempt < MOVED_ATTEMPTS_MAX => attempt += 1,
            held => return held,
        }
    }
}

/// Shows the recovery code instead of the password: who has it gets the account's secrets, verified. Another password comes next:
/// [`Authorization::new_password`].
pub async fn recover(connection: &Connection, email: &str, code: &RecoveryCode) -> Result<Authorization, Error> {
    let email = address(email);
    let signature = recover_proof(code, &connection.challenge().nonce, &email)?;
    let mut attempt = 1;
    loop {
        let asked = email.clone();
        let frame = |request| Recover { request, email: asked, signature }.into();
        let authorized = answer!(connection.request(frame).await?, Authorized)?;
        match Authorization::open(connection, authorized, Opener::Recovery(code)).await {
            Err(Error::KeyringMoved { .. }) if attempt < MOVED_ATTEMPTS_MAX => attempt += 1,
            opened => return opened,
        }
    }
}

impl Authorization {
    /// Makes everything for another password. Nothing is changed yet.
    pub async fn new_password(&self, connection: &Connection, password: &Password) -> Result<NewPassword, Error> {
        let started = opaque::StartedRegistration::start(password)?;
        let (ticket, message) = (self.ticket(), started.message.clone().into());
        let frame = |request| SecretStart { request, ticket, message }.into();
        let answered = answer!(connection.request(frame).await?, RegisterStarted)?;
        let finished = started.finish(password, &answered.message).await?;
        let secrets = self.secrets();
        let keyring = with_password(self.keyring(), secrets, &finished.export_key)?;
        let pin = KeyringPin { version: self.keyring_version().saturating_add(1), hash: Hash::of(&[&keyring]) };
        let (log, client_ts) = (secrets.log(), client_ts());
        let mut changes = Vec::new();
        if self.roster().identity().is_none() {
            changes.push(identity(&secrets.identity, log, client_ts)?);
        }
        changes.push(rekey(&secrets.identity, log, pin, client_ts)?);
        Ok(NewPassword { pin, keyring, record: finished.message.into(), changes })
    }

    /// From here on the new password counts, and the one before no longer. Gives leave anew, under the keyring that is in force now.
    pub async fn change_password(&self, connection: &Connection, new: &NewPassword) -> Result<Self, Error> {
        let (ticket, keyring, record, changes) = (self.ticket(), new.keyring.clone(), Some(new.record.clone()), new.changes.clone());
        let frame = |request| SecretFinish { request, ticket, changes, keyring, record }.into();
        let authorized = answer!(connection.request(frame).await?, Authorized)?;
        if authorized.keyring != new.keyring {
            return Err(Error::KeyringUntrusted("it is another one than was just stored"));
        }
        Self::of(connection, authorized, self.secrets().clone()).await
    }
}
