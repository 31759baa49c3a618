//! Nonces and commit ids from the seed that the shell gave: SHA-256(seed ‖ counter), so that every run can be repeated.
//!
//! Never: two equal ones of one activation, or a seed used by two activations.

use cloudsync_protocol::{CommitId, Hash, OwnerId, TimelineId};

#[derive(Clone)]
pub(super) struct Entropy {
    seed: [u8; 32],
    counter: u64,
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entropy(…, {})", self.counter)
    }
}

impl Entropy {
    pub(super) const fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    pub(super) fn owner(&mut self) -> OwnerId {
        OwnerId(self.draw())
    }

    pub(super) fn commit(&mut self) -> CommitId {
        CommitId(self.draw())
    }

    pub(super) fn timeline(&mut self) -> TimelineId {
        TimelineId(self.draw())
    }

    fn draw(&mut self) -> [u8; 16] {
        self.counter += 1;
        let hash = Hash::of(&[&self.seed, &self.counter.to_be_bytes()]);
        let mut half = [0; 16];
        half.iter_mut().zip(hash.0).for_each(|(to, from)| *to = from);
        half
    }
}
