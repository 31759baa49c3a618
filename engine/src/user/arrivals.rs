//! What comes in. Hellos and attaching need no turn: they are answered from the stable head and roster. Claims, pushes and
//! changes of the roster are looked at and queued.
//!
//! Never: *rewound* on the word of an owner that may have been replaced; that is said after a serial read of the head.

use cloudsync_protocol::frame::{self, Attach, Attached, OWN_LOG};
use cloudsync_protocol::limits::PUSH_BYTES_MAX;
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, Frame, ShortHash};

use super::effect::{Admission, Effect, Stop};
use super::event::{ReadId, ReadTrouble};
use super::inbox::{ClaimItem, Item, PushItem, RosterItem};
use super::{Owned, User, refusal};
use crate::batch;
use crate::cursor::{self, Extent, Refusal, RowCheck, Verdict};
use crate::log::Head;
use crate::roster::Standing;
use crate::session::{Peer, SessionId};
use crate::verify::HelloProof;

/// A request that came before the log was owned.
#[derive(Debug)]
pub(super) enum Early {
    Open { peer: Peer, proof: HelloProof },
    Attach { peer: Peer, attach: Attach },
}

impl Early {
    pub(super) const fn session(&self) -> SessionId {
        match self {
            Self::Open { peer, .. } | Self::Attach { peer, .. } => peer.session,
        }
    }
}

/// An attach that waits for a read.
#[derive(Debug)]
pub(super) struct Attaching {
    pub(super) peer: Peer,
    attach: Attach,
    confirm: Confirm,
}

/// What the read is to confirm.
#[derive(Debug, Clone)]
enum Confirm {
    /// The row at the cursor.
    Row(RowCheck),
    /// I still am the owner, so this refusal is true.
    Refusal(Refusal),
}

impl User {
    pub(super) fn on_open(&mut self, peer: Peer, proof: HelloProof, effects: &mut Vec<Effect>) {
        let session = peer.session;
        if let Some(stop) = self.stopped() {
            effects.push(Effect::Opened { session, outcome: Err(self.stop_failure(stop, 0)) });
            return;
        }
        let Some(owned) = &self.owned else {
            self.early.push(Early::Open { peer, proof });
            return;
        };
        let is_barred = self.bars.is_barred(peer.device, self.now_ms);
        let outcome = if is_barred { Err(refusal::barred(0, self.options.retry_after_ms)) } else { admit(owned, peer.device, &proof) };
        effects.push(Effect::Opened { session, outcome });
    }

    pub(super) fn on_attach(&mut self, peer: Peer, attach: Attach, effects: &mut Vec<Effect>) {
        let request = attach.request;
        if let Some(stop) = self.stopped() {
            let failure = self.stop_failure(stop, request);
            return self.answer(peer.session, request, Frame::Failure(failure), effects);
        }
        let Some(owned) = &self.owned else {
            self.early.push(Early::Attach { peer, attach });
            return;
        };
        if attach.log != OWN_LOG {
            return self.answer(peer.session, request, Frame::Failure(refusal::log_unknown(request)), effects);
        }
        if let Err(failure) = refusal::standing(request, owned.roster.standing(peer.device)) {
            return self.answer(peer.session, request, Frame::Failure(failure), effects);
        }
        match cursor::judge(attach.cursor, &Extent::from(&owned.head)) {
            Verdict::Fine => self.attach(peer, request, effects),
            Verdict::Depends(check) => {
                let (read, seq) = (self.next_read(), check.seq());
                self.attaching.insert(read, Attaching { peer, attach, confirm: Confirm::Row(check) });
                effects.push(Effect::ReadRow { read, seq });
            }
            Verdict::Refused(refusal) if refusal.needs_newest_head() => {
                let read = self.next_read();
                self.attaching.insert(read, Attaching { peer, attach, confirm: Confirm::Refusal(refusal) });
                effects.push(Effect::ReadHead { read });
            }
            Verdict::Refused(refusal) => self.answer(peer.session, request, Frame::Failure(refusal.failure(request)), effects),
        }
    }

