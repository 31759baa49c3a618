//! What a user's rules ask of their shell, in order.
//!
//! Never: done here. Effects of one call are carried out in the order given; answers and events that follow a durable
//! commit leave only with it.

use std::sync::Arc;

use cloudsync_protocol::statement::PublicKey;
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, Frame, RecordKey, Seq, TimelineId, View, frame};

use super::event::{CallId, ReadId};
use crate::invariants::Violation;
use crate::log::{Acquire, Commit};
use crate::session::SessionId;

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Become the owner; say [`Event::Acquired`](super::Event::Acquired).
    Acquire(Acquire),
    /// Read every roster row; say [`Event::RosterRead`](super::Event::RosterRead).
    ReadRoster { read: ReadId },
    /// Read the head serially; say [`Event::HeadRead`](super::Event::HeadRead).
    ReadHead { read: ReadId },
    /// Read a row's hash; say [`Event::RowRead`](super::Event::RowRead).
    ReadRow { read: ReadId, seq: Seq },
    /// Read current versions, and what rows wrote; say [`Event::Found`](super::Event::Found).
    LookUp { read: ReadId, records: Vec<RecordKey>, rows: Vec<Seq> },
    /// Make it durable; say [`Event::Persisted`](super::Event::Persisted) with `commit.head.commit`.
    Persist(Box<Commit>),

    /// A hello was judged.
    Opened { session: SessionId, outcome: Result<Admission, Failure> },
    /// An answer to a session's request.
    Answer { session: SessionId, request: u32, frame: Box<Frame> },
    /// An account call was decided: the `seq` of its last change, durable.
    Enrolled { call: CallId, outcome: Result<Seq, Failure> },
    /// Tell the attached what was committed.
    FanOut(FanOut),
    /// Close every session of a device, attached or not.
    CloseDevice { device: DeviceId, code: ErrorCode },
    /// Revoke every refresh family of a device.
    RevokeFamilies { device: DeviceId },
    /// A group has `COMMIT_BYTES_MAX`, and the rest waits for the next: count it.
    CommitFull,
    /// An invariant does not hold: count and log it. Whatever it concerned was not sent.
    Violated(Violation),
    /// This owner is done: no event is taken any more (requests are answered *busy*). Take the attached sessions back
    /// and, except for `Erased`, activate afresh: at once if there are any, else when somebody asks.
    Stop(Stop),
}

/// A device that may open a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The device.
    pub device: DeviceId,
    /// Ed25519: *authenticate* within the session is verified by it.
    pub signing: PublicKey,
    /// The log's timeline: sessions of this owner see no other.
    pub timeline: TimelineId,
}

/// One frame for many sessions: encode it once.
#[derive(Debug, Clone)]
pub struct FanOut {
    /// An `Event`, or a `HeadAt` when the entry is too large for one.
    pub frame: Arc<Frame>,
    /// Every attached session but the pusher's own.
    pub to: Vec<SessionId>,
    /// The pusher's own session, if it is attached, and what it gets instead.
    pub own: Option<(SessionId, frame::Committed)>,
    /// The head that this brings the receivers to: what a `Lagging` says.
    pub head: Seq,
}

/// Why an owner stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Another owner has the log, or may have had it.
    Fenced,
    /// The log is owned under a later view: refresh the view first.
    LaterView(View),
    /// The user was erased, for ever.
    Erased,
    /// There is no room for the log's head.
    Full,
    /// The store can't be reached, or stays in doubt.
    Unavailable,
    /// The log's head or roster is damaged, or was never verifiable.
    Damaged,
}
