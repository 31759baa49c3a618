//! What is shared about one session: who it is, its queue, its credit, and the tickets of its unanswered requests.
//!
//! Never: deciding about a log. A ticket that nobody answers says *busy* when it is dropped, so that no request ends in
//! silence, whoever dies on its way.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use cloudsync_protocol::frame::{HeadAt, Lagging, OWN_LOG};
use cloudsync_protocol::statement::{Carrier, PublicKey};
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, Frame, LogId, Nonce, Seq, TimelineId, UserId, codec};
use tokio::time::Instant;

use crate::metrics::Meters;
use crate::options::Options;
use crate::outbound::{Answer, Lane, Queue};
use crate::permits::{Allowance, Credit, Outstanding, PageSlot, UserBudget, UserRoom};
use crate::region::Shared;

/// Where a log's owner stands: what keep-alives say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stable {
    pub(crate) timeline: TimelineId,
    pub(crate) head: Seq,
}

/// What a log's sessions and actors share, whether the user is active or not.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) log: LogId,
    pub(crate) user: UserId,
    pub(crate) budget: UserBudget,
    stable: Mutex<Option<Stable>>,
    touched: Mutex<Instant>,
}

impl Face {
    pub(crate) fn new(user: UserId, options: &Options) -> Self {
        let (stable, touched) = (Mutex::new(None), Mutex::new(Instant::now()));
        Self { log: user.into(), user, budget: UserBudget::new(options), stable, touched }
    }
    pub(crate) fn stable(&self) -> Option<Stable> {
        *self.stable.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn set_stable(&self, stable: Stable) {
        *self.stable.lock().unwrap_or_else(PoisonError::into_inner) = Some(stable);
    }
    /// Notes that the user has work, so that its actor is not passivated.
    pub(crate) fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
    pub(crate) fn touched(&self) -> Instant {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who opens a session, and how.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) carrier: Carrier,
    pub(crate) nonce: Nonce,
}

/// One session, shared by its connection, its device actor and its user actor.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) identity: Identity,
    pub(crate) face: Arc<Face>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) allowance: Allowance,
    pub(crate) options: Arc<Options>,
    pub(crate) meters: Arc<Meters>,
    outstanding: Arc<Outstanding>,
    unanswered: Mutex<BTreeSet<u32>>,
    admitted: AtomicBool,
    signing: OnceLock<PublicKey>,
    token_expires_ts: AtomicU64,
}

/// What a session is made of besides its identity.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) id: u64,
    pub(crate) face: Arc<Face>,
    pub(crate) shared: &'a Shared,
    pub(crate) token_expires_ts: u64,
}

impl Session {
    pub(crate) fn new(identity: Identity, parts: Parts<'_>) -> Self {
        let Parts { id, face, shared, token_expires_ts } = parts;
        Self {
            id,
            identity,
            face,
            queue: Arc::new(Queue::new(Arc::clone(&shared.meters))),
            allowance: Allowance::new(),
            options: Arc::clone(&shared.options),
            meters: Arc::clone(&shared.meters),
            outstanding: Arc::clone(&shared.outstanding),
            unanswered: Mutex::new(BTreeSet::new()),
            admitted: AtomicBool::new(false),
            signing: OnceLock::new(),
            token_expires_ts: AtomicU64::new(token_expires_ts),
        }
    }