    /// What came before the log was owned.
    pub(super) fn take_early(&mut self, effects: &mut Vec<Effect>) {
        for early in std::mem::take(&mut self.early) {
            match early {
                Early::Open { peer, proof } => self.on_open(peer, proof, effects),
                Early::Attach { peer, attach } => self.on_attach(peer, attach, effects),
            }
        }
    }

    pub(super) fn on_row_read(&mut self, read: ReadId, outcome: Result<Option<ShortHash>, ReadTrouble>, effects: &mut Vec<Effect>) {
        let Some(Attaching { peer, attach, confirm }) = self.attaching.remove(&read) else { return };
        let request = attach.request;
        let failure = match (outcome, confirm) {
            (Ok(row), Confirm::Row(check)) => match check.with(row) {
                Ok(()) => return self.attach(peer, request, effects),
                Err(refusal) => refusal.failure(request),
            },
            (Ok(_), Confirm::Refusal(refusal)) => refusal.failure(request),
            (Err(trouble), _) => trouble.failure(request, self.options.retry_after_ms),
        };
        self.answer(peer.session, request, Frame::Failure(failure), effects);
    }

    /// A head that was read to confirm a refusal. False when the read was not one of these.
    pub(super) fn on_head_confirmed(
        &mut self,
        read: ReadId,
        outcome: &Result<Option<Head>, ReadTrouble>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(Attaching { peer, attach, .. }) = self.attaching.remove(&read) else { return false };
        let request = attach.request;
        let failure = match (outcome, &self.owned) {
            (Ok(Some(read)), Some(owned)) if self.is_mine(Some(read)) => {
                // What is in the store and not known here to be durable yet can have been read all the same: pages go past the
                // owner. And a commit of mine may have become durable since. Either way the cursor is as good as any, soon.
                match [read, &owned.head].map(|head| cursor::judge(attach.cursor, &Extent::from(head))) {
                    [Verdict::Refused(refusal), Verdict::Refused(_)] => refusal.failure(request),
                    [_, _] => self.busy(request),
                }
            }
            (Ok(_), _) => {
                let failure = self.busy(request);
                self.answer(peer.session, request, Frame::Failure(failure), effects);
                self.stop(Stop::Fenced, effects);
                return true;
            }
            (Err(trouble), _) => trouble.failure(request, self.options.retry_after_ms),
        };
        self.answer(peer.session, request, Frame::Failure(failure), effects);
        true
    }

    /// The cursor is fine.
    fn attach(&mut self, peer: Peer, request: u32, effects: &mut Vec<Effect>) {
        let Some(owned) = &self.owned else { return };
        let head = &owned.head;
        // It may have been revoked while its row was read.
        if let Err(failure) = refusal::standing(request, owned.roster.standing(peer.device)) {
            return self.answer(peer.session, request, Frame::Failure(failure), effects);
        }
        let attached = Attached {
            request,
            log: OWN_LOG,
            id: self.options.log,
            head: head.seq,
            timeline: head.timeline,
            generation: head.generation,
            floor: head.floor,
            used_bytes: head.figures.live_bytes,
            quota_bytes: self.options.quota_bytes,
            lineage: head.lineage.clone(),
        };
        self.attached.insert(peer.session, peer.device);
        self.answer(peer.session, request, Frame::Attached(attached), effects);
    }

    pub(super) fn on_closed(&mut self, session: SessionId) {
        self.attached.remove(&session);
        self.bars.session_closed(session);
        self.inbox.drop_claims(session);
        self.early.retain(|early| early.session() != session);
        self.attaching.retain(|_, attaching| attaching.peer.session != session);
    }

    pub(super) fn on_claim(&mut self, peer: Peer, claim: &frame::Claim, effects: &mut Vec<Effect>) {
        let request = claim.request;
        if claim.log != OWN_LOG {
            return self.answer(peer.session, request, Frame::Failure(refusal::log_unknown(request)), effects);
        }
        self.enqueue(Item::Claim(ClaimItem { peer, request }), effects);
    }

