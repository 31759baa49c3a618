//! Admission: mailboxes are unbounded, so what may wait in them is bounded by permits that travel inside messages.
//!
//! Never: waiting for a permit on the way in. A request that finds none is refused, by name. What one session may have
//! unanswered is the engine's rule, not a permit.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloudsync_protocol::limits::PAGE_BYTES;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::options::Options;

/// The node's budgets.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    requests: Arc<Semaphore>,
    pages: Arc<Semaphore>,
}

/// A part of the node's budget, held by a request until its answer begins to be written.
#[derive(Debug)]
pub(crate) struct NodeRoom(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budgets {
    pub(crate) fn new(options: &Options) -> Self {
        Self { requests: Arc::new(Semaphore::new(options.node_bytes_max)), pages: Arc::new(Semaphore::new(options.pages_bytes_max)) }
    }

    /// Takes what a request of that many bytes needs; nothing when the node has too much to do.
    pub(crate) fn request(&self, bytes: usize) -> Option<NodeRoom> {
        Arc::clone(&self.requests).try_acquire_many_owned(permits(bytes)).ok().map(NodeRoom)
    }

    /// Waits until there is room in memory for one more page.
    pub(crate) async fn page(&self) -> PageRoom {
        let permit = Arc::clone(&self.pages).acquire_many_owned(permits(PAGE_BYTES)).await;
        PageRoom(permit.ok())
    }
}

/// Room for a page on this node. (The semaphore is never closed; without a permit the page is only not counted.)
#[derive(Debug)]
pub(crate) struct PageRoom(#[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

/// The bytes of one user's pushes that are undecided.
#[derive(Debug, Clone)]
pub(crate) struct UserBudget(Arc<Semaphore>);

/// A part of it, held by a push until it is answered.
#[derive(Debug)]
pub(crate) struct UserRoom(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl UserBudget {
    pub(crate) fn new(options: &Options) -> Self {
        Self(Arc::new(Semaphore::new(options.user_bytes_max)))
    }
    pub(crate) fn take(&self, bytes: usize) -> Option<UserRoom> {
        Arc::clone(&self.0).try_acquire_many_owned(permits(bytes)).ok().map(UserRoom)
    }
}

/// One of a session's places for pages: given back, and told, when the page is written or lost.
pub(crate) struct PageSlot {
    room: Option<PageRoom>,
    free: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl PageSlot {
    /// `free` is called when the place is free again.
    pub(crate) fn new(free: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { room: None, free: Some(Box::new(free)) }
    }
    pub(crate) fn with_room(mut self, room: PageRoom) -> Self {
        self.room = Some(room);
        self
    }
}

impl std::fmt::Debug for PageSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageSlot").field("room", &self.room).finish_non_exhaustive()
    }
}

impl Drop for PageSlot {
    fn drop(&mut self) {
        self.room = None;
        if let Some(free) = self.free.take() {
            free();
        }
    }
}

/// How many requests of the node are unanswered: a drain waits for none.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    count: AtomicUsize,
    none: Notify,
}

impl Outstanding {
    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }
    pub(crate) fn remove(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_waiters();
        }
    }
    /// Resolves once there is none.
    pub(crate) async fn none(&self) {
        loop {
            let mut none = pin!(self.none.notified());
            // Listening before looking: the last one may be answered in between.
            none.as_mut().enable();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
