//! A node's sockets, bound before anything is served.
//!
//! Never: some of them: one that can't be bound ends the start.

use std::net::SocketAddr;

use tracing::warn;

use crate::config::Listen;
use crate::node::Addresses;
use crate::ports::Ports;
use crate::sockets::{self, BindError};

/// Bound sockets, before anything is served.
pub(crate) struct Sockets {
    pub(crate) quic: Option<std::net::UdpSocket>,
    pub(crate) https: Option<tokio::net::TcpListener>,
    pub(crate) ws: Option<tokio::net::TcpListener>,
    pub(crate) admin: Option<tokio::net::TcpListener>,
}

impl Sockets {
    /// Binds them; where any free port would do, the one of before if it still is.
    pub(crate) fn bind(listen: &Listen, before: Ports) -> Result<Self, BindError> {
        if let Some(address) = listen.ws.filter(|address| !address.ip().is_loopback()) {
            return Err(BindError::NotLoopback { address });
        }
        let udp = |address| bind("quic", address, before.quic, sockets::udp);
        let tcp = |what, address: Option<SocketAddr>, before| address.map(|address| bind(what, address, before, sockets::tcp)).transpose();
        Ok(Self {
            quic: listen.quic.map(udp).transpose()?,
            https: tcp("https", listen.https, before.https)?,
            ws: tcp("ws", listen.ws, before.ws)?,
            admin: tcp("admin", listen.admin, before.admin)?,
        })
    }

    pub(crate) fn addresses(&self) -> Addresses {
        let tcp = |listener: &Option<tokio::net::TcpListener>| listener.as_ref().and_then(|listener| listener.local_addr().ok());
        Addresses {
            quic: self.quic.as_ref().and_then(|socket| socket.local_addr().ok()),
            https: tcp(&self.https),
            ws: tcp(&self.ws),
            admin: tcp(&self.admin),
        }
    }
}

fn bind<S>(
    what: &'static str,
    address: SocketAddr,
    before: Option<u16>,
    socket: impl Fn(&'static str, SocketAddr) -> Result<S, BindError>,
) -> Result<S, BindError> {
    let Some(port) = before.filter(|_| address.port() == 0) else { return socket(what, address) };
    socket(what, SocketAddr::new(address.ip(), port)).or_else(|_| {
        warn!("port {port} of the last start is in use: {what} takes another, and clients that remember it need --server once");
        socket(what, address)
    })
}
