//! What a user's sessions and actor share: the budget of pushes, where the log's owner stands, when there was work last.
//!
//! Never: the user's rules; those are the actor's alone, and go with it. This stays while a session or an actor does.

use std::sync::{Mutex, PoisonError};

use cloudsync_protocol::frame::HeadAt;
use cloudsync_protocol::{LogId, UserId};
use tokio::time::Instant;

use crate::options::Options;
use crate::permits::UserBudget;

/// What a log's sessions and actors share, whether the user is active or not.
#[derive(Debug)]
pub(crate) struct UserShared {
    pub(crate) log: LogId,
    pub(crate) user: UserId,
    pub(crate) budget: UserBudget,
    /// What keep-alives say: where the log's owner stands.
    head_at: Mutex<Option<HeadAt>>,
    touched: Mutex<Instant>,
}

impl UserShared {
    pub(crate) fn new(user: UserId, options: &Options) -> Self {
        let (head_at, touched) = (Mutex::new(None), Mutex::new(Instant::now()));
        Self { log: user.into(), user, budget: UserBudget::new(options), head_at, touched }
    }
    pub(crate) fn head_at(&self) -> Option<HeadAt> {
        self.head_at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub(crate) fn set_head_at(&self, head_at: HeadAt) {
        *self.head_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(head_at);
    }
    /// Notes that the user has work, so that its actor is not passivated.
    pub(crate) fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
    pub(crate) fn touched(&self) -> Instant {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
