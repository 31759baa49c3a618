//! What a node is started with, and the only reader of configuration files and of the environment.
//!
//! Never: a value that is guessed when it can't be read, or a key that is ignored: both are errors that name the key and
//! say what is allowed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloudsync_accounts::Registration;
use cloudsync_actors::{Clock, SystemClock};
use cloudsync_storage::Store;
pub use cloudsync_storage::embedded::Loss;

pub use crate::config_file::ConfigError;
use crate::config_file::File;
pub use crate::framing::Patience;
use crate::throttle;

/// The environment's name for the log filter.
pub const LOG_VARIABLE: &str = "CLOUDSYNC_LOG";
/// Connections that a node takes unless told otherwise.
pub const CONNECTIONS_MAX_DEFAULT: usize = 20_000;
/// How long a node waits for its clients before it ends, unless told otherwise. `SIGTERM` must end it within 10 s.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(6);
/// The longest that it may be told to wait.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// Where a node listens. Port 0 takes a free one; `None` doesn't listen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listen {
    /// QUIC, on UDP.
    pub quic: Option<SocketAddr>,
    /// HTTPS, and WebSocket over it.
    pub https: Option<SocketAddr>,
    /// WebSocket without TLS: loopback addresses only.
    pub ws: Option<SocketAddr>,
    /// Health and metrics, without TLS.
    pub admin: Option<SocketAddr>,
}

impl Listen {
    /// Free ports of the loopback address for everything.
    #[must_use]
    pub fn loopback() -> Self {
        let free = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Self { quic: free, https: free, ws: free, admin: free }
    }
}

/// Which port is taken where port 0 is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreePorts {
    /// Any that is free.
    Any,
    /// The one that the last start on this data folder took, as long as it is free.
    AsBefore,
}

/// Where the TLS certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// Made once, kept in the data folder; clients pin it.
    SelfMade,
    /// Two PEM files.
    Pem {
        /// The certificate, then its intermediates.
        chain: PathBuf,
        /// The private key: PKCS#8, PKCS#1 or SEC1.
        key: PathBuf,
    },
}

/// Where logs and accounts are kept.
#[derive(Debug, Clone)]
pub enum StoreSource {
    /// SQLite, in the data folder.
    Embedded,
    /// A store of the caller's: tests bring the faulty one in memory.
    Given(Arc<dyn Store>),
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    /// As `tracing-subscriber`'s filters: `info`, `cloudsync_node=debug,warn`, …; `None`: `info`. Libraries of others say
    /// *info* and above at most, whatever the filter asks for: below that some write tokens.
    pub filter: Option<String>,
    /// The lines' form.
    pub format: LogFormat,
}

/// Everything that a node is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder: secrets, a self-made certificate, the embedded store. Made if it isn't there.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: Listen,
    /// What port 0 means there.
    pub free_ports: FreePorts,
    /// The TLS certificate.
    pub certificate: CertificateSource,
    /// The store.
    pub store: StoreSource,
    /// What is done if the embedded store lacks acknowledged history.
    pub loss: Loss,
    /// Tokens and who may register.
    pub accounts: cloudsync_accounts::Options,
    /// The time: the machine's, unless a test brings its own.
    pub clock: Arc<dyn Clock>,
    /// Bounds and intervals of the actors.
    pub region: cloudsync_actors::Options,
    /// Connections that are open at a time, all carriers together; further ones are refused.
    pub connections_max: usize,
    /// Public URLs of the nodes, told in *welcome*. A client may try them when it connects again; ours does not read them yet.
    pub nodes: Vec<String>,
    /// How long shutting down waits for clients and actors.
    pub drain_timeout: Duration,
    /// How long a client may take over what it has to do; the wire's document names the default.
    pub patience: Patience,
    /// How much may come in a short time.
    pub throttles: throttle::Options,
    /// Logs.
    pub log: Log,
}

impl Config {
    /// A node for development and tests: everything on free loopback ports, a self-made certificate, anyone may register,
    /// nobody on this machine is throttled.
    #[must_use]
    pub fn dev(data: impl Into<PathBuf>) -> Self {
        let accounts = cloudsync_accounts::Options { registration: Registration::Open, ..Default::default() };
        Self {
            data: data.into(),
            listen: Listen::loopback(),
            free_ports: FreePorts::Any,
            certificate: CertificateSource::SelfMade,
            store: StoreSource::Embedded,
            loss: Loss::Refuse,
            accounts,
            clock: Arc::new(SystemClock),
            region: cloudsync_actors::Options::default(),
            connections_max: CONNECTIONS_MAX_DEFAULT,
            nodes: Vec::new(),
            drain_timeout: DRAIN_TIMEOUT_DEFAULT,
            patience: Patience::default(),
            throttles: throttle::Options { loopback: throttle::Loopback::Spared, ..Default::default() },
            log: Log::default(),
        }
    }

    /// Reads a configuration file; `deploy/node.toml` describes every key.
    ///
    /// # Errors
    /// The file can't be read, or a key or value of it is not allowed; the message says which and what is.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        let mut config = File::parse(&text)?.into_config(path.parent().unwrap_or(Path::new(".")))?;
        config.log.filter = config.log.filter.or_else(log_filter_of_environment);
        Ok(config)
    }
}

/// `CLOUDSYNC_LOG`, if it is set.
#[must_use]
pub fn log_filter_of_environment() -> Option<String> {
    std::env::var(LOG_VARIABLE).ok().filter(|filter| !filter.is_empty())
}
