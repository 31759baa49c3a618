//! Other keys for the whole account: made, checked as others will check them, and sent as often as it takes.
//!
//! Never: a rotation sent that this device could not open itself, or one signed again with anything but another last push.

use bytes::Bytes;
use cloudsync_engine::roster::{ChangeError, Judged, Roster};
use cloudsync_protocol::frame::SecretFinish;
use cloudsync_protocol::statement::{Leaver, Member, RosterChange, RotateStatement};
use cloudsync_protocol::{DeviceId, DeviceSeq, Hash, UserId, codec};

use super::{Authorization, Error, Password, authorize, client_ts, unless_moved};
use crate::connection::{Connection, answer};
use crate::keys::device::{AgreementPair, SigningPair};
use crate::keys::{
    AccountKey, AccountKeys, AccountSecrets, ExportKey, Identity, KeyEpoch, KeyFile, KeyringPin, Opener, RecoveryCode, Secret,
    open_as_member, open_keyring, seal_keyring_for,
};
use crate::statement::{RotateFacts, rotate};

/// A rotation, ready to be sent, and sent again where the answer was lost: the server takes it once.
#[derive(Clone)]
pub struct Rotation {
    pub(super) user: UserId,
    pub(super) keyring: Bytes,
    pub(super) change: RosterChange,
    /// The registration record of a new password, if there is one.
    pub(super) record: Option<Bytes>,
    pub(super) code: RecoveryCode,
    pub(super) created_ts: u64,
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rotation").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Somebody who knows the password, with what only the password gives.
#[derive(Debug)]
pub struct Unlocked {
    /// The leave to change things.
    pub authorization: Authorization,
    export_key: ExportKey,
}

/// Signs in by password, for leave to rotate.
pub async fn unlock(connection: &Connection, email: &str, password: &Password) -> Result<Unlocked, Error> {
    unless_moved(async || {
        let (authorized, export_key) = authorize(connection, email, password).await?;
        let authorization = Authorization::open(connection, authorized, Opener::Password(&export_key)).await?;
        Ok(Unlocked { authorization, export_key })
    })
    .await
}

impl Unlocked {
    /// Makes new keys for whoever is enrolled and does not leave, under a new password where one is given. Nothing is changed yet.
    pub async fn rotation(
        &self,
        connection: &Connection,
        keys: &KeyFile,
        leaving: &[Leaver],
        password: Option<&Password>,
    ) -> Result<Rotation, Error> {
        self.authorization.check_pinned(keys)?;
        let (export_key, record) = match password {
            Some(password) => {
                let registered = self.authorization.registered_anew(connection, password).await?;
                (registered.export_key, Some(registered.message.into()))
            }
            None => (self.export_key.clone(), None),
        };
        let (secrets, code) = (next(self.authorization.secrets()), RecoveryCode::random());
        let (mut members, mut agreements) = (Vec::new(), Vec::new());
        for (device, enrolled) in self.authorization.roster().devices() {
            if enrolled.revoked.is_none() && !leaving.iter().any(|leaver| leaver.device == device) {
                members.push(Member { device, enrol: enrolled.enrol });
                agreements.push(enrolled.agreement);
            }
        }
        let keyring = seal_keyring_for(&secrets, (&export_key, &code), agreements)?;
        let pin = self.authorization.next_pin(&keyring);
        let (epoch, recovery, created_ts) = (secrets.account.current().epoch, code.signing().public(), client_ts());
        let mut revoked = leaving.to_vec();
        revoked.sort_by_key(|leaver| leaver.device);
        let facts = RotateFacts { keyring: pin, epoch, recovery, members, revoked, client_ts: created_ts };
        let change = rotate(&secrets.identity, secrets.log(), &keys.device, facts)?;
        let rotation = Rotation { user: secrets.user, keyring, change, record, code, created_ts };
        rotation.check(&secrets, &export_key, (self.authorization.roster(), keys))?;
        Ok(rotation)
    }
}

/// Fresh keys above those that there are.
fn next(before: &AccountSecrets) -> AccountSecrets {
    let current = before.account.current();
    let key = AccountKey { epoch: KeyEpoch(current.epoch.0.saturating_add(1)), key: Secret::random() };
    let account = AccountKeys::new(key, before.account.earlier().chain([current]).cloned());
    let identity =
        Identity { epoch: before.identity.epoch.saturating_add(1), signing: SigningPair::random(), sharing: AgreementPair::random() };
    AccountSecrets { user: before.user, account, identity, record_ids: before.record_ids.clone() }
}

impl Rotation {
    /// Whose.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// The keyring that is in force once the server took it.
    pub fn pin(&self) -> Result<KeyringPin, Error> {
        Ok(KeyringPin { version: self.statement()?.version, hash: Hash::of(&[&self.keyring]) })
    }

