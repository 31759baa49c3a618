//! Changes of the roster in a group: all of a request's or none.
//!
//! Never: a session that does more than revoke its own device, a device that leaves with its last push open, or a keyring row without credentials.

use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::{OWN_LOG, RosterChanged};
use cloudsync_protocol::statement::{RevokeStatement, RosterChange, Signed};
use cloudsync_protocol::{DeviceId, DeviceSeq, Entry, ErrorCode, Failure, Frame, Seq, codec};

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

    /// A session revokes its own device, which is a log-out, and nothing else: revoking another asks for the password. In a log that was
    /// rewound it also revokes again who had left in what was lost.
    fn may_change(&self, peer: Peer, request: u32, changes: &[RosterChange]) -> Result<(), Failure> {
        refusal::standing(request, self.roster.standing(peer.device))?;
        changes.iter().try_for_each(|change| match change {
            RosterChange::Revoke(revoke) => {
                refusal::asked_by(request, &revoke.signed, peer.device)?;
                let is_rewound = self.head.lineage.len() > 1;
                if is_rewound || leaves(&revoke.signed) == Some(peer.device) { Ok(()) } else { Err(of_another(request)) }
            }
            RosterChange::Identity(_) | RosterChange::Enrol(_) | RosterChange::Rotate(_) | RosterChange::Rekey(_) => {
                Err(Failure::new(request, ErrorCode::Refused, "a session only revokes; log in to enrol a device"))
            }
        })
    }

    /// All the changes or none; the `seq` of the last.
    fn change_roster(&mut self, request: u32, item: &RosterItem) -> Result<Seq, Failure> {
        let mut roster = self.roster.clone();
        let mut accepted = Vec::new();
        let mut answer = roster.last();
        let mut seq = self.head.seq;
        for change in &item.changes {
            let judged = roster.judge(change).map_err(|error| Failure::new(request, error.code(), error.to_string()))?;
            if let Judged::Already(already) = judged {
                answer = already;
                continue;
            }
            seq = seq.next();
            answer = seq;
            roster.append(seq, judged.clone());
            accepted.push((RosterRow { seq, server_ts: self.server_ts, change: change.clone() }, judged));
        }
        // Keys that are there already are answered again, whatever the ticket: whoever lost the answer has an old one.
        let is_repeated = accepted.is_empty() && item.credentials.is_some();
        if item.ticket_version.is_some_and(|version| version != self.head.keyring_version) && !is_repeated {
            return Err(Failure::new(request, ErrorCode::TicketInvalid, "the keys were changed since this log-in; log in again"));
        }
        for (_, judged) in &accepted {
            self.closes_its_leavers((request, item), judged)?;
        }
        for (row, _) in accepted {
            self.follow(request, Entry::Roster(row), Author::Roster, &[])?;
        }
        if let Some(credentials) = item.credentials.as_ref().filter(|_| !is_repeated) {
            self.credentials = Some(credentials.clone());
        }
        self.roster = roster;
        self.revoked.extend(&item.revokes);
        Ok(answer)
    }

    /// Whoever leaves does so at its last push. Keys change with their credentials, and leave nobody out.
    fn closes_its_leavers(&mut self, (request, item): (u32, &RosterItem), judged: &Judged) -> Result<(), Failure> {
        match judged {
            Judged::Already(_) | Judged::Identity(..) | Judged::Enrol(..) => Ok(()),
            Judged::Revoke(statement) => self.closes((request, item.origin), statement.device, statement.last),
            Judged::Rekey(..) => with_credentials(request, item),
            Judged::Rotate(rotation) => {
                with_credentials(request, item)?;
                if let Some(dropped) = rotation.dropped.first() {
                    let message = format!("device {dropped} is enrolled and in none of the lists: ask again who stays");
                    return Err(Failure::new(request, ErrorCode::RosterMoved, message));
                }
                let leavers = rotation.statement.revoked.iter();
                leavers
                    .map(|leaver| (leaver.device, leaver.last))
                    .try_for_each(|(device, last)| self.closes((request, item.origin), device, last))
            }
        }
    }

    fn closes(&mut self, (request, origin): (u32, Origin), device: DeviceId, stated: DeviceSeq) -> Result<(), Failure> {
        let last = self.head.dedup.get(&device).map_or(refusal::NO_PUSH, |settled| settled.push);
        if stated == last.device_seq {
            return Ok(());
        }
        self.differing.push((device, origin));
        Err(Failure { device: Some(device), ..refusal::with_last(request, ErrorCode::RevokeLastDiffers, last) })
    }
}

/// Who leaves by a revoke.
fn leaves(signed: &Signed) -> Option<DeviceId> {
    codec::decode::<RevokeStatement>(&signed.statement).ok().map(|statement| statement.device)
}

fn of_another(request: u32) -> Failure {
    Failure::new(request, ErrorCode::Refused, "revoking another device asks for the password")
}

/// A keyring row without what the account is opened by would lock its people out.
fn with_credentials(request: u32, item: &RosterItem) -> Result<(), Failure> {
    match item.credentials {
        Some(_) => Ok(()),
        None => Err(Failure::new(request, ErrorCode::Refused, "keys change with the keyring, by secret_finish")),
    }
}
