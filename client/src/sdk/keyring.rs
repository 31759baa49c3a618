//! Following the account's keys: a rotation or another password that was read of, or that something in the log needs.
//!
//! Never: a keyring believed that no verified row names, or one that is older than what this profile has seen.

use std::sync::Arc;

use bytes::Bytes;
use cloudsync_engine::roster::{Roster, Standing};
use cloudsync_protocol::{ErrorCode, Hash};

use super::client::Client;
use super::probe::Step;
use super::{Error, Online};
use crate::account;
use crate::keys::keyring::OpenError;
use crate::keys::{KeyFile, KeyringPin, check_held, open_as_member};
use crate::replica::Access;

/// How often keyring and roster are asked for again because keys changed in between.
const MOVED_ATTEMPTS_MAX: usize = 3;

impl Online {
    /// Where what was read names a newer keyring than this profile has: fetches it.
    pub(super) async fn follow_keys(&self) -> Result<(), Error> {
        let (row, keys) = (*self.client.roster().await?.keyring(), self.client.keys());
        if row.hash.is_some() && row.version > keys.keyring.version { self.ensure_keys(row.epoch).await } else { Ok(()) }
    }

    /// Has the account key of that epoch, which the log says that there is.
    pub(super) async fn ensure_keys(&self, epoch: u64) -> Result<(), Error> {
        let mut attempts = 0;
        loop {
            let (served, roster) = (self.session.keyring().await?, self.roster_ahead().await?);
            if roster.keyring().version == served.version {
                self.client.install(&roster, &served.keyring).await?;
                let held = self.client.keys().secrets.account.current().epoch.0;
                return if held >= epoch { Ok(()) } else { Err(untrusted("the log goes on under an account key that it does not hold")) };
            }
            attempts += 1;
            if attempts == MOVED_ATTEMPTS_MAX {
                return Err(untrusted("the roster names another one"));
            }
        }
    }

    /// The roster as of now, verified on top of what was read. Nothing of it is stored: the log brings it.
    async fn roster_ahead(&self) -> Result<Roster, Error> {
        let mut roster = self.client.roster().await?;
        loop {
            let after = roster.last();
            let page = self.session.roster_after(after).await?;
            for row in &page.roster {
                roster.apply(row).map_err(account::Error::from)?;
            }
            if !page.more {
                return Ok(roster);
            }
            if roster.last() == after {
                return Err(account::Error::RosterPages { after }.into());
            }
        }
    }
}

impl Client {
    /// Takes over the keyring that a roster of verified rows names.
    pub(super) async fn install(&self, roster: &Roster, blob: &Bytes) -> Result<(), Error> {
        let held = self.keys();
        let Some(keys) = newer(&held, roster, blob)? else { return Ok(()) };
        self.store_keys(keys).await
    }

    /// Stores newer keys: the file first. Whoever opens the profile in between lets the tables know.
    pub(super) async fn store_keys(&self, keys: KeyFile) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let stored = tokio::task::spawn_blocking(move || {
            let there = shared.profile.install_keys(&keys)?;
            shared.probe.at(Step::KeysWritten);
            let version = there.keyring.version;
            shared.store.transact(Access::Write, |tables| tables.raise_keys_version(version).map_err(Error::from))?;
            shared.keys.replace(there);
            Ok(())
        });
        stored.await.unwrap_or(Err(Error::Task))
    }
}

fn untrusted(why: &'static str) -> Error {
    account::Error::KeyringUntrusted(why).into()
}

/// The keys that a device goes on with under that keyring; nothing where it has them.
fn newer(held: &KeyFile, roster: &Roster, blob: &[u8]) -> Result<Option<KeyFile>, Error> {
    let (row, seen) = (roster.keyring(), held.keyring);
    if row.version < seen.version {
        return Err(account::Error::KeyringRewound { version: row.version, seen: seen.version }.into());
    }
    if roster.identity_of(held.secrets.identity.epoch).is_none_or(|known| known.signing != held.secrets.identity.signing.public()) {
        return Err(account::Error::OtherIdentity { place: "roster" }.into());
    }
    // Before the first row that names one there is the first, which came with the log-in.
    let Some(hash) = row.hash else { return Ok(None) };
    if hash != Hash::of(&[blob]) {
        return Err(untrusted("it is not the one that the roster names"));
    }
    match roster.standing(held.device.id) {
        Standing::Enrolled(_) => {}
        Standing::Revoked(_) | Standing::Unknown => {
            let message = "this device was revoked".to_owned();
            return Err(Error::NotAdmitted { code: ErrorCode::DeviceRevoked, message });
        }
    }
    let pin = KeyringPin { version: row.version, hash };
    if row.version == seen.version {
        return if seen.hash == hash { Ok(None) } else { Err(untrusted("this profile has seen another one of that number")) };
    }
    if row.epoch == held.secrets.account.current().epoch.0 {
        check_held(blob, &held.secrets).map_err(account::Error::from)?;
        return Ok(Some(KeyFile { keyring: pin, ..held.clone() }));
    }
    let secrets = match open_as_member(blob, roster, (held.secrets.user, &held.device)) {
        Err(OpenError::NoHalf) => return Err(Error::KeysMissing { epoch: row.epoch }),
        opened => opened.map_err(account::Error::from)?,
    };
    let known = held.secrets.account.earlier().chain([held.secrets.account.current()]);
    if known.into_iter().any(|key| secrets.account.get(key.epoch) != Some(key)) {
        return Err(untrusted("it holds other account keys than this profile has"));
    }
    Ok(Some(KeyFile { secrets, device: held.device.clone(), keyring: pin }))
}
