//! The end of a region: users finish what was admitted, then every session is told to go.
//!
//! Never: longer than its time. What is undecided by then is answered *busy*, and its client sends it again elsewhere.

use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::oneshot;

use crate::region::Drained;
use crate::region_actor::{RegionMessage, State};
use crate::user_message::UserMessage;

/// A drain under way.
#[derive(Debug)]
pub(crate) struct Drain {
    reply: oneshot::Sender<Drained>,
    users_cut_off: usize,
}

impl Drain {
    /// What a user that is activated meanwhile is told at once.
    pub(crate) fn word(&self) -> UserMessage {
        if self.users_cut_off > 0 { UserMessage::CutOff } else { UserMessage::Finish }
    }
}

impl State {
    pub(crate) fn start_drain(&mut self, myself: &ActorRef<RegionMessage>, timeout: Duration, reply: oneshot::Sender<Drained>) {
        self.drain = Some(Drain { reply, users_cut_off: 0 });
        if self.shared.directory.len() == 0 {
            return self.end_drain(myself);
        }
        for entry in self.shared.directory.all() {
            // One that is stopping already needs no telling.
            let _ = entry.actor.send_message(UserMessage::Finish);
        }
        myself.send_after(timeout, || RegionMessage::DrainTimeout);
    }

    /// The drain's time is over: what is not decided is answered *busy*. User actors never wait, so they end at once.
    pub(crate) fn cut_off(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        let late = self.shared.directory.all();
        drain.users_cut_off = late.len();
        for entry in late {
            // One that is stopping already needs no telling.
            let _ = entry.actor.send_message(UserMessage::CutOff);
        }
    }

    /// Every user's work has ended: tells every session to go.
    pub(crate) fn end_drain(&mut self, myself: &ActorRef<RegionMessage>) {
        let Some(Drain { reply, users_cut_off }) = self.drain.take() else { return };
        self.sessions().for_each(|session| session.send_away());
        // Whoever waited may have given up.
        let _ = reply.send(Drained { sessions: self.sessions().count(), users_cut_off });
        myself.stop(None);
    }
}
