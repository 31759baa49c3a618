//! Log-ins under way on profiles that are enrolled already.
//!
//! Never: a device that is revoked by somebody else than who takes its place.

use cloudsync_engine::session::SessionId;

use super::World;
use crate::support::keys::Keys;
use crate::support::sim::device::Becoming;
use crate::support::sim::network::Wire;
use crate::support::sim::server::Weather;

impl World {
    /// Somebody logs in on a profile again: its device is revoked, and another enrolled in its place.
    pub(super) fn log_in_anew(&mut self) {
        let client = self.client();
        if self.clients[client].becoming.is_none() && self.numbers < 60 {
            self.numbers += 1;
            self.clients[client].becoming = Some(Becoming { number: self.numbers, call: None, done: false });
        }
    }

    /// Log-ins under way: asked for, again when refused or not answered, and taken in, perhaps later.
    pub(super) fn log_ins(&mut self, weather: Weather) {
        for device in std::mem::take(&mut self.server.closing) {
            let of_device = |wire: &&Wire| wire.peer.device == device;
            let sessions: Vec<SessionId> = self.network.wires.values().filter(of_device).map(|wire| wire.peer.session).collect();
            sessions.into_iter().for_each(|session| self.close(session));
        }
        for client in 0..self.clients.len() {
            let device = self.clients[client].device.me.device;
            let Some(becoming) = &mut self.clients[client].becoming else { continue };
            let answer = self.server.enrolled.iter().find(|(call, _)| Some(*call) == becoming.call).map(|(_, enrolled)| *enrolled);
            match answer {
                Some(true) => becoming.done = true,
                Some(false) => becoming.call = None,
                // Whoever waits gives up some time, and asks again.
                None if self.rng.chance(2) => becoming.call = None,
                None => {}
            }
            let (number, done, asked) = (becoming.number, becoming.done, becoming.call.is_some());
            if done && (weather == Weather::Fair || self.rng.chance(5)) {
                let sessions: Vec<SessionId> = self.clients[client].processes.iter().flatten().map(|session| session.id).collect();
                sessions.into_iter().for_each(|session| self.close(session));
                self.clients[client].become_anew(number);
            } else if !done && !asked {
                let head = self.server.store.head.as_ref();
                let last = head.and_then(|head| head.dedup.get(&device)).map(|last| last.push.device_seq).unwrap_or_default();
                let changes = vec![self.clients[client].device.keys.revoke(last, device), Keys::new(number).enrol()];
                let call = self.server.enrol(self.now_ms, changes, &mut self.network);
                if let Some(becoming) = &mut self.clients[client].becoming {
                    becoming.call = Some(call);
                }
            }
        }
    }
}
