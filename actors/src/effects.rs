//! Carries out the effects of a user's rules: calls the store and reports back, answers tickets, fans out.
//!
//! Never: an effect out of order, a store call whose outcome does not come back, or a frame encoded twice.

use std::sync::Arc;
use std::time::Duration;

use cloudsync_engine::invariants::{self, Violation};
use cloudsync_engine::log::Commit;
use cloudsync_engine::session::SessionId;
use cloudsync_engine::user::{Admission, CommitOutcome, Effect, Event, FanOut, Stop};
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, Frame, Seq};
use ractor::ActorRef;
use tokio::time::Instant;

use crate::metrics::{limit_reached, violations};
use crate::queue::encode;
use crate::stored::{self, Call};
use crate::user::{Feeds, State};
use crate::user_message::{Asked, UserMessage};

/// Attempts to revoke a device's refresh families. They open nothing any more: the roster refuses the device.
const REVOKE_ATTEMPTS: u32 = 8;
const REVOKE_BACKOFF: Duration = Duration::from_millis(100);

impl State {
    /// `stable` is the head that the rules had before what led to these effects; none before they owned the log.
    pub(crate) fn carry_out(&mut self, myself: &ActorRef<UserMessage>, effects: Vec<Effect>, stable: Option<Seq>) {
        let mut pushed = Vec::new();
        for effect in effects {
            match effect {
                Effect::Acquire(acquire) => self.call(myself, Call::Acquire(acquire)),
                Effect::ReadRoster { read } => self.call(myself, Call::Roster { read }),
                Effect::ReadHead { read } => self.call(myself, Call::Head { read }),
                Effect::ReadRow { read, seq } => self.call(myself, Call::Row { read, seq }),
                Effect::LookUp { read, records, rows } => self.call(myself, Call::LookUp { read, records, rows }),
                Effect::Persist(commit) => self.persist(myself, commit),
                Effect::Opened { session, outcome } => self.opened(session, outcome),
                Effect::Answer { session, request, frame } => pushed.extend(self.answer(session, request, *frame, stable)),
                Effect::Enrolled { call, outcome } => {
                    if let Some(reply) = self.pending.calls.remove(&call) {
                        // Whoever asked may have gone; what was decided stands all the same.
                        let _ = reply.send(outcome);
                    }
                }
                Effect::FanOut(fan_out) => self.fan_out(fan_out),
                Effect::CloseDevice { device, code } => self.close_device(device, code),
                Effect::RevokeFamilies { device } => self.revoke_families(device),
                Effect::CommitFull => limit_reached("commit_bytes"),
                Effect::Violated(violation) => violated(&violation),
                Effect::Stop(why) => self.stopped(myself, why),
            }
        }
        for admitted in pushed {
            self.shared.meters.push_fan_out_seconds.record(admitted.elapsed().as_secs_f64());
        }
    }

    fn call(&self, myself: &ActorRef<UserMessage>, call: Call) {
        let (store, log, user) = (Arc::clone(&self.shared.store), self.of_user.log, myself.clone());
        tokio::spawn(async move {
            let event = stored::call(store, log, call).await;
            // An actor that has ended has told its sessions so; what was committed, the next one finds in the head.
            let _ = user.send_message(UserMessage::Stored(Box::new(event)));
        });
    }

    fn persist(&self, myself: &ActorRef<UserMessage>, commit: Box<Commit>) {
        let operations = commit.head.seq.0.saturating_sub(commit.after.0);
        let (store, log, user) = (Arc::clone(&self.shared.store), self.of_user.log, myself.clone());
        let (meters, head) = (Arc::clone(&self.shared.meters), commit.head.seq);
        tokio::spawn(async move {
            let started = Instant::now();
            let event = stored::call(store, log, Call::Commit(commit)).await;
            meters.commit_seconds.record(started.elapsed().as_secs_f64());
            meters.commit_operations.record(operations as f64);
            if let Event::Persisted { outcome, .. } = &event {
                meters.committed(outcome_name(*outcome));
            }
            // As in `call`.
            let _ = user.send_message(UserMessage::Persisted { event: Box::new(event), head });
        });
    }

