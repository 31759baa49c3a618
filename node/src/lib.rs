//! The node: QUIC, WebSocket and HTTP in front of accounts and actors, with configuration, logs and metrics.
//!
//! Never: rules. What may be written is the engine's business, who someone is that of the accounts.

mod bound;
mod certificate;
mod close;
pub mod config;
mod config_file;
mod config_throttles;
mod data_folder;
pub mod descriptors;
mod framing;
mod handshake;
mod http;
mod joints;
mod listeners;
pub mod logs;
mod message_progress;
pub mod metrics;
mod node;
mod paced;
mod ports;
mod quic;
mod quic_endpoint;
mod ready_file;
mod serve_quic;
mod serve_websocket;
mod session;
mod shared;
mod sockets;
pub mod throttle;
mod tls;
mod websocket;
mod write_stall;

pub use certificate::{CertificateError, SELF_MADE_FILE};
pub use config::Config;
pub use data_folder::DataFolderError;
pub use node::{Addresses, Node, ReloadError, StartError};
pub use ready_file::Ready;
pub use sockets::BindError;
