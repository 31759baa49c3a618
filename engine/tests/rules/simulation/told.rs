//! What clients are told, checked as it is told.
//!
//! Never: believed without a look at the store.

use cloudsync_engine::invariants::{Invariant, told_is_durable};
use cloudsync_engine::session::SessionId;
use cloudsync_engine::user::FanOut;
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::{Frame, Seq};

use super::{Checked, Simulation, entry_hash, violated};
use crate::maker::device;

impl Simulation {
    pub(super) fn durable(&self) -> Seq {
        self.store.head.as_ref().map_or(Seq::ZERO, |head| head.seq)
    }

    pub(super) fn answered(&mut self, owner: u64, session: SessionId, frame: Frame) -> Checked {
        let number = u8::try_from(session.0 / 10).unwrap();
        match frame {
            Frame::Pushed(pushed) => {
                told_is_durable(pushed.to, self.durable())?;
                self.acknowledged.insert(pushed.hash, (pushed.from, pushed.to));
                self.is_in_log(pushed.hash, pushed.from, pushed.to)?;
                let last = LastPush { device_seq: pushed.device_seq, hash: pushed.hash, seq: pushed.to };
                self.pens.get_mut(&number).unwrap().ready.insert(session, last);
            }
            Frame::Claimed(claimed) => {
                let (tick, lasts) = self.reads.get(&owner).cloned().unwrap();
                let last = lasts.get(&device(number)).copied();
                if last.is_some_and(|last| last != claimed.last) || (last.is_none() && claimed.last.device_seq.0 > 0) {
                    return Err(violated(Invariant::V4, format!("claimed tells {:?}, the head that was read {last:?}", claimed.last)));
                }
                self.claimed.push((device(number), session, tick));
                self.pens.get_mut(&number).unwrap().ready.insert(session, claimed.last);
            }
            Frame::Failure(failure) => {
                let versions = self.store.versions();
                for issue in failure.records.iter().filter(|issue| issue.current.0 > 0) {
                    let is_there = versions
                        .iter()
                        .any(|(key, current)| *key == issue.key && current.version == issue.current && current.seq == issue.current_seq);
                    if !is_there {
                        return Err(violated(Invariant::V4, format!("{issue:?} is not in the log")));
                    }
                }
                if let Some(last) = failure.last.as_deref().filter(|last| last.device_seq.0 > 0) {
                    let log = self.store.log()?;
                    if !log.iter().any(|entry| entry.last() == last.seq && entry_hash(entry) == Some(last.hash)) {
                        return Err(violated(Invariant::V4, format!("{last:?} is not in the log")));
                    }
                }
            }
            Frame::RosterChanged(changed) => told_is_durable(changed.seq, self.durable())?,
            Frame::Attached(attached) => {
                told_is_durable(attached.head, self.durable())?;
                self.rising.entry((owner, session)).or_default().resync(attached.head);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn fanned_out(&mut self, owner: u64, fan_out: &FanOut) -> Checked {
        told_is_durable(fan_out.head, self.durable())?;
        if let Frame::Event(event) = &*fan_out.frame {
            let log = self.store.log()?;
            for entry in &event.entries {
                if !log.contains(entry) {
                    return Err(violated(Invariant::V2, format!("({}, {}] was fanned out, the log has another", event.from, event.to)));
                }
            }
            for session in &fan_out.to {
                self.told(owner, *session, event.from, event.to)?;
            }
        }
        if let Some((session, committed)) = &fan_out.own {
            self.told(owner, *session, committed.from, committed.to)?;
        }
        Ok(())
    }

    pub(super) fn told(&mut self, owner: u64, session: SessionId, from: Seq, to: Seq) -> Checked {
        self.rising.entry((owner, session)).or_default().told(from, to)
    }
}
