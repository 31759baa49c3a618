//! The public ends of a session's queue: what the connection's writer takes from it.
//!
//! Never: a way to put something in.

use std::sync::Arc;

use bytes::Bytes;
use cloudsync_protocol::ErrorCode;

use crate::permits::{NodeRoom, PageSlot};
use crate::queue::{Queue, Taken};

/// Which stream of a connection. A WebSocket has only one; there it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The control stream.
    Control,
    /// The server's event stream; nothing comes in on it.
    Events,
    /// A stream that the client opened for requests, by the carrier's number.
    Stream(u64),
}

/// One frame for the socket. Hold it until the frame is written: a page's place in memory is given back when it is dropped.
#[derive(Debug)]
pub struct Outgoing {
    /// Where to write it.
    pub lane: Lane,
    pub(crate) frame: Bytes,
    pub(crate) held: Option<Held>,
    #[expect(dead_code, reason = "held, not read: its drop gives the page's place back")]
    pub(crate) page: Option<PageSlot>,
}

impl Outgoing {
    /// The frame, encoded, whose first byte is written next: the request that it answers is answered with this, and its credit
    /// given back. Not earlier, or a client that reads nothing could have any number of answers wait for its streams; nor
    /// later, or one that keeps every request in use would find one taken whose answer it has read.
    pub fn begin(&mut self) -> Bytes {
        self.held = None;
        self.frame.clone()
    }
}

/// What an answer that was taken holds until its writing begins, or it is dropped: its request's credit, or its place among
/// those that nothing with credit asked for; its part of the node's budget; its place in the count of what waits.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) queue: Arc<Queue>,
    pub(crate) request: u32,
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) room: Option<NodeRoom>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.queue.release(self.request);
    }
}

/// The frames for one session's socket. Dropping it ends the session.
#[derive(Debug)]
pub struct Outbound {
    answers: Answers,
    events: Events,
}

impl Outbound {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { answers: Answers { queue: Arc::clone(&queue) }, events: Events { queue } }
    }

    /// The next frame: answers first, then events, then the frame that says why the session ends. `None`: close the
    /// connection now. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Outgoing> {
        let queue = &self.answers.queue;
        loop {
            let (answers, events) = (queue.answers_ready.notified(), queue.events_ready.notified());
            match queue.next_any() {
                Taken::Frame(outgoing) => return Some(outgoing),
                Taken::Ended => return None,
                Taken::Nothing => {}
            }
            tokio::select! { () = answers => {} () = events => {} }
        }
    }

    /// The next frame, if one is there already: what a carrier may write together with the one before.
    pub fn next_ready(&mut self) -> Option<Outgoing> {
        match self.answers.queue.next_any() {
            Taken::Frame(outgoing) => Some(outgoing),
            // `next` finds the same.
            Taken::Ended | Taken::Nothing => None,
        }
    }

    /// Why the session ended, once `next` has returned `None`.
    #[must_use]
    pub fn ending(&self) -> Option<ErrorCode> {
        self.answers.ending()
    }

    /// For a carrier with streams: two halves, so that an event stream that is not read holds up no answer.
    #[must_use]
    pub fn split(self) -> (Answers, Events) {
        (self.answers, self.events)
    }
}

/// The answers, and at last why the session ends.
#[derive(Debug)]
pub struct Answers {
    queue: Arc<Queue>,
}

impl Answers {
    /// The next answer; `None`: close the connection now. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Outgoing> {
        loop {
            let ready = self.queue.answers_ready.notified();
            match self.queue.next_answer() {
                Taken::Frame(outgoing) => return Some(outgoing),
                Taken::Ended => return None,
                Taken::Nothing => ready.await,
            }
        }
    }

    /// Why the session ended, once `next` has returned `None`.
    #[must_use]
    pub fn ending(&self) -> Option<ErrorCode> {
        self.queue.ending()
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

/// The events.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

impl Events {
    /// The next event; `None` once the session ends. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Outgoing> {
        loop {
            let ready = self.queue.events_ready.notified();
            match self.queue.next_event() {
                Taken::Frame(outgoing) => return Some(outgoing),
                Taken::Ended => return None,
                Taken::Nothing => ready.await,
            }
        }
    }
}
