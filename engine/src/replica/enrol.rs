//! A profile that becomes another device of the same account: after it was rolled back, or signed in again.
//!
//! Never: an edit lost on the way, or a number of the new device taken from the old one's.

use cloudsync_protocol::DeviceSeq;

use super::settle::Verdict;
use super::{BatchState, Me, OpenReplicaError, Owner, Replica, Tables};

impl<T: Tables> Replica<'_, T> {
    /// Makes the tables this device's: edits in unanswered batches of the old one are batched anew under the new one.
    ///
    /// The old device's batches are kept until a push of the new one is known committed: one of them may have been
    /// committed, and is then recognised. Does nothing when the tables are this device's already.
    pub fn enrolled_anew(tables: &mut T, me: &Me) -> Result<(), OpenReplicaError> {
        let mut marks = tables.marks()?;
        match marks.owner {
            Some(owner) if owner.log != me.log => return Err(OpenReplicaError::OtherLog { held: owner.log, mine: me.log }),
            Some(owner) if owner.device == me.device => return Ok(()),
            Some(_) | None => {}
        }
        marks.owner = Some(Owner { log: me.log, device: me.device });
        marks.highest_signed = DeviceSeq::default();
        marks.last_committed = None;
        tables.set_marks(&marks)?;
        for (device, device_seq, state) in tables.batches()? {
            if state == BatchState::Open
                && let Some(batch) = tables.batch(device, device_seq)?
            {
                Replica { tables, me }.close(&batch, |_| Verdict::Again)?;
            }
        }
        Ok(())
    }
}
