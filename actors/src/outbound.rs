//! The public ends of a session's queue: what the connection's writer takes from it.
//!
//! Never: a way to put something in.

use std::sync::Arc;

use bytes::Bytes;
use cloudsync_protocol::ErrorCode;

use crate::permits::PageSlot;
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
    /// The frame, encoded.
    pub frame: Bytes,
    #[expect(dead_code, reason = "held, not read: its drop gives the page's place back")]
    pub(crate) page: Option<PageSlot>,
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
