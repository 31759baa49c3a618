//! Logs, to stderr.
//!
//! Never: a secret, an e-mail address or a record in a line.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{Log, LogFormat};

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("log filter `{filter}`: {why}; allowed are levels (`info`) and `crate=level`, separated by commas")]
    Filter { filter: String, why: String },
    /// This process logs elsewhere already.
    #[error("logs are already set up: {0}")]
    SetUp(String),
}

/// How much a library of others may say, whatever the filter asks for: below this the WebSocket writes whole frames, tokens
/// and addresses among them, and no library promises what it writes there.
const LIBRARIES: LevelFilter = LevelFilter::INFO;
/// What the targets of our own crates begin with.
const OURS: &str = "cloudsync";

/// Sends this process's logs to stderr. A filter holds in full for our own crates; others say *info* and above at most.
///
/// # Errors
/// The filter is wrong, or logs go elsewhere already.
pub fn log_to_stderr(log: &Log) -> Result<(), LogError> {
    let text = log.filter.as_deref().unwrap_or("info");
    let filter = EnvFilter::try_new(text).map_err(|error| LogError::Filter { filter: text.to_owned(), why: error.to_string() })?;
    let capped = Targets::new().with_default(LIBRARIES).with_target(OURS, LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let set = tracing_subscriber::registry().with(filter).with(capped).with(lines).try_init();
    set.map_err(|error| LogError::SetUp(error.to_string()))
}
