//! When this device makes wraps anew: at once after its own rotation, after others' once they had time to.
//!
//! Never: before the edits that wait, or a moment that all devices choose alike.

use std::sync::Arc;

use cloudsync_engine::replica::{Replica, Tables as _};
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::statement::{RosterChange, RotateStatement};
use cloudsync_protocol::{DeviceId, Hash, codec};

use super::client::{Client, me};
use super::{Error, time};
use crate::keys::KeyFile;
use crate::replica::{Access, SqliteTables};

/// How long the device that rotated has it to itself.
const OTHERS_AFTER_MS: u64 = 10 * 60 * 1000;
/// Over how long the others are spread after that.
const SPREAD_MS: u64 = 10 * 60 * 1000;

impl Client {
    /// Whether there is something to send: edits, an unanswered batch, or wraps that are due.
    pub(super) async fn is_to_send(&self) -> Result<bool, Error> {
        let shared = Arc::clone(&self.shared);
        self.tables(Access::Read, move |tables| {
            let keys = shared.keys.fresh(tables)?;
            is_to_send(tables, &keys)
        })
        .await
    }
}

/// The same in a transaction.
pub(super) fn is_to_send(tables: &mut SqliteTables<'_>, keys: &KeyFile) -> Result<bool, Error> {
    if !tables.edit_counts()?.is_idle() {
        return Ok(true);
    }
    let due = is_due(tables, keys)?;
    let me = me(keys);
    let replica = Replica::open(tables, &me)?;
    Ok(replica.is_open()? || (due && replica.is_to_rewrap()?))
}

/// Whether it is this device's turn to wrap anew what it holds.
pub(super) fn is_due(tables: &SqliteTables<'_>, keys: &KeyFile) -> Result<bool, Error> {
    let rows = tables.roster()?;
    let Some(row) = rows.iter().rfind(|row| matches!(row.change, RosterChange::Rotate(_))) else { return Ok(false) };
    let at_ms = begins_ms(row, keys.device.id);
    Ok(time::server_ms(tables.clock_offset_ms()?) >= at_ms)
}

/// From when on a device does, by the server's clock. The draw is made of device and row, so that every process of it draws the same.
fn begins_ms(row: &RosterRow, device: DeviceId) -> u64 {
    let signed = row.change.signed();
    if codec::decode::<RotateStatement>(&signed.statement).is_ok_and(|statement| statement.by == device) {
        return 0;
    }
    let draw = Hash::of(&[device.as_bytes(), signed.hash().as_bytes()]);
    let draw = draw.as_bytes().first_chunk().map_or(0, |draw| u64::from_be_bytes(*draw));
    row.server_ts.saturating_add(OTHERS_AFTER_MS).saturating_add(draw % SPREAD_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{AccountSecrets, DeviceKeys, KeyEpoch, KeyringPin, RecoveryCode};
    use crate::statement::{RotateFacts, rotate};
    use cloudsync_protocol::{Seq, UserId};

    #[test]
    fn who_rotated_begins_at_once_and_each_other_device_at_a_moment_of_its_own() {
        let (secrets, device) = (AccountSecrets::first(UserId([1; 16])), DeviceKeys::random());
        let facts = RotateFacts {
            keyring: KeyringPin::default(),
            epoch: KeyEpoch(2),
            recovery: RecoveryCode::random().signing().public(),
            members: Vec::new(),
            revoked: Vec::new(),
            client_ts: 0,
        };
        let change = rotate(&secrets.identity, secrets.log(), &device, facts).unwrap();
        let row = RosterRow { seq: Seq(3), server_ts: 1_000_000, change };
        assert_eq!(begins_ms(&row, device.id), 0);
        let others: Vec<u64> = (0..20).map(|number| begins_ms(&row, DeviceId([number; 16])) - 1_000_000).collect();
        assert!(others.iter().all(|after| (OTHERS_AFTER_MS..OTHERS_AFTER_MS + SPREAD_MS).contains(after)), "{others:?}");
        assert!(others.iter().any(|after| *after != others[0]));
    }
}
