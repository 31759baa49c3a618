//! Rotating: who stays is said before it is asked, and every step is stored before the one that makes it matter.
//!
//! Never: a device kept that came after the question, or a rotation forgotten that may still count.

use std::collections::BTreeMap;
use std::time::Duration;

use cloudsync_engine::replica::Tables as _;
use cloudsync_engine::roster::Roster;
use cloudsync_protocol::statement::Leaver;
use cloudsync_protocol::{DeviceId, DeviceSeq, ErrorCode, Hash};
use tokio::time::Instant;

use super::client::Client;
use super::devices::{DeviceInfo, RevokeError, find};
use super::probe::Step;
use super::time::Backoff;
use super::{Begun, Error, Offline};
use crate::account::{self, Authorization, Password, Rotation, unlock};
use crate::connection::{self, Connection};
use crate::profile::Lock;
use crate::replica::Access;

/// How long a rotation whose answer was lost is asked about.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is signed again because a device that leaves pushed meanwhile.
const SIGNED_MAX: u32 = 8;

/// A device that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staying {
    /// Which.
    pub device: DeviceInfo,
    /// Whether it was enrolled after one that leaves was, so that whoever has that one may have enrolled it.
    pub after_leaver: bool,
}

/// What a rotation would do, as it is asked.
#[derive(Debug)]
pub struct Plan {
    /// In the order in which they were enrolled.
    pub staying: Vec<Staying>,
    /// Those that leave.
    pub leaving: Vec<DeviceInfo>,
    /// Those that were asked for, and have left already.
    pub left: Vec<DeviceInfo>,
    /// What an earlier one has come to: it comes first.
    pub begun: Begun,
    enrolled: BTreeMap<DeviceId, Hash>,
    _lock: Lock,
}

fn enrolled(roster: &Roster) -> BTreeMap<DeviceId, Hash> {
    roster.devices().filter(|(_, device)| device.revoked.is_none()).map(|(id, device)| (id, device.enrol)).collect()
}

impl Client {
    /// Reads on, and says who would stay and who would leave. Holds the profile until it is dropped.
    pub async fn plan_rotation(&self, leaving: &[String]) -> Result<Plan, RevokeError> {
        let lock = self.shared.profile.lock().map_err(Error::from)?;
        let mut online = self.connect().await?;
        let read = online.catch_up().await;
        online.close().await;
        read?;
        let begun = self.rotation().await?;
        let (devices, roster) = (self.devices().await?, self.roster().await?);
        let mut named = Vec::new();
        for name in leaving {
            let device = find(&devices, name)?;
            if device.own {
                return Err(RevokeError::Own(device.name.clone()));
            }
            if !named.contains(device) {
                named.push(device.clone());
            }
        }
        let (left, leaving): (Vec<_>, Vec<_>) = named.into_iter().partition(|device| device.revoked.is_some());
        let first = leaving.iter().map(|device| device.enrolled).min();
        let stays = |device: &DeviceInfo| device.revoked.is_none() && !leaving.contains(device);
        let staying = devices.iter().filter(|device| stays(device)).map(|device| Staying {
            device: device.clone(),
            after_leaver: first.is_some_and(|first| !device.own && device.enrolled > first),
        });
        Ok(Plan { staying: staying.collect(), leaving, left, begun, enrolled: enrolled(&roster), _lock: lock })
    }

    /// Rotates as planned. The recovery code is to be shown, then [`rotation_shown`](Self::rotation_shown).
    pub async fn rotate(&self, plan: &Plan, password: &Password, new: Option<&Password>) -> Result<Rotation, RevokeError> {
        let (keys, email) = (self.keys(), &self.shared.card.email);
        let connection = Connection::open(&self.shared.server).await.map_err(Error::from)?;
        let unlocked = unlock(&connection, email, password).await.map_err(Error::from)?;
        if enrolled(unlocked.authorization.roster()) != plan.enrolled {
            return Err(self.not_done(ErrorCode::RosterMoved, plan.leaving.iter().map(|device| device.id).collect()).await?);
        }
        let leavers = self.leavers(plan).await?;
        let rotation = unlocked.rotation(&connection, &keys, &leavers, new).await.map_err(Error::from)?;
        connection.close().await;
        self.shared.probe.at(Step::RotationMade);
        self.shared.profile.write_rotation(&rotation).map_err(Error::from)?;
        self.shared.probe.at(Step::RotationStored);
        self.settle_rotation(rotation, &[new, Some(password)]).await
    }

    /// Sends a rotation that was begun before and is not decided.
    pub async fn rotate_on(&self, rotation: Rotation, password: &Password) -> Result<Rotation, RevokeError> {
        self.settle_rotation(rotation, &[Some(password)]).await
    }

