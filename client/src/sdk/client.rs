//! A signed-in profile, opened.
//!
//! Never: a transaction on the thread that serves the connection.

use std::sync::Arc;

use cloudsync_engine::replica::{Me, Replica};

use super::Error;
use super::held_keys::HeldKeys;
use super::keys::DeviceSeal;
use super::probe::Probe;
use crate::connection::Server;
use crate::keys::KeyFile;
use crate::profile::{Card, Profile};
use crate::replica::{Access, SqliteTables, Store};

/// Where to connect: as the profile remembers, or otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub server: Server,
}

/// A signed-in profile. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) profile: Profile,
    pub(super) card: Card,
    pub(super) keys: HeldKeys,
    pub(super) store: Store,
    pub(super) server: Server,
    pub(super) probe: Probe,
    /// Tells this opened profile from others, of this process and of others.
    pub(super) name: String,
}

/// Whose replica a key file's device has.
pub(super) fn me(keys: &KeyFile) -> Me {
    Me {
        log: keys.log(),
        device: keys.device.id,
        signing: keys.device.signing.public(),
        identity: keys.secrets.identity.signing.public(),
        identity_epoch: keys.secrets.identity.epoch,
    }
}

impl Client {
    /// Opens the profile of whoever is signed in. Reaches no server.
    pub fn open(profile: Profile, target: Target) -> Result<Self, Error> {
        Self::open_probed(profile, target, Probe::default())
    }

    /// The same, for a test that wants to be told of each step.
    pub fn open_probed(profile: Profile, target: Target, probe: Probe) -> Result<Self, Error> {
        let (card, keys) = profile.signed_in()?;
        let store = Store::open(&profile.replica())?;
        let (me, name, version) = (me(&keys), format!("{:032x}", rand::random::<u128>()), keys.keyring.version);
        // Whose tables they are is checked before anything is asked of them.
        let known = store.transact(Access::Read, |tables| {
            Replica::open(tables, &me)?;
            Ok::<_, Error>(tables.keys_version()?)
        })?;
        if known < version {
            // Whoever stored them was stopped before the tables knew.
            store.transact(Access::Write, |tables| tables.raise_keys_version(version).map_err(Error::from))?;
        }
        let keys = HeldKeys::new(profile.clone(), keys);
        Ok(Self { shared: Arc::new(Shared { profile, card, keys, store, server: target.server, probe, name }) })
    }

    /// Who is signed in where.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.shared.card
    }

    /// The device's keys and the account's, as this process knows them.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyFile> {
        self.shared.keys.get()
    }

    /// One transaction on the replica, on a thread that may wait.
    pub(super) async fn replica<T, E, F>(&self, access: Access, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        E: Into<Error>,
        F: FnOnce(&mut Replica<'_, SqliteTables<'_>>, DeviceSeal<'_>) -> Result<T, E> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            shared.store.transact(access, |tables| {
                let keys = shared.keys.fresh(tables)?;
                let me = me(&keys);
                work(&mut Replica::open(tables, &me)?, DeviceSeal(&keys)).map_err(Into::into)
            })
        });
        done.await.unwrap_or(Err(Error::Task))
    }

    /// One transaction on what lies beside it.
    pub(super) async fn tables<T, E, F>(&self, access: Access, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        E: Into<Error>,
        F: FnOnce(&mut SqliteTables<'_>) -> Result<T, E> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || shared.store.transact(access, |tables| work(tables).map_err(Into::into)));
        done.await.unwrap_or(Err(Error::Task))
    }
}
