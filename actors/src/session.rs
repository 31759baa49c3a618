//! What is shared about one session: who it is, its queue, its credit, and the tickets of its unanswered requests.
//!
//! Never: deciding about a log. A ticket that nobody answers says *busy* when it is dropped, so that no request ends in
//! silence, whoever dies on its way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cloudsync_engine::session::{Attachment, Peer, SessionId};
use cloudsync_engine::user::Admission;
use cloudsync_protocol::frame::GoingAway;
use cloudsync_protocol::statement::{Carrier, PublicKey};
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, Frame, Nonce, TimelineId, UserId};
use tokio::time::Instant;

use crate::metrics::Meters;
use crate::options::Options;
use crate::outbound::Lane;
use crate::permits::{NodeRoom, Outstanding, PageSlot, UserRoom};
use crate::queue::{Answer, Queue, Unheard, encode};
use crate::region::Shared;
use crate::user_shared::UserShared;

/// Who opens a session, and how.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) carrier: Carrier,
    pub(crate) nonce: Nonce,
}

/// One session, shared by its connection, its session actor and its user actor.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) identity: Identity,
    pub(crate) of_user: Arc<UserShared>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) options: Arc<Options>,
    pub(crate) meters: Arc<Meters>,
    outstanding: Arc<Outstanding>,
    admitted: AtomicBool,
    admission: OnceLock<Admission>,
}

/// What a session is made of besides its identity.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) id: SessionId,
    pub(crate) of_user: Arc<UserShared>,
    pub(crate) shared: &'a Shared,
    pub(crate) token_expires_ts: u64,
}

impl Session {
    pub(crate) fn new(identity: Identity, parts: Parts<'_>) -> Self {
        let Parts { id, of_user, shared, token_expires_ts } = parts;
        let peer = Peer { session: id, device: identity.device };
        Self {
            id,
            identity,
            of_user,
            queue: Arc::new(Queue::new(peer, token_expires_ts, Arc::clone(&shared.meters))),
            options: Arc::clone(&shared.options),
            meters: Arc::clone(&shared.meters),
            outstanding: Arc::clone(&shared.outstanding),
            admitted: AtomicBool::new(false),
            admission: OnceLock::new(),
        }
    }

    pub(crate) const fn peer(&self) -> Peer {
        Peer { session: self.id, device: self.identity.device }
    }

    /// The roster admitted it: its user actor, and any that follows, serves it.
    pub(crate) fn admit(&self, admission: Admission) {
        // A session is admitted once, by one actor.
        let _ = self.admission.set(admission);
        self.admitted.store(true, Ordering::Release);
    }
    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Acquire)
    }
    /// The device's key, known once admitted.
    pub(crate) fn signing(&self) -> Option<PublicKey> {
        self.admission.get().map(|admission| admission.signing)
    }

    /// The log's timeline when it was admitted; the session sees no other.
    pub(crate) fn timeline(&self) -> TimelineId {
        self.admission.get().map(|admission| admission.timeline).unwrap_or_default()
    }

    /// Ends the session with a word.
    pub(crate) fn end(&self, code: ErrorCode, message: impl Into<String>) {
        self.queue.end(code, Some(encode(&Failure::new(0, code, message).into())));
    }

    /// Ends it for want of a token that holds.
    pub(crate) fn end_expired(&self) {
        self.end(ErrorCode::TokenExpired, "the access token's time is over: refresh it and connect again");
    }

    /// Ends it because the node leaves, and says when to come back.
    pub(crate) fn send_away(&self) {
        let Failure { code, message, retry_after_ms, .. } = going_away(0, &self.options);
        let frame = GoingAway { code, message, retry_after_ms: retry_after_ms.unwrap_or_default() };
        self.queue.end(ErrorCode::GoingAway, Some(encode(&frame.into())));
    }

    /// Whether it relies on being sent events.
    pub(crate) fn is_attached(&self) -> bool {
        self.queue.ending().is_none() && self.queue.attachment() == Attachment::Attached
    }

    /// Says where the log's owner stands, if nothing was sent since `idle_since`. Returns from when on to count anew.
    pub(crate) fn keep_alive(&self, idle_since: Instant) -> Instant {
        self.of_user.head_at().map_or_else(Instant::now, |at| self.queue.keep_alive(idle_since, at.head, || encode(&at.into())))
    }

    /// A ticket's answer stands in the queue.
    fn answered(&self) {
        self.outstanding.remove();
        self.meters.requests_unanswered.decrement(1.0);
    }

    /// Refuses a request that was not admitted.
    pub(crate) fn turn_away(&self, lane: Lane, failure: Failure) {
        self.meters.refused(failure.code);
        self.answer_unasked(lane, &failure.into());
    }

    /// Sends a frame that holds no credit. One too many that is not read ends the session: its client does not listen.
    pub(crate) fn answer_unasked(&self, lane: Lane, frame: &Frame) {
        if let Err(Unheard) = self.queue.answer_unasked(lane, encode(frame)) {
            self.end(ErrorCode::TooManyRequests, "too many pings, or requests beyond those allowed, whose answers are not read");
        }
    }
}

