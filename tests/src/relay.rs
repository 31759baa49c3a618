//! [`Relay`]: a line in front of a node, TCP or UDP, that gets slow or carries nothing any more, without a word to either end.
//!
//! Never: a reset, or a close that neither end asked for.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::node::{TestNode, Wire};

/// What is read at once.
const CHUNK_BYTES: usize = 4096;
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a client.
    Up,
    /// From the node.
    Down,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Connections below that number are carried no more.
    carried_from: u64,
    bytes_per_second: Option<u64>,
    /// What was carried of all connections, up and down.
    carried: [u64; 2],
    /// From so much on of either nothing is.
    carried_max: [u64; 2],
    /// What a connection of its own gets from the node.
    each_max: u64,
    /// Since when nothing is carried.
    silent_since: Option<Instant>,
    /// When something of the node's was carried last.
    heard_at: Option<Instant>,
}

const OPEN: Line = Line {
    carried_from: 0,
    bytes_per_second: None,
    carried: [0; 2],
    carried_max: [u64::MAX; 2],
    each_max: u64::MAX,
    silent_since: None,
    heard_at: None,
};

/// A running relay; it ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    line: Arc<watch::Sender<Line>>,
    connections: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

/// One connection's view of the line.
#[derive(Debug, Clone)]
struct Place {
    number: u64,
    line: Arc<watch::Sender<Line>>,
}

/// What one connection carried in one direction.
#[derive(Debug)]
struct Lane {
    place: Place,
    way: Way,
    carried: u64,
    /// It had all that one gets.
    is_over: bool,
}

impl Place {
    const fn lane(self, way: Way) -> Lane {
        Lane { place: self, way, carried: 0, is_over: false }
    }

    fn is_open(&self, line: &Line) -> bool {
        self.number >= line.carried_from
    }
}

impl Lane {
    /// Counts what is to be carried; says whether it is, and how fast. What would go past a limit makes the line silent.
    fn count(&mut self, bytes: usize) -> Option<Option<u64>> {
        let mut carried = None;
        let (place, of_this) = (self.way as usize, self.carried + bytes as u64);
        self.place.line.send_if_modified(|line| {
            self.is_over |= self.way == Way::Down && of_this > line.each_max;
            if self.is_over || !self.place.is_open(line) {
                return false;
            }
            let (Some(sum), Some(most)) = (line.carried.get_mut(place), line.carried_max.get(place)) else { return false };
            if *sum + bytes as u64 > *most {
                (line.carried_from, line.silent_since) = (u64::MAX, Some(Instant::now()));
                return true;
            }
            *sum += bytes as u64;
            if self.way == Way::Down {
                line.heard_at = Some(Instant::now());
            }
            carried = Some(line.bytes_per_second);
            false
        });
        self.carried += if carried.is_some() { bytes as u64 } else { 0 };
        carried
    }

    /// Waits until so much may be carried, and was.
    async fn carried(&mut self, bytes: usize) {
        let mut seen = self.place.line.subscribe();
        let pace = loop {
            match self.count(bytes) {
                Some(pace) => break pace,
                None if seen.changed().await.is_err() => return,
                None => {}
            }
        };
        slowly(bytes, pace).await;
    }
}

async fn slowly(bytes: usize, pace: Option<u64>) {
    if let Some(pace) = pace {
        tokio::time::sleep(Duration::from_micros(bytes as u64 * 1_000_000 / pace)).await;
    }
}

impl Relay {
    /// In front of a node's wire.
    pub async fn before(node: &TestNode, wire: Wire) -> anyhow::Result<Self> {
        let server = node.address(wire)?;
        let line = Arc::new(watch::Sender::new(OPEN));
        let (connections, mut serving) = (Arc::<AtomicU64>::default(), JoinSet::new());
        let place = Place { number: 0, line: Arc::clone(&line) };
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
        self.line.send_modify(|line| (line.carried_from, line.silent_since) = (u64::MAX, Some(Instant::now())));
    }

    /// What was carried that way so far.
    #[must_use]
    pub fn carried(&self, way: Way) -> u64 {
        self.line.borrow().carried.get(way as usize).copied().unwrap_or_default()
    }

    /// When something of the node's was carried last, on whatever connection.
    #[must_use]
    pub fn heard_at(&self) -> Option<Instant> {
        self.line.borrow().heard_at
    }

    /// Carries so much more that way, and then nothing any more, of whatever connection and either way.
    pub fn silence_after(&self, way: Way, bytes: u64) {
        self.line.send_modify(|line| {
            if let (Some(carried), Some(most)) = (line.carried.get(way as usize), line.carried_max.get_mut(way as usize)) {
                *most = carried + bytes;
            }
        });
    }

    /// Carries so much from the node of each connection, and then nothing more of that one down.
    pub fn silence_each_after(&self, bytes: u64) {
        self.line.send_modify(|line| line.each_max = bytes);
    }

    /// Waits until nothing is carried, and says since when.
    pub async fn silent(&self) -> Instant {
        let mut seen = self.line.subscribe();
        let silent = seen.wait_for(|line| line.silent_since.is_some()).await.ok().and_then(|line| line.silent_since);
        silent.unwrap_or_else(Instant::now)
    }

    /// Carries nothing any more of the connections that there are; new ones it does.
    pub fn forget(&self) {
        self.line.send_modify(|line| line.carried_from = self.connections());
    }

    /// Carries all again, at whatever pace.
    pub fn carry(&self) {
        self.line.send_modify(|line| *line = Line { carried: line.carried, ..OPEN });
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
            tokio::join!(copy(from_client, to_server, place.clone().lane(Way::Up)), copy(from_server, to_client, place.lane(Way::Down)));
        });
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut lane: Lane) {
    let mut bytes = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        lane.carried(read).await;
        if to.write_all(bytes.get(..read).unwrap_or_default()).await.is_err() {
            break;
        }
    }
    lane.carried(0).await;
    // The peer that it would be said to may have gone.
    drop(to.shutdown().await);
}

async fn carry_datagrams(socket: Arc<UdpSocket>, server: SocketAddr, place: Place, count: Arc<AtomicU64>) {
    let (mut clients, mut answering) = (HashMap::<SocketAddr, (Arc<UdpSocket>, Lane)>::new(), JoinSet::new());
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    while let Ok((bytes, client)) = socket.recv_from(&mut datagram).await {
        if let std::collections::hash_map::Entry::Vacant(new) = clients.entry(client) {
            let Ok(near) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else { return };
            if near.connect(server).await.is_err() {
                return;
            }
            let (near, place) = (Arc::new(near), Place { number: count.fetch_add(1, Ordering::AcqRel), ..place.clone() });
            answering.spawn(answer(Arc::clone(&near), Arc::clone(&socket), client, place.clone().lane(Way::Down)));
            new.insert((near, place.lane(Way::Up)));
        }
        let Some((near, lane)) = clients.get_mut(&client) else { continue };
        if pass(lane, bytes).await {
            // A node that is gone takes nothing.
            drop(near.send(datagram.get(..bytes).unwrap_or_default()).await);
        }
    }
}

async fn answer(near: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr, mut lane: Lane) {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    while let Ok(bytes) = near.recv(&mut datagram).await {
        if pass(&mut lane, bytes).await {
            drop(socket.send_to(datagram.get(..bytes).unwrap_or_default(), client).await);
        }
    }
}

/// Whether a datagram gets through: what is not carried is lost.
async fn pass(lane: &mut Lane, bytes: usize) -> bool {
    let Some(pace) = lane.count(bytes) else { return false };
    slowly(bytes, pace).await;
    true
}
