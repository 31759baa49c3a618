//! Clients that do a node harm, each in its own way, for as long as they are let: for tests, and for measuring what others notice.
//!
//! Never: an attacker that keeps to the rules; nor one that gives up because it was refused.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use cloudsync_client::connection::Server;
use cloudsync_protocol::frame::{Attach, GetKeyring, OWN_LOG, Ping};
use cloudsync_protocol::limits::FRAME_BYTES_MAX;
use cloudsync_protocol::{Cursor, Frame, codec};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::device::{Access, Stop, SyncDevice, key, value};
use crate::node::Wire;
use crate::person::Person;
use crate::process::NodeProcess;
use crate::raw::{RawClient, Received};

/// Connections of one attacker at a time.
const AT_A_TIME: usize = 64;
/// An attacker that was turned away comes again after so long: to hammer faster would cost the attacker's side of this machine most.
const AGAIN_AFTER: Duration = Duration::from_millis(5);
/// A session that leaves more pongs than 32 unread is ended.
const PINGS_UNREAD_MAX: u32 = 16;
/// A connection that is only held is given up after so long.
const HELD: Duration = Duration::from_secs(8);

/// A way to do harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Connects, and never says hello.
    SlowHello,
    /// Begins a connection of TCP, and sends nothing.
    HalfOpen,
    /// Opens a session, asks without end, reads nothing.
    Flood,
    /// Claims frames of 4 GiB, and sends such of more than 1 MiB.
    Oversize,
    /// Opens a session and sends the smallest frame that there is, as fast as it goes.
    TinyFrames,
}

/// What is attacked, and by whom where a session is needed for it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Over QUIC.
    pub quic: &'a Server,
    /// Over TLS.
    pub wss: &'a Server,
    /// An account like any other.
    pub attacker: &'a Person,
}

impl Target<'_> {
    fn tcp(&self) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(self.wss.address.host.parse()?, self.wss.address.port))
    }
}

impl Attack {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::SlowHello, Self::HalfOpen, Self::Flood, Self::Oversize, Self::TinyFrames];

    /// Goes on until it is dropped.
    pub async fn wage(self, target: Target<'_>) {
        loop {
            match self {
                Self::SlowHello => slow_hellos(target).await,
                Self::HalfOpen => half_open(target).await,
                Self::Flood | Self::TinyFrames => self.pour(target).await,
                Self::Oversize => oversize(target).await,
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// One session's worth of requests, or of pings; whoever is refused comes again.
    async fn pour(self, Target { quic, wss, attacker }: Target<'_>) {
        for server in [quic, wss] {
            let Ok((mut client, _)) = RawClient::welcomed(server, attacker).await else { continue };
            for number in 1..=u32::MAX {
                let frame: Frame =
                    if self == Self::Flood { GetKeyring { request: number }.into() } else { Ping { number: number.into() }.into() };
                let sent = tokio::time::timeout(HELD, client.send_bytes(codec::encode(&frame))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    break;
                }
                // Pongs are read, some at a time, so that the session goes on.
                if self == Self::TinyFrames && number % PINGS_UNREAD_MAX == 0 && !read(&mut client, PINGS_UNREAD_MAX).await {
                    break;
                }
            }
            client.vanish();
        }
    }
}

/// Whether so many frames came, and not the connection's end.
async fn read(client: &mut RawClient, frames: u32) -> bool {
    for _ in 0..frames {
        if !matches!(client.next().await, Ok(Received::Frame(_))) {
            return false;
        }
    }
    true
}

async fn slow_hellos(Target { quic, wss, .. }: Target<'_>) {
    let mut held = JoinSet::new();
    for number in 0..AT_A_TIME {
        let server = if number % 2 == 0 { quic.clone() } else { wss.clone() };
        held.spawn(async move {
            let Ok(mut client) = RawClient::connect_to(&server).await else { return };
            // The challenge, then the word that ends it.
            let _ = client.challenge().await;
            let _ = tokio::time::timeout(HELD, client.next()).await;
        });
    }
    while held.join_next().await.is_some() {}
}

async fn half_open(target: Target<'_>) {
    let Ok(address) = target.tcp() else { return };
    let mut held = Vec::new();
    for _ in 0..AT_A_TIME {
        held.extend(TcpStream::connect(address).await);
    }
    tokio::time::sleep(HELD).await;
}

async fn oversize(Target { quic, wss, .. }: Target<'_>) {
    if let Ok(mut client) = RawClient::connect_to(quic).await {
        let _ = client.send_unframed(&[0xff; 4096]).await;
        let _ = tokio::time::timeout(HELD, client.next()).await;
    }
    if let Ok(mut client) = RawClient::connect_to(wss).await {
        let _ = tokio::time::timeout(HELD, client.send_bytes(vec![0x91; FRAME_BYTES_MAX + 1])).await;
        let _ = tokio::time::timeout(HELD, client.next()).await;
    }
}

/// One user's devices, all of which attach and read nothing, and one more that writes to them.
#[derive(Debug)]
pub struct Lagging {
    writer: SyncDevice,
    server: Server,
    deaf: Vec<RawClient>,
}

impl Lagging {
    /// So many devices of one user, over QUIC and TLS in turn.
    pub async fn gather(node: &NodeProcess, devices: usize) -> anyhow::Result<Self> {
        let server = node.server(Wire::Quic)?;
        let first = Person::register_at(&server, "crowd@example.com").await?;
        let mut deaf = Vec::new();
        for number in 1..devices {
            let server = node.server(if number % 2 == 0 { Wire::Quic } else { Wire::Wss })?;
            let person = first.log_in_again_at(&server).await?;
            let (mut client, _) = RawClient::welcomed(&server, &person).await?;
            client.send(Attach { request: 1, log: OWN_LOG, cursor: Cursor::default() }).await?;
            let frame = client.frame().await?;
            ensure!(matches!(frame, Frame::Attached(_)), "not attached: {}", frame.name());
            deaf.push(client);
        }
        Ok(Self { writer: SyncDevice::new(first), server, deaf })
    }

    /// Writes what nobody reads, until it is dropped.
    pub async fn write(mut self) {
        if let Err(stop) = self.write_all().await {
            tracing::warn!(?stop, devices = self.deaf.len(), "the writer stopped");
        }
    }

    async fn write_all(&mut self) -> Result<(), Stop> {
        let mut online = self.writer.connect(&self.server, Access::Held).await?;
        self.writer.catch_up(&online).await?;
        self.writer.claim(&online).await?;
        for number in 0_u64.. {
            // The same few records again and again, so that the quota is never full; noise, so that nothing shrinks.
            let noise: String = (0..20_000).map(|_| char::from(rand::random_range(b'#'..=b'['))).collect();
            self.writer.edit(&key("timer_session", &(number % 8).to_string())?, &value(&noise, 0), 0)?;
            self.writer.push_all(&mut online, &|| {}).await?;
        }
        Ok(())
    }
}
