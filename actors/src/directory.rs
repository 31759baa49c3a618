//! Which user has an actor: written by the region actor alone, read by every connection, so that a push goes straight
//! to its actor; and the way round by the region for those that have none.
//!
//! Never: an entry removed before its actor's task has ended.

use std::sync::{Arc, OnceLock};

use cloudsync_protocol::LogId;
use dashmap::DashMap;
use ractor::{ActorRef, MessagingErr};

use crate::region_actor::RegionMessage;
use crate::user_message::UserMessage;
use crate::user_shared::UserShared;

/// One user's actor.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) actor: ActorRef<UserMessage>,
    pub(crate) of_user: Arc<UserShared>,
}

/// The map, and the region behind it.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    entries: DashMap<LogId, Entry>,
    region: OnceLock<ActorRef<RegionMessage>>,
}

impl Directory {
    /// Names the region actor; once, before the first message.
    pub(crate) fn set_region(&self, region: ActorRef<RegionMessage>) {
        // Set once, by `Region::start`.
        let _ = self.region.set(region);
    }

    /// To the user's actor; to the region if there is none or it is stopping, which activates one. A message that can
    /// reach neither is dropped, and its ticket answers.
    pub(crate) fn send(&self, log: LogId, message: UserMessage) {
        match self.send_direct(log, message) {
            Ok(()) => {}
            Err(message) => self.tell_region(RegionMessage::Route { log, message: Box::new(message) }),
        }
    }

    /// To the user's actor, or back.
    pub(crate) fn send_direct(&self, log: LogId, message: UserMessage) -> Result<(), UserMessage> {
        let Some(entry) = self.entries.get(&log) else { return Err(message) };
        entry.of_user.touch();
        match entry.actor.send_message(message) {
            Ok(()) => Ok(()),
            Err(MessagingErr::SendErr(message)) => Err(message),
            // An entry's actor is of the right type, and a closed channel gives its message back.
            Err(MessagingErr::ChannelClosed | MessagingErr::InvalidActorType) => Ok(()),
        }
    }

    pub(crate) fn tell_region(&self, message: RegionMessage) {
        if let Some(region) = self.region.get() {
            // The region ends only with the node; what the message holds answers when it is dropped.
            let _ = region.send_message(message);
        }
    }

    pub(crate) fn insert(&self, log: LogId, entry: Entry) {
        self.entries.insert(log, entry);
    }
    pub(crate) fn remove(&self, log: LogId) {
        self.entries.remove(&log);
    }
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
    /// The users without work since `before`.
    pub(crate) fn idle(&self, before: tokio::time::Instant) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.of_user.touched() <= before).map(|entry| entry.clone()).collect()
    }
    pub(crate) fn all(&self) -> Vec<Entry> {
        self.entries.iter().map(|entry| entry.clone()).collect()
    }
}
