//! Metrics of connections and of the process, for whoever asks the admin listener.
//!
//! Never: a user, device or record id as a label.

use std::sync::OnceLock;

use cloudsync_protocol::statement::Carrier;
use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Open connections, by carrier.
pub const CONNECTIONS: &str = "cloudsync_connections";
/// Connections taken, by carrier.
pub const CONNECTIONS_ACCEPTED: &str = "cloudsync_connections_accepted_total";
/// Connections refused because there were too many.
pub const CONNECTIONS_REFUSED: &str = "cloudsync_connections_refused_total";
/// Failures to accept: no file descriptors, no memory.
pub const ACCEPT_ERRORS: &str = "cloudsync_accept_errors_total";
/// Bytes of frames that came in, by carrier.
pub const BYTES_IN: &str = "cloudsync_received_bytes_total";
/// Bytes of frames that went out, by carrier.
pub const BYTES_OUT: &str = "cloudsync_sent_bytes_total";
/// Connections that ended before *welcome*, by carrier and code; not those that made account calls, were answered and left.
pub const HANDSHAKE_FAILURES: &str = "cloudsync_handshake_failures_total";
/// Sessions that ended, by carrier and code; `closed` is the client's own wish, `lost` a broken connection.
pub const SESSION_CLOSES: &str = "cloudsync_session_closes_total";
/// What was refused or slowed down because there was too much of it in a short time, by what and whose.
pub const THROTTLED: &str = "cloudsync_throttled_total";
/// QUIC connections that had to prove their address before their handshake.
pub const RETRIES: &str = "cloudsync_quic_retries_total";
/// Always 1; its labels say what runs.
pub const BUILD_INFO: &str = "cloudsync_build_info";

/// From 100 µs to 10 s: an fsync is about 0.2 to 20 ms, a push is one of them and two hops.
const SECONDS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Operations of a commit, records of a group.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];
/// Sizes.
const BYTES: &[f64] = &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];

/// This process measures elsewhere already.
#[derive(Debug, thiserror::Error)]
#[error("metrics can't be set up: {0}")]
pub struct MetricsError(String);

/// The process's one recorder; nodes in one process share it.
static RECORDER: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();

/// The metrics of this process, recorded from the first call on.
///
/// # Errors
/// Another recorder is installed.
pub(crate) fn recorder() -> Result<PrometheusHandle, MetricsError> {
    RECORDER.get_or_init(|| install().map_err(|error| error.to_string())).clone().map_err(MetricsError)
}

fn install() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?
        .set_buckets(COUNTS)?
        .install_recorder()?;
    metrics::describe_gauge!(CONNECTIONS, Unit::Count, "open connections by carrier");
    metrics::describe_counter!(CONNECTIONS_ACCEPTED, Unit::Count, "connections taken, by carrier");
    metrics::describe_counter!(CONNECTIONS_REFUSED, Unit::Count, "connections refused because there were too many");
    metrics::describe_counter!(ACCEPT_ERRORS, Unit::Count, "failures to accept a connection");
    metrics::describe_counter!(BYTES_IN, Unit::Bytes, "bytes of frames that came in, by carrier");
    metrics::describe_counter!(BYTES_OUT, Unit::Bytes, "bytes of frames that went out, by carrier");
    metrics::describe_counter!(
        HANDSHAKE_FAILURES,
        Unit::Count,
        "connections that ended before welcome, by carrier and code; not those that only made account calls"
    );
    metrics::describe_counter!(SESSION_CLOSES, Unit::Count, "sessions that ended, by carrier and code");
    metrics::describe_counter!(THROTTLED, Unit::Count, "what came too often in a short time and was refused, by what and whose");
    metrics::describe_counter!(RETRIES, Unit::Count, "QUIC connections that had to prove their address first");
    metrics::describe_gauge!(BUILD_INFO, Unit::Count, "always 1; the labels say what runs");
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// What one carrier's connections count, looked up once per carrier.
#[derive(Clone)]
pub(crate) struct Meters {
    pub(crate) carrier: Carrier,
    pub(crate) connections: metrics::Gauge,
    pub(crate) accepted: metrics::Counter,
    pub(crate) bytes_in: metrics::Counter,
    pub(crate) bytes_out: metrics::Counter,
}

impl Meters {
    pub(crate) fn new(carrier: Carrier) -> Self {
        let name = carrier.name();
        Self {
            carrier,
            connections: metrics::gauge!(CONNECTIONS, "carrier" => name),
            accepted: metrics::counter!(CONNECTIONS_ACCEPTED, "carrier" => name),
            bytes_in: metrics::counter!(BYTES_IN, "carrier" => name),
            bytes_out: metrics::counter!(BYTES_OUT, "carrier" => name),
        }
    }

    pub(crate) fn handshake_failed(&self, why: &'static str) {
        metrics::counter!(HANDSHAKE_FAILURES, "carrier" => self.carrier.name(), "code" => why).increment(1);
    }

    pub(crate) fn session_closed(&self, why: &'static str) {
        metrics::counter!(SESSION_CLOSES, "carrier" => self.carrier.name(), "code" => why).increment(1);
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Meters);

impl Counted {
    pub(crate) fn new(meters: &Meters) -> Self {
        meters.accepted.increment(1);
        meters.connections.increment(1.0);
        Self(meters.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.decrement(1.0);
    }
}
