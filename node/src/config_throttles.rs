//! The configuration file's `throttles`: each bucket as `[so many, within so many seconds]`.
//!
//! Never: a bucket that holds nothing; what is to be closed is closed by its own key.

use serde::Deserialize;

use crate::config_file::ConfigError;
use crate::throttle::{Loopback, Options, Rate, Rates};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThrottlesTable {
    loopback: Option<String>,
    connections: Option<RatesTable>,
    log_ins: Option<RatesTable>,
    registrations: Option<RatesTable>,
    pushes: Option<RatesTable>,
    bytes: Option<RatesTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RatesTable {
    account: Option<[i64; 2]>,
    address: Option<[i64; 2]>,
    node: Option<[i64; 2]>,
}

const SECONDS_MAX: u64 = 24 * 60 * 60;
const ALLOWED: &str = "[so many, within so many seconds], such as [10, 600]; at least 1 of each, a day at most";

fn rate(key: &'static str, value: Option<[i64; 2]>, default: Rate) -> Result<Rate, ConfigError> {
    let Some([count, seconds]) = value else { return Ok(default) };
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    match (positive(count), positive(seconds).filter(|seconds| *seconds <= SECONDS_MAX)) {
        (Some(count), Some(seconds)) => Ok(Rate::new(count, seconds)),
        (None, _) | (_, None) => Err(ConfigError::Value { key, value: format!("[{count}, {seconds}]"), allowed: ALLOWED }),
    }
}

/// The keys of one thing's buckets.
macro_rules! rates {
    ($table:expr, $what:literal, $default:expr) => {{
        let (table, default): (RatesTable, Rates) = ($table.unwrap_or_default(), $default);
        Rates {
            account: rate(concat!("throttles.", $what, ".account"), table.account, default.account)?,
            address: rate(concat!("throttles.", $what, ".address"), table.address, default.address)?,
            node: rate(concat!("throttles.", $what, ".node"), table.node, default.node)?,
        }
    }};
}

impl ThrottlesTable {
    pub(crate) fn into_options(self) -> Result<Options, ConfigError> {
        let default = Options::default();
        let loopback = match self.loopback.as_deref() {
            None => default.loopback,
            Some("throttled") => Loopback::Throttled,
            Some("spared") => Loopback::Spared,
            Some(other) => {
                let allowed = "`throttled` (the default) or `spared`";
                return Err(ConfigError::Value { key: "throttles.loopback", value: other.to_owned(), allowed });
            }
        };
        Ok(Options {
            loopback,
            connections: rates!(self.connections, "connections", default.connections),
            log_ins: rates!(self.log_ins, "log_ins", default.log_ins),
            registrations: rates!(self.registrations, "registrations", default.registrations),
            pushes: rates!(self.pushes, "pushes", default.pushes),
            bytes: rates!(self.bytes, "bytes", default.bytes),
            ..default
        })
    }
}
