//! Which keyring and account key a roster has come to, and what a rotation does to it.
//!
//! Never: a device enrolled after a rotation that the rotation does not list.

use cloudsync_protocol::statement::{PublicKey, RotateStatement};
use cloudsync_protocol::{DeviceId, Hash, Seq};

use super::{Identity, Revocation, Roster};

/// The keyring in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyringAt {
    /// Counts keyrings, from 1.
    pub version: u64,
    /// The account key's epoch, from 1.
    pub epoch: u64,
    /// SHA-256 of the blob; nothing before the first row that names one.
    pub hash: Option<Hash>,
    /// Ed25519: the recovery code's, from the newest rotation; nothing before the first.
    pub recovery: Option<PublicKey>,
    /// The newest row that brought a keyring; 0 without one.
    pub seq: Seq,
    /// That row's hash; zero without one.
    pub row: Hash,
}

impl KeyringAt {
    /// What an account begins with, which no row names.
    pub const FIRST: Self = Self { version: 1, epoch: 1, hash: None, recovery: None, seq: Seq::ZERO, row: Hash([0; 32]) };
}

/// A rotation that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// What was signed.
    pub statement: RotateStatement,
    /// Its hash.
    pub hash: Hash,
    /// Devices that are enrolled and named by none of its lists. Whoever appends it revokes them; the log's owner takes none.
    pub dropped: Vec<DeviceId>,
}

impl Roster {
    pub(super) fn append_rotation(&mut self, seq: Seq, rotation: &Rotation) {
        let Rotation { statement, hash, .. } = rotation;
        let RotateStatement { identity_epoch, signing, sharing, by, version, epoch, keyring, recovery, .. } = *statement;
        self.identities.push(Identity { identity_epoch, signing, sharing, seq, hash: *hash });
        for (device, enrolled) in &mut self.devices {
            let stays = statement.members.binary_search_by_key(device, |member| member.device).is_ok();
            if enrolled.revoked.is_none() && !stays {
                let listed = statement.revoked.binary_search_by_key(device, |leaver| leaver.device).ok();
                let last = listed.and_then(|at| statement.revoked.get(at)).map(|leaver| leaver.last);
                enrolled.revoked = Some(Revocation { seq, last, by });
            }
        }
        self.keyring = KeyringAt { version, epoch, hash: Some(keyring), recovery: Some(recovery), seq, row: *hash };
        self.epochs.push((seq, epoch));
    }

    /// Whether an identity or a device of this roster ever had that key.
    pub(super) fn had(&self, key: &PublicKey) -> bool {
        self.identities.iter().any(|identity| identity.signing == *key || identity.sharing == *key)
            || self.devices.values().any(|device| device.signing == *key || device.agreement == *key)
    }
}
