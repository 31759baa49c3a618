//! One wheel for all sessions of a region: keep-alives, the end of tokens, and the tick of the region's sweep.
//!
//! Never: a timer per session or per actor.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use cloudsync_engine::session::TokenState;
use ractor::ActorRef;
use tokio::time::{Instant, MissedTickBehavior};

use crate::region::Shared;
use crate::region_actor::RegionMessage;
use crate::session::Session;

/// One slot a second; a session due later than a whole turn is looked at once a turn.
const SLOTS: usize = 64;
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Slots {
    slots: [Vec<Weak<Session>>; SLOTS],
    now: usize,
}

/// Sessions by the second in which they are to be looked at.
#[derive(Debug)]
pub(crate) struct Wheel {
    keep_alive_interval: Duration,
    slots: Mutex<Slots>,
}

impl Wheel {
    pub(crate) fn new(keep_alive_interval: Duration) -> Self {
        Self { keep_alive_interval, slots: Mutex::new(Slots { slots: std::array::from_fn(|_| Vec::new()), now: 0 }) }
    }

    /// Looks after a session from now on, until it ends.
    pub(crate) fn add(&self, session: &Arc<Session>, now_ms: u64) {
        self.schedule(session, self.keep_alive_interval, now_ms);
    }

    fn schedule(&self, session: &Arc<Session>, keep_alive_in: Duration, now_ms: u64) {
        let token_in = Duration::from_millis(session.queue.token_expires_ts().saturating_sub(now_ms));
        let seconds = keep_alive_in.min(token_in).as_secs_f64().ceil().clamp(1.0, (SLOTS - 1) as f64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the number of slots just above")]
        let distance = seconds as usize;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = (slots.now + distance) % SLOTS;
        if let Some(slot) = slots.slots.get_mut(slot) {
            slot.push(Arc::downgrade(session));
        }
    }

    /// One second on: looks at the sessions that are due.
    fn turn(&self, now: Instant, now_ms: u64) {
        let due = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.now = (slots.now + 1) % SLOTS;
            let now = slots.now;
            slots.slots.get_mut(now).map(std::mem::take).unwrap_or_default()
        };
        for session in due.iter().filter_map(Weak::upgrade).filter(|session| session.queue.ending().is_none()) {
            if session.queue.token(now_ms) == TokenState::Expired {
                session.end_expired();
                continue;
            }
            let idle_since = now.checked_sub(self.keep_alive_interval).unwrap_or(now);
            let last_event = session.keep_alive(idle_since);
            self.schedule(&session, (last_event + self.keep_alive_interval).saturating_duration_since(now), now_ms);
        }
    }
}

/// Turns the wheel, and tells the region to sweep, until the region is gone.
pub(crate) fn run(shared: Weak<Shared>, region: ActorRef<RegionMessage>) {
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut swept = Instant::now();
        loop {
            let now = interval.tick().await;
            let Some(shared) = shared.upgrade() else { return };
            shared.wheel.turn(now, shared.clock.now_ms());
            if now.saturating_duration_since(swept) >= shared.options.sweep_interval {
                swept = now;
                if region.send_message(RegionMessage::Sweep).is_err() {
                    return;
                }
            }
        }
    });
}
