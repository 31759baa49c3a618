//! A profile: the folder that makes a machine a device. Who is signed in where, the device's keys, the local replica.
//!
//! Never: a secret in another mode than 0600, a file half-written, or the environment read; the caller passes it in.

mod card;
mod error;
mod files;
mod folder;
mod lock;

use std::path::{Path, PathBuf};

pub use card::{Card, Pending};
pub use error::Error;
pub use files::write_atomically;
pub use folder::{LocateError, Places, locate};
pub use lock::Lock;

use crate::account::Rotation;
use crate::keys::KeyFile;

/// Who is signed in where.
pub const CARD: &str = "profile.json";
/// The device's keys and the account's secrets.
pub const KEYS: &str = "keys.json";
/// A registration that may or may not have reached the server.
pub const PENDING: &str = "pending.json";
/// A rotation whose end is not known, or whose recovery code was not shown.
pub const ROTATION: &str = "rotation.json";
/// The replica.
pub const REPLICA: &str = "replica.db";
/// Held by whoever renews the tokens.
pub(crate) const REFRESH_LOCK: &str = "refresh.lock";
/// Held by whoever writes the keys.
const KEYS_LOCK: &str = "keys.lock";
/// What SQLite keeps beside it.
const REPLICA_BESIDE: [&str; 4] = ["replica.db-wal", "replica.db-shm", "replica.writer", "replica.turnstile"];

/// A profile's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    folder: PathBuf,
}

/// How far a profile is.
#[derive(Debug)]
pub enum State {
    /// Nothing is there.
    Fresh,
    /// A device's keys only: a log-in that did not end.
    Unfinished(Box<KeyFile>),
    /// A registration whose end is not known.
    Pending(Box<Pending>, Box<KeyFile>),
    /// Somebody is signed in.
    SignedIn(Box<Card>, Box<KeyFile>),
}

