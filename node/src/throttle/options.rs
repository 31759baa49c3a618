//! What is throttled, whose bucket it comes out of, and how large those are unless the configuration says otherwise.
//!
//! Never: a default that `deploy/node.toml` does not name.

use std::time::Duration;

use super::bucket::Rate;

/// What there may be too much of in a short time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Connections,
    LogIns,
    Registrations,
    Pushes,
    Bytes,
}

impl What {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::LogIns => "log_ins",
            Self::Registrations => "registrations",
            Self::Pushes => "pushes",
            Self::Bytes => "bytes",
        }
    }

    /// For a person.
    pub(crate) const fn told(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::LogIns => "log-ins",
            Self::Registrations => "registrations",
            Self::Pushes => "pushes",
            Self::Bytes => "bytes",
        }
    }
}

/// Whose bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Account,
    Address,
    Node,
}

impl Whose {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Address => "address",
            Self::Node => "node",
        }
    }
}

/// The buckets of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Of one user; before a log-in, of one e-mail address.
    pub account: Rate,
    /// Of an IPv4 address, or of 64 bits of an IPv6 one: what one line is given.
    pub address: Rate,
    /// Of everybody together.
    pub node: Rate,
}

/// Whether peers of this machine are throttled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loopback {
    /// Like others.
    Throttled,
    /// Not at all: a developer's node.
    Spared,
}

/// Everything that bounds how much may come in a short time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// This machine's own peers.
    pub loopback: Loopback,
    /// Connections; of an account, those that say hello.
    pub connections: Rates,
    /// Attempts to log in.
    pub log_ins: Rates,
    /// Attempts to register. No account is there yet.
    pub registrations: Rates,
    /// Pushes and changes of the roster.
    pub pushes: Rates,
    /// Bytes of frames that a session sends and of the answers to them, a frame as 256 B at least.
    pub bytes: Rates,
    /// Handshakes of TLS and QUIC under way; further connections are refused.
    pub handshakes_max: usize,
    /// Of QUIC with an address that is not proven: beyond, a client has to prove that it receives there (RFC 9000, 8.1.2), which
    /// costs it a round trip and a forger everything.
    pub unproven_handshakes_max: usize,
}

const MIB: u64 = 1024 * 1024;

impl Default for Options {
    fn default() -> Self {
        let rates = |account, address, node| Rates { account, address, node };
        Self {
            loopback: Loopback::Throttled,
            connections: rates(Rate::new(120, 60), Rate::new(600, 120), Rate::new(5_000, 10)),
            log_ins: rates(Rate::new(10, 600), Rate::new(60, 600), Rate::new(3_000, 60)),
            registrations: rates(Rate::new(10, 3_600), Rate::new(10, 3_600), Rate::new(600, 60)),
            pushes: rates(Rate::new(600, 10), Rate::new(6_000, 10), Rate::new(60_000, 6)),
            bytes: rates(Rate::new(64 * MIB, 16), Rate::new(256 * MIB, 16), Rate::new(1024 * MIB, 4)),
            handshakes_max: 1_024,
            unproven_handshakes_max: 64,
        }
    }
}

/// Reading waits so long at most; what would have to wait longer is refused.
pub(crate) const READ_WAIT_MAX: Duration = Duration::from_secs(1);
/// What a frame counts at least: a small one costs as much to take as that.
pub(crate) const FRAME_BYTES_MIN: u64 = 256;
