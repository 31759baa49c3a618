//! What a region is started with: its bounds and intervals, the clock, and who says what a token is worth.
//!
//! Never: reading files or the environment; `node` does that and passes values.

use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cloudsync_engine::verify::Access;
use cloudsync_protocol::error::RETRY_AFTER_MS;
use cloudsync_protocol::limits::{PAGE_BYTES, PUSH_BYTES_MAX, QUOTA_BYTES_DEFAULT, UNANSWERED_BYTES_MAX};
use cloudsync_protocol::{Failure, View};

const MIB: usize = 1024 * 1024;

/// Bounds and intervals of a region.
#[derive(Debug, Clone)]
pub struct Options {
    /// The view that this node serves by; 1 until there is membership.
    pub view: View,
    /// A user actor without work for that long is passivated; its sessions stay.
    pub idle_timeout: Duration,
    /// How often the region looks for idle users.
    pub sweep_interval: Duration,
    /// An attached session that was sent no event for that long gets a `HeadAt`.
    pub keep_alive_interval: Duration,
    /// Bytes of requests that are unanswered on this node; beyond, requests are `busy`.
    pub node_bytes_max: usize,
    /// Bytes of pages that are read but not yet written, on this node; beyond, page requests wait for `page_timeout`.
    pub pages_bytes_max: usize,
    /// How long a page may take, waiting for room and for the store; then its request is `busy`.
    pub page_timeout: Duration,
    /// Pages of one session that are in memory: being read, or waiting for the socket.
    pub session_pages_max: usize,
    /// Bytes of pushes of one user that are undecided; beyond, pushes are `busy`.
    pub user_bytes_max: usize,
    /// Bytes of a user's live records (header + body + wrap); a push that grows them beyond is `quota_exceeded`.
    pub quota_bytes: u64,
    /// Sessions of this node; beyond, hello is `busy`.
    pub sessions_max: usize,
    /// What `busy` and `going_away` say about trying again, before jitter (up to twice that).
    pub retry_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            view: View(1),
            idle_timeout: Duration::from_secs(30),
            sweep_interval: Duration::from_secs(5),
            keep_alive_interval: Duration::from_secs(20),
            node_bytes_max: 256 * MIB,
            pages_bytes_max: 256 * MIB,
            page_timeout: Duration::from_secs(10),
            session_pages_max: 2,
            user_bytes_max: 8 * MIB,
            quota_bytes: QUOTA_BYTES_DEFAULT,
            sessions_max: 100_000,
            retry_after: Duration::from_millis(RETRY_AFTER_MS as u64),
        }
    }
}

impl Options {
    /// Panics on bounds that no request could pass: a mistake of ours, not of the world's.
    pub(crate) fn check(&self) {
        assert!(self.node_bytes_max >= UNANSWERED_BYTES_MAX, "a session's budget must fit the node's");
        assert!(self.user_bytes_max >= PUSH_BYTES_MAX, "a push must fit the user's budget");
        assert!(self.pages_bytes_max >= PAGE_BYTES && self.session_pages_max >= 1, "a page must fit its budgets");
    }

    /// `retry_after` with jitter, in milliseconds: between once and twice that.
    pub(crate) fn retry_after_ms(&self) -> u32 {
        let base_ms = u32::try_from(self.retry_after.as_millis()).unwrap_or(u32::MAX / 2).max(1);
        rand::random_range(base_ms..=base_ms.saturating_mul(2))
    }
}

/// The wall clock, an argument of every rule.
pub trait Clock: Send + Sync + Debug + 'static {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Who can say what an access token is worth: `node` answers through `accounts`.
pub trait Tokens: Send + Sync + Debug + 'static {
    /// Checks signature and time. The failure's `request` is filled in by the caller.
    fn verify(&self, token: &str, now_ms: u64) -> Result<Access, Failure>;
}
