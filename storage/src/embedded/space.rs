//! How much room is left, measured at most every so often.
//!
//! Never: a promise. Others write to the same disk; SQLite's own "disk full" is still handled.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where the figure comes from.
#[derive(Debug, Clone)]
pub enum Space {
    /// `statvfs` of the folder.
    Measured,
    /// What the test says, in bytes.
    Told(Arc<AtomicU64>),
}

/// The last measurement and what was written since.
#[derive(Debug)]
pub(super) struct Gauge {
    folder: PathBuf,
    space: Space,
    reserve_bytes: u64,
    every: Duration,
    measured: Option<(Instant, u64)>,
    written_bytes: u64,
}

/// Measured anew after so many bytes, however soon.
const WRITTEN_BYTES_MAX: u64 = 8 * 1024 * 1024;

impl Gauge {
    pub(super) fn new(folder: &Path, space: Space, reserve_bytes: u64, every: Duration) -> Self {
        Self { folder: folder.into(), space, reserve_bytes, every, measured: None, written_bytes: 0 }
    }

    pub(super) const fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    pub(super) const fn wrote(&mut self, bytes: u64) {
        self.written_bytes = self.written_bytes.saturating_add(bytes);
    }

    /// The bytes available if that is below the reserve.
    pub(super) fn short(&mut self, now: Instant) -> Option<u64> {
        let available = match self.measured {
            Some((at, bytes)) if now.duration_since(at) < self.every && self.written_bytes < WRITTEN_BYTES_MAX => bytes,
            Some(_) | None => {
                let bytes = self.measure();
                self.measured = Some((now, bytes));
                self.written_bytes = 0;
                bytes
            }
        };
        (available < self.reserve_bytes).then_some(available)
    }

    fn measure(&self) -> u64 {
        match &self.space {
            Space::Told(bytes) => bytes.load(Ordering::Relaxed),
            // A disk that can't be asked is not called full: SQLite will say so itself.
            Space::Measured => rustix::fs::statvfs(&self.folder).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize)),
        }
    }
}
