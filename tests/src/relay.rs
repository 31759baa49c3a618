//! [`Relay`]: a line in front of a node, TCP or UDP, that gets slow or carries nothing any more, without a word to either end.
//!
//! Never: a reset, or a close that neither end asked for.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::node::{TestNode, Wire};

/// What is read at once.
const CHUNK_BYTES: usize = 4096;
const DATAGRAM_BYTES_MAX: usize = 65_535;

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Connections below that number are carried no more.
    carried_from: u64,
    bytes_per_second: Option<u64>,
}

/// A running relay; it ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    line: watch::Sender<Line>,
    connections: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

/// One connection's view of the line.
#[derive(Debug, Clone)]
struct Place {
    number: u64,
    line: watch::Receiver<Line>,
}

impl Place {
    /// Waits until so much may be carried.
    async fn carried(&mut self, bytes: usize) {
        let number = self.number;
        let Ok(line) = self.line.wait_for(|line| number >= line.carried_from).await.map(|line| *line) else { return };
        if let Some(pace) = line.bytes_per_second {
            tokio::time::sleep(Duration::from_micros(bytes as u64 * 1_000_000 / pace)).await;
        }
    }
}

impl Relay {
    /// In front of a node's wire.
    pub async fn before(node: &TestNode, wire: Wire) -> anyhow::Result<Self> {
        let server = node.address(wire)?;
        let (line, seen) = watch::channel(Line { carried_from: 0, bytes_per_second: None });
        let (connections, mut serving) = (Arc::<AtomicU64>::default(), JoinSet::new());
        let place = Place { number: 0, line: seen };
        let count = Arc::clone(&connections);
        let address = match wire {
            Wire::Quic => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                let address = socket.local_addr()?;
                serving.spawn(carry_datagrams(Arc::new(socket), server, place, count));
                address
            }
            Wire::Wss | Wire::Ws => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                let address = listener.local_addr()?;
                serving.spawn(carry_streams(listener, server, place, count));
                address
            }
        };
        Ok(Self { address, line, connections, _serving: serving })
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    /// Carries nothing any more, of whatever connection.
    pub fn silence(&self) {
        self.line.send_modify(|line| line.carried_from = u64::MAX);
    }

    /// Carries nothing any more of the connections that there are; new ones it does.
    pub fn forget(&self) {
        self.line.send_modify(|line| line.carried_from = self.connections());
    }

    /// Carries all again.
    pub fn carry(&self) {
        self.line.send_modify(|line| line.carried_from = 0);
    }

    /// Carries so much in each direction of a connection.
    pub fn slow(&self, bytes_per_second: u64) {
        self.line.send_modify(|line| line.bytes_per_second = Some(bytes_per_second));
    }
}

async fn carry_streams(listener: TcpListener, server: SocketAddr, place: Place, count: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let place = Place { number: count.fetch_add(1, Ordering::AcqRel), ..place.clone() };
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::join!(copy(from_client, to_server, place.clone()), copy(from_server, to_client, place));
        });
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut place: Place) {
    let mut bytes = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        place.carried(read).await;
        if to.write_all(bytes.get(..read).unwrap_or_default()).await.is_err() {
            break;
        }
    }
    place.carried(0).await;
    // The peer that it would be said to may have gone.
    drop(to.shutdown().await);
}

async fn carry_datagrams(socket: Arc<UdpSocket>, server: SocketAddr, place: Place, count: Arc<AtomicU64>) {
    let (mut clients, mut answering) = (HashMap::<SocketAddr, (Arc<UdpSocket>, Place)>::new(), JoinSet::new());
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    while let Ok((bytes, client)) = socket.recv_from(&mut datagram).await {
        if let std::collections::hash_map::Entry::Vacant(new) = clients.entry(client) {
            let Ok(near) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else { return };
            if near.connect(server).await.is_err() {
                return;
            }
            let (near, place) = (Arc::new(near), Place { number: count.fetch_add(1, Ordering::AcqRel), ..place.clone() });
            answering.spawn(answer(Arc::clone(&near), Arc::clone(&socket), client, place.clone()));
            new.insert((near, place));
        }
        let Some((near, place)) = clients.get_mut(&client) else { continue };
        if pass(place, bytes).await {
            // A node that is gone takes nothing.
            drop(near.send(datagram.get(..bytes).unwrap_or_default()).await);
        }
    }
}

async fn answer(near: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr, mut place: Place) {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    while let Ok(bytes) = near.recv(&mut datagram).await {
        if pass(&mut place, bytes).await {
            drop(socket.send_to(datagram.get(..bytes).unwrap_or_default(), client).await);
        }
    }
}

/// Whether a datagram gets through: what is not carried is lost.
async fn pass(place: &mut Place, bytes: usize) -> bool {
    let is_carried = place.number >= place.line.borrow().carried_from;
    if is_carried {
        place.carried(bytes).await;
    }
    is_carried
}
