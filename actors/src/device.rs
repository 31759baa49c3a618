//! One session, from its connection's side: the handle that takes frames in, and the actor behind it that keeps their
//! order, reads pages, and watches the token.
//!
//! Never: rules of a log, or waiting for a user. What must be decided in order goes to the user actor, with its ticket.

use std::collections::VecDeque;
use std::sync::Arc;

use cloudsync_protocol::frame::{Authenticate, Authenticated, OWN_LOG, Pong};
use cloudsync_protocol::statement::hello_message;
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, Frame, UserId};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::outbound::{Answer, Lane};
use crate::permits::{Exceeded, PageSlot};
use crate::reads::{self, Read};
use crate::region::Shared;
use crate::session::{Session, Ticket, busy, encode, going_away};
use crate::user::{Ask, UserMessage};

/// An open session. Clones are the same session; it ends when the last of them is dropped.
#[derive(Debug, Clone)]
pub struct Device(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    session: Arc<Session>,
    shared: Arc<Shared>,
    actor: ActorRef<DeviceMessage>,
    keyring_version: u64,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.session.queue.abandon();
    }
}

impl Device {
    pub(crate) async fn start(session: Arc<Session>, shared: Arc<Shared>, keyring_version: u64) -> Result<Self, ractor::SpawnErr> {
        let state = State { session: Arc::clone(&session), shared: Arc::clone(&shared), reads: VecDeque::new(), pages: 0 };
        let (actor, _) = Actor::spawn(None, DeviceActor, state).await?;
        Ok(Self(Arc::new(Handle { session, shared, actor, keyring_version })))
    }

    /// The session's number on this node, from 1.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.0.session.id
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
    /// Until when the token holds, in milliseconds since the epoch.
    #[must_use]
    pub fn token_expires_ts(&self) -> u64 {
        self.0.session.token_expires_ts()
    }

    /// Takes a frame that came in on `lane` with `bytes` bytes. Never waits: whatever comes of it, the refusal of a
    /// frame that has no place here included, comes out of the session's [`Outbound`](crate::Outbound).
    pub fn submit(&self, frame: Frame, bytes: usize, lane: Lane) {
        let Handle { session, shared, actor, .. } = &*self.0;
        let name = frame.name();
        let Some(request) = request_of(&frame) else {
            session.end(ErrorCode::UnexpectedFrame, format!("{name} has no place in a session"));
            return;
        };
        let credit = match session.allowance.admit(bytes, &shared.budgets) {
            Ok(credit) => credit,
            Err(Exceeded::Session) => {
                session.turn_away(lane, Failure::new(request, ErrorCode::TooManyRequests, "too much is unanswered: wait for answers"));
                return;
            }
            Err(Exceeded::Node) => {
                session.turn_away(lane, busy(request, &shared.options, "this node has too much to do"));
                return;
            }
        };
        if let Frame::Ping(ping) = frame {
            let frame = encode(&Pong { number: ping.number }.into());
            session.queue.answer(Answer { lane, frame, credit: Some(credit), page: None });
        } else if shared.is_draining() {
            session.turn_away(lane, going_away(request, &shared.options));
        } else if let Some(ticket) = Ticket::new(Arc::clone(session), request, lane, credit) {
            // A session that is over has no actor any more; the ticket's answer goes nowhere either.
            let _ = actor.send_message(DeviceMessage::Request { ticket, frame, bytes });
        } else {
            session.turn_away(
                lane,
                Failure::new(request, ErrorCode::RequestIdInUse, "a request's id is not 0 and not that of an unanswered one"),
            );
        }
    }

    /// Ends the session with a failure of the connection: a frame that is malformed, too large, too slow, …
    pub fn fail(&self, code: ErrorCode, message: impl Into<String>) {
        self.0.session.end(code, message);
    }

    /// Ends the session: the connection is gone.
    pub fn close(&self) {
        self.0.session.queue.abandon();
    }

    /// Resolves once the session ends, whoever ended it: stop reading from the connection.
    pub async fn ended(&self) {
        self.0.session.queue.ended().await;
    }
}

/// The request's id (a ping has none: 0), or nothing for a frame that is no request of a session.
fn request_of(frame: &Frame) -> Option<u32> {
    match frame {
        Frame::Ping(_) => Some(0),
        Frame::Authenticate(frame) => Some(frame.request),
        Frame::Attach(frame) => Some(frame.request),
        Frame::Pull(frame) => Some(frame.request),
        Frame::Snapshot(frame) => Some(frame.request),
        Frame::Claim(frame) => Some(frame.request),
        Frame::Push(frame) => Some(frame.request),
        Frame::ChangeRoster(frame) => Some(frame.request),
        Frame::GetKeyring(frame) => Some(frame.request),
        Frame::History(frame) => Some(frame.request),
        Frame::Challenge(_)
        | Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::GoingAway(_)
        | Frame::Pong(_)
        | Frame::Failure(_)
        | Frame::RegisterStart(_)
        | Frame::RegisterStarted(_)
        | Frame::RegisterFinish(_)
        | Frame::LoginStart(_)
        | Frame::LoginStarted(_)
        | Frame::LoginFinish(_)
        | Frame::Authorized(_)
        | Frame::Enrol(_)
        | Frame::Refresh(_)
        | Frame::Tokens(_)
        | Frame::Logout(_)
        | Frame::Done(_)
        | Frame::GetRoster(_)
        | Frame::RosterPage(_)
        | Frame::Authenticated(_)
        | Frame::Attached(_)
        | Frame::Page(_)
        | Frame::SnapshotPage(_)
        | Frame::Claimed(_)
        | Frame::Pushed(_)
        | Frame::RosterChanged(_)
        | Frame::Keyring(_)
        | Frame::Versions(_)
        | Frame::Event(_)
        | Frame::Committed(_)
        | Frame::HeadAt(_)
        | Frame::Lagging(_) => None,
    }
}

