//! Tickets: what lets one connection, once its password or code was right, enrol a device or change keys within minutes, as long as the
//! keyring is the one that it was given for.
//!
//! Never: a ticket that another connection could use; its MAC covers the connection's nonce.

use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use cloudsync_protocol::statement::PublicKey;
use cloudsync_protocol::{Nonce, UserId};
use zeroize::Zeroizing;

/// How long a ticket holds: a person may still have to read a recovery code.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(10 * 60);

const CONTEXT: &[u8] = b"cs1/ticket";
const CONTEXT_NOBODY: &[u8] = b"cs1/nobody";
const MAC_BYTES: usize = 32;
/// User ‖ expiry in milliseconds, big endian ‖ keyring version, big endian ‖ HMAC-SHA-256.
const TICKET_BYTES: usize = UserId::LENGTH + 8 + 8 + MAC_BYTES;

/// What a ticket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Whose.
    pub(crate) user: UserId,
    /// The keyring's version when it was given: worth nothing once that moved on.
    pub(crate) keyring_version: u64,
}

/// The key of tickets.
pub(crate) struct Tickets {
    key: Zeroizing<[u8; 32]>,
    /// Ed25519, a public half whose secret one nobody uses: an unknown address costs a verification as well.
    pub(crate) nobody: PublicKey,
}

impl Tickets {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), CONTEXT_NOBODY);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).expect("HMAC-SHA-256 gives the 32 bytes of a seed");
        let nobody = PublicKey(pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"));
        Self { key, nobody }
    }

    fn message(nonce: &Nonce, body: &[u8]) -> Vec<u8> {
        [CONTEXT, nonce.as_bytes(), body].concat()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.key.as_slice())
    }

    /// A ticket for the connection of `nonce`.
    pub(crate) fn issue(&self, ticket: Ticket, nonce: &Nonce, now_ms: u64) -> Vec<u8> {
        let Ticket { user, keyring_version } = ticket;
        let lifetime_ms = u64::try_from(TICKET_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let expires_ts = now_ms.saturating_add(lifetime_ms);
        let mut ticket = [user.as_bytes().as_slice(), &expires_ts.to_be_bytes(), &keyring_version.to_be_bytes()].concat();
        let mac = hmac::sign(&self.key(), &Self::message(nonce, &ticket));
        ticket.extend_from_slice(mac.as_ref());
        ticket
    }

    /// What a ticket says; nothing when it is wrong, too old or of another connection.
    pub(crate) fn open(&self, ticket: &[u8], nonce: &Nonce, now_ms: u64) -> Option<Ticket> {
        if ticket.len() != TICKET_BYTES {
            return None;
        }
        let (body, mac) = ticket.split_at_checked(TICKET_BYTES - MAC_BYTES)?;
        hmac::verify(&self.key(), &Self::message(nonce, body), mac).ok()?;
        let (user, numbers) = body.split_at_checked(UserId::LENGTH)?;
        let (expires_ts, keyring_version) = numbers.split_first_chunk()?;
        if now_ms >= u64::from_be_bytes(*expires_ts) {
            return None;
        }
        let keyring_version = u64::from_be_bytes(keyring_version.try_into().ok()?);
        UserId::from_slice(user).map(|user| Ticket { user, keyring_version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    const TICKET: Ticket = Ticket { user: UserId([2; 16]), keyring_version: 7 };

    fn tickets() -> Tickets {
        Tickets::new(Zeroizing::new([7; 32]))
    }

    #[test]
    fn a_ticket_names_its_user_and_keyring_until_it_expires() {
        let (tickets, nonce) = (tickets(), Nonce([1; 32]));
        let ticket = tickets.issue(TICKET, &nonce, NOW_MS);
        let last_ms = NOW_MS + 600_000 - 1;
        assert_eq!(tickets.open(&ticket, &nonce, last_ms), Some(TICKET));
        assert_eq!(tickets.open(&ticket, &nonce, last_ms + 1), None);
    }

    #[test]
    fn a_ticket_of_another_connection_or_another_key_opens_nothing() {
        let ticket = tickets().issue(TICKET, &Nonce([1; 32]), NOW_MS);
        assert_eq!(tickets().open(&ticket, &Nonce([3; 32]), NOW_MS), None);
        assert_eq!(Tickets::new(Zeroizing::new([8; 32])).open(&ticket, &Nonce([1; 32]), NOW_MS), None);
    }

    #[test]
    fn a_ticket_with_any_bit_changed_cut_or_extended_is_refused() {
        let (tickets, nonce) = (tickets(), Nonce([1; 32]));
        let ticket = tickets.issue(TICKET, &nonce, NOW_MS);
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(tickets.open(&other, &nonce, NOW_MS), None, "byte {at}");
            assert_eq!(tickets.open(&ticket[..at], &nonce, NOW_MS), None, "cut at {at}");
        }
        assert_eq!(tickets.open(&[ticket, vec![0]].concat(), &nonce, NOW_MS), None);
    }
}
