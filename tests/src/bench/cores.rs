//! Who computes where: the node on one core, its clients on another, so that neither takes the other's time.
//!
//! Never: a thread of the clients' before its core is set; threads and processes inherit it.

use anyhow::{Context as _, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores {
    /// The node's, and that of the bare loops beside it.
    pub node: usize,
    /// The clients'.
    pub clients: usize,
}

impl Cores {
    /// The last and the first that this process may use.
    pub fn here() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let clients = cores.next().context("no core")?;
        Ok(Self { clients, node: cores.next_back().unwrap_or(clients) })
    }

    /// What stands before a command that is to run on the node's core.
    #[must_use]
    pub fn before_node(self) -> Vec<String> {
        ["taskset", "-c", &self.node.to_string()].map(str::to_owned).to_vec()
    }

    /// Runs the clients' work on their core, in a runtime of one thread.
    pub fn run<T: Send + 'static, W: Future<Output = anyhow::Result<T>>>(
        self,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> anyhow::Result<T> {
        let pinned = std::thread::spawn(move || {
            let mut only = CpuSet::new();
            only.set(self.clients);
            sched_setaffinity(None, &only)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work())
        });
        match pinned.join() {
            Ok(done) => done,
            Err(_) => bail!("the clients' thread panicked"),
        }
    }
}
