//! Handshakes under way: the dearest thing that a stranger can ask for.
//!
//! Never: a handshake without an end; each has its deadline where it is awaited.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::options::Options;
use crate::metrics::THROTTLED;

/// Room for as many handshakes as the node makes at a time.
#[derive(Debug)]
pub(crate) struct Handshakes {
    room: Arc<Semaphore>,
    /// With less room than this an address has to be proven first.
    many_below: usize,
}

/// One handshake under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Handshake {
    _room: OwnedSemaphorePermit,
}

impl Handshakes {
    pub(crate) fn new(options: &Options) -> Self {
        let most = options.handshakes_max.min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(most)), many_below: most.saturating_sub(options.unproven_handshakes_max) }
    }

    /// One more; nothing when there are too many.
    pub(crate) fn begin(&self) -> Option<Handshake> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok();
        if room.is_none() {
            metrics::counter!(THROTTLED, "what" => "handshakes", "whose" => "node").increment(1);
        }
        room.map(|room| Handshake { _room: room })
    }

    /// Whether there are so many that each has to be worth it.
    pub(crate) fn are_many(&self) -> bool {
        self.room.available_permits() <= self.many_below
    }
}
