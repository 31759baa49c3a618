//! Where a server is and how to talk to it: `quic://host:port`, `wss://host[:port]`, `ws://` on loopback.
//!
//! Never: a plain `ws://` to another machine; the access token would travel in the clear.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// QUIC.
    Quic,
    /// WebSocket over TLS.
    Wss,
    /// WebSocket in the clear, on loopback only.
    Ws,
}

impl Scheme {
    const ALL: [Self; 3] = [Self::Quic, Self::Wss, Self::Ws];

    /// As it stands in an address.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Wss => "wss",
            Self::Ws => "ws",
        }
    }
    const fn default_port(self) -> Option<u16> {
        match self {
            Self::Quic => None,
            Self::Wss => Some(443),
            Self::Ws => Some(80),
        }
    }
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How bytes travel.
    pub scheme: Scheme,
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is not a server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Something else before `://`, or nothing.
    #[error("{text:?} is not a server address: use quic://host:port, wss://host[:port], or ws://127.0.0.1:port")]
    Scheme { text: String },
    /// No host, or one that can't be.
    #[error("{text:?} names no host")]
    Host { text: String },
    /// QUIC has no port of its own.
    #[error("{text:?} names no port: use quic://host:port")]
    NoPort { text: String },
    /// Not a number from 1 to 65535.
    #[error("{text:?} has no valid port")]
    Port { text: String },
    /// More than host and port.
    #[error("{text:?} has a path: an address is scheme, host and port only")]
    Path { text: String },
    /// In the clear, to another machine.
    #[error("ws:// is not encrypted and works on loopback only; use wss:// or quic:// for {host}")]
    PlainRemote { host: String },
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let owned = || text.to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| AddressError::Scheme { text: owned() })?;
        let scheme = Scheme::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(scheme));
        let scheme = scheme.ok_or_else(|| AddressError::Scheme { text: owned() })?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(AddressError::Path { text: owned() });
        }
        let (host, port) = split_port(rest).ok_or_else(|| AddressError::Host { text: owned() })?;
        let named = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
        if !named {
            return Err(AddressError::Host { text: owned() });
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| AddressError::Port { text: owned() })?,
            None => scheme.default_port().ok_or_else(|| AddressError::NoPort { text: owned() })?,
        };
        let address = Self { scheme, host: host.to_owned(), port };
        match scheme {
            Scheme::Ws if !address.is_loopback() => Err(AddressError::PlainRemote { host: address.host }),
            Scheme::Ws | Scheme::Wss | Scheme::Quic => Ok(address),
        }
    }
}

impl Address {
    /// Whether it can only be this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Host and port as a URL and a Host header have them.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

/// Host without brackets, and the port's text if there is one.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print_as_the_same() {
        for text in ["quic://127.0.0.1:4433", "wss://sync.example.com:443", "ws://127.0.0.1:8080", "quic://[::1]:4433", "ws://localhost:80"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("wss://sync.example.com/".parse::<Address>().unwrap().port, 443);
    }

    #[test]
    fn plain_websocket_to_another_machine_is_refused() {
        for host in ["example.com", "192.168.1.4", "127.0.0.1.example.com"] {
            let refused = format!("ws://{host}:80").parse::<Address>().unwrap_err();
            assert_eq!(refused, AddressError::PlainRemote { host: host.to_owned() });
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        let error = |text: &str| text.parse::<Address>().unwrap_err();
        assert!(matches!(error("https://example.com"), AddressError::Scheme { .. }));
        assert!(matches!(error("example.com:4433"), AddressError::Scheme { .. }));
        assert!(matches!(error("quic://example.com"), AddressError::NoPort { .. }));
        assert!(matches!(error("quic://example.com:0"), AddressError::Port { .. }));
        assert!(matches!(error("quic://example.com:99999"), AddressError::Port { .. }));
        assert!(matches!(error("wss://:443"), AddressError::Host { .. }));
        assert!(matches!(error("wss://host/v1/sync"), AddressError::Path { .. }));
        assert!(matches!(error("wss://user@host"), AddressError::Path { .. }));
    }
}
