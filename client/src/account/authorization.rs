//! Somebody who knew the password: the account's secrets and roster, both verified, and the leave to enrol one device.
//!
//! Never: a device id used for other keys, or used again after it was revoked.

use bytes::Bytes;
use cloudsync_engine::roster::{Roster, Standing};
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::{Authorized, Enrol, GetRoster};
use cloudsync_protocol::id::hex;
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{DeviceId, DeviceSeq, ErrorCode, Hash, LogId, Seq, UserId};

use super::{Error, Tokens, client_ts};
use crate::connection::{self, Connection, answer};
use crate::keys::{AccountSecrets, DeviceKeys, KeyFile, KeyringPin, Opener, check_held, open_keyring, open_name, seal_name};
use crate::statement::{RevokeFacts, enrol, identity, refresh_proof, revoke};

/// How often a revoke is signed again because the device pushed meanwhile.
pub(super) const REVOKE_ATTEMPTS_MAX: u32 = 8;

/// What [`login`](super::login) and [`Registration::create`](super::Registration::create) give.
pub struct Authorization {
    secrets: AccountSecrets,
    roster: Roster,
    ticket: Bytes,
    keyring: Bytes,
    keyring_version: u64,
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorization").field("user", &self.secrets.user).finish_non_exhaustive()
    }
}

/// How a device is to be enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enrolment<'a> {
    /// The device's name, at most `NAME_BYTES_MAX`. Not used when it is enrolled already.
    pub name: &'a str,
    /// A device to revoke first, to make room at `DEVICES_MAX`.
    pub instead_of: Option<DeviceId>,
}

impl Authorization {
    pub(super) async fn open(connection: &Connection, authorized: Authorized, opener: Opener<'_>) -> Result<Self, Error> {
        let secrets = open_keyring(&authorized.keyring, authorized.user, opener)?;
        Self::of(connection, authorized, secrets).await
    }

    /// For a device that has the account's keys and only wants leave to change what opens them.
    pub(super) async fn held(connection: &Connection, authorized: Authorized, keys: &KeyFile) -> Result<Self, Error> {
        if authorized.user != keys.secrets.user {
            return Err(Error::OtherAccount);
        }
        check_held(&authorized.keyring, &keys.secrets)?;
        let authorization = Self::of(connection, authorized, keys.secrets.clone()).await?;
        authorization.check_pinned(keys)?;
        Ok(authorization)
    }

    pub(super) async fn of(connection: &Connection, authorized: Authorized, secrets: AccountSecrets) -> Result<Self, Error> {
        let Authorized { request: _, user, ticket, keyring_version, keyring, roster, more } = authorized;
        let rows = all_rows(connection, &ticket, (roster, more)).await?;
        let roster = Roster::from_rows(LogId::from(user), &rows)?;
        let authorization = Self { secrets, roster, ticket, keyring, keyring_version };
        authorization.check_roster()?;
        Ok(authorization)
    }

    /// Whether the roster names this very keyring as the one in force, and its identity.
    fn check_roster(&self) -> Result<(), Error> {
        let (own, pin, row) = (&self.secrets.identity, self.keyring_pin(), self.roster.keyring());
        if row.version > pin.version {
            return Err(Error::KeyringMoved { version: pin.version, newest: row.version });
        }
        let same = self.roster.identity().is_none_or(|identity| {
            identity.identity_epoch == own.epoch && identity.signing == own.signing.public() && identity.sharing == own.sharing.public()
        });
        if !same {
            return Err(Error::OtherIdentity { place: "roster" });
        }
        let named = (row.version, row.epoch) == (pin.version, self.secrets.account.current().epoch.0)
            && row.hash.map_or(own.epoch == 1, |hash| hash == pin.hash);
        if named { Ok(()) } else { Err(Error::KeyringUntrusted("the roster names another one")) }
    }

    /// Which keyring this is.
    #[must_use]
    pub fn keyring_pin(&self) -> KeyringPin {
        KeyringPin { version: self.keyring_version, hash: Hash::of(&[&self.keyring]) }
    }