    fn opened(&mut self, session: SessionId, outcome: Result<Admission, Failure>) {
        let Some(reply) = self.pending.opens.remove(&session) else { return };
        let outcome = match (outcome, self.sessions.get(&session)) {
            (Ok(admission), Some(opened)) => {
                opened.admit(admission);
                Ok(())
            }
            // It is gone already.
            (Ok(_), None) => return,
            (Err(failure), _) => {
                self.sessions.remove(&session);
                Err(failure)
            }
        };
        // A caller that gave up has dropped the session, which leaves by its own way.
        let _ = reply.send(outcome);
    }

    /// Answers a request, and says when a push that was committed now had been admitted.
    fn answer(&mut self, session: SessionId, request: u32, frame: Frame, stable: Option<Seq>) -> Option<Instant> {
        let (ticket, asked) = self.pending.tickets.remove(&(session, request))?;
        let meters = &self.shared.meters;
        if let Frame::Failure(failure) = frame {
            if asked == Asked::Push {
                meters.pushed(failure.code.name());
                let conflicts = failure.records.iter().filter(|issue| issue.code == ErrorCode::Stale).count();
                meters.conflicts.increment(conflicts as u64);
            }
            ticket.refuse(failure);
            return None;
        }
        let mut committed = None;
        if let Frame::Pushed(pushed) = &frame {
            if let Err(violation) = invariants::told_is_durable(pushed.to, self.durable) {
                violated(&violation);
                ticket.refuse(Failure::new(request, ErrorCode::Internal, "withheld by an internal check"));
                return None;
            }
            if stable.is_some_and(|stable| pushed.to > stable) {
                meters.pushed("committed");
                committed = Some(ticket.admitted);
            } else {
                meters.pushed("repeated");
            }
        }
        match asked {
            Asked::Attach => ticket.answer_attached(&frame),
            Asked::Push | Asked::Other => ticket.answer(&frame),
        }
        committed
    }

    fn fan_out(&self, fan_out: FanOut) {
        let FanOut { frame, to, own, head } = fan_out;
        if let Err(violation) = invariants::told_is_durable(head, self.durable) {
            violated(&violation);
            return;
        }
        if matches!(&*frame, Frame::HeadAt(_)) {
            limit_reached("event_bodies");
        }
        let receivers = || to.iter().filter_map(|session| self.sessions.get(session));
        if receivers().next().is_some() {
            let event = encode(&frame);
            receivers().for_each(|session| session.queue.offer(&event, head));
        }
        if let Some((session, committed)) = own
            && let Some(session) = self.sessions.get(&session)
        {
            session.queue.offer(&encode(&committed.into()), head);
        }
    }

    fn close_device(&self, device: DeviceId, code: ErrorCode) {
        for session in self.sessions.values().filter(|session| session.identity.device == device) {
            session.end(code, "this device was revoked");
        }
    }

    fn revoke_families(&self, device: DeviceId) {
        let (store, user) = (Arc::clone(&self.shared.store), self.of_user.user);
        tokio::spawn(async move {
            let mut wait = REVOKE_BACKOFF;
            for attempt in 1..=REVOKE_ATTEMPTS {
                match store.revoke_families(user, device).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(%error, attempt, "refresh families of a revoked device are not revoked yet"),
                }
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            tracing::error!("refresh families of a revoked device stay; they open no session");
        });
    }

    fn stopped(&mut self, myself: &ActorRef<UserMessage>, why: Stop) {
        tracing::warn!(?why, "a user's owner stops");
        match why {
            Stop::Erased => {
                for session in self.sessions.values() {
                    session.end(ErrorCode::AccountErased, "this user's data was erased");
                }
            }
            Stop::Fenced | Stop::LaterView(_) | Stop::Full | Stop::Unavailable | Stop::Damaged => {}
        }
        // A commit of unknown outcome may be durable and was not told: the next actor says where the head is.
        self.stop(myself, Feeds::Interrupted);
    }
}

fn violated(violation: &Violation) {
    tracing::error!(%violation, "an invariant is broken: a bug");
    violations(violation.invariant).increment(1);
}

const fn outcome_name(outcome: CommitOutcome) -> &'static str {
    match outcome {
        CommitOutcome::Durable => "durable",
        CommitOutcome::Fenced => "fenced",
        CommitOutcome::Unknown => "unknown",
        CommitOutcome::Full => "full",
        CommitOutcome::Unavailable => "unavailable",
    }
}
