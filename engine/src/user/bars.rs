//! Devices that are not admitted because somebody is revoking them: from the arrival of the revoke until it is decided,
//! and, when it named another last push than the device's, until it comes again, so that a device that goes on pushing
//! can't outrun its revoker.
//!
//! Never: a bar for good. Whoever set it ends it: by revoking again, by going, or by letting [`BAR_MS`] pass.

use std::collections::BTreeMap;

use cloudsync_protocol::DeviceId;

use super::inbox::Origin;
use crate::session::SessionId;

/// How long a device stays barred after a revoke that named another last push.
pub const BAR_MS: u64 = 30_000;

/// Who revokes: a session, or account calls.
type Revoker = Option<SessionId>;

const fn revoker(origin: Origin) -> Revoker {
    match origin {
        Origin::Session { peer, .. } => Some(peer.session),
        Origin::Account { .. } => None,
    }
}

#[derive(Debug, Default)]
pub(super) struct Bars {
    /// Revokes that wait for their turn or for their commit.
    pending: BTreeMap<DeviceId, usize>,
    /// Who has to sign its revoke again, and until when that is waited for.
    held: BTreeMap<(DeviceId, Revoker), u64>,
}

impl Bars {
    /// A revoke of `device` arrived.
    pub(super) fn begin(&mut self, device: DeviceId, origin: Origin) {
        *self.pending.entry(device).or_default() += 1;
        self.held.remove(&(device, revoker(origin)));
    }

    /// A revoke of `device` is decided, whichever way.
    pub(super) fn end(&mut self, device: DeviceId) {
        if let Some(count) = self.pending.get_mut(&device) {
            *count -= 1;
            if *count == 0 {
                self.pending.remove(&device);
            }
        }
    }

    /// It named another last push than the device's: wait for the next.
    pub(super) fn hold(&mut self, device: DeviceId, origin: Origin, now_ms: u64) {
        self.held.insert((device, revoker(origin)), now_ms.saturating_add(BAR_MS));
    }

    pub(super) fn session_closed(&mut self, session: SessionId) {
        self.held.retain(|(_, revoker), _| *revoker != Some(session));
    }

    /// Whether something of the device that has its turn now waits: what arrived before a revoke is decided before it.
    pub(super) fn is_held(&self, device: DeviceId, now_ms: u64) -> bool {
        self.held.range((device, None)..).take_while(|((held, _), _)| *held == device).any(|(_, until_ms)| now_ms < *until_ms)
    }

    /// Whether a device may not open a session now.
    pub(super) fn is_barred(&self, device: DeviceId, now_ms: u64) -> bool {
        self.pending.contains_key(&device) || self.is_held(device, now_ms)
    }

    /// Forgets what is over.
    pub(super) fn expire(&mut self, now_ms: u64) {
        self.held.retain(|_, until_ms| now_ms < *until_ms);
    }

    /// Whether any device is barred: such an owner is not passivated, or the bar would be forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.held.is_empty()
    }

    /// When the next bar ends by time.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        self.held.values().copied().min()
    }
}