    /// The user.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.secrets.user
    }

    /// The keyring's version, as the server counts.
    #[must_use]
    pub const fn keyring_version(&self) -> u64 {
        self.keyring_version
    }

    pub(super) const fn secrets(&self) -> &AccountSecrets {
        &self.secrets
    }

    /// The keyring's blob.
    #[must_use]
    pub const fn keyring(&self) -> &Bytes {
        &self.keyring
    }

    pub(super) fn ticket(&self) -> Bytes {
        self.ticket.clone()
    }

    /// Every device, verified.
    #[must_use]
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// A device's name; nothing when it is unknown or does not open.
    #[must_use]
    pub fn device_name(&self, device: DeviceId) -> Option<String> {
        let (_, found) = self.roster.devices().find(|(id, _)| *id == device)?;
        open_name(&self.secrets.account, self.secrets.log(), device, &found.name)
    }

    /// The keys that this device goes on with, to be stored before [`enrol`](Self::enrol): the profile's device when it is
    /// enrolled or can still be, else a new one.
    pub fn device(&self, profile: Option<&KeyFile>) -> Result<KeyFile, Error> {
        let Some(profile) = profile else { return Ok(self.new_device()) };
        self.check_pinned(profile)?;
        let device = &profile.device;
        let usable = match self.roster.standing(device.id) {
            Standing::Unknown => true,
            Standing::Enrolled(enrolled) => enrolled.signing == device.signing.public() && enrolled.agreement == device.agreement.public(),
            Standing::Revoked(_) => false,
        };
        Ok(self.key_file(if usable { device.clone() } else { DeviceKeys::random() }))
    }

    /// Keys of a new device, also where the profile has one: it was rolled back to an older state.
    #[must_use]
    pub fn new_device(&self) -> KeyFile {
        self.key_file(DeviceKeys::random())
    }

    pub(super) fn key_file(&self, device: DeviceKeys) -> KeyFile {
        KeyFile { secrets: self.secrets.clone(), device, keyring: self.keyring_pin() }
    }

    /// Enrols the device, and with it the account's identity when the log has none yet. The keys are durable by now.
    pub async fn enrol(&self, connection: &Connection, keys: &KeyFile, enrolment: Enrolment<'_>) -> Result<Tokens, Error> {
        self.check_pinned(keys)?;
        let proof = {
            let ticket = hex(&self.ticket);
            refresh_proof(&keys.device, &connection.challenge().nonce, &ticket)?
        };
        let mut last = DeviceSeq::default();
        for _ in 0..REVOKE_ATTEMPTS_MAX {
            let (ticket, device, changes) = (self.ticket.clone(), keys.device.id, self.changes(&keys.device, enrolment, last)?);
            match connection.request(|request| Enrol { request, ticket, device, changes, proof }.into()).await {
                Ok(frame) => return Ok(answer!(frame, Tokens)?.into()),
                Err(error) => last = revoke_again(error)?,
            }
        }
        let device = enrolment.instead_of.unwrap_or(keys.device.id);
        Err(Error::RevokeOutrun { device, attempts: REVOKE_ATTEMPTS_MAX })
    }

    /// What the roster lacks.
    fn changes(&self, device: &DeviceKeys, enrolment: Enrolment<'_>, last: DeviceSeq) -> Result<Vec<RosterChange>, Error> {
        let (own, log, client_ts) = (&self.secrets.identity, self.secrets.log(), client_ts());
        let mut changes = Vec::new();
        if self.roster.identity().is_none() {
            changes.push(identity(own, log, client_ts)?);
        }
        if let Some(leaving) = enrolment.instead_of {
            // No other device is sure to be enrolled at that point: it leaves in its own name.
            changes.push(revoke(own, log, RevokeFacts { device: leaving, last, by: leaving, client_ts })?);
        }
        match self.roster.standing(device.id) {
            Standing::Enrolled(_) => {}
            Standing::Unknown | Standing::Revoked(_) => {
                let name = seal_name(&self.secrets.account, log, device.id, enrolment.name)?;
                changes.push(enrol(own, log, device, (name, client_ts))?);
            }
        }
        Ok(changes)
    }

    /// Compares with what this profile has seen before.
    pub(super) fn check_pinned(&self, profile: &KeyFile) -> Result<(), Error> {
        if profile.secrets.user != self.secrets.user {
            return Err(Error::OtherAccount);
        }
        let (shown, seen) = (self.keyring_pin(), profile.keyring);
        if shown.version < seen.version {
            return Err(Error::KeyringRewound { version: shown.version, seen: seen.version });
        }
        let pinned = &profile.secrets.identity;
        let known = self.roster.identity_of(pinned.epoch).map(|identity| identity.signing);
        // A log without an identity is to get the keyring's.
        let known = known.or_else(|| self.roster.identity().is_none().then(|| self.secrets.identity.signing.public()));
        if known != Some(pinned.signing.public()) {
            return Err(Error::OtherIdentity { place: "profile" });
        }
        if shown.version == seen.version && shown.hash != seen.hash {
            return Err(Error::KeyringUntrusted("this profile has seen another one of that number"));
        }
        let held = profile.secrets.account.earlier().chain([profile.secrets.account.current()]);
        for key in held {
            if self.secrets.account.get(key.epoch) != Some(key) {
                return Err(Error::KeyringUntrusted("it holds other account keys than this profile has"));
            }
        }
        Ok(())
    }
}

/// The last push that a refused revoke should have named; any other refusal is one.
pub(super) fn revoke_again(error: connection::Error) -> Result<DeviceSeq, Error> {
    match (error.code(), error.last()) {
        (Some(ErrorCode::RevokeLastDiffers), Some(last)) => Ok(last.device_seq),
        _ => Err(error.into()),
    }
}

/// The first rows came with the authorization; the rest comes in pages.
async fn all_rows(connection: &Connection, ticket: &Bytes, first: (Vec<RosterRow>, bool)) -> Result<Vec<RosterRow>, Error> {
    let (mut rows, mut more) = first;
    while more {
        let (ticket, after) = (ticket.clone(), rows.last().map_or(Seq::ZERO, |row| row.seq));
        let page = answer!(connection.request(|request| GetRoster { request, ticket, after }.into()).await?, RosterPage)?;
        if page.roster.first().is_none_or(|row| row.seq <= after) {
            return Err(Error::RosterPages { after });
        }
        rows.extend(page.roster);
        more = page.more;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_ticket() {
        let user = UserId([1; 16]);
        let authorization = Authorization {
            secrets: AccountSecrets::first(user),
            roster: Roster::from_rows(LogId::from(user), &[]).unwrap(),
            ticket: Bytes::from_static(b"a secret ticket"),
            keyring: Bytes::from_static(b"a keyring"),
            keyring_version: 1,
        };
        let text = format!("{authorization:?}");
        assert!(text.contains("Authorization") && !text.contains("secret"), "{text}");
    }
}
