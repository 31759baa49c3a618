//! The keys that an open profile works with: as new as any process of it has stored.
//!
//! Never: something sealed, opened or judged by older keys than the tables know the profile to have.

use std::sync::{Arc, PoisonError, RwLock};

use super::Error;
use crate::keys::KeyFile;
use crate::profile::Profile;
use crate::replica::SqliteTables;

/// A handle on the newest keys.
#[derive(Debug)]
pub(super) struct HeldKeys {
    profile: Profile,
    held: RwLock<Arc<KeyFile>>,
}

impl HeldKeys {
    pub(super) fn new(profile: Profile, keys: KeyFile) -> Self {
        Self { profile, held: RwLock::new(Arc::new(keys)) }
    }

    /// As this process knows them.
    pub(super) fn get(&self) -> Arc<KeyFile> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// As the transaction knows them: where another process has installed newer ones, they are read first.
    pub(super) fn fresh(&self, tables: &SqliteTables<'_>) -> Result<Arc<KeyFile>, Error> {
        let held = self.get();
        if tables.keys_version()? <= held.keyring.version {
            return Ok(held);
        }
        let (_, read) = self.profile.signed_in()?;
        // The profile may be another device by now, which the replica's owner says.
        if read.device.id == held.device.id {
            self.replace(read);
        }
        Ok(self.get())
    }

    /// Goes on with those, unless newer ones are held.
    pub(super) fn replace(&self, keys: KeyFile) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if keys.keyring.version >= held.keyring.version {
            *held = Arc::new(keys);
        }
    }
}
