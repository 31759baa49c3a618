//! What scripts wait for: a file that appears, whole, once the node serves.
//!
//! Never: a file that is half written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::node::{Addresses, Node};

/// The file's content: URLs of what listens, `null` for what doesn't.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// The process.
    pub pid: u32,
    /// `quic://…`
    pub quic: Option<String>,
    /// `wss://…`
    pub wss: Option<String>,
    /// `ws://…`
    pub ws: Option<String>,
    /// `https://…`
    pub https: Option<String>,
    /// `http://…`
    pub admin: Option<String>,
    /// In hexadecimal.
    pub certificate_sha256: String,
}

/// An address as another process on this machine reaches it.
fn local(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

impl Ready {
    /// Of a running node in this process.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let Addresses { quic, https, ws, admin } = node.addresses();
        let url = |scheme: &str, address: Option<SocketAddr>| address.map(|address| format!("{scheme}://{}", local(address)));
        Self {
            pid: std::process::id(),
            quic: url("quic", quic),
            wss: url("wss", https),
            ws: url("ws", ws),
            https: url("https", https),
            admin: url("http", admin),
            certificate_sha256: node.certificate_sha256().to_string(),
        }
    }

    /// Writes it by rename: who sees the file sees all of it.
    ///
    /// # Errors
    /// The folder can't be written to.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.unfinished", self.pid));
        let unfinished = path.with_file_name(name);
        std::fs::write(&unfinished, serde_json::to_vec(self)?)?;
        std::fs::rename(&unfinished, path)
    }
}
