//! What a user actor is told.
//!
//! Never: a message that asks something and whose loss is silent. Tickets and replies answer when they are dropped.

use std::sync::Arc;

use cloudsync_engine::session::SessionId;
use cloudsync_engine::user::{AccountChange, Event};
use cloudsync_engine::verify::HelloProof;
use cloudsync_protocol::{Failure, Seq};
use tokio::sync::oneshot;

use crate::request::Ask;
use crate::session::{Session, Ticket};

/// What a ticket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The rules forget it when its session ends.
    Attach,
    /// The rules decide it all the same.
    Push,
    /// This too.
    Other,
}

impl From<&Ask> for Asked {
    fn from(ask: &Ask) -> Self {
        match ask {
            Ask::Attach(_) => Self::Attach,
            Ask::Push { .. } => Self::Push,
            Ask::Claim(_) | Ask::ChangeRoster(_) => Self::Other,
        }
    }
}

/// What a user actor is told.
#[derive(Debug)]
pub(crate) enum UserMessage {
    /// Whether a session may begin.
    Open { session: Arc<Session>, proof: Box<HelloProof>, reply: oneshot::Sender<Result<(), Failure>> },
    /// A session is over.
    Leave { session: SessionId },
    /// A request of a session.
    Ask { ticket: Ticket, ask: Box<Ask> },
    /// Changes of the roster by the account itself.
    ChangeRoster { change: Box<AccountChange>, reply: oneshot::Sender<Result<Seq, Failure>> },
    /// What the store said to an effect of this very actor.
    Stored(Box<Event>),
    /// What became of a commit that brings the log to `head`.
    Persisted { event: Box<Event>, head: Seq },
    /// The log was erased in the store.
    Erased,
    /// The time that the rules named has come.
    Wake { at_ms: u64 },
    /// Stop, if there is nothing to do.
    Passivate,
    /// Stop, as soon as there is nothing to do.
    Finish,
    /// Stop now: everything that is not decided is answered *busy*.
    CutOff,
    /// Dies of a panic.
    #[cfg(test)]
    Panic,
}

impl UserMessage {
    /// Whether the next actor is to have it, when it came too late for this one.
    pub(crate) const fn is_for_the_next(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Ask { .. } | Self::ChangeRoster { .. } => true,
            Self::Leave { .. }
            | Self::Stored(_)
            | Self::Persisted { .. }
            | Self::Erased
            | Self::Wake { .. }
            | Self::Passivate
            | Self::Finish
            | Self::CutOff => false,
            #[cfg(test)]
            Self::Panic => false,
        }
    }
}
