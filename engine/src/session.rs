//! What one session owes and may do: its credit, its token's time, and the bounded queue of its events.
//!
//! Never: a socket, or a buffer without bound. Events may be dropped, answers never: credit bounds the unanswered
//! requests, so an answer always has room.

use std::collections::{BTreeMap, VecDeque};

use cloudsync_protocol::limits::{DEVICE_QUEUE_BYTES_MAX, DEVICE_QUEUE_FRAMES_MAX, UNANSWERED_BYTES_MAX, UNANSWERED_REQUESTS_MAX};
use cloudsync_protocol::{DeviceId, ErrorCode, Seq};

/// One session on this node; numbers are never used again while the node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A session and the device that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The session.
    pub session: SessionId,
    /// Its device.
    pub device: DeviceId,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreditError {
    /// Request 0 means the connection.
    #[error("request id 0 is the connection's")]
    Zero,
    /// A request with that id waits for its answer.
    #[error("request id {0} is unanswered")]
    InUse(u32),
    /// Too many requests wait for their answers.
    #[error("{UNANSWERED_REQUESTS_MAX} requests are unanswered")]
    Requests,
    /// They are too large together.
    #[error("{bytes} B of requests would be unanswered, allowed are {UNANSWERED_BYTES_MAX}")]
    Bytes { bytes: usize },
}

impl CreditError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Zero | Self::InUse(_) => ErrorCode::RequestIdInUse,
            Self::Requests | Self::Bytes { .. } => ErrorCode::TooManyRequests,
        }
    }
}

/// The requests of a session that wait for their answers.
#[derive(Debug, Clone, Default)]
pub struct Credit {
    unanswered: BTreeMap<u32, usize>,
    bytes: usize,
}

impl Credit {
    /// Takes a request of `frame_bytes`, if it may be taken.
    pub fn take(&mut self, request: u32, frame_bytes: usize) -> Result<(), CreditError> {
        if request == 0 {
            return Err(CreditError::Zero);
        }
        if self.unanswered.contains_key(&request) {
            return Err(CreditError::InUse(request));
        }
        if self.unanswered.len() >= UNANSWERED_REQUESTS_MAX {
            return Err(CreditError::Requests);
        }
        let bytes = self.bytes.saturating_add(frame_bytes);
        if bytes > UNANSWERED_BYTES_MAX {
            return Err(CreditError::Bytes { bytes });
        }
        self.unanswered.insert(request, frame_bytes);
        self.bytes = bytes;
        Ok(())
    }

    /// A request was answered; false when there was none of that id, so that nothing is answered twice.
    pub fn answered(&mut self, request: u32) -> bool {
        let Some(frame_bytes) = self.unanswered.remove(&request) else { return false };
        self.bytes -= frame_bytes;
        true
    }
}

/// Whether a session gets events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attachment {
    /// It has not asked.
    #[default]
    Detached,
    /// It gets them.
    Attached,
    /// It was too slow: it gets none until it attaches again.
    Lagging,
}

/// What leaves an [`EventQueue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing<T> {
    /// An event.
    Event(T),
    /// Say `Lagging` with this head, once.
    Lagging { head: Seq },
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It waits for the device.
    Queued,
    /// There was no room: everything that waited is dropped too, and the device will be told that it is lagging.
    Overflowed,
    /// The session is not attached, or lagging already.
    Dropped,
}

/// The events that wait for a device: at most `DEVICE_QUEUE_FRAMES_MAX` and `DEVICE_QUEUE_BYTES_MAX`.
#[derive(Debug, Clone)]
pub struct EventQueue<T> {
    attachment: Attachment,
    waiting: VecDeque<(Outgoing<T>, usize)>,
    bytes: usize,
}

impl<T> Default for EventQueue<T> {
    fn default() -> Self {
        Self { attachment: Attachment::Detached, waiting: VecDeque::new(), bytes: 0 }
    }
}

impl<T> EventQueue<T> {
    /// The session was attached (again): pages bring everything up to the head that it was told, so what waited goes.
    pub fn attach(&mut self) {
        self.clear();
        self.attachment = Attachment::Attached;
    }

    /// An event of `bytes` that brings the device to `head`.
    pub fn offer(&mut self, event: T, bytes: usize, head: Seq) -> Offered {
        match self.attachment {
            Attachment::Detached | Attachment::Lagging => return Offered::Dropped,
            Attachment::Attached => {}
        }
        if self.waiting.len() >= DEVICE_QUEUE_FRAMES_MAX || self.bytes.saturating_add(bytes) > DEVICE_QUEUE_BYTES_MAX {
            self.lag(head);
            return Offered::Overflowed;
        }
        self.waiting.push_back((Outgoing::Event(event), bytes));
        self.bytes += bytes;
        Offered::Queued
    }

    /// Events were lost on the way here (a broken link): as if the queue had overflowed.
    pub fn lag(&mut self, head: Seq) {
        match self.attachment {
            Attachment::Detached | Attachment::Lagging => {}
            Attachment::Attached => {
                self.clear();
                self.attachment = Attachment::Lagging;
                self.waiting.push_back((Outgoing::Lagging { head }, 0));
            }
        }
    }

    /// The next to send.
    pub fn pop(&mut self) -> Option<Outgoing<T>> {
        let (outgoing, bytes) = self.waiting.pop_front()?;
        self.bytes -= bytes;
        Some(outgoing)
    }

    /// Whether the session gets events.
    #[must_use]
    pub const fn attachment(&self) -> Attachment {
        self.attachment
    }

    /// Frames that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }
}

/// A session's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// It holds.
    Valid,
    /// It is over: close with `token_expired`.
    Expired,
}

/// A session as its actor keeps it.
#[derive(Debug, Clone)]
pub struct Session<T> {
    /// Who.
    pub peer: Peer,
    /// Its unanswered requests.
    pub credit: Credit,
    /// Its events.
    pub events: EventQueue<T>,
    token_expires_ts: u64,
}

impl<T> Session<T> {
    /// A session that was just opened.
    #[must_use]
    pub fn new(peer: Peer, token_expires_ts: u64) -> Self {
        Self { peer, credit: Credit::default(), events: EventQueue::default(), token_expires_ts }
    }

    /// It showed a fresh token. One that ends earlier does not shorten the session.
    pub fn authenticated(&mut self, token_expires_ts: u64) {
        self.token_expires_ts = self.token_expires_ts.max(token_expires_ts);
    }

    /// Until when it holds, in milliseconds since the epoch.
    #[must_use]
    pub const fn token_expires_ts(&self) -> u64 {
        self.token_expires_ts
    }

    /// Whether its token holds at `now_ms`.
    #[must_use]
    pub const fn token(&self, now_ms: u64) -> TokenState {
        if now_ms < self.token_expires_ts { TokenState::Valid } else { TokenState::Expired }
    }
}
