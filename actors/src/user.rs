//! The user actor: it owns a log's rules, carries out their effects against the store, and sends what comes of them.
//!
//! Never: deciding. The rules are `engine::user`.

use std::sync::Arc;

use cloudsync_protocol::frame::{Attach, ChangeRoster, Claim, Push};
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{Failure, Seq};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::region::Shared;
use crate::session::{Face, Session, Ticket};

/// A request that must be decided in the log's order.
#[derive(Debug)]
pub(crate) enum Ask {
    Attach(Attach),
    Claim(Claim),
    Push(Push),
    ChangeRoster(ChangeRoster),
}

/// What a user actor is told.
#[derive(Debug)]
pub(crate) enum UserMessage {
    /// Whether a session may begin.
    Open { session: Arc<Session>, proof: HelloProof, reply: oneshot::Sender<Result<(), Failure>> },
    /// A session is over.
    Leave { session: u64 },
    /// A request of a session.
    Ask { ticket: Ticket, ask: Ask },
    /// A change of the roster by the account itself.
    ChangeRoster { change: RosterChange, reply: oneshot::Sender<Result<Seq, Failure>> },
    /// Stop, if there is nothing to do.
    Passivate,
    /// Stop, as soon as there is nothing to do.
    Finish,
}

#[derive(Debug)]
pub(crate) struct HelloProof {
    pub(crate) nonce: cloudsync_protocol::Nonce,
    pub(crate) carrier: cloudsync_protocol::statement::Carrier,
    pub(crate) token: String,
    pub(crate) signature: cloudsync_protocol::Signature,
}

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) shared: Arc<Shared>,
    pub(crate) face: Arc<Face>,
    pub(crate) sessions: Vec<Arc<Session>>,
}

/// Whether the sessions of a user whose actor ended were sent every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feeds {
    Intact,
    Interrupted,
}

/// What an actor leaves behind.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) messages: Vec<UserMessage>,
    pub(crate) feeds: Feeds,
}

#[derive(Debug)]
pub(crate) struct UserActor;

#[derive(Debug)]
pub(crate) struct State {
    #[expect(dead_code, reason = "the rules land next")]
    arguments: Arguments,
}

impl State {
    pub(crate) fn into_left(self) -> Left {
        Left { messages: Vec::new(), feeds: Feeds::Intact }
    }
}

impl Actor for UserActor {
    type Msg = UserMessage;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, _myself: ActorRef<UserMessage>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        Ok(State { arguments })
    }

    async fn handle(&self, myself: ActorRef<UserMessage>, message: UserMessage, _state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            UserMessage::Passivate | UserMessage::Finish => myself.stop(None),
            // Until the rules are there, everything answers busy, by being dropped.
            other => drop(other),
        }
        Ok(())
    }
}
