//! One session, from its connection's side: the handle that takes frames in, and the actor behind it that keeps their
//! order, reads pages, and watches the token.
//!
//! Never: rules of a log, or waiting for a user. What must be decided in order goes to the user actor, with its ticket.

use std::collections::VecDeque;
use std::sync::Arc;

use cloudsync_engine::session::{CreditError, TokenState};
use cloudsync_engine::verify::HelloProof;
use cloudsync_protocol::frame::{Authenticate, Authenticated, OWN_LOG, Pong};
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, Frame, TimelineId, UserId};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::outbound::Lane;
use crate::permits::PageSlot;
use crate::reads::{self, Read};
use crate::region::Shared;
use crate::request::{self, Ask, Request, Sorted};
use crate::session::{Session, Ticket, busy, going_away};
use crate::user_message::UserMessage;

/// An open session. Clones are the same session; it ends when the last of them is dropped.
#[derive(Debug, Clone)]
pub struct SessionHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    session: Arc<Session>,
    shared: Arc<Shared>,
    actor: ActorRef<SessionMessage>,
    keyring_version: u64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.session.queue.end(ErrorCode::GoingAway, None);
    }
}

impl SessionHandle {
    pub(crate) async fn start(session: Arc<Session>, shared: Arc<Shared>, keyring_version: u64) -> Result<Self, ractor::SpawnErr> {
        let state = State { session: Arc::clone(&session), shared: Arc::clone(&shared), reads: VecDeque::new(), pages: 0 };
        let (actor, _) = Actor::spawn(None, SessionActor, state).await?;
        Ok(Self(Arc::new(Inner { session, shared, actor, keyring_version })))
    }

    /// The session's number on this node, from 1.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.0.session.id.0
    }
    /// Whose session.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.0.session.identity.user
    }
    /// Which device's.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.0.session.identity.device
    }
    /// The keyring's version when the session was opened, for *welcome*.
    #[must_use]
    pub fn keyring_version(&self) -> u64 {
        self.0.keyring_version
    }
    /// The timeline of its log, for *welcome*.
    #[must_use]
    pub fn timeline(&self) -> TimelineId {
        self.0.session.timeline()
    }
    /// Until when the token holds, in milliseconds since the epoch.
    #[must_use]
    pub fn token_expires_ts(&self) -> u64 {
        self.0.session.queue.token_expires_ts()
    }

    /// Takes a frame that came in on `lane` with `bytes` bytes. Never waits: whatever comes of it, the refusal of a
    /// frame that has no place here included, comes out of the session's [`Outbound`](crate::Outbound).
    pub fn submit(&self, frame: Frame, bytes: usize, lane: Lane) {
        let Inner { session, shared, actor, .. } = &*self.0;
        let name = frame.name();
        let Some(Sorted { id, log, request }) = request::sort(frame, bytes) else {
            session.end(ErrorCode::UnexpectedFrame, format!("{name} has no place in a session"));
            return;
        };
        if let Request::Ping(ping) = request {
            session.answer_unasked(lane, &Pong { number: ping.number }.into());
        } else if shared.is_draining() {
            session.turn_away(lane, going_away(id, &shared.options));
        } else if let Err(error) = session.queue.admit(id, bytes) {
            match error {
                // A failure by that number would be taken for the connection's word, or for another request's answer.
                CreditError::Zero | CreditError::InUse(_) => session.end(error.code(), error.to_string()),
                CreditError::Requests | CreditError::Bytes { .. } => {
                    session.turn_away(lane, Failure::new(id, error.code(), error.to_string()));
                }
            }
        } else if let Some(room) = shared.budgets.request(bytes) {
            let ticket = Ticket::new(Arc::clone(session), id, lane, room);
            if log == OWN_LOG {
                // A session that is over has no actor any more; the ticket's answer goes nowhere either.
                let _ = actor.send_message(SessionMessage::Request { ticket, request: Box::new(request), bytes });
            } else {
                ticket.refuse(Failure::new(0, ErrorCode::LogUnknown, format!("this session has no log {log}")));
            }
        } else {
            session.queue.withdraw(id);
            session.turn_away(lane, busy(id, &shared.options, "this node has too much to do"));
        }
    }

    /// Refuses a frame that came in on `lane` and was not to come now; its own request is filled in. A ping is answered.
    pub fn turn_away(&self, frame: Frame, lane: Lane, failure: Failure) {
        let session = &self.0.session;
        let name = frame.name();
        match request::sort(frame, 0) {
            None => session.end(ErrorCode::UnexpectedFrame, format!("{name} has no place in a session")),
            Some(Sorted { request: Request::Ping(ping), .. }) => session.answer_unasked(lane, &Pong { number: ping.number }.into()),
            // A failure by that number would be taken for the connection's word.
            Some(Sorted { id: 0, .. }) => session.end(ErrorCode::RequestIdInUse, "a request has a number, which is not 0"),
            Some(Sorted { id, .. }) => session.turn_away(lane, Failure { request: id, ..failure }),
        }
    }

    /// Ends the session with a failure of the connection: a frame that is malformed, too large, too slow, …
    pub fn fail(&self, code: ErrorCode, message: impl Into<String>) {
        self.0.session.end(code, message);
    }

    /// Ends the session without a word, as dropping the last handle does: the client is done, or gone. What waits for the
    /// writer, the last word of a session that has ended already included, is still there for it.
    pub fn close(&self) {
        self.0.session.queue.end(ErrorCode::GoingAway, None);
    }

    /// Resolves once the session ends, whoever ended it: stop reading from the connection.
    pub async fn ended(&self) {
        self.0.session.queue.ended().await;
    }

    #[cfg(test)]
    pub(crate) fn inside(&self) -> Arc<Session> {
        Arc::clone(&self.0.session)
    }

    /// Why it ended; nothing while it goes on.
    #[must_use]
    pub fn ending(&self) -> Option<ErrorCode> {
        self.0.session.queue.ending()
    }
}

