//! Registering and logging in on a profile: each step is stored before the one that makes it matter.
//!
//! Never: the account's keys of one profile over another account's, or a recovery code lost between two steps.

use std::collections::BTreeSet;
use std::fmt;

use cloudsync_engine::replica::{EditCounts, Replica, Tables as _};
use cloudsync_engine::roster::Standing;
use cloudsync_protocol::{DeviceId, ErrorCode, UserId};
use zeroize::Zeroizing;

use super::Error;
use super::client::me;
use super::probe::Probe;
use crate::account::{self, Authorization, Enrolment, Password, Registration, Tokens};
use crate::connection::{self, Connection, Server};
use crate::keys::KeyFile;
use crate::profile::{self, Card, Lock, Pending, Profile, State};
use crate::replica::{Access, Store};

/// How often somebody logs in because keys were changed meanwhile.
const MOVED_ATTEMPTS_MAX: u32 = 3;

/// What a person says to register or log in.
#[derive(Debug, Clone)]
pub struct LogIn {
    /// Where.
    pub server: Server,
    /// The server's address as it was given, to be remembered.
    pub address: String,
    /// The pin as it was given, to be remembered.
    pub pin: Option<String>,
    /// The account's address.
    pub email: String,
    /// Its password.
    pub password: Password,
    /// What this device is to be called.
    pub device: String,
    /// A device to revoke, to make room for this one. A rotation is due afterwards.
    pub instead_of: Option<DeviceId>,
    /// Told of each step.
    pub probe: Probe,
}

/// A recovery code to be shown; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryText(pub Zeroizing<String>);

impl fmt::Debug for RecoveryText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryText(…)")
    }
}

/// Where a device's name is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// It was enrolled under it before.
    Kept,
    /// It was asked for; with a number after it where another enrolled device has it.
    Given,
}

/// Somebody is signed in.
#[derive(Debug)]
pub struct SignedIn {
    /// Who, where.
    pub card: Card,
    /// This device.
    pub device: DeviceId,
    /// Where its name is from.
    pub name: Name,
    /// Edits that the profile had before.
    pub kept: EditCounts,
    /// To be shown once, then [`shown`](Self::shown).
    pub recovery: Option<RecoveryText>,
    profile: Profile,
    _lock: Lock,
}

impl SignedIn {
    /// The recovery code was shown: forget it.
    pub fn shown(self) -> Result<(), Error> {
        Ok(self.profile.remove_pending()?)
    }
}

/// The address as accounts are looked up by.
fn normal(email: &str) -> String {
    email.trim().to_ascii_lowercase()
}

/// Whether a new account may be made on a profile: not where somebody is signed in, nor beside a registration of another
/// address that did not end. What a registration asks first, and what is asked before a person types a password.
pub fn check_registrable(profile: &Profile, email: &str) -> Result<(), Error> {
    begun(profile, email).map(drop)
}

/// A registration that did not end, with the keys that it made.
type Begun = (Box<Pending>, Box<KeyFile>);

/// The one of that address, if there is one.
fn begun(profile: &Profile, email: &str) -> Result<Option<Begun>, Error> {
    match profile.state()? {
        State::SignedIn(card, _) => Err(Error::AlreadySignedIn { email: card.email }),
        State::Pending(pending, keys) if pending.email == normal(email) => Ok(Some((pending, keys))),
        State::Pending(pending, _) => {
            Err(profile::Error::Pending { folder: profile.folder().to_owned(), email: pending.email.clone() }.into())
        }
        State::Fresh | State::Unfinished(_) => Ok(None),
    }
}

/// Makes a new account, and this device its first.
pub async fn register(profile: &Profile, asked: &LogIn) -> Result<SignedIn, Error> {
    let done = Box::pin(register_here(profile, asked)).await;
    left_as_found(profile, done)
}

/// A sign-in that failed leaves no folder where nothing is.
pub(super) fn left_as_found(profile: &Profile, done: Result<SignedIn, Error>) -> Result<SignedIn, Error> {
    if done.is_err()
        && profile.folder().exists()
        && let Ok(lock) = profile.lock()
    {
        profile.leave(&lock);
    }
    done
}

