//! Gates before a store's commits, and before what became of them is told, that wait until a test lets them through. Calls are counted.
//!
//! Never: an outcome of its own.

use async_trait::async_trait;
use cloudsync_storage::memory::Observer;
use tokio::sync::watch;

/// Whether calls go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Shut,
}

#[derive(Debug)]
pub(crate) struct Gates {
    pub(crate) commits: watch::Sender<Gate>,
    pub(crate) commits_begun: watch::Sender<usize>,
    /// What became of a commit, after it did.
    pub(crate) verdicts: watch::Sender<Gate>,
    pub(crate) commits_done: watch::Sender<usize>,
    pub(crate) acquires_begun: watch::Sender<usize>,
    pub(crate) pulls_begun: watch::Sender<usize>,
}

impl Default for Gates {
    fn default() -> Self {
        let (gate, count) = (|| watch::channel(Gate::Open).0, || watch::channel(0).0);
        Self {
            commits: gate(),
            commits_begun: count(),
            verdicts: gate(),
            commits_done: count(),
            acquires_begun: count(),
            pulls_begun: count(),
        }
    }
}

fn count(calls: &watch::Sender<usize>) {
    calls.send_modify(|count| *count += 1);
}

async fn pass(gate: &watch::Sender<Gate>) {
    gate.subscribe().wait_for(|gate| *gate == Gate::Open).await.expect("the store lives");
}

#[async_trait]
impl Observer for Gates {
    async fn acquire_begins(&self) {
        count(&self.acquires_begun);
    }
    async fn commit_begins(&self) {
        count(&self.commits_begun);
        pass(&self.commits).await;
    }
    async fn commit_ended(&self) {
        count(&self.commits_done);
        pass(&self.verdicts).await;
    }
    async fn pull_begins(&self) {
        count(&self.pulls_begun);
    }
}
