//! The steps of a group, told to a test that wants to stop there.
//!
//! Never: in a node; it is compiled for tests only, by the feature `conformance`.

use std::sync::Arc;

/// Where a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Its rows are written, nothing is committed.
    Written,
    /// It is durable; the side file does not know.
    Committed,
    /// The side file promises it; nobody was told.
    Promised,
    /// Everybody was told.
    Answered,
}

/// Told of each step, with the group's number.
#[derive(Clone, Default)]
pub struct Probe(Option<Arc<dyn Fn(Step, u64) + Send + Sync>>);

impl Probe {
    /// Tells that function.
    pub fn new(told: impl Fn(Step, u64) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    pub(super) fn tell(&self, step: Step, number: u64) {
        if let Some(told) = &self.0 {
            told(step, number);
        }
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").finish_non_exhaustive()
    }
}