#[derive(Debug)]
pub(crate) enum DeviceMessage {
    /// An admitted request.
    Request { ticket: Ticket, frame: Frame, bytes: usize },
    /// A page was written, or lost: there is room for another.
    PageFree,
}

#[derive(Debug)]
struct DeviceActor;

#[derive(Debug)]
pub(crate) struct State {
    session: Arc<Session>,
    shared: Arc<Shared>,
    /// Bounded by the session's credit.
    reads: VecDeque<(Ticket, Read)>,
    pages: usize,
}

impl Actor for DeviceActor {
    type Msg = DeviceMessage;
    type State = State;
    type Arguments = State;

    async fn pre_start(&self, myself: ActorRef<DeviceMessage>, state: State) -> Result<State, ActorProcessingErr> {
        let (session, shared) = (Arc::clone(&state.session), Arc::clone(&state.shared));
        tokio::spawn(async move {
            session.queue.ended().await;
            shared.leave(&session);
            // What still waits in the mailbox answers into a queue that is closed.
            myself.stop(None);
        });
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<DeviceMessage>, message: DeviceMessage, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            DeviceMessage::Request { ticket, frame, bytes } => state.request(ticket, frame, bytes),
            DeviceMessage::PageFree => state.pages = state.pages.saturating_sub(1),
        }
        state.read_more(&myself);
        Ok(())
    }
}

impl State {
    fn request(&mut self, ticket: Ticket, frame: Frame, bytes: usize) {
        if let Frame::Authenticate(frame) = frame {
            self.authenticate(ticket, &frame);
            return;
        }
        if self.shared.clock.now_ms() >= self.session.token_expires_ts() {
            self.session.end(ErrorCode::TokenExpired, "the access token's time is over: refresh it and connect again");
            return;
        }
        match log_of(&frame) {
            Some(OWN_LOG) | None => {}
            Some(log) => return ticket.refuse(Failure::new(0, ErrorCode::LogUnknown, format!("this session has no log {log}"))),
        }
        match frame {
            Frame::Pull(pull) => self.reads.push_back((ticket, Read::Pull(pull))),
            Frame::Snapshot(snapshot) => self.reads.push_back((ticket, Read::Snapshot(snapshot))),
            Frame::History(history) => self.reads.push_back((ticket, Read::History(history))),
            Frame::GetKeyring(get) => self.reads.push_back((ticket, Read::Keyring(get))),
            Frame::Push(push) => match self.session.face.budget.take(bytes) {
                Some(room) => self.ask(ticket.with_room(room), Ask::Push(push)),
                None => ticket.refuse(busy(0, &self.shared.options, "too many pushes of this user are undecided")),
            },
            Frame::Attach(attach) => self.ask(ticket, Ask::Attach(attach)),
            Frame::Claim(claim) => self.ask(ticket, Ask::Claim(claim)),
            Frame::ChangeRoster(change) => self.ask(ticket, Ask::ChangeRoster(change)),
            other => ticket.refuse(Failure::new(0, ErrorCode::UnexpectedFrame, format!("{} has no place in a session", other.name()))),
        }
    }

    fn ask(&self, ticket: Ticket, ask: Ask) {
        self.shared.directory.send(self.session.face.log, UserMessage::Ask { ticket, ask });
    }

    fn authenticate(&self, ticket: Ticket, frame: &Authenticate) {
        match self.check_token(frame) {
            Ok(expires_ts) => {
                self.session.extend(expires_ts);
                let request = ticket.request;
                ticket.answer(&Authenticated { request, token_expires_ts: expires_ts }.into());
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
        let message = hello_message(&identity.nonce, identity.carrier, &frame.token);
        let signed = self.session.signing().is_some_and(|_| message.is_empty());
        if signed { Ok(access.expires_ts) } else { Err(Failure::new(0, ErrorCode::SignatureInvalid, "not signed by this device")) }
    }

    /// Starts reads while there is room for their pages.
    fn read_more(&mut self, myself: &ActorRef<DeviceMessage>) {
        while self.pages < self.shared.options.session_pages_max {
            let Some((ticket, read)) = self.reads.pop_front() else { return };
            self.pages += 1;
            let device = myself.clone();
            let slot = PageSlot::new(move || {
                // A device actor that is gone counts no pages.
                let _ = device.send_message(DeviceMessage::PageFree);
            });
            let (shared, user) = (Arc::clone(&self.shared), self.session.identity.user);
            tokio::spawn(async move {
                let slot = slot.with_room(shared.budgets.page().await);
                match reads::read(&*shared.store, user, read, &shared.options).await {
                    Ok(frame) => ticket.answer_page(&frame, slot),
                    Err(failure) => ticket.refuse(failure),
                }
            });
        }
    }
}

fn log_of(frame: &Frame) -> Option<u32> {
    match frame {
        Frame::Pull(frame) => Some(frame.log),
        Frame::Snapshot(frame) => Some(frame.log),
        Frame::History(frame) => Some(frame.log),
        Frame::Push(frame) => Some(frame.log),
        Frame::Attach(frame) => Some(frame.log),
        Frame::Claim(frame) => Some(frame.log),
        Frame::ChangeRoster(frame) => Some(frame.log),
        _ => None,
    }
}