    pub(super) fn on_push(&mut self, peer: Peer, push: frame::Push, frame_bytes: usize, effects: &mut Vec<Effect>) {
        // What counts is a little less than the frame: only a push near the limit is encoded again to be counted.
        let counted_bytes = if frame_bytes > PUSH_BYTES_MAX { push.counted_bytes() } else { frame_bytes };
        let frame::Push { request, log, signed, operations } = push;
        let failed = |code, message: String| Frame::Failure(Failure::new(request, code, message));
        if log != OWN_LOG {
            return self.answer(peer.session, request, Frame::Failure(refusal::log_unknown(request)), effects);
        }
        if counted_bytes > PUSH_BYTES_MAX {
            let message = format!("a push of {counted_bytes} B, allowed are {PUSH_BYTES_MAX}");
            return self.answer(peer.session, request, failed(ErrorCode::PushTooLarge, message), effects);
        }
        let statement = batch::statement(self.options.log, &signed).and_then(|statement| {
            if statement.device == peer.device { Ok(statement) } else { Err(batch::StatementError::Device(statement.device)) }
        });
        match statement {
            Ok(statement) => {
                let shape = batch::check_operations(statement.clone(), &signed, &operations);
                let hash = signed.hash();
                let item = PushItem { peer, request, signed, hash, statement, operations, shape, frame_bytes };
                self.enqueue(Item::Push(Box::new(item)), effects);
            }
            Err(error) => self.answer(peer.session, request, failed(ErrorCode::StatementInvalid, error.to_string()), effects),
        }
    }

    pub(super) fn on_change_roster(&mut self, peer: Peer, change: frame::ChangeRoster, effects: &mut Vec<Effect>) {
        let frame::ChangeRoster { request, log, change } = change;
        if log != OWN_LOG {
            return self.answer(peer.session, request, Frame::Failure(refusal::log_unknown(request)), effects);
        }
        self.enqueue(Item::Roster(RosterItem::by_session(peer, request, change)), effects);
    }

    pub(super) fn enqueue(&mut self, item: Item, effects: &mut Vec<Effect>) {
        match self.stopped() {
            Some(stop) => self.refuse(item.origin(), stop, effects),
            None => {
                if let Item::Roster(roster) = &item {
                    roster.revokes.iter().for_each(|device| self.bars.begin(*device, roster.origin));
                }
                self.inbox.push(item);
            }
        }
    }

    /// Refuses everything that waits for the activation or a read.
    pub(super) fn refuse_arrivals(&mut self, failure: impl Fn(u32) -> Failure, effects: &mut Vec<Effect>) {
        for early in std::mem::take(&mut self.early) {
            match early {
                Early::Open { peer, .. } => effects.push(Effect::Opened { session: peer.session, outcome: Err(failure(0)) }),
                Early::Attach { peer, attach } => {
                    self.answer(peer.session, attach.request, Frame::Failure(failure(attach.request)), effects)
                }
            }
        }
        for Attaching { peer, attach, .. } in std::mem::take(&mut self.attaching).into_values() {
            self.answer(peer.session, attach.request, Frame::Failure(failure(attach.request)), effects);
        }
    }
}

fn admit(owned: &Owned, device: DeviceId, proof: &HelloProof) -> Result<Admission, Failure> {
    let standing = owned.roster.standing(device);
    refusal::standing(0, standing)?;
    match standing {
        Standing::Enrolled(enrolled) => match proof.verify(&enrolled.signing) {
            Ok(()) => Ok(Admission { device, signing: enrolled.signing, timeline: owned.head.timeline }),
            Err(error) => Err(Failure::new(0, ErrorCode::SignatureInvalid, error.to_string())),
        },
        Standing::Unknown | Standing::Revoked(_) => Err(Failure::new(0, ErrorCode::DeviceUnknown, "this device is not enrolled")),
    }
}
