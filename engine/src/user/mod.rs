//! One user's log while this node owns it: admits sessions, decides claims, pushes and changes of the roster one group at
//! a time, and tells everybody only what is durable.
//!
//! Never: an answer that cites what is not stable, two groups in flight, or a decision taken from a head that may not be
//! mine any more.

mod effect;
mod event;

pub use effect::{Admission, Effect, FanOut, PageRead, Stop};
pub use event::{AcquireOutcome, CallId, CommitOutcome, Event, ReadId, ReadTrouble};

use std::collections::BTreeMap;

use cloudsync_protocol::frame::{HeadAt, OWN_LOG};
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, LogId, View};

use crate::log::Head;
use crate::session::{Peer, SessionId};

/// What an owner is told when it is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The log.
    pub log: LogId,
    /// The view that this node serves by.
    pub view: View,
    /// Fresh randomness for this activation: owner nonces and commit ids are derived from it.
    pub seed: [u8; 32],
    /// What *busy* and *unavailable* say.
    pub retry_after_ms: u32,
}

/// What waits to be decided, so that the shell can bound it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queued {
    /// Pushes, claims and changes of the roster that wait or are in flight.
    pub requests: usize,
    /// Operations in them.
    pub operations: usize,
    /// Their frames' bytes.
    pub bytes: usize,
}

/// What a stopped or passivated owner gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passivated {
    /// Still attached: hand them to the next [`User`].
    pub attached: Vec<Peer>,
    /// What keep-alives go on saying meanwhile.
    pub head: Option<HeadAt>,
}

/// One user's rules.
#[derive(Debug)]
pub struct User {
    options: Options,
    attached: BTreeMap<SessionId, DeviceId>,
    stable: Option<Head>,
}

impl User {
    /// An owner to be; the first event is [`Event::Start`].
    #[must_use]
    pub fn new(options: Options, attached: Vec<Peer>) -> Self {
        let attached = attached.into_iter().map(|peer| (peer.session, peer.device)).collect();
        Self { options, attached, stable: None }
    }

    /// Takes what happened at `now_ms` (milliseconds since the epoch) and says what is to be done, in order.
    #[must_use]
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        let busy = |request| Failure {
            retry_after_ms: Some(self.options.retry_after_ms),
            ..Failure::new(request, ErrorCode::Busy, format!("not yet, at {now_ms}"))
        };
        match event {
            Event::Open { peer, .. } => vec![Effect::Opened { session: peer.session, outcome: Err(busy(0)) }],
            _ => Vec::new(),
        }
    }

    /// When to say [`Event::Wake`], in milliseconds since the epoch.
    #[must_use]
    pub fn wake_at_ms(&self) -> Option<u64> {
        None
    }

    /// Whether nothing is queued or in flight: it may be passivated.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        true
    }

    /// What waits to be decided.
    #[must_use]
    pub fn queued(&self) -> Queued {
        Queued::default()
    }

    /// What a keep-alive says: the stable head, once it is known.
    #[must_use]
    pub fn head_at(&self) -> Option<HeadAt> {
        self.stable.as_ref().map(|head| HeadAt { log: OWN_LOG, timeline: head.timeline, head: head.seq })
    }

    /// Gives the attached sessions back.
    #[must_use]
    pub fn into_attached(self) -> Passivated {
        let head = self.head_at();
        Passivated { attached: self.attached.into_iter().map(|(session, device)| Peer { session, device }).collect(), head }
    }
}