    /// The roster admitted it: its user actor, and any that follows, serves it.
    pub(crate) fn admit(&self, signing: PublicKey) {
        // A session is admitted once, by one actor.
        let _ = self.signing.set(signing);
        self.admitted.store(true, Ordering::Release);
    }
    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Acquire)
    }
    /// The device's key, known once admitted.
    pub(crate) fn signing(&self) -> Option<PublicKey> {
        self.signing.get().copied()
    }
    pub(crate) fn token_expires_ts(&self) -> u64 {
        self.token_expires_ts.load(Ordering::Acquire)
    }
    pub(crate) fn extend(&self, token_expires_ts: u64) {
        self.token_expires_ts.store(token_expires_ts, Ordering::Release);
    }

    /// Ends the session with a word.
    pub(crate) fn end(&self, code: ErrorCode, message: impl Into<String>) {
        self.queue.end(code, Some(encode(&Failure::new(0, code, message).into())));
    }

    /// Tells the session, if it is attached, that its events are interrupted.
    pub(crate) fn mark_lagging(&self) {
        let head = self.face.stable().map_or(Seq::ZERO, |stable| stable.head);
        self.queue.mark_lagging(|| lagging(head));
    }

    /// Sends where the log's owner stands, if nothing was sent since `idle_since`. Returns when the last event was queued.
    pub(crate) fn keep_alive(&self, idle_since: Instant) -> Option<Instant> {
        let Stable { timeline, head } = self.face.stable()?;
        Some(self.queue.keep_alive(idle_since, || encode(&HeadAt { log: OWN_LOG, timeline, head }.into())))
    }

    fn reserve(&self, request: u32) -> bool {
        let reserved = request != 0 && self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).insert(request);
        if reserved {
            self.outstanding.add();
        }
        reserved
    }
    fn release(&self, request: u32) {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
    }

    /// Refuses a request that was not admitted. One too many of these ends the session: its client does not listen.
    pub(crate) fn turn_away(&self, lane: Lane, failure: Failure) {
        self.meters.refused(failure.code);
        match self.allowance.refusal() {
            Some(credit) => self.queue.answer(Answer { lane, frame: encode(&failure.into()), credit: Some(credit), page: None }),
            None => self
                .end(ErrorCode::TooManyRequests, "too many requests beyond the unanswered ones allowed, and their refusals are not read"),
        }
    }
}

/// The frame that tells a session to attach again.
pub(crate) fn lagging(head: Seq) -> Bytes {
    encode(&Lagging { log: OWN_LOG, head }.into())
}

pub(crate) fn encode(frame: &Frame) -> Bytes {
    codec::encode(frame).into()
}

/// An unanswered request. It is answered once; dropped unanswered it answers *busy*.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) session: Arc<Session>,
    pub(crate) request: u32,
    pub(crate) admitted: Instant,
    lane: Lane,
    credit: Option<Credit>,
    room: Option<UserRoom>,
    answered: bool,
}

impl Ticket {
    /// Takes the request's id; `None` when it is 0 or still unanswered.
    pub(crate) fn new(session: Arc<Session>, request: u32, lane: Lane, credit: Credit) -> Option<Self> {
        session.reserve(request).then(|| Self {
            session,
            request,
            admitted: Instant::now(),
            lane,
            credit: Some(credit),
            room: None,
            answered: false,
        })
    }

    /// Holds a part of the user's budget as well.
    pub(crate) fn with_room(mut self, room: UserRoom) -> Self {
        self.room = Some(room);
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
        self.session.outstanding.remove();
    }

    /// Refuses; the failure's `request` is this one.
    pub(crate) fn refuse(self, mut failure: Failure) {
        self.session.meters.refused(failure.code);
        failure.request = self.request;
        self.send(encode(&failure.into()), None);
    }

    fn send(mut self, frame: Bytes, page: Option<PageSlot>) {
        let answer = self.settle(frame, page);
        self.session.queue.answer(answer);
        self.session.outstanding.remove();
    }

    /// The id is free before the answer can be read.
    fn settle(&mut self, frame: Bytes, page: Option<PageSlot>) -> Answer {
        self.answered = true;
        self.room = None;
        self.session.release(self.request);
        Answer { lane: self.lane, frame, credit: self.credit.take(), page }
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
        self.session.outstanding.remove();
    }
}

/// Try again after a while.
pub(crate) fn busy(request: u32, options: &Options, message: &str) -> Failure {
    Failure { retry_after_ms: Some(options.retry_after_ms()), ..Failure::new(request, ErrorCode::Busy, message) }
}

/// The node leaves.
pub(crate) fn going_away(request: u32, options: &Options) -> Failure {
    let failure = Failure::new(request, ErrorCode::GoingAway, "this node is leaving: connect again");
    Failure { retry_after_ms: Some(options.retry_after_ms()), ..failure }
}
