//! A device leaves: signed again as long as the server names a later last push than the statement does.
//!
//! Never: a revoke that names a push on a guess of ours without being told; the server answers with the right one.

use cloudsync_protocol::frame::RosterChanged;
use cloudsync_protocol::{DeviceId, DeviceSeq};

use super::authorization::{REVOKE_ATTEMPTS_MAX, revoke_again};
use super::{Error, client_ts};
use crate::connection::Session;
use crate::keys::KeyFile;
use crate::statement::{self, RevokeFacts};

/// Revokes a device of the account, this one included. `last` is its last push as far as known; 0 when it is not.
pub async fn revoke(session: &Session, keys: &KeyFile, device: DeviceId, last: DeviceSeq) -> Result<RosterChanged, Error> {
    let mut last = last;
    for _ in 0..REVOKE_ATTEMPTS_MAX {
        let facts = RevokeFacts { device, last, by: keys.device.id, client_ts: client_ts() };
        let change = statement::revoke(&keys.secrets.identity, keys.log(), facts)?;
        match session.change_roster(change).await {
            Ok(changed) => return Ok(changed),
            Err(error) => last = revoke_again(error)?,
        }
    }
    Err(Error::RevokeOutrun { device, attempts: REVOKE_ATTEMPTS_MAX })
}
