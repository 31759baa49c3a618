//! Claims: a session asks to be the one that pushes for its device.
//!
//! Never: a claim that is answered before the store has shown that the log is still owned here.

use cloudsync_protocol::Frame;
use cloudsync_protocol::frame::{Claimed, OWN_LOG};

use super::effect::{Effect, Stop};
use super::event::{ReadId, ReadTrouble};
use super::inbox::ClaimItem;
use super::{Phase, User, refusal};
use crate::log::Head;

impl User {
    /// Begins a claim's turn, or refuses it.
    pub(super) fn begin_claim(&mut self, claim: ClaimItem, effects: &mut Vec<Effect>) {
        let ClaimItem { peer, request } = claim;
        let Some(owned) = &self.owned else { return };
        let is_held = self.bars.is_held(peer.device, self.now_ms);
        let barred = || if is_held { Err(refusal::barred(request, self.options.retry_after_ms)) } else { Ok(()) };
        let outcome = refusal::standing(request, owned.roster.standing(peer.device)).and_then(|()| barred());
        match outcome {
            Ok(()) => {
                // What an earlier session sent before is decided; what it sends from now on is refused.
                self.pushers.claim(peer);
                let read = self.next_read();
                self.phase = Phase::Claiming { read, claim };
                effects.push(Effect::ReadHead { read });
            }
            Err(failure) => {
                self.answer(peer.session, request, Frame::Failure(failure), effects);
                self.inbox.settled();
            }
        }
    }

    pub(super) fn on_head_read(&mut self, read: ReadId, outcome: Result<Option<Head>, ReadTrouble>, effects: &mut Vec<Effect>) {
        if self.on_head_confirmed(read, &outcome, effects) {
            return;
        }
        let mine = self.take_phase(|phase| matches!(phase, Phase::Claiming { read: mine, .. } if *mine == read));
        let Some(Phase::Claiming { claim: ClaimItem { peer, request }, .. }) = mine else { return };
        let frame = match (outcome, &self.owned) {
            (Ok(head), Some(owned)) if self.is_mine(head.as_ref()) => {
                let last = owned.head.dedup.get(&peer.device).map_or(refusal::NO_PUSH, |settled| settled.push);
                Frame::Claimed(Claimed { request, log: OWN_LOG, last })
            }
            (Ok(_), _) => {
                self.phase = Phase::Claiming { read, claim: ClaimItem { peer, request } };
                return self.stop(Stop::Fenced, effects);
            }
            (Err(trouble), _) => Frame::Failure(trouble.failure(request, self.options.retry_after_ms)),
        };
        self.answer(peer.session, request, frame, effects);
        self.inbox.settled();
    }
}