    async fn leavers(&self, plan: &Plan) -> Result<Vec<Leaver>, Error> {
        let devices: Vec<DeviceId> = plan.leaving.iter().map(|device| device.id).collect();
        self.tables(Access::Read, move |tables| {
            let last = |device| Ok::<_, Error>(tables.last_batch(device)?.map_or(DeviceSeq::default(), |last| last.device_seq));
            devices.into_iter().map(|device| Ok(Leaver { device, last: last(device)? })).collect::<Result<_, Error>>()
        })
        .await
    }

    /// Sends until it is known whether it counts, and then takes the keys over.
    async fn settle_rotation(&self, rotation: Rotation, passwords: &[Option<&Password>]) -> Result<Rotation, RevokeError> {
        let (mut rotation, mut backoff, until) = (rotation, Backoff::new(), Instant::now() + PATIENCE);
        loop {
            match self.send_rotation(&mut rotation, passwords).await {
                Ok(authorization) => {
                    self.shared.probe.at(Step::RotationAnswered);
                    self.install(authorization.roster(), rotation.keyring()).await?;
                    self.shared.probe.at(Step::RotationInstalled);
                    self.tables(Access::Write, |tables| tables.set_rotation_due(false)).await?;
                    return Ok(rotation);
                }
                Err(error) if is_undecided(&error) && Instant::now() < until => tokio::time::sleep(backoff.wait()).await,
                Err(error) if is_undecided(&error) => return Err(Error::RotationUndecided.into()),
                Err(error) => match refused_for_good(&error) {
                    Some(code) => {
                        self.shared.profile.remove_rotation().map_err(Error::from)?;
                        return Err(self.not_done(code, rotation.leaving().map_err(Error::from)?).await?);
                    }
                    None => return Err(error.into()),
                },
            }
        }
    }

    /// Once: signs in by the first password that opens, and sends it, signed again as often as a device that leaves has pushed.
    async fn send_rotation(&self, rotation: &mut Rotation, passwords: &[Option<&Password>]) -> Result<Authorization, Error> {
        let keys = self.keys();
        let connection = Connection::open(&self.shared.server).await?;
        let authorization = self.unlocked(&connection, passwords).await?;
        if *authorization.keyring() == *rotation.keyring() {
            return Ok(authorization);
        }
        for _ in 0..SIGNED_MAX {
            let refused = match rotation.send(&connection, &authorization, &keys).await {
                Err(account::Error::Connection(error)) => error,
                sent => {
                    connection.close().await;
                    return Ok(sent?);
                }
            };
            let Some((device, last)) = leaves_later(&refused) else { return Err(refused.into()) };
            *rotation = rotation.with_last((authorization.roster(), &keys), (device, last))?;
            self.shared.profile.write_rotation(rotation)?;
        }
        let device = rotation.leaving()?.first().copied().unwrap_or(keys.device.id);
        Err(account::Error::RevokeOutrun { device, attempts: SIGNED_MAX }.into())
    }

    async fn unlocked(&self, connection: &Connection, passwords: &[Option<&Password>]) -> Result<Authorization, Error> {
        let mut refused = None;
        for password in passwords.iter().flatten() {
            match unlock(connection, &self.shared.card.email, password).await {
                Ok(unlocked) => return Ok(unlocked.authorization),
                Err(error) if error.code() == Some(ErrorCode::CredentialsInvalid) => refused = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(refused.map_or(Error::Task, Error::from))
    }

    /// Why, and who is enrolled still, by name.
    async fn not_done(&self, code: ErrorCode, leaving: Vec<DeviceId>) -> Result<RevokeError, Error> {
        let devices = self.devices().await?;
        let still = devices.into_iter().filter(|device| leaving.contains(&device.id) && device.revoked.is_none());
        Ok(RevokeError::NotDone { code, still: still.map(|device| device.name).collect() })
    }
}

/// A device that leaves has pushed since: which, and its last push.
fn leaves_later(error: &connection::Error) -> Option<(DeviceId, DeviceSeq)> {
    let failure = error.failure().filter(|failure| failure.code == ErrorCode::RevokeLastDiffers)?;
    Some((failure.device?, failure.last.as_ref()?.device_seq))
}

/// Whether what was sent may count, or may count when it is sent again.
fn is_undecided(error: &Error) -> bool {
    let is_over = matches!(error, Error::Account(error) if error.code() == Some(ErrorCode::TicketInvalid));
    is_over || error.offline() == Offline::Yes
}

/// Versions and rosters only grow: what was refused for these never counts.
#[expect(clippy::wildcard_enum_match_arm, reason = "codes are open: what is not known to be final is not")]
fn refused_for_good(error: &Error) -> Option<ErrorCode> {
    let code = match error {
        Error::Account(error) => error.code(),
        Error::Connection(error) => error.code(),
        _ => None,
    };
    code.filter(|code| {
        matches!(
            code,
            ErrorCode::RosterMoved
                | ErrorCode::IdentityOld
                | ErrorCode::KeyringConflict
                | ErrorCode::KeyringInvalid
                | ErrorCode::StatementInvalid
                | ErrorCode::SignatureInvalid
        )
    })
}
