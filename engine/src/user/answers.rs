//! What sessions are answered, and the last look at what an answer cites.
//!
//! Never: an answer that cites what is not stable. That would be our bug: it is withheld, and said to be one.

use cloudsync_protocol::{ErrorCode, Failure, Frame, Seq};

use super::User;
use super::effect::Effect;
use crate::invariants;
use crate::session::SessionId;

impl User {
    /// Answers a request, unless the answer cites what is not stable.
    pub(super) fn answer(&self, session: SessionId, request: u32, frame: Frame, effects: &mut Vec<Effect>) {
        let stable = self.owned.as_ref().map_or(Seq::ZERO, |owned| owned.head.seq);
        let frame = match cited(&frame).map_or(Ok(()), |cited| invariants::cited_is_stable(cited, stable)) {
            Ok(()) => frame,
            Err(violation) => {
                effects.push(Effect::Violated(violation));
                Frame::Failure(Failure::new(request, ErrorCode::Internal, "refused by an internal check"))
            }
        };
        effects.push(Effect::Answer { session, request, frame: Box::new(frame) });
    }
}

/// The highest `seq` that an answer of these rules cites.
fn cited(frame: &Frame) -> Option<Seq> {
    match frame {
        Frame::Failure(failure) => {
            let records = failure.records.iter().map(|issue| issue.current_seq);
            let others = failure.last.iter().map(|last| last.seq).chain(failure.quota.iter().map(|usage| usage.at));
            records.chain(others).max()
        }
        Frame::Pushed(pushed) => Some(pushed.to),
        Frame::RosterChanged(changed) => Some(changed.seq),
        Frame::Attached(attached) => Some(attached.head),
        Frame::Claimed(claimed) => Some(claimed.last.seq),
        // No answers of these rules.
        Frame::Challenge(_)
        | Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::GoingAway(_)
        | Frame::Ping(_)
        | Frame::Pong(_)
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
        | Frame::Recover(_)
        | Frame::SecretStart(_)
        | Frame::SecretFinish(_)
        | Frame::Authenticate(_)
        | Frame::Authenticated(_)
        | Frame::Attach(_)
        | Frame::Pull(_)
        | Frame::Page(_)
        | Frame::Snapshot(_)
        | Frame::SnapshotPage(_)
        | Frame::Claim(_)
        | Frame::Push(_)
        | Frame::ChangeRoster(_)
        | Frame::GetKeyring(_)
        | Frame::Keyring(_)
        | Frame::History(_)
        | Frame::Versions(_)
        | Frame::RosterAfter(_)
        | Frame::Event(_)
        | Frame::Committed(_)
        | Frame::HeadAt(_)
        | Frame::Lagging(_) => None,
    }
}