    /// The device that made it.
    pub fn by(&self) -> Result<DeviceId, Error> {
        Ok(self.statement()?.by)
    }

    /// The devices that leave by it.
    pub fn leaving(&self) -> Result<Vec<DeviceId>, Error> {
        Ok(self.statement()?.revoked.iter().map(|leaver| leaver.device).collect())
    }

    /// The recovery code that is in force once the server took it.
    #[must_use]
    pub const fn code(&self) -> &RecoveryCode {
        &self.code
    }

    /// The keyring blob.
    #[must_use]
    pub const fn keyring(&self) -> &Bytes {
        &self.keyring
    }

    pub(super) fn statement(&self) -> Result<RotateStatement, Error> {
        codec::decode(&self.change.signed().statement).map_err(|error| Error::NotAsSigned(ChangeError::Decode(error)))
    }

    /// As others will: the row on the roster that there is, the keyring by password, by code as it is read back, and by the own half.
    fn check(&self, made: &AccountSecrets, password: &ExportKey, (roster, keys): (&Roster, &KeyFile)) -> Result<(), Error> {
        let code = RecoveryCode::from_text(&self.code.to_text()).map_err(|_| Error::KeyringUntrusted("its code can't be read back"))?;
        let opened = [
            open_keyring(&self.keyring, self.user, Opener::Password(password))?,
            open_keyring(&self.keyring, self.user, Opener::Recovery(&code))?,
            self.opened(roster, keys)?,
        ];
        let same = |opened: &AccountSecrets| {
            opened.account == made.account
                && opened.identity.signing.public() == made.identity.signing.public()
                && opened.identity.sharing.public() == made.identity.sharing.public()
        };
        if opened.iter().all(same) {
            Ok(())
        } else {
            Err(Error::KeyringUntrusted("what was made is not what opens: check this machine's memory"))
        }
    }

    /// The keys that it brings, by the own half: on a roster as it was before, or that has it already.
    pub fn opened(&self, roster: &Roster, keys: &KeyFile) -> Result<AccountSecrets, Error> {
        let mut roster = roster.clone();
        match roster.judge(&self.change).map_err(Error::NotAsSigned)? {
            Judged::Already(_) => {}
            judged @ (Judged::Identity(..) | Judged::Enrol(..) | Judged::Revoke(_) | Judged::Rotate(_) | Judged::Rekey(..)) => {
                roster.append(roster.last().next(), judged);
            }
        }
        Ok(open_as_member(&self.keyring, &roster, (self.user, &keys.device))?)
    }

    /// The same, where a device that leaves has pushed since: signed again with its last push.
    pub fn with_last(&self, (roster, keys): (&Roster, &KeyFile), (device, last): (DeviceId, DeviceSeq)) -> Result<Self, Error> {
        let secrets = self.opened(roster, keys)?;
        let RotateStatement { epoch, recovery, members, mut revoked, client_ts, .. } = self.statement()?;
        revoked.iter_mut().filter(|leaver| leaver.device == device).for_each(|leaver| leaver.last = last);
        let facts = RotateFacts { keyring: self.pin()?, epoch: KeyEpoch(epoch), recovery, members, revoked, client_ts };
        let change = rotate(&secrets.identity, secrets.log(), &keys.device, facts)?;
        Ok(Self { change, ..self.clone() })
    }

    /// From here on it counts. Gives leave anew, with the roster that has it.
    pub async fn send(&self, connection: &Connection, authorization: &Authorization, keys: &KeyFile) -> Result<Authorization, Error> {
        // What a roster that moved on can't take is not sent.
        let secrets = self.opened(authorization.roster(), keys)?;
        let (ticket, keyring, record, changes) =
            (authorization.ticket(), self.keyring.clone(), self.record.clone(), vec![self.change.clone()]);
        let frame = |request| SecretFinish { request, ticket, changes, keyring, record }.into();
        let authorized = answer!(connection.request(frame).await?, Authorized)?;
        if authorized.keyring != self.keyring {
            return Err(Error::KeyringUntrusted("it is another one than was just stored"));
        }
        Authorization::of(connection, authorized, secrets).await
    }
}