impl Profile {
    /// The profile in that folder, which need not exist.
    #[must_use]
    pub const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The profiles beside it on which somebody is signed in, by name.
    #[must_use]
    pub fn others_signed_in(&self) -> Vec<String> {
        let beside = self.folder.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        let folders = beside.into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.join(CARD).is_file());
        let mut names: Vec<String> = folders.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        names.sort();
        names
    }

    /// Where its replica is.
    #[must_use]
    pub fn replica(&self) -> PathBuf {
        self.folder.join(REPLICA)
    }

    /// Makes the folder (0700) and holds it against another register, log-in or log-out.
    pub fn lock(&self) -> Result<Lock, Error> {
        files::make_folder(&self.folder).map_err(|error| self.unusable("make", "", &error))?;
        Lock::take(&self.folder)
    }

    /// What is there.
    pub fn state(&self) -> Result<State, Error> {
        let card = self.read(CARD)?.map(|bytes| Card::from_bytes(&bytes).map_err(|why| self.wrong(CARD, why))).transpose()?;
        let pending = self.pending()?;
        let keys = self.read(KEYS)?.map(|bytes| KeyFile::from_bytes(&bytes).map_err(|why| self.wrong(KEYS, why.into())));
        let keys = keys.transpose()?.map(Box::new);
        match (card, pending, keys) {
            (Some(card), _, Some(keys)) if card.user != keys.secrets.user => {
                Err(self.damaged(KEYS, format!("it is of account {}, {CARD} of {}", keys.secrets.user, card.user)))
            }
            (Some(card), _, Some(keys)) => Ok(State::SignedIn(Box::new(card), keys)),
            (Some(_), _, None) => Err(self.damaged(KEYS, "it is missing".to_owned())),
            (None, Some(pending), Some(keys)) if pending.user == keys.secrets.user => Ok(State::Pending(Box::new(pending), keys)),
            (None, _, Some(keys)) => Ok(State::Unfinished(keys)),
            // The keys are written before: without them, no request was sent.
            (None, Some(_) | None, None) => Ok(State::Fresh),
        }
    }

    /// The card and keys of whoever is signed in.
    pub fn signed_in(&self) -> Result<(Card, KeyFile), Error> {
        match self.state()? {
            State::SignedIn(card, keys) => Ok((*card, *keys)),
            State::Pending(pending, _) => Err(Error::Pending { folder: self.folder.clone(), email: pending.email.clone() }),
            State::Fresh | State::Unfinished(_) => Err(Error::NotSignedIn { folder: self.folder.clone() }),
        }
    }

    /// A registration that was begun and printed no code yet, if there is one.
    pub fn pending(&self) -> Result<Option<Pending>, Error> {
        self.read(PENDING)?.map(|bytes| Pending::from_bytes(&bytes).map_err(|why| self.wrong(PENDING, why))).transpose()
    }

    /// A rotation that was begun, and not decided or not shown, if there is one.
    pub fn rotation(&self) -> Result<Option<Rotation>, Error> {
        self.read(ROTATION)?.map(|bytes| Rotation::from_bytes(&bytes).map_err(|why| self.wrong(ROTATION, why.into()))).transpose()
    }

    /// Stores it, durably, before it is sent.
    pub fn write_rotation(&self, rotation: &Rotation) -> Result<(), Error> {
        self.write(ROTATION, &rotation.to_bytes())
    }

    /// Forgets it: it was shown, or can never be.
    pub fn remove_rotation(&self) -> Result<(), Error> {
        self.remove(ROTATION)?;
        files::sync_folder(&self.folder).map_err(|error| self.unusable("write", "", &error))
    }

    /// What is wrong with a rotation whose bytes are sound, and that is not of this profile as it is.
    #[must_use]
    pub fn foreign_rotation(&self) -> Error {
        self.damaged(ROTATION, "it is not of this profile as it is now: the profile was copied back".to_owned())
    }

    /// Stores keys, durably.
    pub fn write_keys(&self, keys: &KeyFile) -> Result<(), Error> {
        let _held = lock::wait(&self.folder.join(KEYS_LOCK));
        self.write(KEYS, &keys.to_bytes())
    }

    /// Stores newer keys of the same device, durably; keys of a keyring that is as new, which another process stored, stay. Gives those
    /// that are there then.
    pub fn install_keys(&self, newer: &KeyFile) -> Result<KeyFile, Error> {
        // Who keeps them to itself longer than that is stopped, and writes nothing older than what it began with.
        let _held = lock::wait(&self.folder.join(KEYS_LOCK));
        let there = self.read(KEYS)?.map(|bytes| KeyFile::from_bytes(&bytes).map_err(|why| self.wrong(KEYS, why.into()))).transpose()?;
        if let Some(there) = there.filter(|there| there.device.id == newer.device.id && there.keyring.version >= newer.keyring.version) {
            return Ok(there);
        }
        self.write(KEYS, &newer.to_bytes())?;
        Ok(newer.clone())
    }

    /// Stores what a registration needs to be finished later, durably: keys first.
    pub fn write_pending(&self, pending: &Pending, keys: &KeyFile) -> Result<(), Error> {
        self.write_keys(keys)?;
        self.write(PENDING, &pending.to_bytes())
    }

    /// Stores who is signed in, durably.
    pub fn write_card(&self, card: &Card) -> Result<(), Error> {
        self.write(CARD, &card.to_bytes())
    }

    /// Forgets the pending registration, its code was shown.
    pub fn remove_pending(&self) -> Result<(), Error> {
        self.remove(PENDING)
    }

    /// Forgets keys that were never used.
    pub fn remove_keys(&self) -> Result<(), Error> {
        self.remove(KEYS)
    }

    /// Removes keys, replica and whoever was signed in, and the folder where nothing else is in it.
    pub fn clear(&self, held: &Lock) -> Result<(), Error> {
        // The card before the keys: what an interrupted log-out leaves is a profile without anybody, not a damaged one.
        for name in [REPLICA].iter().chain(&REPLICA_BESIDE).chain(&[PENDING, ROTATION, CARD, KEYS]) {
            self.remove(name)?;
        }
        files::sync_folder(&self.folder).map_err(|error| self.unusable("write", "", &error))?;
        self.leave(held);
        Ok(())
    }

    /// Removes the folder of a profile on which nobody is signed in, and that holds nothing but locks.
    pub fn leave(&self, _held: &Lock) {
        if !matches!(self.state(), Ok(State::Fresh)) {
            return;
        }
        let only_locks = std::fs::read_dir(&self.folder).is_ok_and(|mut entries| {
            entries
                .all(|entry| entry.is_ok_and(|entry| [lock::LOCK, REFRESH_LOCK, KEYS_LOCK].iter().any(|name| entry.file_name() == *name)))
        });
        if only_locks {
            // What stays harms nobody.
            for name in [REFRESH_LOCK, KEYS_LOCK, lock::LOCK] {
                drop(self.remove(name));
            }
            drop(std::fs::remove_dir(&self.folder));
        }
    }

    fn read(&self, name: &str) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, Error> {
        files::read(&self.folder.join(name)).map_err(|error| self.unusable("read", name, &error))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        write_atomically(&self.folder, name, bytes).map_err(|error| self.unusable("write", name, &error))
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        files::remove(&self.folder.join(name)).map_err(|error| self.unusable("remove", name, &error))
    }

    /// Closes its files to others, should they have been copied with looser modes. Says which were open, by their names.
    /// What the file system can't do stays as it is. A folder without keys is no profile, and not touched.
    pub fn make_private(&self) -> Vec<&'static str> {
        if !self.folder.join(KEYS).is_file() {
            return Vec::new();
        }
        let names = [KEYS, CARD, PENDING, ROTATION, REPLICA].into_iter().chain(REPLICA_BESIDE);
        names.filter(|name| files::make_private(&self.folder.join(name)).is_ok_and(|since| since == files::Private::Now)).collect()
    }

    fn wrong(&self, name: &str, wrong: card::Wrong) -> Error {
        match wrong {
            card::Wrong::Newer { found, known } => Error::FormatUnknown { file: self.folder.join(name), found, known },
            card::Wrong::Damaged(why) => self.damaged(name, why),
        }
    }

    fn damaged(&self, name: &str, why: String) -> Error {
        Error::Damaged { file: self.folder.join(name), why }
    }

    fn unusable(&self, doing: &'static str, name: &str, error: &std::io::Error) -> Error {
        if matches!(error.kind(), std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists) {
            return Error::NotAFolder { folder: self.folder.clone() };
        }
        let path = if name.is_empty() { self.folder.clone() } else { self.folder.join(name) };
        Error::Unusable { doing, path, why: error.to_string() }
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
