//! The configuration file's shape: TOML, every key named in its errors.
//!
//! Never: reading a file (that is [`config`](crate::config)'s), or a default that isn't described in `deploy/node.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloudsync_accounts::Registration;
use cloudsync_actors::SystemClock;
use cloudsync_protocol::limits::QUOTA_BYTES_DEFAULT;
use serde::Deserialize;

use crate::config::{
    CONNECTIONS_MAX_DEFAULT, CertificateSource, Config, DRAIN_TIMEOUT_DEFAULT, DRAIN_TIMEOUT_MAX, FreePorts, Listen, Log, LogFormat, Loss,
    Patience, StoreSource,
};
use crate::config_throttles::ThrottlesTable;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration {path}: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    /// Not TOML, a key that there isn't, or a value of another type; the message shows the line.
    #[error("the configuration is not right: {0}")]
    Parse(toml::de::Error),
    /// A value that is not allowed.
    #[error("configuration key `{key}`: `{value}` is not allowed; {allowed}")]
    Value { key: &'static str, value: String, allowed: &'static str },
    /// A key that must be there.
    #[error("configuration key `{key}` is missing; {allowed}")]
    Missing { key: &'static str, allowed: &'static str },
}

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    data: Option<PathBuf>,
    #[serde(default)]
    nodes: Vec<String>,
    #[serde(default)]
    listen: ListenTable,
    certificate: Option<CertificateTable>,
    #[serde(default)]
    accounts: AccountsTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    throttles: ThrottlesTable,
    #[serde(default)]
    log: LogTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenTable {
    quic: Option<String>,
    https: Option<String>,
    ws: Option<String>,
    admin: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateTable {
    chain: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsTable {
    registration: Option<String>,
    issuer: Option<String>,
    audience: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    connections_max: Option<i64>,
    drain_timeout_s: Option<i64>,
    quota_bytes: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {
    filter: Option<String>,
    format: Option<String>,
}

const ADDRESS: &str = "an IP address and a port, such as 0.0.0.0:443 or [::]:443";
const LOOPBACK: &str = "WebSocket without TLS listens on a loopback address only, such as 127.0.0.1:8080; use `listen.https` for others";

fn address(key: &'static str, text: Option<String>) -> Result<Option<SocketAddr>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ConfigError::Value { key, value: text, allowed: ADDRESS })
}

fn within(key: &'static str, value: Option<i64>, default: u64, range: (u64, u64), allowed: &'static str) -> Result<u64, ConfigError> {
    let Some(value) = value else { return Ok(default) };
    let checked = u64::try_from(value).ok().filter(|value| (range.0..=range.1).contains(value));
    checked.ok_or(ConfigError::Value { key, value: value.to_string(), allowed })
}

impl ListenTable {
    fn into_listen(self) -> Result<Listen, ConfigError> {
        let listen = Listen {
            quic: address("listen.quic", self.quic)?,
            https: address("listen.https", self.https)?,
            ws: address("listen.ws", self.ws)?,
            admin: address("listen.admin", self.admin)?,
        };
        if let Some(ws) = listen.ws.filter(|ws| !ws.ip().is_loopback()) {
            return Err(ConfigError::Value { key: "listen.ws", value: ws.to_string(), allowed: LOOPBACK });
        }
        if listen.quic.is_none() && listen.https.is_none() && listen.ws.is_none() {
            return Err(ConfigError::Missing { key: "listen", allowed: "at least one of `listen.quic`, `listen.https` and `listen.ws`" });
        }
        Ok(listen)
    }
}

impl AccountsTable {
    fn into_options(self) -> Result<cloudsync_accounts::Options, ConfigError> {
        let default = cloudsync_accounts::Options::default();
        let registration = match self.registration.as_deref() {
            None => default.registration,
            Some("open") => Registration::Open,
            Some("closed") => Registration::Closed,
            Some(other) => {
                return Err(ConfigError::Value {
                    key: "accounts.registration",
                    value: other.to_owned(),
                    allowed: "`open` (anyone may register) or `closed` (nobody, the default)",
                });
            }
        };
        Ok(cloudsync_accounts::Options {
            registration,
            issuer: self.issuer.unwrap_or(default.issuer),
            audience: self.audience.unwrap_or(default.audience),
            access_token_lifetime: default.access_token_lifetime,
        })
    }
}

impl LogTable {
    fn into_log(self) -> Result<Log, ConfigError> {
        let format = match self.format.as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => {
                return Err(ConfigError::Value { key: "log.format", value: other.to_owned(), allowed: "`text` (the default) or `json`" });
            }
        };
        Ok(Log { filter: self.filter, format })
    }
}

impl File {
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(ConfigError::Parse)
    }

    /// Paths that are relative are so to `folder`, the file's own.
    pub(crate) fn into_config(self, folder: &Path) -> Result<Config, ConfigError> {
        let data = self.data.ok_or(ConfigError::Missing { key: "data", allowed: "the folder for secrets and the store" })?;
        let connections_max = within(
            "limits.connections_max",
            self.limits.connections_max,
            CONNECTIONS_MAX_DEFAULT as u64,
            (1, 1_000_000),
            "a number from 1 to 1000000",
        )?;
        let drain_timeout_s = within(
            "limits.drain_timeout_s",
            self.limits.drain_timeout_s,
            DRAIN_TIMEOUT_DEFAULT.as_secs(),
            (0, DRAIN_TIMEOUT_MAX.as_secs()),
            "seconds from 0 to 300",
        )?;
        let quota_bytes = within(
            "limits.quota_bytes",
            self.limits.quota_bytes,
            QUOTA_BYTES_DEFAULT,
            (0, i64::MAX.cast_unsigned()),
            "bytes, such as 10000000; 0 takes deletes only",
        )?;
        Ok(Config {
            data: folder.join(data),
            listen: self.listen.into_listen()?,
            free_ports: FreePorts::Any,
            certificate: self.certificate.map_or(CertificateSource::SelfMade, |pem| CertificateSource::Pem {
                chain: folder.join(pem.chain),
                key: folder.join(pem.key),
            }),
            store: StoreSource::Embedded,
            loss: Loss::Refuse,
            accounts: self.accounts.into_options()?,
            clock: Arc::new(SystemClock),
            region: cloudsync_actors::Options { quota_bytes, ..Default::default() },
            connections_max: usize::try_from(connections_max).unwrap_or(CONNECTIONS_MAX_DEFAULT),
            nodes: self.nodes,
            drain_timeout: Duration::from_secs(drain_timeout_s),
            patience: Patience::default(),
            throttles: self.throttles.into_options()?,
            log: self.log.into_log()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        File::parse(text).and_then(|file| file.into_config(Path::new("/etc/cloudsync"))).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_file_is_right_and_names_the_defaults() {
        let config = parse(include_str!("../../deploy/node.toml")).unwrap();
        assert_eq!(config.connections_max, CONNECTIONS_MAX_DEFAULT);
        assert_eq!(config.drain_timeout, DRAIN_TIMEOUT_DEFAULT);
        assert_eq!(config.region.quota_bytes, QUOTA_BYTES_DEFAULT);
        assert_eq!(config.accounts, cloudsync_accounts::Options::default());
        assert_eq!(config.throttles, crate::throttle::Options::default());
        assert!(config.listen.quic.is_some() && config.listen.ws.is_none());
    }

    #[test]
    fn every_commented_key_of_the_example_file_is_right_too() {
        let example = include_str!("../../deploy/node.toml");
        let all: Vec<&str> = example.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect();
        // They name the defaults as well.
        assert_eq!(parse(&all.join("\n")).unwrap().throttles, crate::throttle::Options::default());
    }

    #[test]
    fn what_is_no_toml_is_shown_once() {
        let error = anyhow::Error::from(File::parse("data = ").unwrap_err());
        assert_eq!(format!("{error:#}").matches("TOML parse error").count(), 1, "{error:#}");
    }

    #[test]
    fn an_unknown_key_is_named_with_what_is_allowed() {
        let error = parse("data = \"d\"\n[listen]\nqick = \"0.0.0.0:1\"").unwrap_err();
        assert!(error.contains("qick") && error.contains("`quic`") && error.contains("`admin`"), "{error}");
    }

    #[test]
    fn a_bad_value_is_named_with_its_key() {
        for (text, key) in [
            ("data = \"d\"\n[listen]\nquic = \"localhost\"", "listen.quic"),
            ("data = \"d\"\n[listen]\nws = \"0.0.0.0:80\"", "listen.ws"),
            ("data = \"d\"\n[listen]\nhttps = \"[::]:443\"\n[accounts]\nregistration = \"yes\"", "accounts.registration"),
            ("data = \"d\"\n[listen]\nhttps = \"[::]:443\"\n[limits]\nconnections_max = 0", "limits.connections_max"),
            ("data = \"d\"\n[listen]\nhttps = \"[::]:443\"\n[limits]\ndrain_timeout_s = -1", "limits.drain_timeout_s"),
            ("data = \"d\"\n[listen]\nhttps = \"[::]:443\"\n[limits]\nquota_bytes = -1", "limits.quota_bytes"),
            ("data = \"d\"\n[listen]\nhttps = \"[::]:443\"\n[throttles]\nlog_ins = { account = [0, 9] }", "throttles.log_ins.account"),
            ("data = \"d\"\n[listen]\nhttps = \"[::]:443\"\n[throttles]\nbytes = { node = [9, 90000] }", "throttles.bytes.node"),
            ("data = \"d\"\n[listen]\nhttps = \"[::]:443\"\n[throttles]\nloopback = \"no\"", "throttles.loopback"),
            ("data = \"d\"\n[listen]\nhttps = \"[::]:443\"\n[log]\nformat = \"xml\"", "log.format"),
            ("[listen]\nhttps = \"[::]:443\"", "data"),
            ("data = \"d\"", "listen"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }

    #[test]
    fn the_quota_is_the_one_of_the_file() {
        let config = parse("data = \"d\"\n[listen]\nhttps = \"[::]:443\"\n[limits]\nquota_bytes = 123").unwrap();
        assert_eq!(config.region.quota_bytes, 123);
    }

    #[test]
    fn relative_paths_start_at_the_files_folder() {
        let config = parse("data = \"d\"\n[listen]\nhttps = \"[::]:443\"\n[certificate]\nchain = \"c.pem\"\nkey = \"/k.pem\"").unwrap();
        assert_eq!(config.data, Path::new("/etc/cloudsync/d"));
        assert_eq!(config.certificate, CertificateSource::Pem { chain: "/etc/cloudsync/c.pem".into(), key: "/k.pem".into() });
    }
}
