//! Binding sockets and taking connections from them.
//!
//! Never: an accept loop that spins or ends because the machine is short of something.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use crate::metrics::ACCEPT_ERRORS;
use crate::shared::Shared;

/// Connections that wait to be taken.
const BACKLOG: i32 = 1024;
/// What the kernel keeps of one TCP connection's unread bytes; beyond, writing to it waits.
const TCP_SEND_BUFFER_BYTES: usize = 256 * 1024;
/// When the kernel forgets a peer that acknowledges nothing, or lets nothing in: a node gives up and says so before, after
/// `Patience::write_stall_max` and `close_timeout`.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(35);
/// What the kernel keeps of all QUIC connections' datagrams, as far as it allows.
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// The wait after a failure to accept, doubled each time up to the second.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Why a listener can't listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, not of this machine, or a port that needs privileges.
    #[error("cannot listen for {what} on {address}: {error}; choose another address or end what uses it (`ss -lntup` shows it)")]
    Address { what: &'static str, address: SocketAddr, error: io::Error },
    /// WebSocket without TLS is not for the network.
    #[error("cannot listen for ws on {address}: without TLS only loopback addresses are allowed, such as 127.0.0.1:8080; use https")]
    NotLoopback { address: SocketAddr },
}

/// A listener that binds again right after its process was killed, and whose connections buffer little.
pub(crate) fn tcp(what: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    let bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // What is accepted inherits these.
        socket.set_send_buffer_size(TCP_SEND_BUFFER_BYTES)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bind().map_err(|error| BindError::Address { what, address, error })
}

/// A socket for QUIC. UDP ports are free at once when their process ends.
pub(crate) fn udp(what: &'static str, address: SocketAddr) -> Result<UdpSocket, BindError> {
    let bind = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // The kernel grants what it may (`net.core.rmem_max`): less costs speed, not correctness.
        let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    bind().map_err(|error| BindError::Address { what, address, error })
}

/// Takes connections until the node leaves.
pub(crate) async fn accept<F>(shared: Arc<Shared>, listener: TcpListener, take: F)
where
    F: Fn(&Arc<Shared>, TcpStream, SocketAddr) + Send + 'static,
{
    let mut backoff = BACKOFF_MIN;
    loop {
        let accepted = tokio::select! {
            () = shared.leaving.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff = BACKOFF_MIN;
                take(&shared, stream, peer);
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                metrics::counter!(ACCEPT_ERRORS).increment(1);
                warn!(%error, ?backoff, "cannot accept connections, trying again");
                // Nothing tells when descriptors or memory are to be had again.
                tokio::select! {
                    () = shared.leaving.cancelled() => return,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// The connection went away before it was taken; the next one may be fine.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_named_with_what_it_was_for() {
        let first = tcp("https", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let taken = first.local_addr().unwrap();
        let error = tcp("https", taken).unwrap_err().to_string();
        assert!(error.contains("https") && error.contains(&taken.to_string()), "{error}");
    }
}
