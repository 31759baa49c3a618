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
        | Frame::EraseAccount(_)
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

#[cfg(test)]
mod tests {
    use cloudsync_protocol::error::{LastPush, RecordIssue, Usage};
    use cloudsync_protocol::frame::{Attached, Claimed, OWN_LOG, Pushed, RosterChanged};
    use cloudsync_protocol::{CollectionName, DeviceSeq, Generation, Hash, LogId, RecordId, RecordKey, TimelineId, Version, View};

    use super::*;
    use crate::invariants::Invariant;
    use crate::user::Options;

    const REQUEST: u32 = 7;

    /// Every answer of the rules in which that place can be cited, citing it.
    fn citing(at: Seq) -> Vec<Frame> {
        let (request, log, timeline) = (REQUEST, OWN_LOG, TimelineId([1; 16]));
        let last = LastPush { device_seq: DeviceSeq(1), hash: Hash::default(), seq: at };
        let failure = Failure::new(request, ErrorCode::Refused, "");
        let key = RecordKey { collection: CollectionName::new("c").unwrap(), record: RecordId::new("r").unwrap() };
        let issue = RecordIssue { key, code: ErrorCode::Stale, current: Version(1), current_seq: at, grows: 0 };
        let usage = Usage { used: 0, limit: 0, need: 0, at };
        vec![
            Pushed { request, log, device_seq: DeviceSeq(1), hash: Hash::default(), timeline, from: Seq::ZERO, to: at }.into(),
            RosterChanged { request, log, seq: at }.into(),
            Attached {
                request,
                log,
                id: LogId([1; 16]),
                head: at,
                timeline,
                generation: Generation(1),
                floor: Seq::ZERO,
                used_bytes: 0,
                quota_bytes: 0,
                lineage: Vec::new(),
            }
            .into(),
            Claimed { request, log, last }.into(),
            Failure { records: vec![issue], ..failure.clone() }.into(),
            Failure { last: Some(Box::new(last)), ..failure.clone() }.into(),
            Failure { quota: Some(Box::new(usage)), ..failure }.into(),
        ]
    }

    fn answered(frame: Frame) -> Vec<Effect> {
        let options = Options { log: LogId([1; 16]), view: View(1), seed: [0; 32], retry_after_ms: 1, quota_bytes: 1 };
        let mut effects = Vec::new();
        // It owns no log yet: nothing but the beginning is stable.
        User::new(options, Vec::new()).answer(SessionId(1), REQUEST, frame, &mut effects);
        effects
    }

    #[test]
    fn an_answer_that_cites_what_is_not_stable_is_withheld_and_said_to_be_a_bug() {
        for frame in citing(Seq(1)) {
            match answered(frame.clone()).as_slice() {
                [Effect::Violated(violation), Effect::Answer { request: REQUEST, frame: told, .. }] => {
                    assert_eq!(violation.invariant, Invariant::V4);
                    assert!(
                        matches!(&**told, Frame::Failure(failure) if (failure.code, failure.request) == (ErrorCode::Internal, REQUEST))
                    );
                }
                other => panic!("{frame:?} led to {other:?}"),
            }
        }
        for frame in citing(Seq::ZERO) {
            match answered(frame.clone()).as_slice() {
                [Effect::Answer { frame: told, .. }] => assert_eq!(**told, frame),
                other => panic!("{frame:?} led to {other:?}"),
            }
        }
    }
}
