//! Tickets: what lets one connection, once its password was right, enrol a device within minutes.
//!
//! Never: a ticket that another connection could use; its MAC covers the connection's nonce.

use std::time::Duration;

use aws_lc_rs::hmac;
use cloudsync_protocol::{Nonce, UserId};
use zeroize::Zeroizing;

/// How long a ticket holds: a person may still have to read a recovery code.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(10 * 60);

const CONTEXT: &[u8] = b"cs1/ticket";
const MAC_BYTES: usize = 32;
/// User ‖ expiry in milliseconds, big endian ‖ HMAC-SHA-256.
const TICKET_BYTES: usize = UserId::LENGTH + 8 + MAC_BYTES;

/// The key of tickets.
pub(crate) struct Tickets(Zeroizing<[u8; 32]>);

impl Tickets {
    pub(crate) const fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    fn message(nonce: &Nonce, body: &[u8]) -> Vec<u8> {
        [CONTEXT, nonce.as_bytes(), body].concat()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice())
    }

    /// A ticket of `user` for the connection of `nonce`.
    pub(crate) fn issue(&self, user: UserId, nonce: &Nonce, now_ms: u64) -> Vec<u8> {
        let lifetime_ms = u64::try_from(TICKET_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let mut ticket = [user.as_bytes().as_slice(), &now_ms.saturating_add(lifetime_ms).to_be_bytes()].concat();
        let mac = hmac::sign(&self.key(), &Self::message(nonce, &ticket));
        ticket.extend_from_slice(mac.as_ref());
        ticket
    }

    /// Whose ticket it is; nothing when it is wrong, too old or of another connection.
    pub(crate) fn user(&self, ticket: &[u8], nonce: &Nonce, now_ms: u64) -> Option<UserId> {
        if ticket.len() != TICKET_BYTES {
            return None;
        }
        let (body, mac) = ticket.split_at_checked(TICKET_BYTES - MAC_BYTES)?;
        hmac::verify(&self.key(), &Self::message(nonce, body), mac).ok()?;
        let (user, expires_ts) = body.split_at_checked(UserId::LENGTH)?;
        let expires_ts = u64::from_be_bytes(expires_ts.try_into().ok()?);
        if now_ms < expires_ts { UserId::from_slice(user) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn tickets() -> Tickets {
        Tickets::new(Zeroizing::new([7; 32]))
    }

    #[test]
    fn a_ticket_names_its_user_until_it_expires() {
        let (tickets, nonce, user) = (tickets(), Nonce([1; 32]), UserId([2; 16]));
        let ticket = tickets.issue(user, &nonce, NOW_MS);
        let last_ms = NOW_MS + 600_000 - 1;
        assert_eq!(tickets.user(&ticket, &nonce, last_ms), Some(user));
        assert_eq!(tickets.user(&ticket, &nonce, last_ms + 1), None);
    }

    #[test]
    fn a_ticket_of_another_connection_or_another_key_opens_nothing() {
        let ticket = tickets().issue(UserId([2; 16]), &Nonce([1; 32]), NOW_MS);
        assert_eq!(tickets().user(&ticket, &Nonce([3; 32]), NOW_MS), None);
        assert_eq!(Tickets::new(Zeroizing::new([8; 32])).user(&ticket, &Nonce([1; 32]), NOW_MS), None);
    }

    #[test]
    fn a_ticket_with_any_bit_changed_cut_or_extended_is_refused() {
        let (tickets, nonce) = (tickets(), Nonce([1; 32]));
        let ticket = tickets.issue(UserId([2; 16]), &nonce, NOW_MS);
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(tickets.user(&other, &nonce, NOW_MS), None, "byte {at}");
            assert_eq!(tickets.user(&ticket[..at], &nonce, NOW_MS), None, "cut at {at}");
        }
        assert_eq!(tickets.user(&[ticket, vec![0]].concat(), &nonce, NOW_MS), None);
    }
}
