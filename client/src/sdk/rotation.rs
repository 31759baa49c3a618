//! What has become of a rotation that this profile began: decided by the log, as far as it was read.
//!
//! Never: a rotation given up that could still count, or one sent that is not of the profile as it is.

use cloudsync_engine::replica::Tables as _;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::statement::{PublicKey, RekeyStatement, RevokeStatement, RosterChange, RotateStatement};
use cloudsync_protocol::{DeviceId, Hash, codec};
use zeroize::Zeroizing;

use super::client::Client;
use super::{Error, RecoveryText, time};
use crate::account::Rotation;
use crate::replica::Access;

/// How often somebody is told that a rotation is due.
const TOLD_EVERY_MS: u64 = 24 * 60 * 60 * 1000;

/// A rotation that this profile began.
#[derive(Debug)]
pub enum Begun {
    /// There is none.
    Nothing,
    /// The log does not have it yet, and may still take it.
    Undecided(Box<Rotation>),
    /// It counts, and nobody was shown its recovery code.
    NotShown(Box<Rotation>),
    /// It can never count: other keys came first. It is forgotten, and these devices did not leave by it.
    Lost(Vec<DeviceId>),
}

impl Begun {
    /// Its stable name, as `status` shows it; nothing where there is nothing to do.
    #[must_use]
    pub const fn name(&self) -> Option<&'static str> {
        match self {
            Self::Nothing | Self::Lost(_) => None,
            Self::Undecided(_) => Some("pending"),
            Self::NotShown(_) => Some("code_not_shown"),
        }
    }
}

/// What the log says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decided {
    NotYet,
    Counts,
    Replaced,
    Never,
}

impl Client {
    /// What has become of the rotation that was begun here, if one was. What is over is forgotten.
    pub async fn rotation(&self) -> Result<Begun, Error> {
        let Some(rotation) = self.shared.profile.rotation()? else { return Ok(Begun::Nothing) };
        let (keys, pin) = (self.keys(), rotation.pin()?);
        if rotation.user() != keys.secrets.user || rotation.by()? != keys.device.id {
            return Err(self.shared.profile.foreign_rotation().into());
        }
        let rows = self.tables(Access::Read, |tables| tables.roster()).await?;
        match decided(&rows, (pin.version, pin.hash), &rotation.code().signing().public()) {
            // Newer keys were seen than the log has that was read: it was copied back.
            Decided::NotYet if pin.version <= keys.keyring.version && pin != keys.keyring => {
                Err(self.shared.profile.foreign_rotation().into())
            }
            Decided::NotYet if pin == keys.keyring => Ok(Begun::NotShown(Box::new(rotation))),
            Decided::NotYet => Ok(Begun::Undecided(Box::new(rotation))),
            Decided::Counts => Ok(Begun::NotShown(Box::new(rotation))),
            Decided::Replaced => {
                self.shared.profile.remove_rotation()?;
                Ok(Begun::Nothing)
            }
            Decided::Never => {
                self.shared.profile.remove_rotation()?;
                Ok(Begun::Lost(rotation.leaving()?))
            }
        }
    }

    /// The code of a rotation, to be shown; forget it by [`rotation_shown`](Self::rotation_shown).
    #[must_use]
    pub fn code_of(rotation: &Rotation) -> RecoveryText {
        RecoveryText(Zeroizing::new(rotation.code().to_text()))
    }

    /// The code was shown.
    pub fn rotation_shown(&self) -> Result<(), Error> {
        Ok(self.shared.profile.remove_rotation()?)
    }

    /// Whether a device left by a plain revoke of another, so that it knows every key that is in use.
    pub async fn is_rotation_due(&self) -> Result<bool, Error> {
        self.tables(Access::Read, |tables| Ok::<_, Error>(tables.is_rotation_due()? || is_due_by(&tables.roster()?))).await
    }

    /// The same, once a day.
    pub async fn tells_rotation_due(&self) -> Result<bool, Error> {
        if !self.is_rotation_due().await? {
            return Ok(false);
        }
        self.tables(Access::Write, |tables| tables.tell_rotation_due(time::now_ms(), TOLD_EVERY_MS)).await
    }
}

/// Looks for the keyring row of that version, and for whose code is in force.
fn decided(rows: &[RosterRow], (version, keyring): (u64, Hash), code: &PublicKey) -> Decided {
    let (mut found, mut in_force) = (None, None);
    for row in rows {
        let statement = &row.change.signed().statement;
        let named = match &row.change {
            RosterChange::Rotate(_) => codec::decode::<RotateStatement>(statement).ok().map(|rotate| {
                in_force = Some(rotate.recovery);
                (rotate.version, rotate.keyring)
            }),
            RosterChange::Rekey(_) => codec::decode::<RekeyStatement>(statement).ok().map(|rekey| (rekey.version, rekey.keyring)),
            RosterChange::Identity(_) | RosterChange::Enrol(_) | RosterChange::Revoke(_) => None,
        };
        found = named.filter(|(named, _)| *named == version).map(|(_, hash)| hash).or(found);
    }
    match found {
        None => Decided::NotYet,
        Some(hash) if hash != keyring => Decided::Never,
        Some(_) if in_force.as_ref() == Some(code) => Decided::Counts,
        Some(_) => Decided::Replaced,
    }
}

/// Whether the newest rows have a revoke by another device that no rotation followed.
fn is_due_by(rows: &[RosterRow]) -> bool {
    let after = rows.iter().rev().take_while(|row| !matches!(row.change, RosterChange::Rotate(_)));
    after.filter(|row| matches!(row.change, RosterChange::Revoke(_))).any(|row| {
        let statement = codec::decode::<RevokeStatement>(&row.change.signed().statement);
        statement.is_ok_and(|statement| statement.by != statement.device)
    })
}
