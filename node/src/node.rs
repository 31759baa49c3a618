//! A node: started from a [`Config`], stopped by [`Node::shutdown`].
//!
//! Never: reading the command line, or a task that outlives it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloudsync_accounts::Accounts;
use cloudsync_actors::Region;
use cloudsync_protocol::statement::Carrier;
use cloudsync_protocol::{ErrorCode, Hash};
use cloudsync_storage::EmbeddedStore;
use cloudsync_storage::store::view_after;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::bound::Sockets;
use crate::certificate::{Certificate, CertificateError};
use crate::close::Ending;
use crate::config::{CertificateSource, Config, FreePorts};
use crate::data_folder::{self, DataFolderError, Opened};
use crate::joints::{AccountTokens, RegionRosters};
use crate::metrics::{Meters, MetricsError, recorder};
use crate::ports::Ports;
use crate::shared::Shared;
use crate::sockets::BindError;
use crate::throttle::{Handshakes, Throttles};
use crate::{http, listeners, quic_endpoint, tls};

/// How often metrics that are not asked for are folded up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// From the last word to each client to the end of its connection.
const CLOSING_TIMEOUT: Duration = Duration::from_millis(1500);
/// For the last QUIC packets.
const QUIC_IDLE_TIMEOUT: Duration = Duration::from_millis(500);
/// For the store's last checkpoint.
const STORE_TIMEOUT: Duration = Duration::from_millis(1500);

/// Why a node doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder can't be used.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// There is no certificate.
    #[error("certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate can't serve TLS.
    #[error("certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// An address can't be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The QUIC endpoint can't start.
    #[error("cannot serve QUIC: {0}")]
    Quic(std::io::Error),
    /// Metrics can't be recorded.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The actors can't start.
    #[error(transparent)]
    Region(#[from] cloudsync_actors::StartError),
    /// A step that blocks broke off.
    #[error("starting broke off: {0}")]
    Join(#[from] tokio::task::JoinError),
}

/// Why the certificate from before is served on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Its files are not what they should be.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Reading broke off.
    #[error("reading broke off: {0}")]
    Join(#[from] tokio::task::JoinError),
}

/// Where a node listens, with the ports that it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// QUIC, on UDP.
    pub quic: Option<SocketAddr>,
    /// HTTPS and wss.
    pub https: Option<SocketAddr>,
    /// WebSocket without TLS.
    pub ws: Option<SocketAddr>,
    /// Health and metrics.
    pub admin: Option<SocketAddr>,
}

impl Addresses {
    /// URLs for clients that can be nowhere else than here, as those of a node on loopback.
    fn on_this_machine(&self) -> Vec<String> {
        let named = [("quic", self.quic), ("wss", self.https), ("ws", self.ws)];
        let here = named.into_iter().filter_map(|(scheme, address)| Some((scheme, address.filter(|address| address.ip().is_loopback())?)));
        here.map(|(scheme, address)| format!("{scheme}://{address}")).collect()
    }
}

/// A running node. Dropping it ends everything at once; [`shutdown`](Self::shutdown) says goodbye first.
#[derive(Debug)]
pub struct Node {
    addresses: Addresses,
    backend: &'static str,
    certificate: Arc<tls::Shown>,
    certificate_from: (CertificateSource, PathBuf),
    shared: Arc<Shared>,
    region: Region,
    embedded: Option<Arc<EmbeddedStore>>,
    endpoint: Option<quinn::Endpoint>,
    drain_timeout: Duration,
}

