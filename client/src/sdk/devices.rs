//! The account's devices, as the log's roster says.
//!
//! Never: a device's name from the server; it is opened here.

use cloudsync_engine::replica::Tables as _;
use cloudsync_engine::roster::Roster;
use cloudsync_protocol::{DeviceId, ErrorCode, Seq};

use super::Error;
use super::client::Client;
use crate::keys::open_name;
use crate::replica::{Access, StoreError};

/// One device of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its id.
    pub id: DeviceId,
    /// Its name; its id when the name does not open.
    pub name: String,
    /// Where it was enrolled.
    pub enrolled: Seq,
    /// Where it was revoked, if it was.
    pub revoked: Option<Seq>,
    /// Whether it is this profile's.
    pub own: bool,
}

/// Why a device is not revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// No device has that name or id.
    #[error("no device is called {0:?}")]
    Unknown(String),
    /// Several have.
    #[error("several devices are called {name:?}: {ids}")]
    Ambiguous { name: String, ids: String },
    /// It is this one.
    #[error("{0:?} is this device")]
    Own(String),
    /// Keys or devices changed meanwhile, for good: nothing of it was done.
    #[error("{}", undone(*.code, .still))]
    NotDone {
        /// Why.
        code: ErrorCode,
        /// Who was to leave and is still enrolled, by name.
        still: Vec<String>,
    },
    /// Something else.
    #[error(transparent)]
    Client(#[from] Error),
}

fn undone(code: ErrorCode, still: &[String]) -> String {
    let why = if code == ErrorCode::RosterMoved { "a device came or went meanwhile" } else { "other keys were set meanwhile" };
    let still = if still.is_empty() { String::new() } else { format!("; still enrolled: {}", still.join(", ")) };
    format!("{why}: nothing was rotated{still}")
}

impl Client {
    pub(super) async fn roster(&self) -> Result<Roster, Error> {
        let log = self.keys().log();
        self.tables(Access::Read, move |tables| {
            Roster::restore(log, &tables.roster()?)
                .map_err(|error| Error::Store(StoreError::Damaged { place: "the roster".into(), why: error.to_string() }))
        })
        .await
    }

    /// Every device that was ever enrolled, as far as the replica has read.
    pub async fn devices(&self) -> Result<Vec<DeviceInfo>, Error> {
        let roster = self.roster().await?;
        let keys = self.keys();
        let mut devices: Vec<DeviceInfo> = roster
            .devices()
            .map(|(id, device)| DeviceInfo {
                id,
                name: open_name(&keys.secrets.account, keys.log(), id, &device.name).unwrap_or_else(|| id.to_string()),
                enrolled: device.enrolled,
                revoked: device.revoked.map(|revocation| revocation.seq),
                own: id == keys.device.id,
            })
            .collect();
        devices.sort_by_key(|device| device.enrolled);
        Ok(devices)
    }
}

/// The one device that a name, an id or the beginning of an id means; enrolled ones first.
pub(super) fn find<'a>(devices: &'a [DeviceInfo], text: &str) -> Result<&'a DeviceInfo, RevokeError> {
    if let Some(device) = devices.iter().find(|device| device.id.to_string() == text) {
        return Ok(device);
    }
    let named = |device: &&DeviceInfo| device.name == text || (text.len() >= 6 && device.id.to_string().starts_with(text));
    let mut found: Vec<&DeviceInfo> = devices.iter().filter(named).filter(|device| device.revoked.is_none()).collect();
    if found.is_empty() {
        found = devices.iter().filter(named).collect();
    }
    match found.as_slice() {
        [] => Err(RevokeError::Unknown(text.to_owned())),
        [device] => Ok(device),
        several => {
            let ids: Vec<String> = several.iter().map(|device| device.id.to_string()).collect();
            Err(RevokeError::Ambiguous { name: text.to_owned(), ids: ids.join(", ") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: u8, name: &str, revoked: Option<u64>) -> DeviceInfo {
        DeviceInfo { id: DeviceId([id; 16]), name: name.into(), enrolled: Seq(u64::from(id)), revoked: revoked.map(Seq), own: false }
    }

    #[test]
    fn a_device_is_found_by_name_or_id_and_two_of_a_name_are_told_apart() {
        let devices = [
            device(1, "laptop", None),
            device(2, "phone", Some(9)),
            device(3, "phone", None),
            device(4, "tv", None),
            device(5, "tv", None),
        ];
        assert_eq!(find(&devices, "laptop").unwrap().id, DeviceId([1; 16]));
        assert_eq!(find(&devices, "phone").unwrap().id, DeviceId([3; 16]), "the one that is still enrolled");
        assert_eq!(find(&devices, "040404").unwrap().id, DeviceId([4; 16]));
        assert_eq!(find(&devices, &"05".repeat(16)).unwrap().id, DeviceId([5; 16]));
        assert!(matches!(find(&devices, "tv"), Err(RevokeError::Ambiguous { .. })));
        assert!(matches!(find(&devices, "watch"), Err(RevokeError::Unknown(_))));
    }
}
