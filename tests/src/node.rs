//! [`TestNode`]: a node in this process, on free loopback ports, with a data folder of its own.
//!
//! Never: a fixed port or a shared folder; any number of them run side by side.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use cloudsync_actors::{Clock, SystemClock};
use cloudsync_client::carrier::Address;
use cloudsync_client::carrier::trust::{Pin, Trust};
use cloudsync_client::connection::Server;
use cloudsync_node::config::StoreSource;
use cloudsync_node::{Config, Node};
use cloudsync_storage::{MemoryStore, Store};
use tempfile::TempDir;

use crate::process::metrics_at;

/// The data folder's name in a node's own folder.
const DATA: &str = "data";

/// How a client reaches a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// QUIC.
    Quic,
    /// WebSocket over TLS.
    Wss,
    /// WebSocket without TLS.
    Ws,
}

impl Wire {
    /// All of them: what a test of the session protocol runs over.
    pub const ALL: [Self; 3] = [Self::Quic, Self::Wss, Self::Ws];

    /// The URL's scheme.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Wss => "wss",
            Self::Ws => "ws",
        }
    }
}

/// The machine's clock, moved on by a test.
#[derive(Debug, Default)]
pub struct TestClock {
    ahead_ms: AtomicU64,
}

impl TestClock {
    /// Time passes at once.
    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + self.ahead_ms.load(Ordering::Acquire)
    }
}

/// A node in this process. Dropped without [`shutdown`](Self::shutdown) it ends at once, as if it had crashed politely.
#[derive(Debug)]
pub struct TestNode {
    node: Node,
    clock: Arc<TestClock>,
    folder: TempDir,
}

impl TestNode {
    /// On the embedded store, in a fresh folder.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(|_| {}).await
    }

    /// On a store in memory: quicker, for what has nothing to do with the store.
    pub async fn start_in_memory() -> anyhow::Result<Self> {
        Self::start_on(Arc::new(MemoryStore::new())).await
    }

    /// On a store of the caller's, such as the one in memory with faults.
    pub async fn start_on(store: Arc<dyn Store>) -> anyhow::Result<Self> {
        Self::start_with(|config| config.store = StoreSource::Given(store)).await
    }

    /// With a configuration that the caller changes.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        Self::start_in(TempDir::new()?, change).await
    }

    async fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        let clock = Arc::new(TestClock::default());
        let mut config = Config::dev(folder.path().join(DATA));
        config.clock = clock.clone();
        change(&mut config);
        let node = Box::pin(Node::start(config)).await.context("the node did not start")?;
        Ok(Self { node, clock, folder })
    }

    /// Its time.
    #[must_use]
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// The node itself.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Where it listens for a wire.
    pub fn address(&self, wire: Wire) -> anyhow::Result<SocketAddr> {
        let addresses = self.node.addresses();
        let address = match wire {
            Wire::Quic => addresses.quic,
            Wire::Wss => addresses.https,
            Wire::Ws => addresses.ws,
        };
        address.with_context(|| format!("this node does not serve {}", wire.scheme()))
    }

    /// `quic://…`, `wss://…` or `ws://…`, as the SDK and the command line take it.
    pub fn url(&self, wire: Wire) -> anyhow::Result<String> {
        Ok(format!("{}://{}", wire.scheme(), self.address(wire)?))
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }

    /// What clients trust: its self-made certificate.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin(self.node.certificate_sha256())
    }

    /// What the SDK connects to.
    pub fn server(&self, wire: Wire) -> anyhow::Result<Server> {
        let address: Address = self.url(wire)?.parse()?;
        Ok(Server { address, trust: Trust::Pinned(self.pin()) })
    }

    /// What it says at `/metrics`: counts of every node in this process.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        metrics_at(self.node.addresses().admin.context("no admin address")?).await
    }

    /// Says goodbye to every client and ends. The data folder is gone afterwards.
    pub async fn shutdown(self) {
        self.node.shutdown().await;
    }

    /// Ends, and starts again in the same folder, on other ports.
    pub async fn restart(self) -> anyhow::Result<Self> {
        self.node.shutdown().await;
        Self::start_in(self.folder, |_| {}).await
    }
}