/// An unanswered request. It is answered once; dropped unanswered it answers *busy*.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) session: Arc<Session>,
    pub(crate) request: u32,
    pub(crate) admitted: Instant,
    lane: Lane,
    node_room: Option<NodeRoom>,
    user_room: Option<UserRoom>,
    answered: bool,
}

impl Ticket {
    /// Of a request that the session's credit admitted.
    pub(crate) fn new(session: Arc<Session>, request: u32, lane: Lane, room: NodeRoom) -> Self {
        session.outstanding.add();
        session.meters.requests_unanswered.increment(1.0);
        Self { session, request, admitted: Instant::now(), lane, node_room: Some(room), user_room: None, answered: false }
    }

    /// Holds a part of the user's budget as well.
    pub(crate) fn with_room(mut self, room: UserRoom) -> Self {
        self.user_room = Some(room);
        self
    }

    pub(crate) fn answer(self, frame: &Frame) {
        self.send(encode(frame), None);
    }

    pub(crate) fn answer_page(self, frame: &Frame, page: PageSlot) {
        self.send(encode(frame), Some(page));
    }

    /// Answers an *attach*: events queue up behind it.
    pub(crate) fn answer_attached(mut self, frame: &Frame) {
        let answer = self.settle(encode(frame), None);
        self.session.queue.answer_attached(answer);
        self.session.answered();
    }

    /// Refuses; the failure's `request` is this one.
    pub(crate) fn refuse(self, mut failure: Failure) {
        failure.codes().into_iter().for_each(|code| self.session.meters.refused(code));
        failure.request = self.request;
        self.send(encode(&failure.into()), None);
    }

    fn send(mut self, frame: Bytes, page: Option<PageSlot>) {
        let answer = self.settle(frame, page);
        self.session.queue.answer(answer);
        self.session.answered();
    }

    fn settle(&mut self, frame: Bytes, page: Option<PageSlot>) -> Answer {
        self.answered = true;
        self.user_room = None;
        Answer { lane: self.lane, frame, request: self.request, room: self.node_room.take(), page }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let failure = busy(self.request, &self.session.options, "interrupted; whether it was done will be answered when it is sent again");
        self.session.meters.refused(failure.code);
        let answer = self.settle(encode(&failure.into()), None);
        self.session.queue.answer(answer);
        self.session.answered();
    }
}

/// Try again after a while.
pub(crate) fn busy(request: u32, options: &Options, message: &str) -> Failure {
    Failure::new(request, ErrorCode::Busy, message).retry_after(options.retry_after_ms())
}

/// The node leaves.
pub(crate) fn going_away(request: u32, options: &Options) -> Failure {
    Failure::new(request, ErrorCode::GoingAway, "this node is leaving: connect again").retry_after(options.retry_after_ms())
}
