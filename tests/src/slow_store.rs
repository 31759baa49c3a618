//! [`SlowStore`]: the store in memory, whose commits take as long as a test says.
//!
//! Never: an outcome other than the memory store's own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cloudsync_storage::memory::{ObservedStore, Observer};
use tokio::sync::watch;

/// The store.
pub type SlowStore = ObservedStore<SlowCommits>;

/// How long commits take.
#[derive(Debug, Default)]
pub struct SlowCommits {
    commit_ms: AtomicU64,
    begun: watch::Sender<usize>,
}

impl SlowCommits {
    /// From now on a commit takes that long.
    pub fn take(&self, time: Duration) {
        self.commit_ms.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// How many commits have begun, to be waited for.
    #[must_use]
    pub fn begun(&self) -> watch::Receiver<usize> {
        self.begun.subscribe()
    }
}

#[async_trait]
impl Observer for SlowCommits {
    async fn commit_begins(&self) {
        self.begun.send_modify(|count| *count += 1);
        tokio::time::sleep(Duration::from_millis(self.commit_ms.load(Ordering::Acquire))).await;
    }
}
