//! A client's replica of one log: committed records, the device's own edits on their way, and what came of them.
//!
//! Every method of [`Replica`] is one transaction on [`Tables`]: the caller begins it, calls one method, commits when it
//! returned `Ok` and rolls back when it returned `Err`. Several processes may share the tables; each operation is right
//! whatever another did in between.
//!
//! Never: IO, keys, or a look into a value. Sealing, opening and signing come in through [`Sealer`] and [`Opener`].

mod adopt;
mod answer;
mod apply;
mod attach;
mod claim;
mod committed;
mod conflict;
mod edit;
mod enrol;
mod lost;
mod memory;
mod outbox;
mod policy;
mod quota;
mod record;
mod revoked;
mod rewind;
mod rewrap;
mod seal;
mod settle;
mod snapshot;
mod tables;
mod verify;
mod view;

use cloudsync_protocol::statement::PublicKey;
use cloudsync_protocol::{DeviceId, LogId};

pub use answer::{AnswerError, Next};
pub use apply::{Applied, ApplyError, Outcome, Stretch, changes};
pub use attach::{AttachError, AttachRefusal, Start};
pub use claim::{ClaimError, ClaimOutcome};
pub use conflict::{Conflict, LostConflict};
pub use edit::{Edit, EditError, EditId, EditState, Fate, NewEdit, Onto, Reason};
pub use lost::{Deleted, Lineage, Lost, LostId, LostState, Question};
pub use memory::MemoryTables;
pub use outbox::{BatchState, Made, OutboxBatch, OutgoingError};
pub use policy::{Policy, RESERVED_COLLECTION, is_reserved, policy_key};
pub use record::{Change, Content, Record};
pub use rewind::{Rewind, Rewound, Told};
pub use seal::{Draft, OpenError, Opener, SealError, Sealer, Wrapped};
pub use snapshot::{SnapshotError, SnapshotOutcome};
pub use tables::{EditCounts, LastBatch, Marks, Owner, SnapshotProgress, Tables, TablesError, Usage};
pub use verify::{Untrusted, Why};
pub use view::{Listing, Pending, Shown, Status};

/// Whose replica it is, and by which keys it judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Me {
    /// The log.
    pub log: LogId,
    /// This device.
    pub device: DeviceId,
    /// Ed25519: this device's own public key; a batch is checked by it before it is sent.
    pub signing: PublicKey,
    /// Ed25519: an identity of the account, known from a keyring that was verified.
    pub identity: PublicKey,
    /// Its number: a roster that has come to it must have that key there.
    pub identity_epoch: u64,
}

/// Why tables can't be used by this device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenReplicaError {
    /// They hold another account's data.
    #[error("the replica belongs to account {held}, not to {mine}")]
    OtherLog { held: LogId, mine: LogId },
    /// They are of another device of the account: [`Replica::enrolled_anew`] takes them over.
    #[error("the replica belongs to device {held}, not to {mine}")]
    OtherDevice { held: DeviceId, mine: DeviceId },
    /// They can't be read or written.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

/// One open transaction on a device's replica.
#[derive(Debug)]
pub struct Replica<'a, T: Tables> {
    tables: &'a mut T,
    me: &'a Me,
}

impl<'a, T: Tables> Replica<'a, T> {
    /// Begins one operation: checks whose tables these are, and makes fresh ones this device's.
    pub fn open(tables: &'a mut T, me: &'a Me) -> Result<Self, OpenReplicaError> {
        let mut marks = tables.marks()?;
        match marks.owner {
            None => {
                marks.owner = Some(Owner { log: me.log, device: me.device });
                tables.set_marks(&marks)?;
            }
            Some(owner) if owner.log != me.log => return Err(OpenReplicaError::OtherLog { held: owner.log, mine: me.log }),
            Some(owner) if owner.device != me.device => {
                return Err(OpenReplicaError::OtherDevice { held: owner.device, mine: me.device });
            }
            Some(_) => {}
        }
        Ok(Self { tables, me })
    }
}
