//! Changes of the roster in a group: all of a request's or none.
//!
//! Never: a session that does more than revoke, or a revoke that leaves the device's last push open.

use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::{OWN_LOG, RosterChanged};
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{Entry, ErrorCode, Failure, Frame, Seq};

use super::{Author, Held, Tentative};
use crate::roster::Judged;
use crate::session::Peer;
use crate::user::inbox::{Origin, RosterItem};
use crate::user::refusal;

impl Tentative<'_> {
    pub(super) fn roster_item(&mut self, item: &RosterItem) -> Held {
        match item.origin {
            Origin::Session { peer, request } => {
                let outcome = self.may_change(peer, request, &item.changes).and_then(|()| self.change_roster(request, item));
                let frame = match outcome {
                    Ok(seq) => Frame::RosterChanged(RosterChanged { request, log: OWN_LOG, seq }),
                    Err(failure) => Frame::Failure(failure),
                };
                Held::Session { session: peer.session, request, frame: Box::new(frame) }
            }
            Origin::Account { call } => Held::Account { call, outcome: self.change_roster(0, item) },
        }
    }

    /// A session revokes, for its own device, and nothing else.
    fn may_change(&self, peer: Peer, request: u32, changes: &[RosterChange]) -> Result<(), Failure> {
        refusal::standing(request, self.roster.standing(peer.device))?;
        changes.iter().try_for_each(|change| match change {
            RosterChange::Revoke(revoke) => refusal::asked_by(request, &revoke.signed, peer.device),
            RosterChange::Identity(_) | RosterChange::Enrol(_) | RosterChange::Rotate(_) | RosterChange::Rekey(_) => {
                Err(Failure::new(request, ErrorCode::Refused, "a session only revokes; log in to enrol a device"))
            }
        })
    }

    /// All the changes or none; the `seq` of the last.
    fn change_roster(&mut self, request: u32, item: &RosterItem) -> Result<Seq, Failure> {
        let mut roster = self.roster.clone();
        let mut rows = Vec::new();
        let mut answer = roster.last();
        let mut seq = self.head.seq;
        for change in &item.changes {
            let judged = roster.judge(change).map_err(|error| Failure::new(request, error.code(), error.to_string()))?;
            match &judged {
                Judged::Already(already) => {
                    answer = *already;
                    continue;
                }
                Judged::Revoke(statement) => {
                    let last = self.head.dedup.get(&statement.device).map_or(refusal::NO_PUSH, |settled| settled.push);
                    if statement.last != last.device_seq {
                        self.differing.push((statement.device, item.origin));
                        return Err(refusal::with_last(request, ErrorCode::RevokeLastDiffers, last));
                    }
                }
                Judged::Identity(..) | Judged::Enrol(..) => {}
                Judged::Rotate(_) | Judged::Rekey(..) => {
                    return Err(Failure::new(request, ErrorCode::Refused, "keys change by the password"));
                }
            }
            seq = seq.next();
            answer = seq;
            roster.append(seq, judged);
            rows.push(RosterRow { seq, server_ts: self.server_ts, change: change.clone() });
        }
        for row in rows {
            self.follow(request, Entry::Roster(row), Author::Roster, &[])?;
        }
        self.roster = roster;
        self.revoked.extend(&item.revokes);
        Ok(answer)
    }
}
