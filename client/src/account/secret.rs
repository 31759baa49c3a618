//! Another password, from the old one or from the recovery code: the keyring for it, and the row that names that keyring.
//!
//! Never: a keyring replaced that was not checked, or a new one of which anything but the password's half differs.

use bytes::Bytes;
use cloudsync_protocol::Hash;
use cloudsync_protocol::frame::{Recover, SecretFinish, SecretStart};
use cloudsync_protocol::statement::RosterChange;

use super::{Authorization, Error, Password, address, authorize, client_ts, opaque, unless_moved};
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
    unless_moved(async || {
        let (authorized, _) = authorize(connection, email, password).await?;
        Authorization::held(connection, authorized, keys).await
    })
    .await
}

/// Shows the recovery code instead of the password: who has it gets the account's secrets, verified. Another password comes next:
/// [`Authorization::new_password`].
pub async fn recover(connection: &Connection, email: &str, code: &RecoveryCode) -> Result<Authorization, Error> {
    let email = address(email);
    let signature = recover_proof(code, &connection.challenge().nonce, &email)?;
    unless_moved(async || {
        let asked = email.clone();
        let frame = |request| Recover { request, email: asked, signature }.into();
        let authorized = answer!(connection.request(frame).await?, Authorized)?;
        Authorization::open(connection, authorized, Opener::Recovery(code)).await
    })
    .await
}

impl Authorization {
    /// OPAQUE's registration of another password, for the account's own address: what it gives, and what the server is to keep of it.
    pub(super) async fn registered_anew(&self, connection: &Connection, password: &Password) -> Result<opaque::Finished, Error> {
        let started = opaque::StartedRegistration::start(password)?;
        let (ticket, message) = (self.ticket(), started.message.clone().into());
        let answered = answer!(connection.request(|request| SecretStart { request, ticket, message }.into()).await?, RegisterStarted)?;
        Ok(started.finish(password, &answered.message).await?)
    }

    /// Of a keyring that takes the place of this one.
    pub(super) fn next_pin(&self, keyring: &[u8]) -> KeyringPin {
        KeyringPin { version: self.keyring_version().saturating_add(1), hash: Hash::of(&[keyring]) }
    }

    /// Makes everything for another password. Nothing is changed yet.
    pub async fn new_password(&self, connection: &Connection, password: &Password) -> Result<NewPassword, Error> {
        let registered = self.registered_anew(connection, password).await?;
        let secrets = self.secrets();
        let keyring = with_password(self.keyring(), secrets, &registered.export_key)?;
        let pin = self.next_pin(&keyring);
        let (log, client_ts) = (secrets.log(), client_ts());
        let mut changes = Vec::new();
        if self.roster().identity().is_none() {
            changes.push(identity(&secrets.identity, log, client_ts)?);
        }
        changes.push(rekey(&secrets.identity, log, pin, client_ts)?);
        Ok(NewPassword { pin, keyring, record: registered.message.into(), changes })
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