async fn register_here(profile: &Profile, asked: &LogIn) -> Result<SignedIn, Error> {
    let lock = profile.lock()?;
    let before = begun(profile, &asked.email)?;
    let connection = Connection::open(&asked.server).await?;
    if let Some((_, keys)) = &before {
        // The account may be there: then this only finishes it.
        match account::login(&connection, &asked.email, &asked.password).await {
            Ok(authorization) => {
                let keys = authorization.device(Some(keys))?;
                let enrolled = enrol(profile, lock, (asked, &connection), &keys, &authorization).await;
                connection.close().await;
                return enrolled;
            }
            Err(error) if error.code() == Some(ErrorCode::CredentialsInvalid) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let registration = Registration::prepare(&connection, &asked.email, &asked.password).await?;
    let pending = pending(asked, registration.keys().secrets.user, registration.recovery_code().to_text());
    profile.write_pending(&pending, registration.keys())?;
    let created = match registration.create(&connection).await {
        Err(account::Error::Connection(connection::Error::Closed(_))) => {
            // Whether the account was created is not known: the server tells who asks again.
            let connection = Connection::open(&asked.server).await?;
            registration.create_again(&connection).await.map(|authorization| (connection, authorization))
        }
        created => created.map(|authorization| (connection, authorization)),
    };
    match created {
        Ok((connection, authorization)) => {
            let enrolled = enrol(profile, lock, (asked, &connection), registration.keys(), &authorization).await;
            connection.close().await;
            enrolled
        }
        Err(error) => {
            if error.code().is_some() {
                give_back(profile, before)?;
            }
            Err(error.into())
        }
    }
}

fn pending(asked: &LogIn, user: UserId, recovery_code: String) -> Pending {
    Pending { email: normal(&asked.email), user, device: asked.device.clone(), recovery_code }
}

/// The server refused: nothing was created, what was there before counts again.
fn give_back(profile: &Profile, before: Option<Begun>) -> Result<(), Error> {
    match before {
        Some((pending, keys)) => profile.write_pending(&pending, &keys)?,
        None => {
            profile.remove_pending()?;
            profile.remove_keys()?;
        }
    }
    Ok(())
}

/// What a profile that somebody is to be signed in on holds, when it is not another account's.
pub(super) fn begun_here(profile: &Profile, email: &str) -> Result<State, Error> {
    let state = profile.state()?;
    let before = match &state {
        State::SignedIn(card, _) => Some(&card.email),
        State::Pending(pending, _) => Some(&pending.email),
        State::Unfinished(_) | State::Fresh => None,
    };
    match before.filter(|before| **before != normal(email)) {
        Some(other) => Err(Error::OtherAccount(format!("this profile is of {other}"))),
        None => Ok(state),
    }
}

/// The keys that it goes on with.
pub(super) fn keys_for(profile: &Profile, state: &State, authorization: &Authorization) -> Result<KeyFile, Error> {
    Ok(match state {
        // Left by a log-in that did not end, perhaps of another account: nothing was done with them.
        State::Unfinished(keys) if keys.secrets.user != authorization.user() => authorization.device(None)?,
        State::Fresh => authorization.device(None)?,
        State::SignedIn(_, keys) | State::Pending(_, keys) | State::Unfinished(keys) if is_over(profile, keys.device.id)? => {
            authorization.new_device()
        }
        State::SignedIn(_, keys) | State::Pending(_, keys) | State::Unfinished(keys) => authorization.device(Some(keys))?,
    })
}

/// Makes this profile a device of an account that is there; one that was a device of it keeps replica and queue.
pub async fn log_in(profile: &Profile, asked: &LogIn) -> Result<SignedIn, Error> {
    let done = Box::pin(log_in_here(profile, asked)).await;
    left_as_found(profile, done)
}

async fn log_in_here(profile: &Profile, asked: &LogIn) -> Result<SignedIn, Error> {
    let lock = profile.lock()?;
    let mut state = begun_here(profile, &asked.email)?;
    let connection = Connection::open(&asked.server).await?;
    let mut attempt = 1;
    let (authorization, keys, tokens) = loop {
        let authorization = account::login(&connection, &asked.email, &asked.password).await?;
        let keys = keys_for(profile, &state, &authorization)?;
        profile.write_keys(&keys)?;
        match admit(profile, (asked, &connection), &keys, &authorization).await {
            // Keys were changed since it was let in: the password opens the new ones.
            Err(Error::Account(error)) if attempt < MOVED_ATTEMPTS_MAX && is_moved(&error) => {
                attempt += 1;
                // The very device that this connection may enrol.
                state = begun_here(profile, &asked.email)?;
            }
            admitted => break (authorization, keys, admitted?),
        }
    };
    connection.close().await;
    signed_in(profile, lock, asked, (&keys, tokens, &authorization))
}

fn is_moved(error: &account::Error) -> bool {
    matches!(error.code(), Some(ErrorCode::IdentityOld | ErrorCode::TicketInvalid))
}

/// Whether the profile's device can't go on, also where the server lets it in: it was rolled back, or a revoke of it was read that the
/// server has lost since, so that other devices revoke it again.
fn is_over(profile: &Profile, device: DeviceId) -> Result<bool, Error> {
    if !profile.replica().exists() {
        return Ok(false);
    }
    Store::open_or_create(&profile.replica())?.transact(Access::Read, |tables| {
        let is_revoked = tables.revoked_before()?.iter().any(|(revoked, _)| *revoked == device);
        Ok(is_revoked || tables.is_rolled_back()?)
    })
}

/// Enrols the device, whose keys are stored, and makes the replica its own.
pub(super) async fn enrol(
    profile: &Profile,
    lock: Lock,
    (asked, connection): (&LogIn, &Connection),
    keys: &KeyFile,
    authorization: &Authorization,
) -> Result<SignedIn, Error> {
    let tokens = admit(profile, (asked, connection), keys, authorization).await?;
    signed_in(profile, lock, asked, (keys, tokens, authorization))
}

/// What it is to be called.
fn wanted(asked: &LogIn, keys: &KeyFile, authorization: &Authorization) -> (String, Name) {
    match authorization.roster().standing(keys.device.id) {
        Standing::Enrolled(_) => (asked.device.clone(), Name::Kept),
        Standing::Unknown | Standing::Revoked(_) => (free_name(asked, authorization), Name::Given),
    }
}

/// Enrols it.
async fn admit(
    profile: &Profile,
    (asked, connection): (&LogIn, &Connection),
    keys: &KeyFile,
    authorization: &Authorization,
) -> Result<Tokens, Error> {
    if asked.instead_of.is_some() {
        // It leaves in its own name, and knows every key that is in use.
        let store = Store::open_or_create(&profile.replica())?;
        store.transact(Access::WriteSignedOut, |tables| tables.set_rotation_due(true).map_err(Error::from))?;
    }
    let (wanted, _) = wanted(asked, keys, authorization);
    let enrolment = Enrolment { name: &wanted, instead_of: asked.instead_of };
    authorization.enrol(connection, keys, enrolment).await.map_err(|error| with_devices(error, authorization))
}

/// Makes the profile the enrolled device's.
fn signed_in(
    profile: &Profile,
    lock: Lock,
    asked: &LogIn,
    (keys, tokens, authorization): (&KeyFile, Tokens, &Authorization),
) -> Result<SignedIn, Error> {
    let (wanted, name) = wanted(asked, keys, authorization);
    let kept = adopt(profile, keys, &tokens)?;
    let device = authorization.device_name(keys.device.id).filter(|_| name == Name::Kept).unwrap_or(wanted);
    let card = Card { server: asked.address.clone(), pin: asked.pin.clone(), email: normal(&asked.email), user: keys.secrets.user, device };
    profile.write_card(&card)?;
    let pending = profile.pending()?.filter(|pending| pending.user == card.user);
    let recovery = pending.map(|pending| RecoveryText(Zeroizing::new(pending.recovery_code.clone())));
    Ok(SignedIn { device: keys.device.id, card, name, kept, recovery, profile: profile.clone(), _lock: lock })
}

/// The name that was asked for, with a number after it where another enrolled device has it.
fn free_name(asked: &LogIn, authorization: &Authorization) -> String {
    let enrolled = authorization.roster().devices().filter(|(id, device)| device.revoked.is_none() && Some(*id) != asked.instead_of);
    let taken: BTreeSet<String> = enrolled.filter_map(|(id, _)| authorization.device_name(id)).collect();
    unlike(&taken, &asked.device)
}

fn unlike(taken: &BTreeSet<String>, name: &str) -> String {
    let numbered = (2..).map(|number: u32| format!("{name} {number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or_else(|| name.to_owned())
}

/// Stores the tokens in a replica that is this device's.
fn adopt(profile: &Profile, keys: &KeyFile, tokens: &Tokens) -> Result<EditCounts, Error> {
    let store = Store::open_or_create(&profile.replica())?;
    store.transact(Access::WriteSignedOut, |tables| {
        Replica::enrolled_anew(tables, &me(keys))?;
        tables.sign_in(tokens)?;
        tables.raise_keys_version(keys.keyring.version)?;
        Ok::<_, Error>(tables.edit_counts()?)
    })
}

/// At the bound of devices, says which ones there are.
fn with_devices(error: account::Error, authorization: &Authorization) -> Error {
    if error.code() != Some(ErrorCode::DevicesFull) {
        return error.into();
    }
    let enrolled = authorization.roster().devices().filter(|(_, device)| device.revoked.is_none());
    Error::DevicesFull { devices: enrolled.map(|(id, _)| (id, authorization.device_name(id))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_whose_revoke_was_lost_gets_new_keys_and_others_keep_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::at(folder.path().join("profile"));
        let _lock = profile.lock().unwrap();
        let (own, other) = (DeviceId([1; 16]), DeviceId([2; 16]));
        assert!(!is_over(&profile, own).unwrap(), "there is no replica yet");
        let store = Store::open_or_create(&profile.replica()).unwrap();
        let revoked =
            |device| store.transact(Access::WriteSignedOut, |tables| tables.put_revoked_before(device, None).map_err(Error::from));
        revoked(other).unwrap();
        assert!(!is_over(&profile, own).unwrap());
        revoked(own).unwrap();
        assert!(is_over(&profile, own).unwrap());
    }

    #[test]
    fn a_name_that_another_device_has_is_numbered() {
        let taken = ["phone", "laptop", "laptop 2"].map(str::to_owned).into();
        assert_eq!(["tv", "phone", "laptop"].map(|name| unlike(&taken, name)), ["tv", "phone 2", "laptop 3"]);
    }
}
