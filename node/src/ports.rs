//! The ports that a node for development took, kept in its data folder: clients remember addresses, so that the next start
//! takes the same.
//!
//! Never: a start that fails because a remembered port is in use, or because the file is not as it was written.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use cloudsync_storage::durable_file;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::node::Addresses;

/// `{"quic":4400,"https":4401,"ws":null,"admin":4402}`
const FILE: &str = "ports.json";

/// The ports of a start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ports {
    pub(crate) quic: Option<u16>,
    pub(crate) https: Option<u16>,
    pub(crate) ws: Option<u16>,
    pub(crate) admin: Option<u16>,
}

impl Ports {
    pub(crate) fn of(addresses: &Addresses) -> Self {
        let port = |address: Option<SocketAddr>| address.map(|address| address.port());
        Self { quic: port(addresses.quic), https: port(addresses.https), ws: port(addresses.ws), admin: port(addresses.admin) }
    }

    /// Those of the last start; none where there was none.
    pub(crate) fn read(data: &Path) -> Self {
        let path = data.join(FILE);
        let read = std::fs::read(&path).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
        read.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                warn!(path = %path.display(), %error, "the ports of the last start can't be read: any free ones are taken");
            }
            Self::default()
        })
    }

    /// Keeps them for the next start.
    pub(crate) fn write(self, data: &Path) {
        let written = serde_json::to_vec(&self).map_err(io::Error::from).and_then(|bytes| durable_file::write(data, FILE, &bytes));
        if let Err(error) = written {
            warn!(%error, "the ports can't be kept: the next start may take others");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_no_such_file_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports { quic: Some(4400), admin: Some(4402), ..Ports::default() };
        ports.write(folder.path());
        assert_eq!(Ports::read(folder.path()), ports);
        std::fs::write(folder.path().join(FILE), "{\"quic\":").unwrap();
        assert_eq!(Ports::read(folder.path()), Ports::default());
    }
}