impl Node {
    /// Opens the data folder and the store, then serves. When it returns, every listener takes connections.
    ///
    /// # Errors
    /// What is wrong, why, and what to do about it; nothing is left running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let metrics = recorder()?;
        cloudsync_actors::metrics::describe();
        cloudsync_storage::metrics::describe();
        let (Opened { store, embedded, secrets }, certificate) = open(&config).await?;
        let rosters = Arc::new(RegionRosters::default());
        let accounts = Accounts::new(Arc::clone(&secrets), &config.accounts, Arc::clone(&store), rosters.clone());
        let tokens = Arc::new(AccountTokens(accounts.clone()));
        // Before the region: an address that is taken ends the start with nothing running.
        let bound = bind(&config)?;
        let mut region = config.region;
        region.view = region.view.max(view_after(store.rewinds()));
        let region = Region::start(Arc::clone(&store), tokens, Arc::clone(&config.clock), region).await?;
        rosters.set(region.clone());
        let shared = Arc::new(Shared {
            accounts,
            region: region.clone(),
            clock: config.clock,
            nodes: if config.nodes.is_empty() { bound.addresses().on_this_machine() } else { config.nodes },
            patience: config.patience,
            meters_quic: Meters::new(Carrier::Quic),
            meters_websocket: Meters::new(Carrier::WebSocket),
            tasks: TaskTracker::new(),
            leaving: CancellationToken::new(),
            ended: CancellationToken::new(),
            throttles: Throttles::new(config.throttles),
            handshakes: Handshakes::new(&config.throttles),
            places: Arc::new(Semaphore::new(config.connections_max.min(Semaphore::MAX_PERMITS))),
        });
        let addresses = bound.addresses();
        let certificate = tls::Shown::new(certificate);
        let quic = tls::quic(&certificate)?;
        let endpoint = bound.quic.map(|socket| quic_endpoint::start(socket, quic, secrets.quic_reset_key()));
        let endpoint = endpoint.transpose().map_err(StartError::Quic)?;
        if let Some(endpoint) = &endpoint {
            shared.spawn(quic_endpoint::accept(Arc::clone(&shared), endpoint.clone()));
        }
        let public = http::public(Arc::clone(&shared));
        if let Some(listener) = bound.https {
            shared.spawn(listeners::https(Arc::clone(&shared), listener, tls::https(&certificate)?, public.clone()));
        }
        if let Some(listener) = bound.ws {
            shared.spawn(listeners::plain(Arc::clone(&shared), listener, public));
        }
        if let Some(listener) = bound.admin {
            let router = http::admin(http::Admin { shared: Arc::clone(&shared), store: Arc::clone(&store), metrics: metrics.clone() });
            shared.spawn(listeners::admin(Arc::clone(&shared), listener, router));
        }
        shared.spawn(keep_up(shared.leaving.clone(), metrics));
        Ok(Self {
            addresses,
            backend: store.backend(),
            certificate,
            certificate_from: (config.certificate, config.data),
            shared,
            region,
            embedded,
            endpoint,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What clients pin.
    #[must_use]
    pub fn certificate_sha256(&self) -> Hash {
        self.certificate.sha256()
    }

    /// Reads the certificate anew: new connections, over QUIC and TLS, are shown that one, open ones go on.
    ///
    /// # Errors
    /// What is wrong with its files; the one from before is served on.
    pub async fn reload_certificate(&self) -> Result<Hash, ReloadError> {
        let (source, data) = self.certificate_from.clone();
        let certificate = tokio::task::spawn_blocking(move || Certificate::read(&source, &data)).await??;
        let sha256 = certificate.sha256;
        self.certificate.replace(certificate);
        Ok(sha256)
    }

    /// Logs that it serves, where and what.
    pub fn log_serving(&self) {
        info!(addresses = ?self.addresses, backend = self.backend, certificate_sha256 = %self.certificate_sha256(), "serving");
    }

    /// Resolves if a part of the node died of a bug, so that it serves nobody any more: shut it down and start another.
    pub async fn failed(&self) {
        self.region.failed().await;
    }

    /// Takes nothing new, lets work in flight end, tells every client, and ends; within `drain_timeout` and 3.5 s.
    pub async fn shutdown(self) {
        self.shared.leaving.cancel();
        if let Some(endpoint) = &self.endpoint {
            // New connections are refused rather than left waiting; open ones go on.
            endpoint.set_server_config(None);
        }
        let drained = self.region.drain(self.drain_timeout).await;
        self.shared.tasks.close();
        let connections = self.shared.tasks.len();
        if tokio::time::timeout(CLOSING_TIMEOUT, self.shared.tasks.wait()).await.is_err() {
            warn!(connections = self.shared.tasks.len(), "connections are cut off");
        }
        self.shared.ended.cancel();
        self.shared.tasks.wait().await;
        if let Some(endpoint) = &self.endpoint {
            let leaving = Ending::Told(ErrorCode::GoingAway);
            endpoint.close(quinn::VarInt::from_u32(leaving.quic()), leaving.name().as_bytes());
            // A client that acknowledges nothing is left behind.
            let _ = tokio::time::timeout(QUIC_IDLE_TIMEOUT, endpoint.wait_idle()).await;
        }
        if let Some(store) = &self.embedded
            && tokio::time::timeout(STORE_TIMEOUT, store.close()).await.is_err()
        {
            warn!("the store did not close in time; what was acknowledged is durable, the next start checks it");
        }
        info!(sessions = drained.sessions, users_cut_off = drained.users_cut_off, connections, "ended");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.leaving.cancel();
        self.shared.ended.cancel();
    }
}

/// Folds up what metrics gather, until the node leaves.
async fn keep_up(leaving: CancellationToken, metrics: PrometheusHandle) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tokio::select! {
            () = leaving.cancelled() => return,
            _ = interval.tick() => metrics.run_upkeep(),
        }
    }
}

/// Binds every socket; the ports are kept where the next start is to take them again.
fn bind(config: &Config) -> Result<Sockets, BindError> {
    let before = match config.free_ports {
        FreePorts::Any => return Sockets::bind(&config.listen, Ports::default()),
        FreePorts::AsBefore => Ports::read(&config.data),
    };
    let bound = Sockets::bind(&config.listen, before)?;
    let ports = Ports::of(&bound.addresses());
    if ports != before {
        ports.write(&config.data);
    }
    Ok(bound)
}

/// What blocks: the data folder with its secrets and store, the certificate.
async fn open(config: &Config) -> Result<(Opened, Certificate), StartError> {
    let (data, source, certificate) = (config.data.clone(), config.store.clone(), config.certificate.clone());
    let loss = config.loss;
    let opened = tokio::task::spawn_blocking(move || {
        let opened = data_folder::open(&data, source, loss)?;
        let certificate = Certificate::open(&certificate, &data)?;
        Ok((opened, certificate))
    });
    opened.await?
}