#[derive(Debug)]
pub(crate) enum SessionMessage {
    /// An admitted request.
    Request { ticket: Ticket, request: Box<Request>, bytes: usize },
    /// A page was written, or lost: there is room for another.
    PageFree,
}

#[derive(Debug)]
struct SessionActor;

#[derive(Debug)]
pub(crate) struct State {
    session: Arc<Session>,
    shared: Arc<Shared>,
    /// Bounded by the session's credit.
    reads: VecDeque<(Ticket, Read)>,
    pages: usize,
}

impl Actor for SessionActor {
    type Msg = SessionMessage;
    type State = State;
    type Arguments = State;

    async fn pre_start(&self, myself: ActorRef<SessionMessage>, state: State) -> Result<State, ActorProcessingErr> {
        let (session, shared) = (Arc::clone(&state.session), Arc::clone(&state.shared));
        tokio::spawn(async move {
            tokio::select! {
                () = session.queue.ended() => {}
                () = shared.failed() => session.send_away(),
            }
            shared.leave(&session);
            // What still waits in the mailbox answers into a queue that is closed.
            myself.stop(None);
        });
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<SessionMessage>, message: SessionMessage, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            SessionMessage::Request { ticket, request, bytes } => state.request(ticket, *request, bytes),
            SessionMessage::PageFree => state.pages = state.pages.saturating_sub(1),
        }
        state.read_more(&myself);
        Ok(())
    }
}

impl State {
    fn request(&mut self, ticket: Ticket, request: Request, bytes: usize) {
        let expired = self.session.queue.token(self.shared.clock.now_ms()) == TokenState::Expired;
        match request {
            Request::Authenticate(frame) => self.authenticate(ticket, &frame),
            Request::Ping(_) | Request::Read(_) | Request::Ask(_) if expired => self.session.end_expired(),
            Request::Read(read) => self.reads.push_back((ticket, read)),
            Request::Ask(ask @ Ask::Push { .. }) => match self.session.of_user.budget.take(bytes) {
                Some(room) => self.ask(ticket.with_room(room), ask),
                None => ticket.refuse(busy(0, &self.shared.options, "too many pushes of this user are undecided")),
            },
            Request::Ask(ask @ (Ask::Attach(_) | Ask::Claim(_) | Ask::ChangeRoster(_))) => self.ask(ticket, ask),
            // Answered before it gets here; its ticket answers by being dropped.
            Request::Ping(_) => {}
        }
    }

    fn ask(&self, ticket: Ticket, ask: Ask) {
        self.shared.directory.send(self.session.of_user.log, UserMessage::Ask { ticket, ask: Box::new(ask) });
    }

    fn authenticate(&self, ticket: Ticket, frame: &Authenticate) {
        match self.check_token(frame) {
            Ok(expires_ts) => {
                let token_expires_ts = self.session.queue.authenticated(expires_ts);
                let request = ticket.request;
                ticket.answer(&Authenticated { request, token_expires_ts }.into());
            }
            Err(failure) => ticket.refuse(failure),
        }
    }

    fn check_token(&self, frame: &Authenticate) -> Result<u64, Failure> {
        let identity = &self.session.identity;
        let access = self.shared.tokens.verify(&frame.token, self.shared.clock.now_ms())?;
        if (access.user, access.device) != (identity.user, identity.device) {
            return Err(Failure::new(0, ErrorCode::TokenMismatch, "the token is of another user or device than this session"));
        }
        let proof = HelloProof { nonce: identity.nonce, carrier: identity.carrier, token: frame.token.clone(), signature: frame.signature };
        match self.session.signing().map(|key| proof.verify(&key)) {
            Some(Ok(())) => Ok(access.expires_ts),
            Some(Err(_)) | None => Err(Failure::new(0, ErrorCode::SignatureInvalid, "not signed by this device's key")),
        }
    }

    /// Starts reads while there is room for their pages.
    fn read_more(&mut self, myself: &ActorRef<SessionMessage>) {
        while self.pages < self.shared.options.session_pages_max {
            let Some((ticket, read)) = self.reads.pop_front() else { return };
            self.pages += 1;
            let session = myself.clone();
            let slot = PageSlot::new(move || {
                // A session actor that is gone counts no pages.
                let _ = session.send_message(SessionMessage::PageFree);
            });
            let (shared, user) = (Arc::clone(&self.shared), self.session.identity.user);
            tokio::spawn(async move {
                let page = async {
                    let room = shared.budgets.page().await;
                    (reads::read(&*shared.store, user, read, &shared.options).await, room)
                };
                match tokio::time::timeout(shared.options.page_timeout, page).await {
                    Ok((Ok(frame), room)) => ticket.answer_page(&frame, slot.with_room(room)),
                    Ok((Err(failure), _)) => ticket.refuse(failure),
                    // Others' pages that nobody reads, or a store that hangs: this client need not hold on for them.
                    Err(_) => ticket.refuse(busy(0, &shared.options, "this node has too many pages to read")),
                }
            });
        }
    }
}
